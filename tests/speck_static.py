"""The static fixtures of Speck and DYNAP-CNN as the package's values, and the limits of its own profile."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from neurodeploy.hw.profile import EventProfile, any_target
from neurodeploy.place.core_memory import Words
from neurodeploy.place.dynapcnn_config import ChipConfig, CnnLayer, Destination, DvsLayer, IntArray, Pair
from neurodeploy.place.event_cores import limits_of
from neurodeploy.quantize.iaf_core import FloatCore

import oracles

_PROFILE = any_target("speck2f")
assert isinstance(_PROFILE, EventProfile)
LIMITS = limits_of(_PROFILE)  # what the package itself checks with
MEMORIES = LIMITS.cores

# What the vendor's validator says, and which rules of ours it is. `x` and `y` in a rule are those of the message.
CAUSES = {
    r"Kernel size must": "kernel_size",
    r"Stride ([xy]) must": "stride_{}",
    r"Padding ([xy]) must": "padding_{}",
    r"Input feature size ([xy]) must": "input_size_{}",
    r"Output feature size ([xy]) must": "output_size_{}",
    r"(?:Input|Output) feature number must": "channels",
    r"Threshold high must": "threshold_high",
    r"Threshold low must": "threshold_low",
    r"Weight memory requirements": "kernel_memory",
    r"Neuron memory requirements": "neuron_memory",
    r"On ([xy]) floor": "output_formula_{}",
    r"Weights (?:array|kill bit array) must": "weights_shape",
    r"Biases (?:array|kill bit array) must": "biases_shape",
    r"Neuron values (?:kill bit )?must": "state_shape",
    r"Pooling must": "pooling",
    r"Destination Layer must": "destination",
    r"Feature shift must": "feature_shift",
    r"Overlap between": "range_overlap",
    r"Gap between": "range_gap",
    r"Input range does not start": "range_start",
    r"feature space top is out of bounds": "range_top",
    r"Input space feature count does not match": "range_count",
    r"input size ([xy]): \d+ different": "map_size_{}",
    r"Cut ([xy]) must": "dvs_cut_{}",
    r"Origin ([xy]) must": "dvs_origin_{}",
    r"Pooling ([xy]) must": "dvs_pooling_{}",
}
_HEADINGS = re.compile(r"^\t*(Layer\[\d+\]|DVS)( Layer)?( Destination\[\d+\])?( is configured incorrectly)?[ .^]*$|^\t\t")


def causes(message: str) -> set[str]:
    """The rules behind a message of the vendor's validator. Fails on a line that nobody has met yet."""
    found = set()
    for line in message.splitlines():
        named = [rule.format(*m.groups()) for pattern, rule in CAUSES.items() if (m := re.search(pattern, line))]
        assert named or _HEADINGS.match(line), f"a cause without a rule: {line}"
        found.update(named)
    return found


def chip_config(config: dict[str, Any]) -> ChipConfig:
    """A configuration of `validator_cases.json`; x before y there."""
    cores = {int(core): _layer(layer) for core, layer in config.get("cnn_layers", {}).items()}
    dvs = config.get("dvs_layer")
    return ChipConfig(cores, None if dvs is None else _dvs(dvs))


def words(described: dict[str, int]) -> Words:
    """The words of a layer of `mapping_cases.json` or `memory_cases.json`."""
    return Words(described["kernel"], described["neuron"], described["bias"])


def _layer(layer: dict[str, Any]) -> CnnLayer:
    sizes, untouched = layer.get("dimensions", {}), CnnLayer()
    return CnnLayer(
        in_shape=_shape(sizes.get("input_shape")),
        out_shape=_shape(sizes.get("output_shape")),
        kernel_size=sizes.get("kernel_size", untouched.kernel_size),
        stride=_pair(sizes.get("stride"), untouched.stride),
        padding=_pair(sizes.get("padding"), untouched.padding),
        weights=_array(layer.get("weights"), untouched.weights),
        biases=_array(layer.get("biases"), untouched.biases),
        initial_state=_array(layer.get("neurons_initial_value"), untouched.initial_state),
        destinations=_destinations(layer),
        **{
            name: layer.get(name, getattr(untouched, name))
            for name in ("threshold_high", "threshold_low", "return_to_zero", "leak_enable", "monitor_enable")
        },
    )


def _dvs(dvs: dict[str, Any]) -> DvsLayer:
    untouched = DvsLayer()
    return DvsLayer(
        destinations=_destinations(dvs),
        merge=dvs.get("merge", untouched.merge),
        pooling=_pair(dvs.get("pooling"), untouched.pooling),
        origin=_pair(dvs.get("origin"), untouched.origin),
        cut=_pair(dvs.get("cut"), untouched.cut),
        mirror_diagonal=dvs.get("mirror_diagonal", untouched.mirror_diagonal),
    )


def _destinations(owner: dict[str, Any]) -> tuple[Destination, ...]:
    return tuple(Destination(**destination) for destination in owner.get("destinations", []))


def _shape(shape: dict[str, Any] | None) -> tuple[int, int, int]:
    return (1, 1, 1) if shape is None else (shape.get("feature_count", 1), *_pair(shape.get("size"), (1, 1)))


def _pair(xy: dict[str, int] | None, untouched: Pair) -> Pair:
    return untouched if xy is None else (xy.get("y", untouched[0]), xy.get("x", untouched[1]))


def _array(value: Any, untouched: IntArray) -> IntArray:
    """A nested list, or shape and fill, with the last two axes exchanged. A ragged list has no rank: it becomes a scalar."""
    if value is None:
        return untouched
    try:
        array = np.full(value["shape"], value["fill"]) if isinstance(value, dict) else np.array(value)
    except ValueError:
        return np.zeros((), dtype=np.int64)
    array = array if array.size else array.astype(np.int64)
    return array.swapaxes(-1, -2) if array.ndim > 1 else array


def load(wanted: set[str]) -> list[dict[str, Any]]:
    """Every case of every list in the folder whose cases have these keys."""
    found = []
    for path in sorted(oracles.folder("speck").glob("*.json")):
        cases = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(cases, list) and cases and wanted <= set(cases[0]):
            found += [{"file": path.stem, "number": i, **case} for i, case in enumerate(cases)]
    return found


def named(case: dict[str, Any]) -> str:
    """The identifier of a case in a test."""
    return f"{case['file']}-{case.get('name', case['number'])}"


def float_core(name: str, values: dict[str, Any]) -> FloatCore:
    """A core of `discretize_cases.json`."""
    weight, bias, v_mem = (
        None if values.get(key) is None else np.array(values[key], np.float32) for key in ("weight", "bias", "v_mem")
    )
    assert weight is not None
    return FloatCore(name, weight, bias, values["threshold"], values["min_v_mem"], v_mem)


def nir_chain(path: Path) -> tuple[list[tuple[Any, Any]], list[float]]:
    """((weight, bias) of each synapse node, threshold of each neuron node) of a `.nir` whose nodes are numbered in order."""
    synapses, neurons = [], []
    with h5py.File(path) as file:
        nodes = file["node/nodes"]
        for name in sorted((name for name in nodes if name.isdigit()), key=int):
            node = nodes[name]
            if "weight" in node:
                synapses.append((node["weight"][()], node["bias"][()]))
            elif "v_threshold" in node:
                thresholds = np.unique(node["v_threshold"][()])
                assert len(thresholds) == 1
                neurons.append(float(thresholds[0]))
    return synapses, neurons
