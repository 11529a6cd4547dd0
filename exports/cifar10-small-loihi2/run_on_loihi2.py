"""Play the golden inputs of this bundle with Lava, and compare the spikes of every layer with `golden.npz`.

    python run_on_loihi2.py                Lava's fixed-point models on this CPU
    python run_on_loihi2.py --chip         a Loihi 2 system (needs Intel's lava-loihi package and a chip)
    python run_on_loihi2.py --net          load `network.net` with lava-dl's netx instead of building from `graph.npz`
    python run_on_loihi2.py --samples 1 --out lab.json

Needs Python 3.10 with numpy and lava-nc 0.10.0; `--net` needs lava-dl 0.6.0 and h5py too. Nothing of neurodeploy.
Writes `lab.json`: versions, spike counts, times, first divergence, rail power where the chip's tools give it.
Exit codes: 0 equal, 2 wrong use, 4 spikes differ, 5 a package or chip is missing, 6 a file was changed.

Plays chains, residual and recurrent networks, delays, and sigma-delta networks with graded messages. One file, however
long, because it travels alone.
Order of axes: this bundle (C, H, W), Lava (W, H, C). Lava's Conv is a true convolution with weights (O, kx, ky, I), so
kernels are flipped and transposed. Lava's steps count from 1, all indices here from 0.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import json
import platform
import sys
import tempfile
import time
from importlib import metadata
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

OK, USAGE, DIFFERS, MISSING, CHANGED = 0, 2, 4, 5, 6
NEURONS = ("CubaLif", "Delta", "SigmaDelta", "Sigma")
SYNAPSES = ("Conv2d", "Linear")
MAX_DELAY = 63  # of Lava's DelayDense, beyond the one timestep of every synapse


class RunnerError(Exception):
    """A refusal with the exit code it has."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


def fail(code: int, message: str) -> NoReturn:
    raise RunnerError(code, message)


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


