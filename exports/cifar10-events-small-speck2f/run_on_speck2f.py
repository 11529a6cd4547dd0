"""Load this bundle's configuration with samna, let it validate, and play the golden events on a board.

    python run_on_speck2f.py                     build the configuration and ask the validator; no board needed
    python run_on_speck2f.py --flash model.bin   write the binary for the flash memory, where the installed samna can
    python run_on_speck2f.py --chip              a development kit: play the golden events, write lab.json
    python run_on_speck2f.py --chip --samples 1 --device 0 --out lab.json

Needs Python 3.8 or newer with numpy and samna, nothing of neurodeploy. The package index has samna 0.7.1.0, which knows
older chips of the family and validates with their limits; boards need a current one from the vendor's own index.
Exit codes: 0 accepted (with --chip: same answers), 2 wrong use, 4 rejected, or other answers on the chip,
5 samna or a board is missing, 6 a file was changed.

speck.json holds plain values in samna's field names, speck_arrays.npz the arrays with x before y, as samna has them;
golden.npz tables with columns (t in us, c, y, x). The configuration is written by attribute: assigning a dict is silently
ignored by some of samna's modules. Events go straight to the cores, past the sensor. Timing on the chip is not
deterministic: spike counts are compared class by class and reported, answers decide.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib
import json
import platform
import sys
import time
from importlib import metadata
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

OK, USAGE, DIFFERS, MISSING, CHANGED = 0, 2, 4, 5, 6
DOCUMENT, ARRAYS, GOLDEN = "speck.json", "speck_arrays.npz", "golden.npz"
TENSORS = {"weights": "weights_kill_bit", "biases": "biases_kill_bit", "neurons_initial_value": "neurons_value_kill_bit"}
PLAIN = ("threshold_high", "threshold_low", "return_to_zero", "leak_enable", "monitor_enable")
RAILS = ("io", "ram", "logic", "vddd", "vdda")  # power tracks 0 to 4 of a development kit
START_US = 10000  # the first event comes this late, after the host has written all of them
PIN_OUTPUT = 24  # io_sel that brings the readout block to pins when the chip starts from flash


class RunnerError(Exception):
    """A refusal with the exit code it has."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


def fail(code: int, message: str) -> NoReturn:
    raise RunnerError(code, message)


def note(message: str) -> None:
    sys.stderr.write(message + "\n")


# ---------------------------------------------------------------- files


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest, after the sha256 of every file that it names was checked."""
    path = folder / "manifest.json"
    if not path.is_file():
        fail(USAGE, f"{path}: no such file; run this script from its bundle, or name the bundle with --bundle")
    manifest = json.loads(path.read_text(encoding="utf-8"))
    for name, digest in manifest["files"].items():
        if not (folder / name).is_file():
            fail(CHANGED, f"{folder / name}: the file is missing")
        if hashlib.sha256((folder / name).read_bytes()).hexdigest() != digest:
            fail(CHANGED, f"{folder / name}: the file was changed after the export")
    return dict(manifest)


def read_arrays(path: Path) -> dict[str, Any]:
    with np.load(path, allow_pickle=False) as file:
        return {name: file[name] for name in file.files if name != "graph.json"}


def read_configuration(folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """(speck.json, its arrays by name)."""
    document = json.loads((folder / DOCUMENT).read_text(encoding="utf-8"))
    if document.get("format") != "neurodeploy speck configuration" or document.get("schema_version") != 1:
        fail(CHANGED, f"{folder / DOCUMENT}: no configuration of schema version 1")
    return document, read_arrays(folder / ARRAYS)


def read_golden(folder: Path) -> tuple[list[Any], dict[str, list[Any]]]:
    """(input events of each sample, spikes of each layer and sample), tables with columns (t, c, y, x)."""
    arrays = read_arrays(folder / GOLDEN)

    def split(name: str) -> list[Any]:
        return np.split(arrays[name].astype(np.int64), np.cumsum(arrays["n/" + name])[:-1])

    layers = [name for name in arrays if name.startswith("spikes/")]
    return split("events"), {name[len("spikes/"):]: split(name) for name in layers}


# ---------------------------------------------------------------- configuration


def find_module(document: dict[str, Any], needs_chip: bool = False) -> Any:
    """samna's module of the chip, or the one whose validator stands in for it where the installed samna has no such module."""
    vendor = document["vendor"]
    try:
        samna = importlib.import_module("samna")
    except ImportError as error:
        fail(MISSING, f"samna does not run here ({error}); in Python 3.10: pip install samna==0.7.1.0 numpy")
    names = [vendor["module"]] if needs_chip else [vendor["module"], vendor["validator_module"]]
    for name in names:
        module = getattr(samna, name, None)
        if module is not None and hasattr(module, "validate_configuration"):
            return module
    wanted = " or ".join(names)
    fail(MISSING, f"samna {version()} has no module {wanted}; install a current one from the vendor's index")


