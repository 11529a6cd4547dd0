"""The arrows of neurodeploy, one function each, top to bottom; every value between them can be saved and reloaded.

    model file / module ──load──▶ Graph ──lower──▶ Graph ──quantize──▶ IntGraph ──place──▶ Placement
    IntGraph + images ──simulate──▶ Trace ──cost──▶ Cost          IntGraph + Placement ──export──▶ Bundle ──validate──▶ Verdict

`neurodeploy.jobs` strings them together for the command line (search, train, export, ...). Each function here works
alone; all of them are `nd.<name>` after `import neurodeploy as nd`.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from neurodeploy.cost.assumed import expected_at
from neurodeploy.cost.counts import count
from neurodeploy.cost.model import cost as cost_of
from neurodeploy.cost.objective import optimise_for
from neurodeploy.cost.result import Cost
from neurodeploy.cost.schedule import Schedule
from neurodeploy.cost.windows import schedule_for
from neurodeploy.data.chip_input import chip_input
from neurodeploy.data.datasets import Dataset
from neurodeploy.data.datasets import load as load_data
from neurodeploy.errors import NeurodeployWarning, UsageError
from neurodeploy.export.bundle import Bundle
from neurodeploy.export.golden import random_inputs
from neurodeploy.export.write import export as write_bundle
from neurodeploy.hw.profile import Profile
from neurodeploy.hw.profile import target as profile_of
from neurodeploy.ir import serialize
from neurodeploy.ir.graph import Graph, IntGraph
from neurodeploy.ir.net import read_network
from neurodeploy.ir.nir import read_nir
from neurodeploy.ir.nir_foreign import NirOptions
from neurodeploy.lower import InputCoding
from neurodeploy.lower import lower as lower_graph
from neurodeploy.models.autosnn import AutoSnn
from neurodeploy.models.convert import to_graph
from neurodeploy.models.files import load_module
from neurodeploy.models.files import save as save_module
from neurodeploy.place import Placement
from neurodeploy.place import place as place_network
from neurodeploy.place.assignment import Assignment
from neurodeploy.place.optimise import Goal, Optimised
from neurodeploy.quantize import quantize as quantize_graph
from neurodeploy.quantize.passing import for_target
from neurodeploy.sim.clocked import simulate as run
from neurodeploy.sim.trace import Trace
from neurodeploy.validate.event_bundle import open_any

Readout = Literal["lava", "loihi2"]

__all__ = ["cost", "export", "load", "lower", "optimise_placement", "place", "quantize", "save", "simulate"]


def save(module: AutoSnn, path: str | Path) -> None:
    """Write a trained network to `.safetensors` or `.pt` (plain types); see `models.files`."""
    save_module(module, path)


def load(path: str | Path) -> Graph:
    """The network in a file: a Graph from `.safetensors`, `.pt` or `.nir`, an IntGraph from a bundle, its graph.npz or
    lava-dl's `.net` (`ir.net.read_network` takes what that file does not say: reset, message bits, timesteps). A `.nir` of
    another tool may leave conventions open too: `ir.nir_foreign.NirOptions`; assumed with a warning (`nir_assumed`).

    Raises UsageError for a missing path or an unknown kind of file, UnsafeFile for one that is corrupt.
    """
    path = Path(path)
    if path.is_dir():
        return open_any(path).net
    if path.suffix == ".nir":
        return read_nir(path, NirOptions())
    if path.suffix == ".npz":
        return serialize.load(path)
    if path.suffix == ".net":
        return read_network(path)
    return to_graph(load_module(path))


def lower(graph: Graph, target: Profile | str, *, input_kind: InputCoding = "graded") -> Graph:
    """A trained Graph in the target's primitives, in real arithmetic: folded, OR layers, delays, relays."""
    return lower_graph(graph, _profile(target), input_kind)


def quantize(
    graph: Graph, target: Profile | str, calibration: NDArray[Any] | None = None, *,
    input_kind: InputCoding = "graded",
) -> IntGraph:
    """The graph in the target's integers: lowers it where needed, then chooses scales on calibration images [B, C, H, W].

    An IntGraph passes unchanged onto every target whose neurons compute alike (a `.net` onto loihi1 and loihi2); whether
    it fits is `place`'s to say. Raises UsageError for another arithmetic. Warns (`uncalibrated`) without images.
    """
    profile = _profile(target)
    if isinstance(graph, IntGraph):
        for_target(graph, profile)
        return graph
    if calibration is None:
        warnings.warn(
            NeurodeployWarning("scales come from the weights alone", code="uncalibrated", remedy="Give calibration images"),
            stacklevel=2,
        )
    lowered = graph if graph.metadata.get("input") else lower_graph(graph, profile, input_kind)
    return quantize_graph(lowered, profile, calibration)


