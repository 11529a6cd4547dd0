"""The artifacts for DYNAP-CNN chips: the configuration in samna's words, golden events, and scripts for the vendor's tools."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from neurodeploy.errors import DoesNotFit, UsageError
from neurodeploy.export.golden_events import GOLDEN, GoldenEvents, save_events
from neurodeploy.export.speck_document import ARRAYS, DOCUMENT, differences, encode, read_speck, write_document
from neurodeploy.export.speck_readout import pad_for_readout
from neurodeploy.export.speck_sinabs import FACTOR, rebuilds, sinabs_reason
from neurodeploy.hw.event_profile import EventProfile
from neurodeploy.ir.graph import IntGraph
from neurodeploy.ir.serialize import save
from neurodeploy.place.core_plan import CorePlan
from neurodeploy.place.dynapcnn_config import ChipConfig
from neurodeploy.place.dynapcnn_rules import check
from neurodeploy.place.event_cores import limits_of
from neurodeploy.sim.events_graph import from_graph
from neurodeploy.sim.readout import Readout, readout

GRAPH, SINABS = "graph.npz", "sinabs_model.py"
_LOADER, _MODEL = (Path(__file__).with_name(name) for name in ("run_on_speck.py", "run_on_sinabs.py"))


def write_artifacts(
    net: IntGraph, plan: CorePlan, profile: EventProfile, config: ChipConfig, folder: Path, *,
    golden: GoldenEvents | None = None, padded: bool = False,
) -> dict[str, Any]:
    """Write the artifacts of a placed network into a folder; returns the manifest fields `artifact`, `speck` and `sinabs`.

    config: the chip's, of this network and plan. golden: of this network. padded: output channels spread out for the
    chip's readout block, with the block's settings. Equal values give equal files. Raises UsageError for a readout block
    that cannot read this output, DoesNotFit where the padded layer fits no longer.
    """
    votes = readout(net)
    core = plan.core_of(votes.layer)
    if padded:
        config = pad_for_readout(config, core, votes, profile)
        violations = check(config, limits_of(profile))
        if violations:
            raise DoesNotFit(violations, target=profile.name)
    save(net, folder / GRAPH)
    layers = {use.core: use.node for use in plan.cores}
    fields, arrays = encode(config, layers)
    network, _ = from_graph(net)
    reason = sinabs_reason(config, network.entry)
    stretched = [f"core {core}" for core, layer in sorted(config.cores.items()) if not rebuilds(layer)]
    sinabs = {"factor": FACTOR, "discretize": not stretched, "not_at_full_range": stretched, "reason": reason}
    document = {
        **fields,
        "target": profile.name, "chip": profile.vendor.module, "vendor": profile.vendor.model_dump(mode="json"),
        "layer2core_map": {use.node: use.core for use in plan.cores},
        "neuron_words": {str(use.core): use.neuron_words_max for use in plan.cores},
        "input": {
            "shape": list(network.input_shape),
            "destinations": [
                {"layer": plan.core_of(d.layer), "pooling": {"x": d.pool[1], "y": d.pool[0]}, "feature_shift": d.feature_shift}
                for d in network.entry
            ],
        },
        "output": _output(config, core, votes, profile, padded),
        "readout": _readout(core, votes, profile) if padded else None,
        "quantization": {"scale": _scales(net)},
        "expected": None if golden is None else {"file": GOLDEN, "n_samples": golden.n_samples, "n_spikes": golden.n_spikes},
        "sinabs": sinabs,
    }
    write_document(folder, document, arrays)
    if golden is not None:
        save_events(golden, folder / GOLDEN)
    script = f"run_on_{profile.name}.py"
    shutil.copyfile(_LOADER, folder / script)
    if reason is None:
        shutil.copyfile(_MODEL, folder / SINABS)
    return {
        "artifact": DOCUMENT,
        "speck": {"arrays": ARRAYS, "script": script, "padded_for_readout": padded},
        "sinabs": {"file": SINABS if reason is None else None, **sinabs},
    }


def _output(config: ChipConfig, core: int, votes: Readout, profile: EventProfile, padded: bool) -> dict[str, Any]:
    """Where answers come from. `channel_stride`: output channel c of the network is channel stride * c of the core."""
    if core not in config.cores:
        raise UsageError(f"the configuration does not use core {core}", where=votes.layer, remedy="Configure this placement")
    stride = int(profile.readout.channel_stride.value) if padded and profile.readout is not None else 1
    return {
        "layer": votes.layer, "core": core, "channel_stride": stride, "n_classes": votes.n_classes, "group": votes.group,
        "classes": votes.classes.tolist(),
    }


def _readout(core: int, votes: Readout, profile: EventProfile) -> dict[str, Any] | None:
    """The readout block. Its destination stands here: validators of 2021 do not know it and die of it."""
    block = profile.readout
    if block is None:
        return None
    return {
        "core": core, "destination": int(block.destination.value), "channel_stride": int(block.channel_stride.value),
        "n_classes": votes.n_classes, "windows": [int(n) for n in block.windows.values],
    }


def _scales(net: IntGraph) -> dict[str, float]:
    """What each layer's real numbers were multiplied with, of those that are known."""
    layers = net.quantization.get("layers") or []
    return {str(e["layer"]): float(e["scale"]) for e in layers if isinstance(e, dict) and {"layer", "scale"} <= set(e)}


__all__ = ["ARRAYS", "DOCUMENT", "GRAPH", "SINABS", "differences", "read_speck", "write_artifacts"]
