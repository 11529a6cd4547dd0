"""A network on labelled data in float32, as a GPU computes it: votes, spikes, and the values that proxies count."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neurodeploy.cost.graph_proxies import proxies_of_values
from neurodeploy.ir.graph import Graph
from neurodeploy.ir.nodes import Array
from neurodeploy.ir.votes import predictions
from neurodeploy.jobs.gpu_opened import Samples
from neurodeploy.jobs.statistics import wilson
from neurodeploy.progress import SILENT, Progress
from neurodeploy.sim.gpu_input import latency, timed
from neurodeploy.sim.gpu_run import GpuNetwork, run


@dataclass(frozen=True, eq=False)
class GpuRuns:
    """votes float32 [T, N, n] of all samples (`ir.votes` settles ties by their type); n_spikes: mean of a sample by layer;
    latency: timesteps that answers come later than inputs, of a network that has delays."""

    votes: NDArray[Any]
    labels: NDArray[np.int64]
    n_spikes: dict[str, float]
    latency: int

    def accuracy(self) -> dict[str, Any]:
        """The contract's accuracies; on a GPU nothing is quantized, so `float` is the simulator's own."""
        right = predictions(self.votes)[-1] == self.labels
        n, n_right = len(self.labels), int(right.sum())
        share = n_right / n
        return {"float": share, "simulator": share, "n": n, "n_right": n_right, "interval": wilson(n_right, n)}


def run_split(samples: Samples, split: str, progress: Progress = SILENT) -> GpuRuns:
    """Every sample of a split through the network, all of its timesteps."""
    graph, labels = samples.graph, samples.labels(split)
    votes, totals = [], dict.fromkeys((n.name for n in graph.neurons), 0.0)
    progress.start("simulation", len(labels))
    for x in samples.batches(split):
        found = run(graph, x)
        votes.append(found.votes)
        for name in totals:
            totals[name] += float(found.spikes[name].sum(dtype=np.float64))
        progress.advance("simulation", x.shape[1])
    progress.done("simulation")
    mean = {name: n / len(labels) for name, n in totals.items()}
    return GpuRuns(np.concatenate(votes, axis=1), labels, mean, latency(graph))


def proxies_at(graph: Graph, x: Array) -> dict[str, Any]:
    """Proxies of one inference on x [T, B, *input shape]."""
    network = GpuNetwork(graph, x.shape[1])
    steps: dict[str, list[NDArray[Any]]] = {n.name: [] for n in graph.nodes}
    for x_t in timed(graph, x):
        network.step(x_t)
        for name, value in network.values.items():
            steps[name].append(value.numpy())
    values: Mapping[str, NDArray[Any]] = {name: np.stack(found) for name, found in steps.items()}
    return proxies_of_values(graph, values)
