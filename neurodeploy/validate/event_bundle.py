"""A bundle of an event-driven chip opened from its files alone, and the opening of bundles of any kind."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from neurodeploy.early_exit.event_windows import EventExitPolicy, PlannedExit
from neurodeploy.errors import NeurodeployError, UnsafeFile, UsageError
from neurodeploy.export.bundle import MANIFEST, read_manifest
from neurodeploy.export.golden_events import GOLDEN, GoldenEvents, load_events
from neurodeploy.export.speck import ARRAYS, DOCUMENT, GRAPH, SINABS, read_speck
from neurodeploy.hw.profile import EventProfile, GpuProfile, kind_of
from neurodeploy.ir.graph import IntGraph
from neurodeploy.ir.serialize import load_int
from neurodeploy.place.core_plan import CorePlan
from neurodeploy.place.dynapcnn_config import ChipConfig
from neurodeploy.sim.events_graph import from_graph
from neurodeploy.sim.events_network import EventNetwork
from neurodeploy.sim.events_stream import rows
from neurodeploy.validate.bundle import OpenBundle, check_contents, entries, open_bundle
from neurodeploy.validate.exit_policy import is_planned, read_planned
from neurodeploy.validate.gpu_bundle import GpuBundle, open_gpu_bundle


@dataclass(frozen=True, eq=False)
class EventBundle:
    """What a bundle of an event-driven chip holds: the network, the cores it is placed on, the chip's configuration.

    padded: the configuration has its output channels spread out for the chip's readout block. policy: when a sample may
    stop early, None where it may not.
    """

    path: Path
    manifest: dict[str, Any]
    net: IntGraph
    plan: CorePlan
    profile: EventProfile
    golden: GoldenEvents
    config: ChipConfig
    padded: bool
    policy: EventExitPolicy | PlannedExit | None


def open_any(path: Path) -> OpenBundle | EventBundle | GpuBundle:
    """Open a bundle of any kind, by the neurons of the profile in its manifest; errors as `open_bundle`."""
    path = Path(path)
    profile = read_manifest(path).get("profile")
    content = profile.get("content") if isinstance(profile, dict) else None
    kind = kind_of(content)
    if kind is GpuProfile:
        return open_gpu_bundle(path)
    return open_event_bundle(path) if kind is EventProfile else open_bundle(path)


def open_event_bundle(path: Path) -> EventBundle:
    """Open a bundle of an event-driven chip.

    Raises UsageError where there is none, UnsafeFile naming the file that was changed, is damaged, or belongs to another
    network.
    """
    path = Path(path)
    manifest = read_manifest(path)
    check_contents(path, manifest, (GRAPH, GOLDEN, DOCUMENT, ARRAYS))
    padded = _scripts(manifest, str(path / MANIFEST))
    policy = _policy(path, manifest)
    graph = load_int(path / GRAPH)
    profile, plan = entries(path, manifest, EventProfile, CorePlan.from_dict, graph, {"n_timesteps": graph.n_timesteps})
    try:
        network, _ = from_graph(graph)
    except NeurodeployError as err:
        raise _refused(f"no event-driven network: {err.where}: {err.what}", path / GRAPH) from err
    if [use.node for use in plan.cores] != [layer.name for layer in network.layers]:
        raise _refused(f"the placement is not one of the layers of {GRAPH}", path / MANIFEST)
    golden = load_events(path / GOLDEN)
    _check_golden(network, golden, path / GOLDEN)
    return EventBundle(path, manifest, graph, plan, profile, golden, read_speck(path), padded, policy)


def _refused(what: str, path: Path) -> UnsafeFile:
    return UnsafeFile(what, where=str(path), remedy="Export again")


def _scripts(manifest: dict[str, Any], where: str) -> bool:
    """Whether the manifest says that the configuration is padded; UnsafeFile where its entries on the scripts are damaged."""
    padded = (manifest.get("speck") or {}).get("padded_for_readout")
    sinabs = (manifest.get("sinabs") or {}).get("file", "")
    if type(padded) is not bool or sinabs not in (None, SINABS):
        raise UnsafeFile("its entries speck or sinabs are damaged", where=where, remedy="Export again")
    if (sinabs is None) == (SINABS in manifest["files"]):
        raise UnsafeFile(f"{SINABS} is {'there' if sinabs is None else 'missing'}, the manifest says otherwise", where=where,
                         remedy="Export again")
    return padded


def _policy(path: Path, manifest: dict[str, Any]) -> EventExitPolicy | PlannedExit | None:
    stored = manifest.get("early_exit")
    if stored is None:
        return None
    try:
        if is_planned(stored):
            return PlannedExit(stored["by"], int(stored["step"]), read_planned(path, manifest, None)[0])
        return EventExitPolicy.from_dict(stored)
    except (KeyError, TypeError, ValueError, UsageError) as err:
        raise UnsafeFile("early_exit is no policy", where=str(path / MANIFEST), limit=str(err), remedy="Export again") from err


def _check_golden(network: EventNetwork, golden: GoldenEvents, path: Path) -> None:
    """Raise UnsafeFile where the golden events are none of the network."""
    if set(golden.spikes) != set(network.index) or not golden.n_samples:
        raise _refused(f"the golden events do not belong to {GRAPH}", path)
    for sample, events in enumerate(golden.events):
        try:
            rows(network, events)
        except UsageError as err:
            raise _refused(f"golden sample {sample} is no stream of events: {err}", path) from err
    for layer in network.layers:
        for spikes in golden.spikes[layer.name]:
            if (spikes[:, 1:] >= np.asarray(layer.shape)).any():
                raise _refused(f"golden spikes of {layer.name} outside its map {layer.shape}", path)
