"""What an architecture would be worth on a GPU, judged with the supernet's weights; its costs follow from its shapes alone."""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

from neurodeploy.data.datasets import Dataset
from neurodeploy.early_exit.confidence import evaluate_policy
from neurodeploy.hw.profile import GpuProfile
from neurodeploy.ir.graph import Graph
from neurodeploy.jobs.candidate import ImageEvaluator, Rates
from neurodeploy.jobs.exits import choose_policy
from neurodeploy.jobs.gpu_energy import OnGpu
from neurodeploy.lower.gpu import lower_to_gpu
from neurodeploy.models.autosnn import AutoSnn, SuperNet
from neurodeploy.models.convert import to_graph
from neurodeploy.search.fitness import Metrics
from neurodeploy.search.recipe import Recipe


class GpuEvaluator(ImageEvaluator):
    """Candidates on a GPU: energy and latency are those of one sample alone in the unrolled form, at exit in the step form."""

    def __init__(self, supernet: SuperNet, data: Dataset, recipe: Recipe, profile: GpuProfile) -> None:
        super().__init__(supernet, data, recipe)
        self.profile = profile

    def _lowered(self, network: AutoSnn) -> Graph:
        return lower_to_gpu(to_graph(network))

    def _cost(self, lowered: Graph, rates: Rates, votes: NDArray[Any], accuracy: float, paper: float) -> Metrics:
        on = OnGpu.of(lowered, self.profile, self.recipe.deploy)
        common: dict[str, Any] = {
            "accuracy": accuracy, "spikes_paper": paper, "synops": None, "n_cores": None,
            "spikes": sum(float(rates[n.name].sum()) for n in lowered.neurons),
            "silent_layers": tuple(name for name, rate in rates.items() if not rate.any()),
        }
        broken = on.violations()
        if broken:
            return Metrics(
                **common, energy_j=None, energy_dynamic_j=None, energy_at_exit_j=None, energy_dynamic_at_exit_j=None,
                latency_s=None, fits=False, violations=broken,
            )
        policy = choose_policy(self.recipe.early_exit, votes, self._labels, warn=False)
        early = on.early_exit(evaluate_policy(votes, self._labels, policy).histogram, policy)
        found = on.cost(1)
        return Metrics(
            **common, energy_j=found.energy_j.nominal, energy_dynamic_j=found.energy_dynamic_j.nominal,
            energy_at_exit_j=early["energy_j"]["nominal"], energy_dynamic_at_exit_j=early["energy_dynamic_j"]["nominal"],
            latency_s=found.latency_s.nominal, fits=True,
        )
