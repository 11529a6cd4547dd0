"""A state_dict and the spec of `--arch` as a Graph: weights from the one, everything else from the other, both checked.

A layer with weights takes the module that it names with `from=`, else the next one of its kind. Every module is taken by
exactly one layer. What the spec lacks is said at once, for all layers, before any weight is looked at.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any

import numpy as np

from neurodeploy.ir.graph import Graph
from neurodeploy.ir.nodes import Array, Pair
from neurodeploy.models.chain import Chain, Conventions
from neurodeploy.models.foreign_modules import Tensors, kinds_of, listing, tool_of, unread
from neurodeploy.models.foreign_neurons import Leaky, NotExact, SpikingJelly
from neurodeploy.models.foreign_spec import Item, Spec, fail
from neurodeploy.models.foreign_state import State

_NEURON = ("v_th", "fire", "reset")
_JELLY = ("v_threshold", "v_reset")
# kind -> (keys that must be there, keys that may be); a bare value is the key `value`.
KEYS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "conv2d": ((), ("stride", "padding", "dilation", "groups")), "linear": ((), ()), "batchnorm": ((), ("eps",)),
    "relu": ((), ()), "qcfs": (("levels",), ()), "flatten": ((), ()), "dropout": ((), ("value", "p")), "identity": ((), ()),
    "maxpool": (("value",), ("stride", "padding")), "avgpool": (("value",), ("stride", "padding")),
    "sumpool": (("value",), ("stride", "padding")), "adaptiveavgpool": (("value",), ()), "vote": (("value",), ()),
    "if": (_NEURON, ("v_reset",)), "lif": ((*_NEURON, "decay_input"), ("v_reset", "tau", "beta")),
    "plif": ((*_NEURON, "decay_input"), ("v_reset",)),
    "IFNode": (_JELLY, ()), "LIFNode": ((*_JELLY, "tau", "decay_input"), ()),
    "ParametricLIFNode": ((*_JELLY, "decay_input"), ()),
    "Leaky": (("reset_delay", "inhibition"), ("beta", "threshold", "reset_mechanism", "graded_spikes_factor")),
}  # fmt: skip
_ALIASES = {"conv": "conv2d", "bn": "batchnorm"}
_TAKES = {"conv2d": "conv2d", "linear": "linear", "batchnorm": "batchnorm", "qcfs": "qcfs", "plif": "ParametricLIFNode",
          "ParametricLIFNode": "ParametricLIFNode", "Leaky": "Leaky"}
_NEURONS = {"if", "lif", "plif", "IFNode", "LIFNode", "ParametricLIFNode", "Leaky"}
_TYPES: dict[str, tuple[str, Callable[[Any], bool]]] = {
    **dict.fromkeys(("v_th", "v_reset", "v_threshold", "tau", "beta", "threshold", "eps", "graded_spikes_factor", "p"),
                    ("a number", lambda v: type(v) in (int, float) and math.isfinite(v))),
    **dict.fromkeys(("decay_input", "reset_delay", "inhibition"), ("true or false", lambda v: type(v) is bool)),
    "fire": (">= or >", lambda v: v in (">=", ">")), "reset": ("hard or soft", lambda v: v in ("hard", "soft")),
    "reset_mechanism": ("subtract, zero or none", lambda v: v in ("subtract", "zero", None)),
    "groups": ("a whole number", lambda v: type(v) is int),
    "levels": ("a whole number, or none", lambda v: v is None or type(v) is int),
}  # fmt: skip
_RESETS = ("subtract", "zero", None)  # snntorch's reset_mechanism_val


def graph_of(state: State, spec: Spec) -> Graph:
    """The network. Raises UsageError naming the layer, the module, and what is missing, left over or of another shape."""
    conventions = {key for kind in _NEURONS for keys in KEYS[kind] for key in keys}
    if stray := {key for item in spec.items for key in item.shared} - conventions:
        raise fail(f"unknown {', '.join(sorted(stray))}", "--arch, before the first layer",
                   f"Known: {', '.join(sorted(conventions))}")
    items = [_known(item) for item in spec.items]
    _complete(items, state)
    chain = Chain(spec.input_shape, "--arch")
    modules = _Modules(state)
    for item in items:
        _add(chain, item, modules)
    modules.check_all_taken()
    return chain.graph(spec.n_timesteps, {**spec.metadata, "spec": spec.text[:2000]})


def _known(item: Item) -> Item:
    """The item with its kind resolved and the shared conventions that its kind has; UsageError for what is unknown."""
    short = item.kind.lower().removesuffix("2d").removesuffix("1d")
    kind = item.kind if item.kind in KEYS else _ALIASES.get(short, short)
    if kind not in KEYS:
        raise fail(f"unknown kind of layer {item.kind!r}", f"--arch, {item.text}", f"Known: {', '.join(KEYS)}")
    needed, optional = KEYS[kind]
    unknown = set(item.keys) - {*needed, *optional}
    if unknown:
        raise fail(f"unknown {', '.join(sorted(unknown))}", f"--arch, {item.text}",
                   f"Known for {kind}: {', '.join((*needed, *optional)) or 'nothing'}")
    if item.source is not None and kind not in _TAKES:
        raise fail(f"from={item.source}, but {kind} takes no weights", f"--arch, {item.text}")
    shared = {key: value for key, value in item.shared.items() if kind in _NEURONS and key in (*needed, *optional)}
    keys = {**shared, **item.keys}
    for key, value in keys.items():
        wanted, fits = _TYPES.get(key, ("", lambda v: True))
        if not fits(value) and not (key == "v_reset" and value is None and kind not in ("if", "lif", "plif")):
            raise fail(f"{key} is {value!r}", f"--arch, {item.text}", f"Expected {wanted}")
    return Item(kind, keys, item.source, item.text)


def _complete(items: list[Item], state: State) -> None:
    """Raise UsageError with everything that any layer lacks, and the text that says it."""
    lacking = []
    for item in items:
        missing = [key for key in KEYS[item.kind][0] if key not in item.keys]
        if item.keys.get("reset") == "hard" and "v_reset" not in item.keys:
            missing.append("v_reset")
        if item.kind == "lif" and not {"tau", "beta"} & set(item.keys):
            missing.append("tau")
        if missing:
            text = item.text.partition("(")[2].removesuffix(")")
            added = " ".join("?" if key == "value" else f"{key}=?" for key in missing)
            lacking.append(f"{item.text.partition(' (')[0]}: `{text} {added}`")
    if lacking:
        tool = tool_of(state)
        raise fail(
            f"{len(lacking)} of {len(items)} layers lack something" + (f"; the state_dict is {tool}'s" if tool else ""),
            limit="; ".join(lacking),
            remedy="Put in what the network was trained with; what all neurons share may stand behind T, once",
        )


class _Modules:
    """The modules of a state_dict, each handed out once."""

    def __init__(self, state: State) -> None:
        self.state = state
        self.left: dict[str, Tensors] = dict(state.modules)
        self.kinds = kinds_of(state)

    def take(self, item: Item) -> tuple[str, Tensors]:
        """(name, tensors) of the module of an item."""
        wanted = _TAKES[item.kind]
        candidates = [name for name in self.left if self.kinds[name] == wanted]
        name = item.source
        if name is None:
            self._check_order(wanted, item)
            name = candidates[0] if candidates else None
        if name not in candidates or name is None:
            what = "no module is left for it" if name is None else f"no module {name!r} of this kind"
            raise fail(what, f"--arch, {item.text}", f"Of kind {wanted} and not taken: {', '.join(candidates) or 'none'}. "
                       f"The file holds {listing(self.state)}", "Remove the layer, or name its module with from=NAME")
        return name, {key: value.astype(np.float64) for key, value in self.left.pop(name).items()}

    def _check_order(self, kind: str, item: Item) -> None:
        names = [name for name, k in self.kinds.items() if k == kind]
        if not self.state.ordered and len({re.sub(r"\d+", "#", name) for name in names}) > 1:
            raise fail(f"the order of {', '.join(names)} is not known", f"--arch, {item.text}",
                       "A .safetensors keeps no order of its modules", "Name the module of each with from=NAME")

    def check_all_taken(self) -> None:
        if self.left:
            others = [f"{name} ({', '.join(tensors)})" for name, tensors in self.left.items()]
            raise fail(f"{len(others)} modules of the file belong to no layer: {', '.join(others[:8])}",
                       limit=f"Every weight has its place.{unread(self.state)}",
                       remedy="Add their layers to --arch; a kind that it does not know cannot be read")


def _add(chain: Chain, item: Item, modules: _Modules) -> None:
    kind, keys = item.kind, item.keys
    name, tensors = modules.take(item) if kind in _TAKES else ("", {})
    name = name or f"{kind.lower()}{len(chain.nodes)}"
    if kind in _NEURONS:
        chain.neurons(name, _conventions(item, name, tensors))
    elif kind == "conv2d":
        chain.conv2d(name, tensors["weight"], tensors.get("bias"), stride=_pair(item, "stride", 1),
                     padding=_pair(item, "padding", 0), dilation=_pair(item, "dilation", 1), groups=keys.get("groups", 1))
    elif kind == "linear":
        chain.linear(name, tensors["weight"], tensors.get("bias"))
    elif kind == "batchnorm":
        mean = tensors["running_mean"]
        chain.batch_norm(name, mean, tensors["running_var"], tensors.get("weight", np.ones_like(mean)),
                         tensors.get("bias", np.zeros_like(mean)), float(keys.get("eps", 1e-5)))
    elif kind == "relu":
        chain.relu(name)
    elif kind == "qcfs":
        chain.qcfs(name, _scalar(item, f"{name}.up", tensors["up"]), keys["levels"])
    elif kind == "flatten":
        chain.flatten(name)
    elif kind == "adaptiveavgpool":
        chain.pool_to(name, _pair(item, "value", 1))
    elif kind == "vote":
        chain.vote(name, _whole(item, "value"))
    elif kind not in ("dropout", "identity"):
        stride = _pair(item, "stride", 1) if "stride" in keys else None
        chain.pool(name, kind.removesuffix("pool"), _pair(item, "value", 1), stride, _pair(item, "padding", 0))


def _conventions(item: Item, name: str, tensors: Tensors) -> Conventions:
    keys = item.keys
    try:
        if item.kind == "Leaky":
            return _leaky(item, name, tensors).conventions()
        if item.kind in ("IFNode", "LIFNode", "ParametricLIFNode"):
            tau = 1 + math.exp(-_scalar(item, f"{name}.w", tensors["w"])) if "w" in tensors else keys.get("tau")
            return SpikingJelly(float(keys["v_threshold"]), keys["v_reset"], tau, keys.get("decay_input", False)).conventions()
    except NotExact as error:
        raise fail(str(error), f"--arch, {item.text}",
                   remedy="Train with neurons that can be converted (docs/models.md)") from error
    return Conventions(float(keys["v_th"]), keys["fire"], keys["reset"], float(keys.get("v_reset", 0.0)),
                       _inv_tau(item, name, tensors), keys.get("decay_input", False))


def _inv_tau(item: Item, name: str, tensors: Tensors) -> float:
    if item.kind == "if":
        return 0.0
    if item.kind == "plif":
        return 1 / (1 + math.exp(-_scalar(item, f"{name}.w", tensors["w"])))
    tau, beta = item.keys.get("tau"), item.keys.get("beta")
    if (tau is None) == (beta is None) or (tau is not None and tau < 1) or (beta is not None and not 0 <= beta <= 1):
        raise fail("the leak", f"--arch, {item.text}", "Either tau >= 1, or beta = 1 - 1/tau in 0..1")
    return 1 / tau if tau is not None else 1 - float(beta or 0)


def _leaky(item: Item, name: str, tensors: Tensors) -> Leaky:
    """The tensors of a Leaky; what the spec says beside must agree with them."""
    which = _scalar(item, f"{name}.reset_mechanism_val", tensors["reset_mechanism_val"])
    if which not in (0, 1, 2):
        raise fail(f"{name}.reset_mechanism_val is {which:g}", f"--arch, {item.text}", "Known: 0 subtract, 1 zero, 2 none")
    found: dict[str, Any] = {
        "reset_mechanism": _RESETS[int(which)],
        **{key: _scalar(item, f"{name}.{key}", tensors[key]) for key in ("beta", "threshold", "graded_spikes_factor")
           if key in tensors},
    }
    for key in ("beta", "threshold", "graded_spikes_factor", "reset_mechanism"):
        said = item.keys.get(key, found.get(key, 1.0 if key == "graded_spikes_factor" else None))
        held = found.setdefault(key, said)
        # float32 holds 7 digits of what was said
        numbers = isinstance(said, int | float) and isinstance(held, int | float) and math.isclose(said, held, rel_tol=1e-6)
        if said != held and not numbers:
            raise fail(f"{key}={said}, but the file holds {name}.{key} = {held}", f"--arch, {item.text}", remedy="Leave it out")
        if held is None and key != "reset_mechanism":
            raise fail(f"{name}.{key} is neither in the file nor here", f"--arch, {item.text}", remedy=f"Add {key}=?")
    return Leaky(found["beta"], found["threshold"], found["reset_mechanism"] or "none", item.keys["reset_delay"],
                 item.keys["inhibition"], found["graded_spikes_factor"])


def _scalar(item: Item, name: str, values: Array) -> float:
    flat = np.unique(values)
    if flat.size != 1 or not np.isfinite(flat).all():
        raise fail(f"{name} holds {flat.size} different values", f"--arch, {item.text}", "One value a layer",
                   "Train with one time constant and one threshold for all neurons of a layer")
    return float(flat[0])


def _pair(item: Item, key: str, default: int) -> Pair:
    value = item.keys.get(key, default)
    pair = [value, value] if type(value) is int else value
    if not (isinstance(pair, list) and len(pair) == 2 and all(type(v) is int and v >= 0 for v in pair)):
        raise fail(f"{key} is {value!r}", f"--arch, {item.text}", "A whole number, or two as 3x2")
    return pair[0], pair[1]


def _whole(item: Item, key: str) -> int:
    value = item.keys[key]
    if type(value) is not int:
        raise fail(f"{value!r} is no whole number", f"--arch, {item.text}")
    return value
