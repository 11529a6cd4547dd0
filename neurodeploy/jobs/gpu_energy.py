"""`neurodeploy energy` on GPUs: dense passes, whatever fires; a dataset adds accuracy and where samples may stop."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from neurodeploy.cost.band import Band
from neurodeploy.cost.gpu_cost import GpuCost, asked_precision, gpu_cost
from neurodeploy.cost.gpu_exit import exit_costs
from neurodeploy.cost.gpu_memory import memory_needed, memory_violations
from neurodeploy.cost.gpu_work import LayerWork, work_of
from neurodeploy.cost.policy_cost import decider_of, runs_on, waiting, with_decider
from neurodeploy.data.spikes import read_input
from neurodeploy.early_exit.confidence import ConfidencePolicy
from neurodeploy.early_exit.planned import PlannedPolicy
from neurodeploy.errors import DoesNotFit, NeurodeployWarning, Violation
from neurodeploy.hw.gpu_profile import Precision
from neurodeploy.hw.profile import GpuProfile
from neurodeploy.ir.graph import Graph, IntGraph
from neurodeploy.jobs.activity import Activity
from neurodeploy.jobs.gpu_exit import exit_answers, kept_or_chosen
from neurodeploy.jobs.gpu_input import read_values
from neurodeploy.jobs.gpu_opened import lowered_for_gpu, refuse_cores
from neurodeploy.jobs.gpu_run import proxies_at
from neurodeploy.jobs.measure import check_length
from neurodeploy.jobs.opened import Opened
from neurodeploy.search.recipe import DeploySettings

_COUNTED = 256  # samples that proxies are the mean of
NO_PROXIES = "Proxies count what arrives at synapses; no data was run"


@dataclass(frozen=True)
class OnGpu:
    """A network as work for one GPU: T timesteps, one sample or `batch` of them at once."""

    profile: GpuProfile
    work: tuple[LayerWork, ...]
    n_timesteps: int
    batch: int
    precision: Precision

    @classmethod
    def of(cls, graph: Graph, profile: GpuProfile, settings: DeploySettings) -> OnGpu:
        """As the settings ask (`gpu.batch`, `gpu.precision`). Raises UsageError for a precision that the profile lacks."""
        asked = settings.gpu
        return cls(profile, work_of(graph), graph.n_timesteps, asked.batch, asked_precision(profile, asked.precision))

    def violations(self) -> tuple[Violation, ...]:
        """The memory, where the batch does not fit into it."""
        return memory_violations(self.work, self.profile, self.n_timesteps, batch=self.batch, precision=self.precision)

    def memory(self) -> dict[str, Any]:
        """What the batch takes of the memory, in bytes."""
        used = memory_needed(self.work, self.n_timesteps, batch=self.batch, precision=self.precision, form="unrolled")
        limit = int(self.profile.capacity.memory.si[1])
        return {"used": used, "limit": limit, "share": used / limit, "batch": self.batch}

    def cost(self, batch: int, interval_s: float | None = None) -> GpuCost:
        """All timesteps of a batch in the unrolled form."""
        return gpu_cost(
            self.work, self.profile, self.n_timesteps, batch=batch, precision=self.precision, interval_s=interval_s
        )

    def figures(self, interval_s: float | None = None) -> dict[str, Any]:
        """The contract's figures of one sample alone; `batched`: those of the whole batch that differ."""
        one, many = self.cost(1, interval_s), self.cost(self.batch, interval_s).to_dict()
        if self.precision != self.profile.arithmetic.precisions[0] and self.precision != "fp32":
            warnings.warn(NeurodeployWarning(
                f"costs are those of {self.precision}; accuracy and exported files are float32", code="float32_only",
                where=self.profile.name, remedy="Convert the exported model with the runtime's own tools, and measure it",
            ), stacklevel=2)
        kept = ("batch", "energy_j", "energy_dynamic_j", "breakdown_j", "latency_s", "latency_band_s", "interval_s", "limiting")
        return {
            **one.to_dict(), "batched": {name: many[name] for name in kept}, "memory": self.memory(),
            "disclaimer": self.profile.disclaimer, "placement_source": None,
            "interval_source": "predicted" if interval_s is None else "given", "interval_predicted_s": one.latency_s.nominal,
        }

    def early_exit(self, histogram: Sequence[int], policy: ConfidencePolicy | PlannedPolicy) -> dict[str, Any]:
        """What stopping early costs, one sample alone (step form), beside all timesteps (unrolled form), and in a batch that
        waits for its slowest sample (`stopping`) or goes on with those that are left (`compacted`). With steps known beforehand
        also of batches of equal steps (`grouped`), and what the policy adds, of one sample and of each in a batch."""
        planned = policy if isinstance(policy, PlannedPolicy) else None
        one, many = (
            exit_costs(self.work, self.profile, histogram, batch=n, precision=self.precision, grouped=planned is not None)
            for n in (1, self.batch)
        )
        full, early = one.all_unrolled, one.stopping
        figures: dict[str, Any] = {
            "energy_j": early.energy_j.to_dict(), "energy_dynamic_j": early.energy_dynamic_j.to_dict(),
            "energy_full_j": full.energy_j.to_dict(), "energy_dynamic_full_j": full.energy_dynamic_j.to_dict(),
            "energy_full_step_j": one.all_step.energy_j.to_dict(),
            "latency_s": early.latency_s.nominal, "latency_full_s": full.latency_s.nominal, "status": self.cost(1).status,
            "energy_saved": 1 - early.energy_j.nominal / full.energy_j.nominal, "batched": many.to_dict(),
        }
        if planned is None or many.grouped is None:
            return figures
        grouped = {"energy_j": many.grouped.energy_j.to_dict(), "energy_full_j": many.all_unrolled.energy_j.to_dict()}
        added = self._with_policy(planned, grouped, many.grouped.latency_s.nominal, self.batch)
        figures["batched"] |= {name: value for name, value in added.items() if name not in grouped}
        return self._with_policy(planned, figures, early.latency_s.nominal, 1)

    def _with_policy(self, policy: PlannedPolicy, figures: dict[str, Any], latency_s: float, batch: int) -> dict[str, Any]:
        decider = decider_of(policy, self.profile, batch=batch)
        waits = Band(0.0, 0.0, 0.0)
        if not runs_on(policy, self.profile):
            waits = waiting(self.profile, 1, decider.latency_s.scaled(1 / batch))
        return with_decider(figures, decider, waits, latency_s)