def read_archive(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """(JSON document, arrays) of `graph.npz` or `golden.npz`."""
    with np.load(path, allow_pickle=False) as file:
        document = json.loads(bytes(file["graph.json"]).decode("utf-8"))
        arrays = {name: file[name] for name in file.files if name != "graph.json"}
    return document, arrays


class Net:
    """The network of `graph.npz`: nodes as dicts of plain values and arrays, edges (source, destination, delay)."""

    def __init__(self, document: dict[str, Any], arrays: dict[str, Any]) -> None:
        if document.get("format") != "neurodeploy graph" or document.get("schema_version") != 1:
            fail(CHANGED, "graph.npz: not a graph of schema version 1")
        graph = document["graph"]
        self.n_timesteps = int(graph["n_timesteps"])
        self.nodes: dict[str, dict[str, Any]] = {}
        for entry in graph["nodes"]:
            values = {k: arrays[v["array"]] if isinstance(v, dict) else v for k, v in entry.items()}
            self.nodes[values["name"]] = values
        self.edges: list[tuple[str, str, int]] = [(s, d, int(n)) for s, d, n in graph["edges"]]
        self.neurons = [n for n, v in self.nodes.items() if v["type"] in NEURONS]
        self.synapses = [n for n, v in self.nodes.items() if v["type"] in SYNAPSES]
        self.source = next(n for n, v in self.nodes.items() if v["type"] == "Input")

    def incoming(self, name: str) -> list[tuple[str, int]]:
        return [(s, n) for s, d, n in self.edges if d == name]

    def along(self) -> list[str]:
        """The neuron layers of a chain from the input on, whatever their order in the file."""
        found = [self.source]
        for name in found:  # grows meanwhile
            found += [d for s, d, _ in self.edges if s == name and d not in found]
        return [name for name in found if name in self.neurons]

    def largest(self, name: str) -> int | None:
        """The largest message of an input or a neuron layer, None where only its state limits it."""
        node = self.nodes[name]
        if node["type"] == "Input":
            return int(node["max_value"])
        return 1 if node["type"] == "CubaLif" else None

    def origins(self, name: str) -> list[tuple[str, int, bool]]:
        """(node, delay, whether it is flattened on the way) of everything that a node reads, looking through Flatten."""
        found = []
        for source, delay in self.incoming(name):
            if self.nodes[source]["type"] == "Flatten":
                found += [(s, n + delay, True) for s, n, _ in self.origins(source)]
            else:
                found.append((source, delay, False))
        return found


def first_divergence(
    layers: list[str], expected: dict[str, Any], got: dict[str, Any], sample: int
) -> dict[str, Any] | None:
    """The earliest differing spike of one sample, ties in the order of `layers`; arrays [T', *shape]; None if equal."""
    first: dict[str, Any] | None = None
    for layer in layers:
        if expected[layer].shape != got[layer].shape:
            fail(DIFFERS, f"{layer}: shape {got[layer].shape} instead of {expected[layer].shape}")
        places = np.argwhere(expected[layer] != got[layer])
        if len(places) and (first is None or places[0][0] < first["timestep"]):
            at = tuple(int(i) for i in places[0])
            first = {
                "layer": layer, "timestep": at[0], "neuron": list(at[1:]), "sample": sample,
                "expected": int(expected[layer][at]), "got": int(got[layer][at]),
            }
    return first


# ---------------------------------------------------------------- axis orders


def to_lava(x: Any) -> Any:
    """[T, *shape] to Lava's (*shape, T) with maps as (W, H, C)."""
    return np.ascontiguousarray(np.transpose(x, (3, 2, 1, 0) if x.ndim == 4 else (1, 0)))


def from_lava(x: Any) -> Any:
    """[T, *Lava shape] to [T, *shape]."""
    return np.transpose(x, (0, 3, 2, 1)) if x.ndim == 4 else x


def lava_shape(shape: Any) -> tuple[int, ...]:
    return tuple(int(n) for n in reversed(shape))


def lava_kernel(weight: Any) -> Any:
    """(O, I, kH, kW) cross-correlation to (O, kx, ky, I) convolution."""
    return np.ascontiguousarray(weight[:, :, ::-1, ::-1].transpose(0, 3, 2, 1))


def spread(node: dict[str, Any], field: str, default: int = 0) -> Any:
    """A field of a neuron layer for every neuron, in this bundle's axis order."""
    return np.broadcast_to(np.asarray(node.get(field, default), dtype=np.int64), tuple(node["shape"]))


def lava_values(node: dict[str, Any], field: str, default: int = 0) -> Any:
    """A field of a neuron layer as Lava takes it: one integer where all neurons share it, else an array in its order."""
    values = spread(node, field, default)
    return int(values.flat[0]) if (values == values.flat[0]).all() else np.ascontiguousarray(np.transpose(values))


def extend(x: Any, kind: str, n_steps: int) -> Any:
    """Input [T, *shape] for n_steps: biases keep their last value, everything else is zero after T."""
    tail = np.repeat(x[-1:] if kind == "bias" else np.zeros_like(x[:1]), max(0, n_steps - len(x)), axis=0)
    return np.concatenate([x, tail])[:n_steps].astype(np.int64)


def as_bias(net: Net, name: str, x: Any) -> Any | None:
    """The bias mantissas that replace the direct input x [n_steps, *shape] of a layer, or None where they cannot:
    nothing else feeds it, they stay constant, fit 13 bits, share the bias's exponent, and meet a current without memory."""
    node = net.nodes[name]
    if node["type"] != "CubaLif" or net.incoming(name) != [(net.source, 0)]:
        return None
    total = spread(node, "bias_mant") + x[0]
    fits = np.all(spread(node, "bias_exp") == node["state_shift"]) and np.all(spread(node, "i_decay") == 4096)
    return total if fits and np.abs(total).max() < 4096 and (x == x[0]).all() else None


# ---------------------------------------------------------------- what Lava can hold


def check_supported(net: Net, chip: bool = False) -> None:
    """Refuse what Lava's processes cannot hold exactly, naming the node."""
    for name, node in net.nodes.items():
        if node["type"] not in (*NEURONS, *SYNAPSES, "Input", "Flatten", "Vote"):
            fail(USAGE, "{}: Lava has no process for a {}".format(name, node["type"]))
        if name in net.synapses:
            check_synapse(net, name, chip)
        if name in net.neurons:
            check_neurons(net, name, chip)


def check_neurons(net: Net, name: str, chip: bool) -> None:
    node = net.nodes[name]
    if node["type"] == "CubaLif":
        if (node["state_bits"], node["state_shift"]) != (24, 6):
            fail(USAGE, f"{name}: Lava's LIF has 24 bits of state, shifted by 6")
        if np.abs(spread(node, "bias_mant")).max() >= 2**15:
            fail(USAGE, f"{name}: Lava's LIF has 16 bits of bias")
    for source, delay, _ in net.origins(name):
        if source not in (*net.neurons, *net.synapses, net.source):
            fail(USAGE, f"{name}: cannot be fed by {source}")
        if source not in net.synapses and delay and chip:
            fail(USAGE, f"{name}: hears {source} after {delay} timesteps without a synapse; the chip has no such connection")
        for origin, before, _ in net.origins(source) if source in net.synapses else ():
            total = before + delay
            if origin not in (*net.neurons, net.source):
                fail(USAGE, f"{source}: reads {origin}, which is neither an input nor neurons")
            if total < 1:
                fail(USAGE, f"{source}: a delay of {total} timesteps from {origin}; Lava's synapses take at least 1")
            if chip and total > 1 + (MAX_DELAY if net.nodes[source]["type"] == "Linear" else 0):
                fail(USAGE, f"{source}: a delay of {total} timesteps from {origin}; the chip has no process for it")


def check_synapse(net: Net, name: str, chip: bool) -> None:
    node = net.nodes[name]
    low, high = int(node["weight"].min()), int(node["weight"].max())
    if low < -256 or high > 255:
        fail(USAGE, f"{name}: weights from {low} to {high}; Lava holds -256..255")
    if chip and np.any(node["weight"] % 2) and low < 0 < high:
        fail(USAGE, f"{name}: odd weights of both signs; the chip holds even ones")
    if node["type"] == "Linear":
        delays = node.get("delays")
        if delays is not None and (delays.min() < 0 or delays.max() > MAX_DELAY):
            fail(USAGE, f"{name}: delays from {delays.min()} to {delays.max()}; Lava offers 0..{MAX_DELAY}")
    elif node.get("sum_bits") != 24:  # Lava wraps every sum at 24 bits: harmless where no sum gets there
        tops = [net.largest(source) for source, _, _ in net.origins(name)]
        weights = np.abs(node["weight"]).reshape(len(node["weight"]), -1).sum(axis=1).max()
        top = 1 if node.get("binary") else None if None in tops else sum(t for t in tops if t is not None)
        if node.get("sum_bits") is not None or top is None or int(weights) * top >= 2**23:
            fail(USAGE, f"{name}: sums may leave 24 bits, where Lava wraps them and this network does not")


# ---------------------------------------------------------------- Lava


def own_processes() -> tuple[Any, Any]:
    """Two processes of our own. Sink records what reaches it and saves the array itself: reading a Lava variable is slow
    per element. Wait hands on what it received n_steps before: Lava has delays inside dense synapses only."""
    from lava.magma.core.decorator import implements, requires
    from lava.magma.core.model.py.model import PyLoihiProcessModel
    from lava.magma.core.model.py.ports import PyInPort, PyOutPort
    from lava.magma.core.model.py.type import LavaPyType
    from lava.magma.core.process.ports.ports import InPort, OutPort
    from lava.magma.core.process.process import AbstractProcess
    from lava.magma.core.resources import CPU
    from lava.magma.core.sync.protocols.loihi_protocol import LoihiProtocol

    class Sink(AbstractProcess):
        def __init__(self, *, shape: tuple[int, ...], path: str, n_steps: int) -> None:
            super().__init__(shape=shape, path=path, n_steps=n_steps)
            self.a_in = InPort(shape=shape)

    @implements(proc=Sink, protocol=LoihiProtocol)
    @requires(CPU)
    class PySinkModel(PyLoihiProcessModel):
        a_in: Any = LavaPyType(PyInPort.VEC_DENSE, np.int32)

        def __init__(self, proc_params: Any) -> None:
            super().__init__(proc_params)
            self.path, self.n_steps = proc_params["path"], proc_params["n_steps"]
            self.seen = np.zeros((self.n_steps, *proc_params["shape"]), dtype=np.int32)

        def run_spk(self) -> None:
            self.seen[self.time_step - 1] = self.a_in.recv()
            if self.time_step == self.n_steps:
                np.save(self.path, self.seen)

    class Wait(AbstractProcess):
        def __init__(self, *, shape: tuple[int, ...], n_steps: int) -> None:
            super().__init__(shape=shape, n_steps=n_steps)
            self.a_in = InPort(shape=shape)
            self.s_out = OutPort(shape=shape)

    @implements(proc=Wait, protocol=LoihiProtocol)
    @requires(CPU)
    class PyWaitModel(PyLoihiProcessModel):
        a_in: Any = LavaPyType(PyInPort.VEC_DENSE, np.int32)
        s_out: Any = LavaPyType(PyOutPort.VEC_DENSE, np.int32)

        def __init__(self, proc_params: Any) -> None:
            super().__init__(proc_params)
            self.held = [np.zeros(proc_params["shape"], dtype=np.int32) for _ in range(proc_params["n_steps"])]

        def run_spk(self) -> None:
            self.s_out.send(self.held.pop(0))  # before receiving: it may be part of a loop
            self.held.append(self.a_in.recv())

    module = sys.modules[__name__]
    for made in (Sink, PySinkModel, Wait, PyWaitModel):  # Lava looks for a model in the module that holds its process
        setattr(module, made.__name__, made)
    return Sink, Wait


class LavaRun:
    """One sample on Lava: processes from `graph.npz`, or the blocks of netx; `play` returns spikes by layer."""

    def __init__(self, net: Net, chip: bool, power: bool) -> None:
        self.net, self.chip, self.power = net, chip, power
        self.rail_power: dict[str, float] | None = None
        self.sink, self.wait = own_processes()

    def _source(self, x: Any, bits: int) -> Any:
        """The out port of a process that sends x [n_steps, *shape]."""
        from lava.proc.io.source import RingBuffer

        port = RingBuffer(data=to_lava(x)).s_out
        if self.chip:
            from lava.proc.embedded_io.spike import PyToNxAdapter

            adapter = PyToNxAdapter(shape=port.shape, num_message_bits=bits)
            port.connect(adapter.inp)
            port = adapter.out
        return port

    def _record(self, ports: dict[str, Any], folder: str, n_steps: int) -> Any:
        last = None
        for number, port in enumerate(ports.values()):
            last = self.sink(shape=tuple(port.shape), path=f"{folder}/{number}.npy", n_steps=n_steps)
            if self.chip:
                from lava.proc.embedded_io.spike import NxToPyAdapter

                adapter = NxToPyAdapter(shape=port.shape)
                port.connect(adapter.inp)
                port = adapter.out
            port.connect(last.a_in)
        return last

    def _neurons(self, name: str, bias: Any | None) -> Any:
        """The process of a neuron layer; bias replaces its own mantissas."""
        node = self.net.nodes[name]
        if node["type"] != "CubaLif":
            return self._sigma_delta(node)
        from lava.proc.lif.process import LIF, LIFReset

        mantissa = np.ascontiguousarray(np.transpose(spread(node, "bias_mant") if bias is None else bias))
        du = lava_values(node, "i_decay") - 1
        values = {
            "shape": lava_shape(node["shape"]), "du": du, "dv": lava_values(node, "v_decay"),
            "vth": lava_values(node, "v_th"), "bias_exp": lava_values(node, "bias_exp"), "bias_mant": mantissa,
            "u": lava_values(node, "i_init"), "v": lava_values(node, "v_init"), "name": name.replace(".", "_"),
        }
        if node["reset_interval"]:
            return LIFReset(reset_interval=int(node["reset_interval"]), reset_offset=int(node["reset_offset"]), **values)
        return LIF(**values)

    def _sigma_delta(self, node: dict[str, Any]) -> Any:
        from lava.proc.sdn.process import ActivationMode, Delta, Sigma, SigmaDelta

        shape = lava_shape(node["shape"])
        if node["type"] == "Sigma":
            return Sigma(shape=shape)
        values = {
            "shape": shape, "vth": lava_values(node, "v_th"), "spike_exp": int(node["spike_exp"]),
            "state_exp": int(node["state_exp"]),
        }
        if node["type"] == "Delta":
            made = Delta(**values)
        else:
            mode = {"relu": ActivationMode.RELU, "unit": ActivationMode.UNIT}[node["activation"]]
            made = SigmaDelta(bias=lava_values(node, "bias_mant"), act_mode=mode, **values)
        if np.ndim(values["vth"]):
            made.vth.shape = shape  # declared as one threshold a layer, computed element by element
        return made

    def _routed(self, port: Any, n_steps: int, flat: bool) -> Any:
        """A port delayed by n_steps, flattened in the order C, H, W."""
        if n_steps:
            waiting = self.wait(shape=tuple(port.shape), n_steps=n_steps)
            port.connect(waiting.a_in)
            port = waiting.s_out
        return port.transpose([2, 1, 0]).flatten() if flat and len(port.shape) == 3 else port

    def _synapse(self, name: str, ports: dict[str, Any], later: int) -> Any:
        """Out port of the process of a synapse, connected to all its sources; `later`: timesteps behind it."""
        from lava.proc.conv.process import Conv

        net, node = self.net, self.net.nodes[name]
        origins = [(source, delay + later - 1, flat) for source, delay, flat in net.origins(name)]
        tops = [net.largest(source) for source, _, _ in origins]
        spikes = tops == [1] and not net.nodes[origins[0][0]].get("signed")
        bits = 16 if None in tops else max(t for t in tops if t is not None).bit_length()
        bits = 0 if node.get("binary") or spikes else bits
        inside = 0
        if node["type"] == "Conv2d":
            made = Conv(
                weight=lava_kernel(node["weight"]), input_shape=tuple(ports[origins[0][0]].shape),
                padding=tuple(reversed(node["padding"])), stride=tuple(reversed(node["stride"])),
                dilation=tuple(reversed(node["dilation"])), groups=int(node["groups"]), num_message_bits=bits,
            )
        else:
            own = node.get("delays")
            room = MAX_DELAY if own is None else MAX_DELAY - int(own.max())
            inside = min(room, *(n for _, n, _ in origins)) if len(origins) > 1 else min(room, origins[0][1])
            made = self._dense(node, inside, own, bits)
        for source, n_steps, flat in origins:
            self._routed(ports[source], n_steps - inside, flat).connect(made.s_in)
        return made.a_out

    def _dense(self, node: dict[str, Any], later: int, own: Any | None, bits: int) -> Any:
        from lava.proc.dense.process import DelayDense, Dense
        from lava.utils.weightutils import SignMode

        weight = node["weight"]
        sign, width = SignMode.MIXED, 8  # keeps even weights in -256..254 as they are; one-sided modes would clip -256
        if np.any(weight % 2):
            if weight.min() >= 0:
                sign = SignMode.EXCITATORY
            elif weight.max() <= 0 and weight.min() >= -255:
                sign = SignMode.INHIBITORY
            else:
                width = 9  # Lava computes with a ninth bit, which a chip has not
        values = {
            "weights": weight, "num_message_bits": bits, "sign_mode": sign, "num_weight_bits": width,
            "weight_exp": int(node.get("weight_exp", 0)),
        }
        if own is None and not later:
            return Dense(**values)
        delays = np.full(weight.shape, later) if own is None else own.astype(np.int64) + later
        return DelayDense(delays=delays, max_delay=int(delays.max()), **values)

    def _build(self, x: Any) -> dict[str, Any]:
        """All processes for the input x [n_steps, *shape]; the out ports of the neuron layers."""
        net = self.net
        bias = {name: as_bias(net, name, x) for name in net.neurons}
        made = {name: self._neurons(name, bias[name]) for name in net.neurons}
        ports = {name: process.s_out for name, process in made.items()}
        if any(s == net.source for n in net.nodes if bias.get(n) is None for s, _, _ in net.origins(n)):
            entry = net.nodes[net.source]
            ports[net.source] = self._source(x, 16 if entry["kind"] == "bias" else int(entry["max_value"]).bit_length())
        for name in net.neurons:
            for source, delay, flat in net.origins(name) if bias[name] is None else ():
                if source in net.synapses:
                    self._routed(self._synapse(source, ports, delay), 0, flat).connect(made[name].a_in)
                else:  # no synapse between: no delay of its own
                    self._routed(ports[source], delay, flat).connect(made[name].a_in)
        return {name: ports[name] for name in net.neurons}

    def _build_netx(self, x: Any, path: Path, kwargs: dict[str, Any]) -> dict[str, Any]:
        """The blocks of `network.net`; they follow the neuron layers in order."""
        stand_in_for_torch()
        from lava.lib.dl.netx import hdf5

        network = hdf5.Network(net_config=str(path), **kwargs)
        neurons, entry = self.net.along(), self.net.nodes[self.net.source]
        first = neurons[0]
        direct = self.net.source in [source for source, _ in self.net.incoming(first)]
        if direct and self.net.nodes[first]["type"] == "CubaLif":
            bias = as_bias(self.net, first, x)
            if bias is None:
                fail(USAGE, "network.net: the input is no constant bias of 13 bits; run without --net")
            network.in_layer.neuron.bias_mant.init = np.ascontiguousarray(np.transpose(bias)).astype(np.int32)
        else:
            bits = int(entry["max_value"]).bit_length()
            target = network.in_layer.neuron.a_in if direct else network.inp
            flat = len(target.shape) == 1 and x.ndim == 4
            self._source(x.reshape(len(x), -1) if flat else x, bits).connect(target)
        self.network = network
        return dict(zip(neurons, [layer.neuron.s_out for layer in network.layers], strict=True))

    def play(self, x: Any, n_steps: int, netx: tuple[Path, dict[str, Any]] | None = None) -> dict[str, Any]:
        """Spikes [n_steps, *shape] of every neuron layer for the input x [T, *shape]."""
        from lava.magma.core.run_conditions import RunSteps
        from lava.magma.core.run_configs import Loihi2HwCfg, Loihi2SimCfg

        x = extend(x, self.net.nodes[self.net.source]["kind"], n_steps)
        ports = self._build(x) if netx is None else self._build_netx(x, *netx)
        with tempfile.TemporaryDirectory() as folder:
            last = self._record(ports, folder, n_steps)
            logger = None
            if self.chip:
                callbacks = []
                if self.power:
                    from lava.utils.loihi2_profiler import Loihi2Power

                    logger = Loihi2Power(num_steps=n_steps)
                    callbacks.append(logger)
                # Lava picks a chip model where one exists; the sinks stay on the host.
                config = Loihi2HwCfg(callback_fxs=callbacks)
            else:
                config = Loihi2SimCfg(select_tag="fixed_pt")
            try:
                last.run(condition=RunSteps(num_steps=n_steps), run_cfg=config)
            finally:
                last.stop()
            if logger is not None:
                self.rail_power = read_power(logger)
            return {name: from_lava(np.load(f"{folder}/{i}.npy")) for i, name in enumerate(ports)}


def read_power(logger: Any) -> dict[str, float]:
    """Mean power of each rail in the profiler's unit, for the attributes that this version of lava-loihi has."""
    names = ("total_power", "static_total_power", "vdd_power", "vddm_power", "vddio_power")
    return {name: float(np.mean(getattr(logger, name))) for name in names if hasattr(logger, name)}


def stand_in_for_torch() -> None:
    """netx imports torch only for parts that `.net` files of spiking layers do not use; go without where it is absent."""
    if importlib.util.find_spec("torch") is not None:
        return
    import types

    for name, attributes in (
        ("lava.lib.dl.slayer", ()), ("lava.lib.dl.slayer.neuron", ()), ("lava.lib.dl.slayer.neuron.rf", ("neuron_params",)),
        ("lava.lib.dl.netx.sequential_modules", ()),
    ):
        module: Any = types.ModuleType(name)
        module.__path__ = []
        module.__file__ = str(Path(tempfile.gettempdir()) / "neurodeploy_no_torch" / "absent.py")  # Lava lists its folder
        for attribute in attributes:
            setattr(module, attribute, None)
        sys.modules.setdefault(name, module)


# ---------------------------------------------------------------- command


def versions() -> dict[str, str | None]:
    found: dict[str, str | None] = {"python": platform.python_version()}
    for name in ("numpy", "lava-nc", "lava-dl", "lava-loihi", "h5py"):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = None
    return found


def compare(arguments: argparse.Namespace) -> dict[str, Any]:
    """Everything that goes to lab.json."""
    folder = arguments.bundle
    manifest = read_manifest(folder)
    net = Net(*read_archive(folder / "graph.npz"))
    check_supported(net, arguments.chip)
    golden = read_archive(folder / "golden.npz")[1]
    x = golden["x"]
    n_steps = int(manifest["n_chip_steps"])
    netx = None
    if arguments.net:
        if "network.net" not in manifest["files"]:
            fail(USAGE, "network.net: not in this bundle, because {}".format(manifest["netx"]["reason"]))
        netx = (folder / "network.net", manifest["netx"]["kwargs"])
    if importlib.util.find_spec("lava") is None:
        fail(MISSING, "lava-nc is not installed; in Python 3.10: pip install lava-nc==0.10.0 numpy==1.26.4 h5py")
    if arguments.chip and importlib.util.find_spec("lava.utils.loihi2_profiler") is None:
        fail(MISSING, "lava-loihi (Intel's chip package) is not installed; run without --chip for the CPU models")
    run = LavaRun(net, chip=arguments.chip, power=arguments.chip)
    expected = {name: golden["spikes/" + name] for name in net.neurons}
    samples, divergence, n_differ = [], None, 0
    for sample in range(min(arguments.samples or x.shape[1], x.shape[1])):
        started = time.perf_counter()
        got = run.play(x[:, sample], n_steps, netx)
        seconds = time.perf_counter() - started
        wanted = {name: expected[name][:, sample] for name in net.neurons}
        found = first_divergence(net.neurons, wanted, got, sample)
        divergence = divergence or found
        n_differ += sum(int(np.count_nonzero(wanted[name] != got[name])) for name in net.neurons)
        spikes = {name: int(np.count_nonzero(got[name])) for name in net.neurons}
        samples.append({"sample": sample, "equal": found is None, "wall_s": seconds, "spikes": spikes})
        sys.stderr.write(f"sample {sample}: {'equal' if found is None else 'DIFFERENT'}, {sum(spikes.values())} spikes\n")
    return {
        "schema_version": 1, "target": manifest["target"], "ran_on": "loihi2" if arguments.chip else "lava cpu fixed_pt",
        "route": "network.net" if arguments.net else "graph.npz", "n_chip_steps": n_steps, "n_timesteps": net.n_timesteps,
        "ok": divergence is None, "first_divergence": divergence, "n_differences": n_differ, "samples": samples,
        "rail_power": run.rail_power, "versions": versions(), "graph_sha256": manifest["files"]["graph.npz"],
    }


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--bundle", type=Path, default=Path(__file__).resolve().parent, help="folder of the bundle")
    parser.add_argument("--chip", action="store_true", help="run on a Loihi 2 system instead of the CPU models")
    parser.add_argument("--net", action="store_true", help="load network.net with lava-dl's netx")
    parser.add_argument("--samples", type=int, default=0, help="play only the first N golden samples")
    parser.add_argument("--out", type=Path, default=Path("lab.json"), help="where the result is written")
    arguments = parser.parse_args(argv)
    try:
        result = compare(arguments)
    except RunnerError as error:
        sys.stderr.write(f"{error}\n")
        return error.code
    arguments.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    first = result["first_divergence"]
    if first is not None:
        sys.stdout.write(
            f"first divergence: layer {first['layer']}, timestep {first['timestep']}, neuron {first['neuron']}, "
            f"sample {first['sample']}: expected {first['expected']}, got {first['got']}\n"
        )
        return DIFFERS
    total = sum(sum(s["spikes"].values()) for s in result["samples"])
    sys.stdout.write(f"equal: {len(result['samples'])} samples, {total} spikes, 0 differences ({result['ran_on']})\n")
    return OK


if __name__ == "__main__":
    sys.exit(main())
