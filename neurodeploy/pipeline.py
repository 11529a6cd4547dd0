"""The arrows of neurodeploy, one function each, top to bottom; every value between them can be saved and reloaded.

    model file / module ──load──▶ Graph ──lower──▶ Graph ──quantize──▶ IntGraph ──place──▶ Placement
    IntGraph + images ──simulate──▶ Trace ──cost──▶ Cost          IntGraph + Placement ──export──▶ Bundle ──validate──▶ Verdict

`neurodeploy.jobs` strings them together for the command line (search, train, export, ...). Each function here works
alone; all of them are `nd.<name>` after `import neurodeploy as nd`.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from neurodeploy.cost.counts import count
from neurodeploy.cost.model import cost as cost_of
from neurodeploy.cost.result import Cost
from neurodeploy.cost.schedule import Schedule
from neurodeploy.data.chip_input import chip_input
from neurodeploy.data.datasets import Dataset
from neurodeploy.data.datasets import load as load_data
from neurodeploy.errors import NeurodeployWarning, UnsafeFile, UsageError
from neurodeploy.export.bundle import Bundle
from neurodeploy.export.write import export as write_bundle
from neurodeploy.hw.profile import Profile
from neurodeploy.hw.profile import target as profile_of
from neurodeploy.ir import serialize
from neurodeploy.ir.graph import Graph, IntGraph
from neurodeploy.ir.nir import read_nir
from neurodeploy.lower import InputCoding
from neurodeploy.lower import lower as lower_graph
from neurodeploy.models.autosnn import AutoSnn
from neurodeploy.models.convert import to_graph
from neurodeploy.models.files import load_module
from neurodeploy.models.files import save as save_module
from neurodeploy.place import Placement
from neurodeploy.place import place as place_network
from neurodeploy.quantize import quantize as quantize_graph
from neurodeploy.sim.clocked import simulate as run
from neurodeploy.sim.trace import Trace
from neurodeploy.validate.bundle import open_bundle

__all__ = ["cost", "export", "load", "lower", "place", "quantize", "save", "simulate"]


def save(module: AutoSnn, path: str | Path) -> None:
    """Write a trained network to `.safetensors` or `.pt` (plain types); see `models.files`."""
    save_module(module, path)


def load(path: str | Path) -> Graph:
    """The network in a file: a Graph from `.safetensors`, `.pt` or `.nir`, an IntGraph from a bundle or its graph.npz.

    Raises UsageError for a missing path or an unknown kind of file, UnsafeFile for one that is corrupt.
    """
    path = Path(path)
    if path.is_dir():
        return open_bundle(path).net
    if path.suffix == ".nir":
        return read_nir(path)
    if path.suffix == ".npz":
        return serialize.load(path)
    if path.suffix == ".net":
        raise UnsafeFile(
            "reading a lava-dl .net as a network is not supported yet", where=str(path), code="unsupported",
            remedy="Give the bundle or the model that it was exported from",
        )
    return to_graph(load_module(path))


def lower(graph: Graph, target: Profile | str, *, input_kind: InputCoding = "graded") -> Graph:
    """A trained Graph in the target's primitives, in real arithmetic: folded, OR layers, delays, relays."""
    return lower_graph(graph, _profile(target), input_kind)


def quantize(
    graph: Graph, target: Profile | str, calibration: NDArray[Any] | None = None, *,
    input_kind: InputCoding = "graded",
) -> IntGraph:
    """The graph in the target's integers: lowers it where needed, then chooses scales on calibration images [B, C, H, W].

    An IntGraph of the same target passes unchanged. Warns (`uncalibrated`) without calibration images.
    """
    profile = _profile(target)
    if isinstance(graph, IntGraph):
        if graph.target != profile.name:
            raise UsageError(f"an integer network for {graph.target}", limit=f"Asked for {profile.name}",
                             remedy="Quantize the trained network again")
        return graph
    if calibration is None:
        warnings.warn(
            NeurodeployWarning("scales come from the weights alone", code="uncalibrated", remedy="Give calibration images"),
            stacklevel=2,
        )
    lowered = graph if graph.metadata.get("input") else lower_graph(graph, profile, input_kind)
    return quantize_graph(lowered, profile, calibration)


def place(net: Graph, target: Profile | str, n_chips: int | None = None) -> Placement:
    """Cores for every neuron of a lowered or integer network; raises DoesNotFit with every violation."""
    return place_network(net, _profile(target), n_chips)


def simulate(net: IntGraph, x: NDArray[Any], plan: Placement | None = None) -> Trace:
    """Run images [B, C, H, W] (real, 0..1) or chip input [T, B, *input shape] (integers) on the chip's arithmetic.

    `plan` is checked to belong to the network; counts per core come from `cost`.
    """
    if plan is not None and plan.target != net.target:
        raise UsageError(f"a placement for {plan.target}", limit=f"The network is for {net.target}")
    return run(net, chip_input(net, x) if x.dtype.kind == "f" else x)


def cost(trace: Trace, plan: Placement, target: Profile | str, *, schedule: Schedule = "pipelined") -> Cost:
    """Energy and latency of one inference, from exactly counted events."""
    return cost_of(count(trace, plan), plan, _profile(target), schedule)


def export(
    net: IntGraph, plan: Placement, target: Profile | str, out: str | Path, *, golden_images: NDArray[Any] | None = None,
    metadata: dict[str, Any] | None = None, lowered: Graph | None = None,
) -> Bundle:
    """Write a bundle. Golden vectors come from `golden_images` [B, C, H, W], else from the data named in the metadata."""
    profile = _profile(target)
    if golden_images is None:
        golden_images = dataset_of(net).split("test")[0][:8]
    fields = {"data": net.metadata.get("data"), **(metadata or {})}
    return write_bundle(net, plan, profile, Path(out), golden_inputs=chip_input(net, golden_images), metadata=fields,
                        lowered=lowered)


def dataset_of(graph: Graph, data: str | Path | None = None) -> Dataset:
    """The dataset given, or the one that the network's metadata names; UsageError without either."""
    name = data or (graph.metadata.get("data") or {}).get("name")
    if name is None:
        raise UsageError("the network names no dataset", where="data", code="missing_data", remedy="Give one with --data")
    return load_data(name)


def _profile(target: Profile | str) -> Profile:
    return profile_of(target) if isinstance(target, str) else target