def build(document: dict[str, Any], arrays: dict[str, Any], module: Any) -> Any:
    """The vendor's configuration. Raises what samna raises for values that its fields cannot hold."""
    configuration = getattr(module.configuration, document["vendor"]["configuration"])()
    for core, entry in document["cnn_layers"].items():
        layer = configuration.cnn_layers[int(core)]  # the parent is kept: a part of one that is gone dangles
        write_fields(layer.dimensions, entry["dimensions"])
        for field, kill_bits in TENSORS.items():
            array = np.asarray(arrays[entry[field]])
            setattr(layer, field, array.tolist())
            if hasattr(layer, kill_bits):  # modules of 2021 want them; later chips have none
                setattr(layer, kill_bits, np.zeros(array.shape, dtype=bool).tolist())
        for field in PLAIN:
            setattr(layer, field, entry[field])
        for i, destination in enumerate(entry["destinations"]):
            write_fields(layer.destinations[i], destination)
    write_sensor(configuration, document["dvs_layer"])
    return configuration


def write_fields(target: Any, values: dict[str, Any]) -> None:
    for field, value in values.items():
        if isinstance(value, dict):
            write_fields(getattr(target, field), value)
        else:
            setattr(target, field, value)


def write_sensor(configuration: Any, values: dict[str, Any] | None) -> None:
    """The sensor's layer. Nothing of the pixels enters where the network has no way in for them."""
    layer = configuration.dvs_layer
    layer.pass_sensor_events = values is not None
    if values is None:
        return
    for i, destination in enumerate(values["destinations"]):
        write_fields(layer.destinations[i], destination)
    write_fields(layer, {field: value for field, value in values.items() if field != "destinations"})


def add_readout(configuration: Any, document: dict[str, Any], window: int, threshold: int) -> bool:
    """Lead the output core to the readout block; False where the bundle is not padded for it, or this samna has none."""
    block = document["readout"]
    if block is None or not hasattr(getattr(configuration, "readout", None), "enable"):
        return False
    destination = configuration.cnn_layers[block["core"]].destinations[0]
    destination.layer, destination.enable = block["destination"], True
    readout = configuration.readout
    readout.enable, readout.threshold = True, threshold
    readout.readout_configuration_sel, readout.output_mode_sel = 0b11, 0b01
    readout.low_pass_filter_disable = window == 1
    readout.low_pass_filter32_not16 = window == 32
    return True


def validate(module: Any, configuration: Any) -> tuple[bool, str]:
    """(accepted, what the validator says). It may die of a faulty configuration, and the process with it."""
    accepted, message = module.validate_configuration(configuration)
    return bool(accepted), str(message)


def write_flash(module: Any, configuration: Any, readout: bool, path: Path) -> int:
    """Write the binary for the flash memory; returns its size."""
    convert = getattr(module, "configuration_to_flash_binary", None)
    if convert is None:
        fail(MISSING, f"{module.__name__} of samna {version()} cannot make a flash binary; install a current samna")
    if readout:
        configuration.factory_config.io_sel = PIN_OUTPUT
    payload = bytes(bytearray(convert(configuration)))
    path.write_bytes(payload)
    return len(payload)


# ---------------------------------------------------------------- board


