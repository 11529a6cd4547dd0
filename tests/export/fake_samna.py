"""A stand-in for a current samna with a board: unknown fields are errors, what the script does is written down."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

_PACKAGE = '''
import atexit, json, os, types

told = json.load(open(os.environ["FAKE_SAMNA"]))
diary = {"applied": 0, "zeroed": {}, "written": [], "power": [], "opened": [], "slept": 0}
atexit.register(lambda: open(os.environ["FAKE_DIARY"], "w").write(json.dumps(diary)))


class Part:
    def __init__(self, **fields):
        object.__setattr__(self, "__dict__", dict(fields))

    def __setattr__(self, name, value):
        if name not in self.__dict__:
            raise AttributeError("no field " + name)
        if isinstance(self.__dict__[name], Part) or isinstance(value, dict):
            raise AttributeError(name + " is assigned whole")
        self.__dict__[name] = value


def xy():
    return Part(x=1, y=1)


def shape():
    return Part(size=xy(), feature_count=1)


def core():
    sizes = Part(input_shape=shape(), output_shape=shape(), kernel_size=1, stride=xy(), padding=xy())
    fields = dict(
        dimensions=sizes, weights=[], biases=[], neurons_initial_value=[], threshold_high=0, threshold_low=0,
        return_to_zero=False, leak_enable=False, monitor_enable=False,
        destinations=[Part(layer=0, enable=False, pooling=1, feature_shift=0) for _ in range(2)],
    )
    if told.get("kill_bits"):
        fields.update(weights_kill_bit=[], biases_kill_bit=[], neurons_value_kill_bit=[])
    return Part(**fields)


def make():
    dvs = Part(destinations=[Part(layer=0, enable=False) for _ in range(2)], merge=False, pooling=xy(), origin=xy(), cut=xy(),
               mirror_diagonal=False, pass_sensor_events=True)
    readout = Part(enable=False, threshold=0, readout_configuration_sel=0, output_mode_sel=0, low_pass_filter_disable=False,
                   low_pass_filter32_not16=False)
    return Part(cnn_layers=[core() for _ in range(9)], dvs_layer=dvs, readout=readout, factory_config=Part(io_sel=0))


class Event:
    def __init__(self):
        self.__dict__.update(dict(layer=0, feature=0, x=0, y=0, timestamp=0, address=0, neuron_state=0))


class Spike(Event): pass
class WriteNeuronValue(Event): pass


def plain(value):
    if isinstance(value, Part):
        return {k: plain(v) for k, v in value.__dict__.items()}
    return [plain(v) for v in value] if isinstance(value, list) else value


def validate_configuration(configuration):
    diary["configuration"] = plain(configuration)
    return told.get("accepts", True), told.get("message", "")


queue, played = [], [0]


class BasicSourceNode_speck2f_event_input_event:
    def write(self, events):
        spikes = [e for e in events if isinstance(e, Spike)]
        for e in events:
            if isinstance(e, WriteNeuronValue):
                diary["zeroed"][str(e.layer)] = diary["zeroed"].get(str(e.layer), 0) + 1
        if not spikes:
            return
        diary["written"].append([[e.timestamp, e.layer, e.feature, e.y, e.x] for e in spikes])
        for t, layer, c, y, x in told["answers"][played[0]]:
            spike = Spike()
            spike.timestamp, spike.layer, spike.feature, spike.y, spike.x = t, layer, c, y, x
            queue.append(spike)
        played[0] += 1
        queue.append(Event())  # something else that a chip may send


class BasicSinkNode_speck2f_event_output_event:
    def get_events(self):
        found = list(queue)
        queue.clear()
        return found


class BasicSinkNode_unifirm_modules_events_measurement:
    def get_events(self):
        return [types.SimpleNamespace(channel=k % 5, value=(k % 5 + 1) * 1e-4, timestamp=k) for k in range(20)]


class Graph:
    def sequential(self, nodes): self.nodes = nodes
    def start(self): pass
    def stop(self): pass


class Watch:
    def set_enable_value(self, on): pass
    def reset(self): pass


class Model:
    def apply_configuration(self, configuration):
        diary["applied"] += 1
        diary["configuration"] = plain(configuration)
    def get_sink_node(self): return "sink"
    def get_source_node(self): return "source"


class Power:
    def get_source_node(self): return "power"
    def start_auto_power_measurement(self, rate): diary["power"].append(rate)
    def stop_auto_power_measurement(self): diary["power"].append("stop")


class Board:
    def get_model(self): return Model()
    def get_stop_watch(self): return Watch()
    def get_power_monitor(self): return Power()


def open_device(info):
    diary["opened"].append(info.device_type_name)
    return None if told.get("held") else Board()


speck2f = types.ModuleType("samna.speck2f")
speck2f.configuration = types.SimpleNamespace(SpeckConfiguration=make)
speck2f.event = types.SimpleNamespace(Spike=Spike, WriteNeuronValue=WriteNeuronValue)
speck2f.validate_configuration = validate_configuration
if told.get("flash"):
    speck2f.configuration_to_flash_binary = lambda configuration: [1, 2, 255, configuration.factory_config.io_sel]
graph = types.SimpleNamespace(EventFilterGraph=Graph)
boards = [types.SimpleNamespace(device_type_name=name) for name in told.get("boards", ["Davis 346", "Speck2fDevKit"])]
device = types.SimpleNamespace(get_all_devices=lambda: boards, open_device=open_device)
'''


def play(bundle: Path, *options: str, **told: Any) -> tuple[int, str, str, dict[str, Any]]:
    """(exit code, stdout, stderr, diary) of a bundle's own script with the stand-in. Told: accepts, message, kill_bits,
    flash, boards, held, answers (by sample, rows t, core, c, y, x)."""
    library = bundle.parent / "library"
    (library / "samna").mkdir(parents=True, exist_ok=True)
    (library / "samna" / "__init__.py").write_text(_PACKAGE)
    diary = bundle.parent / "diary.json"
    (library / "told.json").write_text(json.dumps(told))
    own = {"PYTHONPATH": str(library), "FAKE_SAMNA": str(library / "told.json"), "FAKE_DIARY": str(diary)}
    script = next(bundle.glob("run_on_*.py"))
    command = [sys.executable, script.name, *options]
    done = subprocess.run(
        command, cwd=bundle, env={**os.environ, **own}, capture_output=True, text=True, check=False, timeout=120
    )
    return done.returncode, done.stdout, done.stderr, json.loads(diary.read_text()) if diary.exists() else {}