def shapes_for_gpu(opened: Opened) -> Graph:
    """What a GPU would run; integers that come without their real-valued twin stand for a dense pass of the same layers."""
    if isinstance(opened.graph, IntGraph) and opened.bundle is None:
        warnings.warn(NeurodeployWarning(
            "holds the integers of a chip: figures of GPUs are those of a dense pass of the same layers in real numbers",
            code="dense_pass", where=str(opened.path), remedy="Give the model that it was exported from, for its accuracy too",
        ), stacklevel=3)
        return opened.graph
    return lowered_for_gpu(opened)


def energy_on_gpu(
    profile: GpuProfile, settings: DeploySettings, activity: Activity, schedule: str | None
) -> tuple[dict[str, Any], dict[str, Any] | None]:
    """(the contract's fields of one GPU, proxies or None where no data was run).

    The entry's own figures are those of one sample alone in the unrolled form, `batched` those of `gpu.batch` samples at
    once. Raises DoesNotFit where the memory is too small.
    """
    refuse_cores(profile.name, {"--schedule pipelined": schedule if schedule == "pipelined" else None})
    graph = shapes_for_gpu(activity.opened)
    entry: dict[str, Any] = {"fits": True, "accuracy": None, "early_exit": None, "data": None}
    samples, x = None, None
    if activity.given is not None and isinstance(graph, IntGraph):
        read = read_input(activity.given, graph, activity.layout)
        graph = replace(graph, n_timesteps=read.n_timesteps(graph, activity.n_timesteps))
        entry["input"] = {"file": str(activity.given), "n_samples": read.x.shape[1], "n_timesteps": graph.n_timesteps}
    elif activity.given is not None:
        if activity.n_timesteps is not None:
            graph = replace(graph, n_timesteps=activity.n_timesteps)
        x = read_values(activity.given, graph, activity.layout)
        entry["input"] = {"file": str(activity.given), "n_samples": x.shape[1], "n_timesteps": graph.n_timesteps}
    elif activity.n_timesteps is not None:
        graph = replace(graph, n_timesteps=activity.n_timesteps)
    elif activity.from_dataset and not isinstance(graph, IntGraph):
        samples = activity.float_samples
    check_length(graph)
    on = OnGpu.of(graph, profile, settings)
    if on.violations():
        raise DoesNotFit(on.violations(), target=profile.name)
    proxies = None
    if samples is not None:
        entry |= _answers(on, activity, samples.name, settings)
        x = next(samples.batches("test"))
    if x is not None:
        proxies = proxies_at(graph, x[:, :_COUNTED])
    if activity.rate is not None:
        entry["rate"] = activity.rate
    return {**entry, **on.figures(activity.interval_s)}, proxies


def _answers(on: OnGpu, activity: Activity, data: str, settings: DeploySettings) -> dict[str, Any]:
    """Accuracy on the test split, and early exit with a threshold of the validation split."""
    chosen, runs = activity.float_runs["validation"], activity.float_runs["test"]
    early = None
    if on.n_timesteps > 1:  # else there is nothing to leave
        assert activity.float_samples is not None  # the caller looked
        policy = kept_or_chosen(activity.opened, activity.float_samples, settings, chosen)
        found = exit_answers(activity.float_samples, runs, policy)
        early = {**found, **on.early_exit(found["histogram"], policy)}
    return {"accuracy": runs.accuracy(), "data": {"name": data, "split": "test"}, "early_exit": early}
