"""What an architecture would be worth on an event-driven chip, judged with the supernet's weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from neurodeploy.cost.event_activity import expected_activity, synops_of, wiring
from neurodeploy.cost.event_cost import event_cost
from neurodeploy.data.event_dataset import EventDataset
from neurodeploy.early_exit.confidence import evaluate_policy
from neurodeploy.errors import DoesNotFit
from neurodeploy.hw.profile import EventProfile
from neurodeploy.ir.graph import Graph
from neurodeploy.ir.votes import predictions
from neurodeploy.jobs.exits import choose_policy
from neurodeploy.jobs.training import described, labelled
from neurodeploy.lower.event_cores import lower_to_events
from neurodeploy.models.autosnn import AutoSnn, SuperNet
from neurodeploy.models.convert import to_graph
from neurodeploy.models.record import record, spikes_paper
from neurodeploy.place.core_plan import CorePlan
from neurodeploy.place.event_cores import check
from neurodeploy.search.fitness import Metrics
from neurodeploy.search.recipe import Recipe
from neurodeploy.search.terms import with_terms
from neurodeploy.sim.events_network import INPUT
from neurodeploy.train.batchnorm import recalibrate_bn
from neurodeploy.train.config import TrainConfig
from neurodeploy.train.loop import train
from neurodeploy.train.ranks import alone
from neurodeploy.train.trainer import as_input

_BATCH = 64
_LAST = 1e-6  # select_last: weights of the last epoch, whatever validation says


@dataclass(frozen=True, eq=False)
class _Recorded:
    """votes [T, N, C]; counts: mean spikes of each neuron in each bin, [T, *shape] by layer; paper: as AutoSNN counts."""

    votes: NDArray[np.float64]
    counts: dict[str, NDArray[np.float64]]
    paper: float


class EventEvaluator:
    """Calls give the metrics of an architecture, as plain JSON values; a pure function of its arguments.

    Accuracy and activity are those of the validation split in the clocked simulation that training uses; synops follow from
    the spikes at every address, so limits and energy are the chip's for that activity.
    """

    def __init__(self, supernet: SuperNet, data: EventDataset, recipe: Recipe, profile: EventProfile) -> None:
        self.supernet, self.recipe, self.profile, self.data = supernet, recipe, profile, data
        self._rasters, self._labels = labelled(recipe, data, "validation")
        self._train = labelled(recipe, data, "train")

    def __call__(self, arch: Sequence[str]) -> dict[str, Any]:
        return self.metrics(self.network(arch)).to_dict()

    def network(self, arch: Sequence[str]) -> AutoSnn:
        """The candidate with the supernet's weights, batch-norm statistics of its own, and adapted as the recipe asks."""
        child = self.supernet.child(arch).eval()
        s = self.recipe.supernet
        x = self._train[0]
        size = min(s.recalibration_batch_size, len(x))
        recalibrate_bn(child, x, min(s.recalibration_batches, len(x) // size), size, encoding=s.encoding)
        if s.adapt_epochs:
            settings = s.model_dump(include=set(TrainConfig.model_fields)) | {"epochs": s.adapt_epochs, "select_last": _LAST}
            with alone():  # candidates are the first process's work
                train(
                    child, self._train, (self._rasters, self._labels), TrainConfig.model_validate(settings),
                    seed=self.recipe.seed, device=self.recipe.device,
                )
        child.metadata = {"data": described(self.data, self.data.name), "encoding": "events"}
        return child

    def metrics(self, network: AutoSnn) -> Metrics:
        """Metrics of a network on the validation split."""
        recorded = self._record(network)
        accuracy = float((predictions(recorded.votes)[-1] == self._labels).mean())
        graph = to_graph(network)
        counts = {name: c for name, c in recorded.counts.items() if name in graph.by_name}
        neurons = [n.name for n in graph.neurons]
        silent = tuple(name for name in neurons if not counts[name].any())
        spikes = sum(float(counts[name].sum()) for name in neurons)
        common: dict[str, Any] = {
            "accuracy": accuracy, "spikes_paper": recorded.paper, "spikes": spikes, "silent_layers": silent,
        }
        try:
            lowered = lower_to_events(graph, self.profile)
            found = check(lowered, self.profile)
            if found.plan is None:
                raise DoesNotFit(found.violations, target=self.profile.name)
        except DoesNotFit as error:
            return Metrics(
                **common, synops=0.0, energy_j=None, energy_dynamic_j=None, energy_at_exit_j=None,
                energy_dynamic_at_exit_j=None, latency_s=None, n_cores=len(neurons), fits=False, violations=error.violations,
            )
        costed = self._costed(lowered, found.plan, counts, recorded.votes, common)
        return with_terms(costed, lowered, self.recipe.fitness.terms, network.arch)

    def _costed(
        self, lowered: Graph, plan: CorePlan, counts: dict[str, NDArray[np.float64]], votes: NDArray[np.float64],
        common: dict[str, Any],
    ) -> Metrics:
        duration_s = self.data.duration_us * 1e-6
        activity = expected_activity(lowered, {name: c.sum(axis=0) for name, c in counts.items()}, duration_s)
        found = event_cost(activity, plan, self.profile)
        at_exit, dynamic_at_exit = self._at_exit(lowered, counts, votes, found.energy_dynamic_j.nominal, found.energy_j.nominal)
        return Metrics(
            **common, synops=activity.synops, energy_j=found.energy_j.nominal,
            energy_dynamic_j=found.energy_dynamic_j.nominal, energy_at_exit_j=at_exit,
            energy_dynamic_at_exit_j=dynamic_at_exit,
            latency_s=None if found.latency_s is None else found.latency_s.nominal, n_cores=found.n_cores, fits=True,
        )

    def _at_exit(
        self, lowered: Graph, counts: dict[str, NDArray[np.float64]], votes: NDArray[np.float64], dynamic_j: float,
        total_j: float,
    ) -> tuple[float, float]:
        """(energy, dynamic energy) of a sample that stops when its vote is confident: power runs until then, so do synops."""
        network, entry = wiring(lowered), lowered.inputs[0].name
        shapes = {INPUT: network.input_shape, **{layer.name: layer.shape for layer in network.layers}}
        by_bin = np.array([
            sum(synops_of(network, {
                name: counts[entry if name == INPUT else name][t].reshape(shape) for name, shape in shapes.items()
            }).values())
            for t in range(len(votes))
        ])
        until = np.cumsum(by_bin)
        chosen = choose_policy(self.recipe.early_exit, votes, self._labels, warn=False)
        histogram = np.array(evaluate_policy(votes, self._labels, chosen).histogram, dtype=np.float64)
        share = histogram / histogram.sum()
        dynamic = dynamic_j * float(share @ until / until[-1]) if until[-1] > 0 else 0.0
        time = float(share @ np.arange(1, len(votes) + 1)) / len(votes)
        return dynamic + (total_j - dynamic_j) * time, dynamic

    def _record(self, network: AutoSnn) -> _Recorded:
        votes, paper = [], 0.0
        totals: dict[str, NDArray[np.float64]] = {}
        n = len(self._rasters)
        with torch.inference_mode(), record(network) as recorded:
            device = next(network.parameters()).device
            for i in range(0, n, _BATCH):
                part = torch.from_numpy(self._rasters[i : i + _BATCH]).to(device)
                x = as_input(part, "events", self.recipe.network.n_timesteps)
                votes.append(network(x).double().cpu().numpy())
                paper += float(spikes_paper(recorded).sum())
                for name, spikes in (("input", x), *recorded.items()):
                    found = spikes.sum(dim=1, dtype=torch.float64).cpu().numpy()
                    totals[name] = totals[name] + found if name in totals else found
        return _Recorded(np.concatenate(votes, axis=1), {name: total / n for name, total in totals.items()}, paper / n)
