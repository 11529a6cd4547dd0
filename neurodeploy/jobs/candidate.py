"""What an architecture would be worth on the target, judged with the supernet's weights: the search's evaluation."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from neurodeploy.cost.combine import until
from neurodeploy.cost.counts import from_rates
from neurodeploy.cost.model import cost
from neurodeploy.data.chip_input import chip_input
from neurodeploy.data.datasets import Dataset
from neurodeploy.early_exit.confidence import evaluate_policy
from neurodeploy.errors import NeurodeployError
from neurodeploy.hw.profile import Profile
from neurodeploy.ir.graph import Graph
from neurodeploy.ir.votes import predictions
from neurodeploy.jobs.exits import choose_policy
from neurodeploy.jobs.training import labelled
from neurodeploy.lower import lower
from neurodeploy.models.autosnn import AutoSnn, SuperNet
from neurodeploy.models.convert import to_graph
from neurodeploy.models.record import record, spikes_paper
from neurodeploy.place import check
from neurodeploy.search.fitness import Metrics
from neurodeploy.search.recipe import Recipe
from neurodeploy.search.terms import with_terms
from neurodeploy.train.batchnorm import batch_order, recalibrate_bn
from neurodeploy.train.trainer import as_input, real

_BATCH = 512
Rates = dict[str, NDArray[np.float64]]


class ImageEvaluator:
    """Calls give the metrics of an architecture, as plain JSON values; a pure function of its arguments.

    Accuracy and activity are those of the validation split, after batch norms were estimated anew for the candidate. What
    they cost is for each kind of target to say: `_lowered` and `_cost`.
    """

    def __init__(self, supernet: SuperNet, data: Dataset, recipe: Recipe) -> None:
        self.supernet, self.recipe, self.data = supernet, recipe, data
        self._x_train = labelled(recipe, data, "train")[0]
        self._images, self._labels = labelled(recipe, data, "validation")

    def __call__(self, arch: Sequence[str]) -> dict[str, Any]:
        return self.metrics(self.network(arch)).to_dict()

    def network(self, arch: Sequence[str]) -> AutoSnn:
        """The candidate with the supernet's weights and batch-norm statistics of its own."""
        child = self.child(arch)
        recalibrate_bn(child, self._x_train, *self._batches, encoding=self.recipe.supernet.encoding)
        return child

    def child(self, arch: Sequence[str]) -> AutoSnn:
        """The candidate with the supernet's weights, and still its batch-norm statistics."""
        child = self.supernet.child(arch).eval()
        child.metadata = {"data": {"name": self.data.name, "n_levels": self.data.n_levels}}
        return child

    @property
    def _batches(self) -> tuple[int, int]:
        """(number, size) of the batches that batch norms are estimated on."""
        s = self.recipe.supernet
        size = min(s.recalibration_batch_size, len(self._x_train))
        return min(s.recalibration_batches, len(self._x_train) // size), size

    def estimating(self) -> list[Tensor]:
        """What `network` estimates batch norms on, as the network takes it."""
        encoding, n_timesteps = self.recipe.supernet.encoding, self.recipe.network.n_timesteps
        order = batch_order(len(self._x_train), *self._batches)
        return [as_input(self._tensor(self._x_train[index]), encoding, n_timesteps) for index in order]

    def judging(self) -> Iterator[Tensor]:
        """The validation split as the network takes it, in parts."""
        encoding, n_timesteps = self.recipe.supernet.encoding, self.recipe.network.n_timesteps
        return (as_input(self._tensor(x), encoding, n_timesteps) for x in _batches(self._images))

    def _tensor(self, images: NDArray[Any]) -> Tensor:
        return torch.from_numpy(images).to(self.supernet.stem.conv.weight.device)

    def metrics(self, network: AutoSnn) -> Metrics:
        """Metrics of a network on the validation split."""
        all_votes, all_spikes, fired = [], [], dict[str, NDArray[np.float64]]()
        with torch.inference_mode(), record(network) as recorded:
            for x in self.judging():
                all_votes.append(network(x).cpu().numpy())
                all_spikes.append(spikes_paper(recorded))
                for name, spikes in recorded.items():
                    fired[name] = fired.get(name, 0.0) + spikes.sum(dim=1, dtype=torch.float64).cpu().numpy()
        rates: Rates = {name: n / len(self._labels) for name, n in fired.items()}
        return self.metrics_of(network, np.concatenate(all_votes, axis=1), torch.cat(all_spikes), rates)

    def metrics_of(self, network: AutoSnn, votes: NDArray[Any], spikes: Tensor, rates: Rates) -> Metrics:
        """Metrics from what a network did on the validation split: votes [T, N, C], spikes [N] as the paper counts them, and
        mean rates [T, *shape] by layer."""
        paper = float(spikes.mean())
        accuracy = float((predictions(votes)[-1] == self._labels).mean())
        lowered = self._lowered(network)
        found = self._cost(lowered, rates, votes, accuracy, paper)
        return with_terms(found, lowered, self.recipe.fitness.terms, network.arch)

    def _lowered(self, network: AutoSnn) -> Graph:
        """The network as the target holds it."""
        raise NotImplementedError

    def _cost(self, lowered: Graph, rates: Rates, votes: NDArray[Any], accuracy: float, paper: float) -> Metrics:
        """Metrics from what fired: mean rates [T, *shape] by layer, votes [T, N, C]."""
        raise NotImplementedError


class Evaluator(ImageEvaluator):
    """Candidates on a chip with timesteps."""

    def __init__(self, supernet: SuperNet, data: Dataset, recipe: Recipe, profile: Profile) -> None:
        super().__init__(supernet, data, recipe)
        self.profile = profile

    def _lowered(self, network: AutoSnn) -> Graph:
        return lower(to_graph(network), self.profile, self.recipe.input.kind, input_bits=self.recipe.input.input_bits)

    def _cost(self, lowered: Graph, rates: Rates, votes: NDArray[Any], accuracy: float, paper: float) -> Metrics:
        fit = check(lowered, self.profile, self.recipe.cost.n_chips)
        silent = tuple(name for name, rate in rates.items() if not rate.any())
        entry = lowered.inputs[0]
        arrived = sum((chip_input(lowered, real(torch.from_numpy(x)).numpy()) != 0).sum(axis=1) for x in _batches(self._images))
        rates[entry.name] = np.asarray(arrived) / len(self._labels)
        spikes = sum(float(_rate(lowered, rates, n.name).sum()) for n in lowered.neurons)
        if fit.placement is None:
            return Metrics(
                accuracy=accuracy, spikes_paper=paper, spikes=spikes, synops=0.0, energy_j=None, energy_dynamic_j=None,
                energy_at_exit_j=None, energy_dynamic_at_exit_j=None, latency_s=None, n_cores=fit.n_cores, fits=False,
                silent_layers=silent, violations=fit.violations,
            )
        counts = from_rates(lowered, fit.placement, rates, self.profile.zeros)
        found = cost(counts, fit.placement, self.profile, self.recipe.cost.schedule)
        at_exit = dynamic_at_exit = 0.0
        chosen = choose_policy(self.recipe.early_exit, votes, self._labels, warn=False)
        histogram = evaluate_policy(votes, self._labels, chosen).histogram
        latency = lowered.latencies[lowered.output.name]
        for t, n in enumerate(histogram, start=1):
            if n:
                stopped = cost(until(counts, np.array([t + latency])), fit.placement, self.profile, "single")
                at_exit += n / sum(histogram) * stopped.energy_j.nominal
                dynamic_at_exit += n / sum(histogram) * stopped.energy_dynamic_j.nominal
        return Metrics(
            accuracy=accuracy, spikes_paper=paper, spikes=spikes, synops=found.counts["synops"],
            energy_j=found.energy_j.nominal, energy_dynamic_j=found.energy_dynamic_j.nominal, energy_at_exit_j=at_exit,
            energy_dynamic_at_exit_j=dynamic_at_exit,
            latency_s=found.latency_s.nominal, n_cores=found.n_cores, fits=True, silent_layers=silent,
        )


def _batches(images: NDArray[Any]) -> Iterator[NDArray[Any]]:
    """Images in parts whose spikes can be recorded."""
    return (images[i : i + _BATCH] for i in range(0, len(images), _BATCH))


def _rate(lowered: Graph, rates: Rates, name: str) -> NDArray[np.float64]:
    """Rates of a lowered layer: its own, or those of the layer that it relays."""
    origin = lowered.metadata.get("relays", {}).get(name, name)
    if origin not in rates:
        raise NeurodeployError("no activity was recorded", where=name, code="not_recorded")
    return rates[origin]
