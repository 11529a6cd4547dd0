"""The arrows of event-driven chips; `pipeline.py` has them for every target.

    Graph ──lower_for_cores──▶ Graph ──quantize_for_cores──▶ IntGraph ──place_on_cores──▶ CorePlan
    IntGraph + streams ──run_events──▶ EventRuns ──cost_of_runs──▶ EventCost     IntGraph + CorePlan ──export_on_cores──▶ Bundle
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neurodeploy.cost.event_activity import activity_of
from neurodeploy.cost.event_cost import event_cost
from neurodeploy.cost.event_result import EventCost
from neurodeploy.data.event_dataset import EventDataset
from neurodeploy.data.event_sources import load_events
from neurodeploy.errors import UsageError
from neurodeploy.export.bundle import Bundle
from neurodeploy.export.golden_events import random_streams
from neurodeploy.export.write_events import export_events
from neurodeploy.hw.profile import EventProfile
from neurodeploy.ir.graph import Graph, IntGraph
from neurodeploy.ir.nodes import Array
from neurodeploy.lower.event_cores import lower_to_events
from neurodeploy.models.event_run import run_in_bins
from neurodeploy.place.core_plan import CorePlan
from neurodeploy.place.event_cores import place as place_on_cores
from neurodeploy.quantize.iaf_network import quantize_events
from neurodeploy.sim.event_mismatch import Mismatch
from neurodeploy.sim.event_runs import EventRuns, run_streams
from neurodeploy.sim.events_trace import Order

__all__ = ["cost_of_runs", "export_on_cores", "lower_for_cores", "place_on_cores", "quantize_for_cores", "run_events"]
N_CALIBRATION, N_GOLDEN = 24, 4  # samples that scales are judged on, and whose spikes a bundle carries


def lower_for_cores(graph: Graph, profile: EventProfile) -> Graph:
    """A trained Graph as cores of integrate-and-fire neurons. Raises DoesNotFit with everything that the chip cannot do."""
    return lower_to_events(graph, profile)


def quantize_for_cores(
    graph: Graph, profile: EventProfile, calibration: NDArray[Any] | Sequence[Array] | EventDataset | None
) -> IntGraph:
    """The graph in the chip's integers: of each core the scale whose event-driven run is nearest to the trained network's on
    calibration streams (of a dataset, its validation split); lowers it where needed."""
    lowered = graph if graph.metadata.get("input") == "events" else lower_to_events(graph, profile)
    if calibration is None:
        return quantize_events(lowered, profile)
    if isinstance(calibration, np.ndarray):
        raise UsageError("an array", where="calibration", limit=f"{profile.name} takes streams [n, 4]: t in us, c, y, x",
                         remedy="Give a list of streams, or an EventDataset", code="wrong_data")
    if isinstance(calibration, EventDataset):
        streams, duration_us = list(calibration.split("validation")[0][:N_CALIBRATION]), calibration.duration_us
    else:
        streams = list(calibration[:N_CALIBRATION])
        duration_us = duration_of(graph, streams)
    shape = lowered.inputs[0].shape
    if len(shape) != 3:
        raise UsageError(f"an input of shape {shape}", where="calibration", limit="Events enter maps (C, H, W)")
    wanted = run_in_bins(lowered, streams, (shape[0], shape[1], shape[2]), duration_us)
    return quantize_events(lowered, profile, judge=Mismatch(streams, wanted.counts))


def run_events(net: IntGraph, streams: Sequence[Array], duration_us: int | None = None, order: Order = "depth") -> EventRuns:
    """Streams of events (t in us, c, y, x) [n, 4], each from the first states, in the chip's order."""
    tables = [np.asarray(stream) for stream in streams]
    for i, table in enumerate(tables):
        if table.ndim != 2 or table.shape[1] != 4:
            raise UsageError(f"a stream of shape {table.shape}", where=f"sample {i}", limit="[n, 4]: t in us, c, y, x",
                             remedy="Give a list of such tables, one a sample")
    return run_streams(
        net, tables, duration_us=duration_of(net, tables) if duration_us is None else duration_us, order=order
    )


def duration_of(graph: Graph, streams: Sequence[Array]) -> int:
    """Microseconds of a sample: as the data that the network was trained on, else until the last of these events."""
    data = graph.metadata.get("data")
    known = data.get("duration_us") if isinstance(data, dict) else None
    until = 1 + max((int(stream[-1, 0]) for stream in streams if len(stream)), default=0)
    return max(known, until) if isinstance(known, int) else until


def cost_of_runs(
    runs: EventRuns, plan: CorePlan, profile: EventProfile, *, interval_s: float | None = None, limit: float | None = None,
    sensor: bool = False,
) -> EventCost:
    """Energy and latency of the mean sample; arguments as `cost.event_cost.event_cost`."""
    return event_cost(activity_of(runs.net, runs), plan, profile, interval_s=interval_s, limit=limit, sensor=sensor)


def export_on_cores(
    net: IntGraph, plan: CorePlan, profile: EventProfile, out: Path, golden: Sequence[Array] | None, metadata: dict[str, Any],
    lowered: Graph | None, padded: bool,
) -> Bundle:
    """Write a bundle; golden events are those given, else of test samples of the data named in the metadata, else random."""
    name = (metadata.get("data") or {}).get("name")
    if golden is None:
        golden = random_streams(net) if name is None else load_events(name).split("test")[0][:N_GOLDEN]
    return export_events(net, plan, profile, out, golden_streams=golden, metadata=metadata, lowered=lowered, padded=padded)
