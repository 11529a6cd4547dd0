"""What a state_dict holds: modules and their kinds, told by the names and ranks of their tensors, and a first spec of them."""

from __future__ import annotations

import math
import re
from typing import Literal

from neurodeploy.errors import UsageError
from neurodeploy.ir.nodes import Array
from neurodeploy.models.foreign_pickle import shown
from neurodeploy.models.foreign_state import State

Kind = Literal["conv2d", "linear", "batchnorm", "Leaky", "ParametricLIFNode", "qcfs", "other"]
Tensors = dict[str, Array]
_LEAKY = {"beta", "threshold", "graded_spikes_factor", "reset_mechanism_val"}
_SHOWN = 40
LACKS = {
    "snntorch": "reset_delay and inhibition of each Leaky (its defaults: reset_delay=true inhibition=false)",
    "spikingjelly": "of each neuron v_threshold, v_reset (none: by subtraction), decay_input; of a LIFNode tau; "
                    "IFNode and LIFNode leave no tensors at all",
}


def kinds_of(state: State) -> dict[str, Kind]:
    """What each module is; `other` for what is not read, a neuron of snntorch with weights of its own (a loop) among them."""
    modules = state.modules
    parents = {name: name.rpartition(".")[0] for name in modules}
    loops = {parent for parent in parents.values() if "reset_mechanism_val" in modules.get(parent, {})}
    return {name: "other" if {name, parents[name]} & loops else _kind_of(tensors) for name, tensors in modules.items()}


def _kind_of(tensors: Tensors) -> Kind:
    names = set(tensors) - {"num_batches_tracked"}
    if "running_mean" in names and "running_var" in names and names <= {"running_mean", "running_var", "weight", "bias"}:
        return "batchnorm"
    if "reset_mechanism_val" in names:
        return "Leaky" if names <= _LEAKY and "beta" in names else "other"
    if names == {"w"} and tensors["w"].size == 1:
        return "ParametricLIFNode"
    if names == {"up"} and tensors["up"].size == 1:
        return "qcfs"
    if "weight" in names and names <= {"weight", "bias"} and tensors["weight"].ndim in (2, 4):
        return "linear" if tensors["weight"].ndim == 2 else "conv2d"
    return "other"


def tool_of(state: State) -> str | None:
    """The tool whose neurons have tensors in the state_dict; ours is none."""
    modules = [] if "classifier.neuron.w" in state.tensors else state.modules.values()
    if any("reset_mechanism_val" in tensors for tensors in modules):
        return "snntorch"
    return "spikingjelly" if any(_kind_of(tensors) == "ParametricLIFNode" for tensors in modules) else None


def listing(state: State) -> str:
    """Names and shapes, for an error."""
    first = [f"{shown(name)} {list(tensor.shape)}" for name, tensor in list(state.tensors.items())[:_SHOWN]]
    more = len(state.tensors) - len(first)
    return "; ".join(first) + (f"; and {more} more" if more > 0 else "")


def missing_arch(state: State) -> UsageError:
    """The error for a state_dict without --arch: what it holds, what nobody can know from it, and a spec to complete."""
    tool = tool_of(state)
    lacks = f" It was written by {tool}, and lacks {LACKS[tool]}." if tool else ""
    lacks += unread(state)
    return UsageError(
        "a state_dict alone: it holds weights, but not how they are connected", where=state.where, code="missing_arch",
        limit=f"It holds {listing(state)}.{lacks}" + _unordered(state),
        remedy=f"Complete this, each ? (remove the layer where there is none), and give it: --arch '{skeleton(state)}'",
    )


def _unordered(state: State) -> str:
    return "" if state.ordered else " A .safetensors keeps no order of its modules: put the layers in that of the data."


def unread(state: State) -> str:
    """Which neurons of snntorch in the state_dict no layer can read, as a sentence; empty without any."""
    kinds = kinds_of(state)
    others = [name for name, tensors in state.modules.items() if "reset_mechanism_val" in tensors and kinds[name] == "other"]
    reason = "no Leaky; snntorch's other neurons have a state more or a loop, and are not read."
    return f" {', '.join(others)}: {reason}" if others else ""


def skeleton(state: State) -> str:
    """A spec guessed from the tensors, with `?` for what they do not say."""
    stem, head = (state.tensors.get(name) for name in ("stem.conv.weight", "classifier.linear.weight"))
    if stem is not None and head is not None:
        sizes = f"in_channels={stem.shape[1]} width={stem.shape[0]}"
        return f"autosnn ?,?,... {sizes} image_size=?x? n_classes=? group=? n_timesteps=?"
    found = kinds_of(state)
    kinds = [(name, found[name], tensors) for name, tensors in state.modules.items()]
    parts: list[str] = []
    shape, channels, rows, last = "?", 0, 0, ""
    for i, (name, kind, tensors) in enumerate(kinds):
        weight = tensors.get("weight")
        if i:
            parts += _between(last, name, kinds[i - 1][1], kind)
        last = name
        if kind == "conv2d" and weight is not None:
            shape = f"{weight.shape[1]}x?x?" if shape == "?" else shape
            channels, rows = weight.shape[0], weight.shape[0]
            parts.append(f"conv2d padding={'0' if weight.shape[2:] == (1, 1) else '?'}")
        elif kind == "linear" and weight is not None:
            shape = str(weight.shape[1]) if shape == "?" else shape
            if channels:
                for _ in range(2):  # the indices left out before it are those of pool and flatten
                    if parts[-1] == "?" and parts[-2:] != ["batchnorm", "?"]:
                        parts.pop()
                side = math.isqrt(weight.shape[1] // channels)
                square = side * side * channels == weight.shape[1] and side > 1
                parts += [f"maxpool ?to{side}x{side}" if square else "maxpool ?", "flatten"]
            channels, rows = 0, weight.shape[0]
            parts.append("linear")
        elif kind == "Leaky":
            parts.append("Leaky reset_delay=? inhibition=?")
        elif kind == "ParametricLIFNode":
            parts.append("ParametricLIFNode decay_input=? v_threshold=? v_reset=?")
        elif kind == "qcfs":
            parts.append("qcfs levels=?")
        else:
            parts.append(kind if kind == "batchnorm" else f"? ({shown(name)}: {shown(', '.join(tensors))})")
    if kinds[-1][1] in ("linear", "conv2d", "batchnorm"):
        parts.append("?")
    return " | ".join([f"{shape} T=?", *parts, f"vote {rows}" if rows else "vote ?"])


def _between(before: str, after: str, kind: Kind, following: Kind) -> list[str]:
    """`?` for each index that a Sequential leaves out; one where a synapse follows another at once."""
    ends = [re.fullmatch(r"(.*?)(\d+)", name) for name in (before, after)]
    if ends[0] and ends[1] and ends[0][1] == ends[1][1]:
        missing = int(ends[1][2]) - int(ends[0][2]) - 1
        if missing > 0:
            return ["?"] * min(missing, 8)
    silent = kind in ("conv2d", "linear", "batchnorm") and following in ("conv2d", "linear")
    return ["?"] if silent else []