class Board:
    """An opened development kit that runs the configuration."""

    def __init__(self, document: dict[str, Any], module: Any, configuration: Any, number: int) -> None:
        self.samna, self.module = importlib.import_module("samna"), module
        self.document, self.configuration = document, configuration
        name = document["vendor"]["module"]
        if not hasattr(self.samna.device, "get_all_devices"):
            fail(MISSING, f"samna {version()} finds no boards of this chip; install a current one from the vendor's index")
        found = [d for d in self.samna.device.get_all_devices() if d.device_type_name.lower().startswith(name)]
        if number >= len(found):
            seen = ", ".join(d.device_type_name for d in self.samna.device.get_all_devices()) or "none"
            fail(MISSING, f"no board {number} with a {name} is connected (boards: {seen}); without --chip nothing needs one")
        self.board = self.samna.device.open_device(found[number])
        if self.board is None:
            fail(MISSING, "the board cannot be opened; another program may hold it")
        self.title = found[number].device_type_name
        self.model = self.board.get_model()
        self.model.apply_configuration(configuration)
        time.sleep(1)
        self.source = getattr(self.samna, f"BasicSourceNode_{name}_event_input_event")()
        self.sink = getattr(self.samna, f"BasicSinkNode_{name}_event_output_event")()
        self.graphs = [self.samna.graph.EventFilterGraph(), self.samna.graph.EventFilterGraph()]
        self.graphs[0].sequential([self.source, self.model.get_sink_node()])
        self.graphs[1].sequential([self.model.get_source_node(), self.sink])
        self.power = self.open_power()
        for graph in self.graphs:
            graph.start()

    def open_power(self) -> tuple[Any, Any] | None:
        """(monitor, buffer) of the power rails, None where the board has no monitor."""
        make = getattr(self.samna, "BasicSinkNode_unifirm_modules_events_measurement", None)
        if make is None or not hasattr(self.board, "get_power_monitor"):
            return None
        monitor, buffer = self.board.get_power_monitor(), make()
        self.graphs.append(self.samna.graph.EventFilterGraph())
        self.graphs[-1].sequential([monitor.get_source_node(), buffer])
        return monitor, buffer

    def zero_states(self) -> None:
        """Write 0 to the neuron memory of every core in use: a sample must not start from what the last one left."""
        for core, words in self.document["neuron_words"].items():
            events = []
            for address in range(words):
                event = self.module.event.WriteNeuronValue()
                event.layer, event.address, event.neuron_state = int(core), address, 0
                events.append(event)
            self.source.write(events)
        time.sleep(0.5)
        self.sink.get_events()

    def play(self, events: Any) -> Any:
        """Output spikes int64 [n, 4] (t, c, y, x) of one sample."""
        self.zero_states()
        spikes = []
        for t, c, y, x in events.tolist():
            for way in self.document["input"]["destinations"]:
                spike = self.module.event.Spike()
                spike.layer, spike.feature = way["layer"], c + way["feature_shift"]
                spike.y, spike.x = y // way["pooling"]["y"], x // way["pooling"]["x"]
                spike.timestamp = t + START_US
                spikes.append(spike)
        watch = self.board.get_stop_watch()
        watch.set_enable_value(True)
        watch.reset()
        self.source.write(spikes)
        time.sleep((int(events[-1, 0]) + START_US) * 1e-6 if len(events) else 0.0)
        received: list[Any] = []
        n_before = -1
        while len(received) != n_before:
            n_before = len(received)
            time.sleep(0.1)
            received += self.sink.get_events()
        output = self.document["output"]["core"]
        rows = [
            (e.timestamp - START_US, e.feature, e.y, e.x) for e in received
            if isinstance(e, self.module.event.Spike) and e.layer == output
        ]
        return np.array(rows, dtype=np.int64).reshape(-1, 4)

    def measure(self, events: list[Any]) -> tuple[list[Any], list[float], dict[str, float] | None]:
        """(spikes, seconds) of each sample, and the mean power of each rail in W while they were played."""
        if self.power is not None:
            self.power[1].get_events()
            self.power[0].start_auto_power_measurement(100.0)  # samples a second
        found, seconds = [], []
        try:
            for sample in events:
                started = time.perf_counter()
                found.append(self.play(sample))
                seconds.append(time.perf_counter() - started)
        finally:
            if self.power is not None:
                self.power[0].stop_auto_power_measurement()
            for graph in self.graphs:
                graph.stop()
        if self.power is None:
            return found, seconds, None
        tracks: dict[int, list[float]] = {}
        for event in self.power[1].get_events():
            tracks.setdefault(event.channel, []).append(event.value)
        return found, seconds, {RAILS[k]: float(np.mean(v)) for k, v in sorted(tracks.items()) if k < len(RAILS)}


