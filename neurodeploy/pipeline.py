"""The arrows of neurodeploy, one function each, top to bottom; every value between them can be saved and reloaded.

    model file / module ──load──▶ Graph ──lower──▶ Graph ──quantize──▶ IntGraph ──place──▶ Placement
    IntGraph + images ──simulate──▶ Trace ──cost──▶ Cost          IntGraph + Placement ──export──▶ Bundle ──validate──▶ Verdict

On event-driven chips the words are CorePlan for Placement, streams of events for images, EventRuns for Trace and EventCost
for Cost; `pipeline_events.py` has those arrows, and the functions here take both. GPUs run the Graph itself: `pipeline_gpu.py`.

`neurodeploy.jobs` strings them together for the command line (search, train, export, ...). Each function here works
alone; all of them are `nd.<name>` after `import neurodeploy as nd`.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, overload

import numpy as np
from numpy.typing import NDArray

from neurodeploy.cost.assumed import expected_at
from neurodeploy.cost.counts import count
from neurodeploy.cost.event_result import EventCost
from neurodeploy.cost.model import cost as cost_of
from neurodeploy.cost.objective import optimise_for
from neurodeploy.cost.result import Cost
from neurodeploy.cost.schedule import Schedule
from neurodeploy.cost.windows import schedule_for
from neurodeploy.data.chip_input import chip_input
from neurodeploy.data.datasets import Dataset
from neurodeploy.data.datasets import load as load_data
from neurodeploy.data.event_dataset import EventDataset
from neurodeploy.errors import NeurodeployWarning, UsageError
from neurodeploy.export.bundle import Bundle
from neurodeploy.export.golden import random_inputs
from neurodeploy.export.write import export as write_bundle
from neurodeploy.hw.profile import AnyProfile, EventProfile, GpuProfile, Profile, any_target, chip_of
from neurodeploy.ir import serialize
from neurodeploy.ir.graph import Graph, IntGraph
from neurodeploy.ir.net import read_network
from neurodeploy.ir.nir import read_nir
from neurodeploy.ir.nir_foreign import NirOptions
from neurodeploy.ir.nodes import Array
from neurodeploy.lower import InputCoding, to_chip_neurons
from neurodeploy.lower import lower as lower_graph
from neurodeploy.lower.ann import LastLayer, Start
from neurodeploy.lower.ann import convert as convert_ann
from neurodeploy.lower.gpu import lower_to_gpu
from neurodeploy.models.files import load_model
from neurodeploy.models.files import save as save_module
from neurodeploy.models.foreign_gate import check_model_file
from neurodeploy.models.foreign_state import refuse_arch
from neurodeploy.models.from_torch import from_torch
from neurodeploy.models.networks import Network, to_graph
from neurodeploy.pipeline_events import (
    cost_of_runs,
    export_on_cores,
    lower_for_cores,
    place_on_cores,
    quantize_for_cores,
    run_events,
)
from neurodeploy.place import Placement
from neurodeploy.place import place as place_network
from neurodeploy.place.assignment import Assignment
from neurodeploy.place.core_plan import CorePlan
from neurodeploy.place.optimise import Goal, Optimised
from neurodeploy.quantize import quantize as quantize_graph
from neurodeploy.quantize.passing import for_target
from neurodeploy.sim.clocked import simulate as run
from neurodeploy.sim.event_runs import EventRuns
from neurodeploy.sim.events_trace import Order
from neurodeploy.sim.trace import Trace
from neurodeploy.validate.event_bundle import open_any

Readout = Literal["lava", "loihi2"]

__all__ = [
    "convert", "cost", "export", "from_torch", "load", "lower", "optimise_placement", "place", "quantize", "save", "simulate",
]


def save(module: Network, path: str | Path) -> None:
    """Write a trained network to `.safetensors` or `.pt` (plain types); see `models.files`."""
    save_module(module, path)


def load(path: str | Path, arch: str | None = None) -> Graph:
    """The network in a file: a Graph from `.safetensors`, `.pt` or `.nir`, an IntGraph from a bundle, its graph.npz or
    lava-dl's `.net` (`ir.net.read_network` takes what that file does not say: reset, message bits, timesteps). A `.nir` of
    another tool may leave conventions open too: `ir.nir_foreign.NirOptions`; assumed with a warning (`nir_assumed`).

    arch: the architecture of a state_dict, as text or a file (`models.foreign_spec`). Raises UsageError for a missing path or
    an unknown kind of file, UnsafeFile for one that is corrupt, or no model; nothing in it is ever executed.
    """
    path = Path(path)
    refuse_arch(path, arch)
    check_model_file(path)
    if path.is_dir():
        return open_any(path).net
    if path.suffix == ".nir":
        return read_nir(path, NirOptions())
    if path.suffix == ".npz":
        return serialize.load(path)
    if path.suffix == ".net":
        return read_network(path)
    model = load_model(path, arch)
    return model if isinstance(model, Graph) else to_graph(model)


def convert(
    graph: Graph, images: NDArray[Any], n_timesteps: int, *, percentile: float = 99.9, shift: bool = True,
    floor: float | None = None, start: Start | None = None, readout: LastLayer = "spikes",
) -> Graph:
    """A network of ReLU or QCFS (`from_torch`) as integrate-and-fire neurons that run n_timesteps, calibrated on images
    [N, C, H, W].

    shift=False adds no currents, floor puts one (in thresholds) under the membranes: for event-driven chips; start="half"
    (usual for QCFS) rounds from the first timestep on, chips want "zero"; readout="logits" is for GPUs. See `lower.ann`.
    """
    return convert_ann(
        graph, images, n_timesteps, percentile=percentile, shift=shift, floor=floor, start=start, readout=readout
    ).graph


def lower(graph: Graph, target: AnyProfile | str, *, input_kind: InputCoding = "graded") -> Graph:
    """A trained Graph in the target's primitives, in real arithmetic: folded, OR layers, delays, relays; for event-driven
    chips cores of neurons, which raises DoesNotFit with all that they cannot do. `input_kind`: with timesteps only; there
    neurons that the chip has not become the nearest that it has (warning `neuron_differs`). For GPUs batch norms are folded.
    """
    known = any_target(target) if isinstance(target, str) else target
    if isinstance(known, GpuProfile):
        return lower_to_gpu(graph)
    profile = _profile(known)
    if isinstance(profile, EventProfile):
        return lower_for_cores(graph, profile)
    return to_chip_neurons(lower_graph(graph, profile, input_kind), profile)


def quantize(
    graph: Graph, target: AnyProfile | str, calibration: NDArray[Any] | Sequence[Array] | EventDataset | None = None, *,
    input_kind: InputCoding = "graded",
) -> IntGraph:
    """The graph in the target's integers: lowers it where needed, then chooses scales on calibration data: images
    [B, C, H, W], for event-driven chips streams of events [n, 4] or a dataset of them (its validation split).

    An IntGraph passes unchanged onto every target whose neurons compute alike (a `.net` onto loihi1 and loihi2); whether
    it fits is `place`'s to say. Raises UsageError for another arithmetic. Warns (`uncalibrated`) without data.
    """
    profile = _profile(target)
    if isinstance(graph, IntGraph):
        for_target(graph, profile)
        return graph
    if calibration is None:
        warnings.warn(
            NeurodeployWarning("scales come from the weights alone", code="uncalibrated", remedy="Give calibration data"),
            stacklevel=2,
        )
    if isinstance(profile, EventProfile):
        return quantize_for_cores(graph, profile, calibration)
    if calibration is not None and not isinstance(calibration, np.ndarray):
        raise _other_kind("calibration", "streams of events", f"{profile.name} takes images [B, C, H, W]")
    lowered = graph if graph.metadata.get("input") else lower(graph, profile, input_kind=input_kind)
    return quantize_graph(lowered, profile, calibration)


@overload
def place(
    net: Graph, target: Profile, n_chips: int | None = None, *, optimise: Goal | None = None,
    events: Trace | float | None = None, schedule: Schedule | None = None, seed: int = 0,
) -> Placement: ...
@overload
def place(net: Graph, target: EventProfile) -> CorePlan: ...
@overload
def place(
    net: Graph, target: AnyProfile | str, n_chips: int | None = None, *, optimise: Goal | None = None,
    events: Trace | float | None = None, schedule: Schedule | None = None, seed: int = 0,
) -> Placement | CorePlan: ...
def place(
    net: Graph, target: AnyProfile | str, n_chips: int | None = None, *, optimise: Goal | None = None,
    events: Trace | float | None = None, schedule: Schedule | None = None, seed: int = 0,
) -> Placement | CorePlan:
    """Cores for every neuron of a lowered or integer network; raises DoesNotFit with every violation.

    optimise: look for the placement with the least latency, energy or edp for the `events` of a trace, or for an assumed
    number of spikes per neuron and timestep (`optimise_placement` also gives the figures of both placements). Event-driven
    chips take one core a layer: there is one of them, and nothing to optimise.
    """
    profile = _profile(target)
    if isinstance(profile, EventProfile):
        if n_chips is not None or optimise is not None:
            raise _other_kind("place", "n_chips or optimise", f"{profile.name} is one chip with one core a layer")
        return place_on_cores(net, profile)
    if optimise is None:
        return place_network(net, profile, n_chips)
    return optimise_placement(net, profile, optimise, events, n_chips=n_chips, schedule=schedule, seed=seed).plan


def optimise_placement(
    net: Graph, target: AnyProfile | str, goal: Goal, events: Trace | float | None, *, n_chips: int | None = None,
    schedule: Schedule | None = None, seed: int = 0, budget: int = 300,
) -> Optimised:
    """The best placement found, with its figures beside those of the plain one; arguments as `place`, which it never makes
    worse. Raises UsageError without events."""
    if events is None:
        raise UsageError("nothing says how often neurons fire", where="events", code="missing_data",
                         remedy="Give a trace of the network, or a number of spikes per neuron and timestep")
    profile = _with_timesteps(target)
    known = events if isinstance(events, Trace) else expected_at(net, events)
    return optimise_for(net, profile, goal, known, n_chips=n_chips, schedule=schedule, seed=seed, budget=budget)


@overload
def simulate(
    net: IntGraph, x: NDArray[Any], plan: Placement | CorePlan | None = None, *, n_steps: int | None = None,
    record_state: bool = False, v_readout: Readout = "lava",
) -> Trace: ...
@overload
def simulate(
    net: IntGraph, x: Sequence[Array], plan: Placement | CorePlan | None = None, *, duration_us: int | None = None,
    order: Order = "depth",
) -> EventRuns: ...
def simulate(
    net: IntGraph, x: NDArray[Any] | Sequence[Array], plan: Placement | CorePlan | None = None, *, n_steps: int | None = None,
    record_state: bool = False, v_readout: Readout = "lava", duration_us: int | None = None, order: Order = "depth",
) -> Trace | EventRuns:
    """Run images [B, C, H, W] (real, 0..1) or chip input [T, B, *input shape] (whole numbers) on the chip's arithmetic.

    `plan` is checked to belong to the network; counts per core come from `cost`. `n_steps` chip timesteps are run,
    default T and the network's latency. `v_readout`: what v_mem shows in the timestep of a spike (`sim.clocked.simulate`).

    A list of streams of events, [n, 4] each (t in us, c, y, x), runs event by event, on networks of event-driven chips:
    samples of `duration_us`, default as the network's data, else until the last event; `order` as `sim.events` has it.
    """
    _check_plan(net, plan)
    if not isinstance(x, np.ndarray):
        if n_steps is not None or record_state:
            raise _other_kind("simulate", "n_steps or record_state", "Streams of events have no timesteps")
        return run_events(net, x, duration_us, order)
    return run(net, _chip_input(net, x), n_steps, record_state=record_state, v_readout=v_readout)


def _check_plan(net: IntGraph, plan: Placement | CorePlan | None) -> None:
    if plan is None:
        return
    shapes = {n.name: net.shapes[n.name] for n in net.neurons}
    held = sorted(use.node for use in plan.cores) if isinstance(plan, CorePlan) else dict(plan.shapes)
    if held != (sorted(shapes) if isinstance(plan, CorePlan) else shapes):
        raise UsageError("a placement of another network", where=plan.target, limit=f"It holds {held}",
                         remedy="Place the network that is simulated")


def _chip_input(net: IntGraph, x: NDArray[Any]) -> NDArray[Any]:
    x = np.asarray(x)
    if x.dtype.kind != "f":
        shape = net.inputs[0].shape
        if x.shape[2:] != shape:  # said of the whole array: the simulator looks at a timestep at a time
            raise UsageError(f"an input of shape {x.shape}", where=net.inputs[0].name,
                             limit=f"Expected [T, B, {', '.join(str(n) for n in shape)}]: timesteps, samples, input shape",
                             remedy="Reshape it; maps are (C, H, W)")
        return x
    if net.target or net.host is not None:  # quantized here: its input says how images enter
        return chip_input(net, x)
    if (np.rint(x) != x).any():
        raise UsageError(
            "real numbers for a network whose file does not say how they become chip input", where=net.inputs[0].name,
            limit=f"Its input takes integers [T, B, *{net.inputs[0].shape}]", remedy="Code the data first",
        )
    return x.astype(np.int64)


@overload
def cost(
    trace: Trace, plan: Placement | Assignment, target: Profile | str, *, schedule: Schedule | None = None,
    units: Mapping[str, str] | None = None, interval_s: float | None = None,
) -> Cost: ...
@overload
def cost(
    trace: EventRuns, plan: CorePlan, target: EventProfile | str, *, interval_s: float | None = None,
    synops_per_core: float | None = None, sensor: bool = False,
) -> EventCost: ...
@overload
def cost(
    trace: Trace | EventRuns, plan: Placement | Assignment | CorePlan, target: AnyProfile | str, *,
    interval_s: float | None = None,
) -> Cost | EventCost: ...
def cost(
    trace: Trace | EventRuns, plan: Placement | Assignment | CorePlan, target: AnyProfile | str, *,
    schedule: Schedule | None = None, units: Mapping[str, str] | None = None, interval_s: float | None = None,
    synops_per_core: float | None = None, sensor: bool = False,
) -> Cost | EventCost:
    """Energy and latency of one inference, from exactly counted events.

    schedule None: `pipelined`, or `single` where samples cannot follow each other (recurrent or delayed networks, layers
    that are not reset with each sample). `units`: the kind of synapse memory of single synapse nodes, on chips that have
    several. `interval_s`: the measured time between samples, for which static and management power then run.

    Of event-driven runs: a sample's synops and the static power until the next one. synops_per_core: per second, above which
    a core is flagged, default as the profile; sensor: count the camera on the chip.
    """
    profile = _profile(target)
    if isinstance(trace, EventRuns) and isinstance(plan, CorePlan) and isinstance(profile, EventProfile):
        return cost_of_runs(trace, plan, profile, interval_s=interval_s, limit=synops_per_core, sensor=sensor)
    if not isinstance(trace, Trace) or isinstance(plan, CorePlan) or isinstance(profile, EventProfile):
        raise _other_kind("cost", f"a {type(trace).__name__} and a {type(plan).__name__}", f"The target is {profile.name}")
    counts = count(trace, plan, profile.zeros)
    return cost_of(counts, plan, profile, schedule_for(trace.graph, schedule), units=units, interval_s=interval_s)


@overload
def export(
    net: IntGraph, plan: Placement, target: AnyProfile | str, out: str | Path, *, golden_images: NDArray[Any] | None = None,
    golden_inputs: NDArray[Any] | None = None, metadata: dict[str, Any] | None = None, lowered: Graph | None = None,
) -> Bundle: ...
@overload
def export(
    net: IntGraph, plan: CorePlan, target: AnyProfile | str, out: str | Path, *, golden_inputs: Sequence[Array] | None = None,
    metadata: dict[str, Any] | None = None, lowered: Graph | None = None, padded: bool = False,
) -> Bundle: ...
@overload
def export(
    net: IntGraph, plan: Placement | CorePlan, target: AnyProfile | str, out: str | Path, *,
    metadata: dict[str, Any] | None = None, lowered: Graph | None = None,
) -> Bundle: ...
def export(
    net: IntGraph, plan: Placement | CorePlan, target: AnyProfile | str, out: str | Path, *,
    golden_images: NDArray[Any] | None = None, golden_inputs: NDArray[Any] | Sequence[Array] | None = None,
    metadata: dict[str, Any] | None = None, lowered: Graph | None = None, padded: bool = False,
) -> Bundle:
    """Write a bundle. Golden vectors play `golden_inputs` (integers [T, B, *input shape]; for event-driven chips streams of
    events) or `golden_images` [B, C, H, W], else test samples of the data named in the metadata; without any, random chip
    input. padded: spread the output channels out for the readout block of an event-driven chip."""
    profile = _profile(target)
    fields = {"data": net.metadata.get("data"), **(metadata or {})}
    if isinstance(profile, EventProfile) and isinstance(plan, CorePlan) and not isinstance(golden_inputs, np.ndarray):
        if golden_images is not None:
            raise _other_kind("golden_images", "images", f"{profile.name} takes streams of events")
        return export_on_cores(net, plan, profile, Path(out), golden_inputs, fields, lowered, padded)
    if isinstance(profile, EventProfile) or isinstance(plan, CorePlan) or not isinstance(golden_inputs, np.ndarray | None):
        given = f"a {type(plan).__name__} and golden inputs of type {type(golden_inputs).__name__}"
        raise _other_kind("export", given, f"The target is {profile.name}")
    if golden_inputs is None:
        if golden_images is None and (fields["data"] or {}).get("name") is not None:
            golden_images = dataset_of(net).split("test")[0][:8]
        golden_inputs = random_inputs(net) if golden_images is None else chip_input(net, golden_images)
    return write_bundle(net, plan, profile, Path(out), golden_inputs=golden_inputs, metadata=fields, lowered=lowered)


def dataset_of(graph: Graph, data: str | Path | None = None) -> Dataset:
    """The dataset given, or the one that the network's metadata names; UsageError without either."""
    name = data or (graph.metadata.get("data") or {}).get("name")
    if name is None:
        raise UsageError("the network names no dataset", where="data", code="missing_data", remedy="Give one with --data")
    return load_data(name, like=(graph if graph.host is None else graph.host).inputs[0].shape)


def _profile(target: AnyProfile | str) -> Profile | EventProfile:
    return chip_of(any_target(target) if isinstance(target, str) else target)


def _with_timesteps(target: AnyProfile | str) -> Profile:
    profile = _profile(target)
    if isinstance(profile, EventProfile):
        raise _other_kind("optimise_placement", "an event-driven chip", f"{profile.name} has one core a layer")
    return profile


def _other_kind(where: str, what: str, limit: str) -> UsageError:
    return UsageError(what, where=where, limit=limit, code="other_arithmetic", remedy="Give what this kind of chip takes")
