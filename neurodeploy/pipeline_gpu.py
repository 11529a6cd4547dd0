"""The arrows of GPUs; nothing is quantized or placed there.

    Graph ──lower──▶ Graph ──cost_on_gpu──▶ GpuCost          Graph + values ──simulate_on_gpu──▶ GpuTrace
    Graph + values ──export_on_gpu──▶ Bundle
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from neurodeploy.cost.gpu_cost import GpuCost, gpu_cost
from neurodeploy.cost.gpu_time import Form
from neurodeploy.cost.gpu_work import work_of
from neurodeploy.early_exit.confidence import ConfidencePolicy
from neurodeploy.errors import UsageError
from neurodeploy.export.bundle import Bundle
from neurodeploy.export.gpu import export_gpu
from neurodeploy.hw.gpu_profile import GpuProfile, Precision
from neurodeploy.hw.profile import any_target
from neurodeploy.ir.graph import Graph, IntGraph
from neurodeploy.ir.nodes import Array
from neurodeploy.lower.gpu import lower_to_gpu
from neurodeploy.sim.gpu_run import GpuTrace, run

__all__ = ["cost_on_gpu", "export_on_gpu", "simulate_on_gpu"]


def cost_on_gpu(
    graph: Graph, target: GpuProfile | str, *, batch: int = 1, precision: Precision | None = None, form: Form = "unrolled",
    interval_s: float | None = None,
) -> GpuCost:
    """Energy and latency of one inference of `batch` samples: dense passes, whatever fires (`cost.gpu_cost`).

    An IntGraph stands for the same layers in real numbers. Raises UsageError for a target that is no GPU.
    """
    lowered = graph if isinstance(graph, IntGraph) else lower_to_gpu(graph)
    return gpu_cost(
        work_of(lowered), _gpu(target), graph.n_timesteps, batch=batch, precision=precision, form=form, interval_s=interval_s
    )


def simulate_on_gpu(graph: Graph, x: Array, *, membranes: bool = False) -> GpuTrace:
    """Spikes and votes of real values x [T, B, *input shape] in float32, as an exported network computes them."""
    return run(lower_to_gpu(graph), x, membranes=membranes)


def export_on_gpu(
    graph: Graph, target: GpuProfile | str, out: str | Path, *, golden_inputs: Array, metadata: dict[str, Any] | None = None,
    policy: ConfidencePolicy | None = None,
) -> Bundle:
    """Write a bundle with the network's ONNX forms; golden vectors play x [T, B, *input shape] (`export.gpu`)."""
    fields = {"data": graph.metadata.get("data"), **(metadata or {})}
    profile = _gpu(target)
    return export_gpu(lower_to_gpu(graph), profile, Path(out), golden_inputs=golden_inputs, metadata=fields, policy=policy)


def _gpu(target: GpuProfile | str) -> GpuProfile:
    profile = any_target(target) if isinstance(target, str) else target
    if not isinstance(profile, GpuProfile):
        raise UsageError(f"{profile.name} is no GPU", where="target", code="other_arithmetic",
                         limit="This takes a GPU's profile", remedy="Chips have quantize, place, simulate, cost and export")
    return profile