def counts_of(document: dict[str, Any], table: Any, stride: int) -> list[int]:
    """Spikes of each class; `stride` of the channels in the table, 1 for the network's own."""
    output = document["output"]
    core = document["cnn_layers"][str(output["core"])]["dimensions"]["output_shape"]
    classes = np.array(output["classes"])
    height, width = core["size"]["y"], core["size"]["x"]
    wanted = classes[((table[:, 1] // stride) * height + table[:, 2]) * width + table[:, 3]]
    return [int(n) for n in np.bincount(wanted[wanted >= 0], minlength=output["n_classes"])]


# ---------------------------------------------------------------- command


def version() -> str | None:
    try:
        return metadata.version("samna")
    except metadata.PackageNotFoundError:
        return None


def versions() -> dict[str, str | None]:
    return {"python": platform.python_version(), "numpy": np.__version__, "samna": version()}


def play(arguments: argparse.Namespace, document: dict[str, Any], module: Any, configuration: Any) -> dict[str, Any]:
    """Everything that goes to lab.json."""
    if document["expected"] is None:
        fail(USAGE, "this bundle has no golden events")
    events, expected = read_golden(arguments.bundle)
    n_samples = min(arguments.samples or len(events), len(events))
    board = Board(document, module, configuration, arguments.device)
    found, seconds, power = board.measure(events[:n_samples])
    layer, stride = document["output"]["layer"], document["output"]["channel_stride"]
    samples = []
    for k in range(n_samples):
        counts, wanted = counts_of(document, found[k], stride), counts_of(document, expected[layer][k], 1)
        same = int(np.argmax(counts)) == int(np.argmax(wanted))
        samples.append({
            "sample": k, "equal": counts == wanted, "answer": int(np.argmax(counts)), "expected_answer": int(np.argmax(wanted)),
            "counts": counts, "expected_counts": wanted, "n_events": len(events[k]), "spikes": {layer: len(found[k])},
            "wall_s": seconds[k], "output": found[k].tolist(),
        })
        note("sample {}: {} answer, {} spikes, {} expected".format(k, "same" if same else "OTHER", sum(counts), sum(wanted)))
    return {
        "schema_version": 1, "target": document["target"], "ran_on": board.title, "route": DOCUMENT,
        "ok": all(s["answer"] == s["expected_answer"] for s in samples), "samples": samples, "rail_power": power,
        "rail_power_unit": "W", "versions": versions(),
        "configuration_sha256": hashlib.sha256((arguments.bundle / DOCUMENT).read_bytes()).hexdigest(),
    }


def run(arguments: argparse.Namespace) -> int:
    read_manifest(arguments.bundle)
    document, arrays = read_configuration(arguments.bundle)
    module = find_module(document, needs_chip=arguments.chip)
    configuration = build(document, arrays, module)
    readout = add_readout(configuration, document, arguments.readout_window, arguments.readout_threshold)
    if document["readout"] is not None and not readout:
        note(f"{module.__name__} of samna {version()} has no readout block: the output core leads nowhere here")
    accepted, message = validate(module, configuration)
    if not accepted:
        sys.stdout.write(f"rejected by {module.__name__}: {message}\n")
        return DIFFERS
    sys.stdout.write(f"accepted by {module.__name__} of samna {version()}\n")
    if arguments.flash is not None:
        n_bytes = write_flash(module, configuration, readout, arguments.flash)
        sys.stdout.write(f"{arguments.flash}: {n_bytes} bytes\n")
    if not arguments.chip:
        return OK
    configuration.dvs_layer.pass_sensor_events = False  # golden events alone
    result = play(arguments, document, module, configuration)
    arguments.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    n_same = sum(s["answer"] == s["expected_answer"] for s in result["samples"])
    sys.stdout.write("{} of {} answers as expected ({})\n".format(n_same, len(result["samples"]), result["ran_on"]))
    return OK if result["ok"] else DIFFERS


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--bundle", type=Path, default=Path(__file__).resolve().parent, help="folder of the bundle")
    parser.add_argument("--chip", action="store_true", help="play the golden events on a board")
    parser.add_argument("--device", type=int, default=0, help="which of the connected boards with this chip, from 0")
    parser.add_argument("--samples", type=int, default=0, help="play only the first N golden samples")
    parser.add_argument("--out", type=Path, default=Path("lab.json"), help="where the result of --chip is written")
    parser.add_argument("--flash", type=Path, help="write the binary for the flash memory to this file")
    parser.add_argument("--readout-window", type=int, choices=(1, 16, 32), default=1, help="slow-clock cycles of its average")
    parser.add_argument("--readout-threshold", type=int, default=1, help="spikes a cycle above which a class counts")
    arguments = parser.parse_args(argv)
    try:
        return run(arguments)
    except RunnerError as error:
        note(str(error))
        return error.code


if __name__ == "__main__":
    sys.exit(main())
