"""The layers of a `.net` file as values, and how they are taken from the datasets of the file.

A file is read as lava-dl's netx 0.6.0 reads it. What netx ignores, truncates or skips without a word is a
NeurodeployWarning or an UnsafeFile here.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from neurodeploy.ir.hdf5 import Tree
from neurodeploy.ir.net_entries import MAX_PAIR, Entries, Notes
from neurodeploy.ir.nodes import Array, Pair, Shape

MAX_LAYERS = 256
MAX_STEPS = 2**16
NEVER = 1 << 17  # the threshold that netx gives a dense layer without neurons: beyond what v can reach
Neuron = Literal["CUBA", "SDNN"]

_REMEDIES = {
    "pool": "Train with a strided convolution in its place, or with a depthwise one (an OR of spikes)",
    "unpool": "Train the network without it",
    "convT": "Train the network without it",
    "average": "Read the file without it (num_layers) and average the last layer on the host",
    "concat": "Train the network as a chain",
    "dense_comp": "Train the network with real weights",
}
_ENTRIES: dict[str, set[str]] = {
    "input": {"weight", "bias", "neuron"},
    "conv": {"weight", "bias", "neuron", "stride", "padding", "dilation", "groups"},
    "dense": {"weight", "bias", "neuron", "delay"},
    "dense_rec": {"weight", "weight_rec", "bias", "neuron", "delay"},
    "flatten": set(),
}
# What lava-dl writes and nobody needs.
_SILENT = {"type", "shape", "inChannels", "outChannels", "kernelSize", "inFeatures", "outFeatures"}
_SILENT_IN_NEURON = {"type", "tauRho", "scaleRho", "theta", "iDecay", "vDecay", "vThMant", "sigma_output"}
# What netx ignores in a neuron: name, largest value that means nothing, what it is.
_IGNORED = (
    ("refDelay", 1, "refractory periods"), ("gradedSpike", 0, "graded spikes"),
    ("weight_exp", 0, "weight exponents: sums differ by that power of two from what was trained"),
    ("wgtExp", 0, "weight exponents: sums differ by that power of two from what was trained"),
)


@dataclass(frozen=True, eq=False)
class NetLayer:
    """One layer of a `.net` file: `kind` input, conv, dense, dense_rec or flatten; shapes (C, H, W), pairs (y, x).

    weight int64 as in the node (None where there is none), weight_rec [O, O]; bias int64 (C,), or (W, H, C) for one
    value a neuron, or None; of an input layer, weight and bias are those of its transform. delay int64: one, (O,), (I,)
    or (O, I). `neuron` is None for a layer without neurons; decays and threshold as in CubaLif, arrays in the file's
    order (channels last).
    """

    kind: str
    shape: Shape
    weight: Array | None = None
    bias: Array | None = None
    stride: Pair | None = None
    padding: Pair | None = None
    dilation: Pair | None = None
    groups: int | None = None
    i_decay: int | Array | None = None
    v_decay: int | Array | None = None
    v_th: int | Array | None = None
    weight_rec: Array | None = None
    delay: Array | None = None
    neuron: Neuron | None = None
    sigma_output: bool = False


def parse(tree: Tree, notes: Notes, num_layers: int | None = None) -> tuple[NetLayer, ...]:
    """The layers in order, or the first `num_layers` of them.

    Raises UnsafeFile naming the entry that is missing, damaged or unsupported.
    """
    names = tree.children("layer")
    if len(names) > MAX_LAYERS:
        notes.refuse("layer", f"{len(names)} layers", f"At most {MAX_LAYERS}")
    if not names or set(names) != {str(i) for i in range(len(names))}:
        found = f"Found {', '.join(map(ascii, names[:8]))}" if names else ""
        notes.refuse("layer", "no layers named 0, 1, and so on", found)
    return tuple(_layer(Entries(tree, f"layer/{i}", notes)) for i in range(len(names))[:num_layers])


def sample_steps(tree: Tree) -> int | None:
    """Timesteps of a sample as lava-dl notes them, tSample / Ts; None where the file has no sensible number."""
    total, step = (tree.arrays.get(f"simulation/{name}") for name in ("tSample", "Ts"))
    if total is None or step is None or total.size != 1 or step.size != 1 or not float(step.reshape(-1)[0]) > 0:
        return None
    n_steps = float(total.reshape(-1)[0]) / float(step.reshape(-1)[0])
    return int(n_steps) if 1 <= n_steps <= MAX_STEPS and n_steps == int(n_steps) else None


def _layer(group: Entries) -> NetLayer:
    kind = group.text("type")
    if kind not in _ENTRIES:
        netx = "netx stops at it" if kind in _REMEDIES else "netx skips it without a word"
        group.refuse(
            "type", f"layer type {kind!r:.80}", f"Read: {', '.join(_ENTRIES)}; {netx}",
            _REMEDIES.get(kind, "Write the network with the layers that netx knows"), code="unsupported",
        )
    ignored = group.names() - _ENTRIES[kind] - _SILENT
    if "delay" in ignored and group.numbers("delay").any():
        group.warn("delay", f"netx ignores the delays of a layer of type {kind}", "delay_ignored")
    _say_ignored(group, ignored - {"delay"})
    return _READERS[kind](group, kind)


def _say_ignored(group: Entries, names: set[str]) -> None:
    if names:
        group.warn("", f"netx ignores {', '.join(map(ascii, sorted(names)[:8]))}", "entry_ignored")


def _flatten(group: Entries, kind: str) -> NetLayer:
    return NetLayer(kind, group.shape((1, 2, 3)) if "shape" in group else ())


def _input(group: Entries, kind: str) -> NetLayer:
    transform: dict[str, Any] = {n: np.array([group.one_truncated(n)]) for n in ("weight", "bias") if n in group}
    neuron = _neuron(group.inside("neuron"), is_input=True) if "neuron" in group else {}
    return NetLayer(kind, group.shape((1, 3)), **transform, **neuron)


def _conv(group: Entries, kind: str) -> NetLayer:
    weight = group.truncated("weight")
    if weight.ndim < 4 or math.prod(weight.shape[4:]) != 1:
        group.refuse("weight", f"a kernel of shape {weight.shape}", "Expected (O, I/groups, kH, kW)")
    if max(weight.shape[2:4]) > MAX_PAIR:
        group.refuse("weight", f"a kernel of {weight.shape[2:4]}", f"At most {MAX_PAIR} a side")
    if "groups" not in group:
        group.refuse("groups", "a numeric dataset is missing", "netx needs it")
    groups = group.one("groups")
    if not 1 <= groups <= MAX_PAIR:
        group.refuse(
            "groups", f"{groups} groups", f"1 to {MAX_PAIR}; lava-nc keeps the number in 8 bits and computes zeros beyond",
            "Train the layer with fewer groups", code="unsupported",
        )
    if "neuron" not in group:
        group.refuse("", "a convolution without neurons", "netx stops at it", "Add its neuron group")
    return NetLayer(
        kind, group.shape((3,)), weight=weight.reshape(weight.shape[:4]), stride=group.pair("stride", 1),
        padding=group.pair("padding", 0), dilation=group.pair("dilation", 1), groups=groups, bias=_bias(group),
        **_neuron(group.inside("neuron")),
    )


def _dense(group: Entries, kind: str) -> NetLayer:
    if group.place("weight") in group.tree.groups:
        group.refuse(
            "weight", "complex weights", "netx takes them for resonate-and-fire neurons only",
            "Train the network with real weights", code="unsupported",
        )
    n_out = math.prod(group.shape((1, 2, 3)))
    # netx's own default is an accumulator that never fires.
    default: dict[str, Any] = {"neuron": "CUBA", "i_decay": 0, "v_decay": 4096, "v_th": NEVER}
    return NetLayer(
        kind, (n_out,), weight=_matrix(group, "weight", n_out), bias=_bias(group), delay=_delay(group),
        weight_rec=_matrix(group, "weight_rec", n_out) if kind == "dense_rec" else None,
        **(_neuron(group.inside("neuron")) if "neuron" in group else default),
    )


_READERS: dict[str, Callable[[Entries, str], NetLayer]] = {
    "input": _input, "conv": _conv, "dense": _dense, "dense_rec": _dense, "flatten": _flatten,
}


def _matrix(group: Entries, name: str, n_out: int) -> Array:
    weight = group.truncated(name)
    if weight.ndim == 1 and weight.size % n_out == 0:
        weight = weight.reshape(n_out, -1)
    if weight.ndim != 2 or len(weight) != n_out:
        group.refuse(
            name, f"weights of shape {weight.shape} for {n_out} neurons", "netx takes (O, I), or one axis with all of them",
            "Write them as a matrix",
        )
    return weight


def _bias(group: Entries) -> Array | None:
    return group.truncated("bias") if "bias" in group else None


def _delay(group: Entries) -> Array | None:
    if "delay" not in group:
        return None
    delay = group.truncated("delay")
    if delay.min() < 0:
        group.refuse("delay", f"a delay of {delay.min()}", "At least 0")
    if delay.max() > 62:
        group.warn("delay", f"delays up to {delay.max()}, which netx clamps at 62", "delay_clamped")
    return np.asarray(np.minimum(delay, 62))


def _neuron(group: Entries, is_input: bool = False) -> dict[str, Any]:
    """The fields of a NetLayer that describe its neurons."""
    kind = group.text("type")
    if kind not in ("LOIHI", "CUBA", "SDNN"):
        what = "resonate-and-fire neurons" if "RF" in kind else f"neurons of type {kind!r:.80}"
        group.refuse(
            "type", what, "Read: LOIHI, CUBA, SDNN", "Train the layer with current-based or sigma-delta neurons",
            code="unsupported",
        )
    if "messageBits" in group:
        group.refuse(
            "messageBits", "netx cannot read a file with this entry", "It stops with a TypeError",
            "Delete the entry: sigma-delta neurons send 16 bits, others one", code="unsupported",
        )
    is_sigma = kind == "SDNN" and not is_input and "sigma_output" in group
    _note_ignored(group, has_activation=kind == "SDNN" and not is_input and not is_sigma)
    if is_sigma:
        if not group.tree.arrays.get(group.place("sigma_output"), np.ones(1)).any():
            group.warn("sigma_output", "the entry says false, netx takes its presence for true", "sigma_output_false",
                       "Delete the entry")
        return {"neuron": "SDNN", "sigma_output": True}
    if kind == "SDNN":
        return {"neuron": "SDNN", "v_th": group.one("vThMant")}
    return {
        "neuron": "CUBA", "i_decay": _decay(group, "iDecay"), "v_decay": _decay(group, "vDecay"),
        "v_th": group.one_or_many("vThMant"),
    }


def _decay(group: Entries, name: str) -> int | Array:
    value = group.one_or_many(name)
    low, high = int(np.min(value)), int(np.max(value))
    if low < 0 or high > 4096:
        group.refuse(name, f"decays of {low}..{high}", "0..4096")
    return value


def _note_ignored(group: Entries, has_activation: bool) -> None:
    for name, allowed, meaning in _IGNORED:
        if name in group and float(np.abs(group.numbers(name)).max()) > allowed:
            group.warn(name, f"netx ignores {meaning}", f"{name}_ignored", "Train the layer without them")
    activation = group.tree.texts.get(group.place("activation"), "relu")
    if has_activation and activation.lower() != "relu":
        group.warn("activation", f"netx takes {activation!r:.40} for relu", "activation_ignored")
    _say_ignored(group, group.names() - _SILENT_IN_NEURON - {name for name, _, _ in _IGNORED} - {"activation"})