def place(
    net: Graph, target: Profile | str, n_chips: int | None = None, *, optimise: Goal | None = None,
    events: Trace | float | None = None, schedule: Schedule | None = None, seed: int = 0,
) -> Placement:
    """Cores for every neuron of a lowered or integer network; raises DoesNotFit with every violation.

    optimise: look for the placement with the least latency, energy or edp for the `events` of a trace, or for an assumed
    number of spikes per neuron and timestep (`optimise_placement` also gives the figures of both placements).
    """
    if optimise is None:
        return place_network(net, _profile(target), n_chips)
    return optimise_placement(net, target, optimise, events, n_chips=n_chips, schedule=schedule, seed=seed).plan


def optimise_placement(
    net: Graph, target: Profile | str, goal: Goal, events: Trace | float | None, *, n_chips: int | None = None,
    schedule: Schedule | None = None, seed: int = 0, budget: int = 300,
) -> Optimised:
    """The best placement found, with its figures beside those of the plain one; arguments as `place`, which it never makes
    worse. Raises UsageError without events."""
    if events is None:
        raise UsageError("nothing says how often neurons fire", where="events", code="missing_data",
                         remedy="Give a trace of the network, or a number of spikes per neuron and timestep")
    known = events if isinstance(events, Trace) else expected_at(net, events)
    profile = _profile(target)
    return optimise_for(net, profile, goal, known, n_chips=n_chips, schedule=schedule, seed=seed, budget=budget)


def simulate(
    net: IntGraph, x: NDArray[Any], plan: Placement | None = None, *, n_steps: int | None = None, record_state: bool = False,
    v_readout: Readout = "lava",
) -> Trace:
    """Run images [B, C, H, W] (real, 0..1) or chip input [T, B, *input shape] (whole numbers) on the chip's arithmetic.

    `plan` is checked to belong to the network; counts per core come from `cost`. `n_steps` chip timesteps are run,
    default T and the network's latency. `v_readout`: what v_mem shows in the timestep of a spike (`sim.clocked.simulate`).
    """
    if plan is not None and dict(plan.shapes) != {n.name: net.shapes[n.name] for n in net.neurons}:
        raise UsageError("a placement of another network", where=plan.target, limit=f"It holds {dict(plan.shapes)}",
                         remedy="Place the network that is simulated")
    return run(net, _chip_input(net, x), n_steps, record_state=record_state, v_readout=v_readout)


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


def cost(
    trace: Trace, plan: Placement | Assignment, target: Profile | str, *, schedule: Schedule | None = None,
    units: Mapping[str, str] | None = None, interval_s: float | None = None,
) -> Cost:
    """Energy and latency of one inference, from exactly counted events.

    schedule None: `pipelined`, or `single` where samples cannot follow each other (recurrent or delayed networks, layers
    that are not reset with each sample). `units`: the kind of synapse memory of single synapse nodes, on chips that have
    several. `interval_s`: the measured time between samples, for which static and management power then run.
    """
    profile = _profile(target)
    counts = count(trace, plan, profile.zeros)
    return cost_of(counts, plan, profile, schedule_for(trace.graph, schedule), units=units, interval_s=interval_s)


def export(
    net: IntGraph, plan: Placement, target: Profile | str, out: str | Path, *, golden_images: NDArray[Any] | None = None,
    golden_inputs: NDArray[Any] | None = None, metadata: dict[str, Any] | None = None, lowered: Graph | None = None,
) -> Bundle:
    """Write a bundle. Golden vectors play `golden_inputs` (integers [T, B, *input shape]) or `golden_images`
    [B, C, H, W], else test images of the data named in the metadata; without any, random chip input."""
    profile = _profile(target)
    fields = {"data": net.metadata.get("data"), **(metadata or {})}
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
    return load_data(name)


def _profile(target: Profile | str) -> Profile:
    return profile_of(target) if isinstance(target, str) else target
