"""The votes of an integer network for labelled images, in batches, on the fast simulator."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neurodeploy.ir.graph import IntGraph
from neurodeploy.ir.nodes import Array
from neurodeploy.ir.votes import predictions
from neurodeploy.sim.clocked import simulate

Encode = Callable[[IntGraph, NDArray[Any]], Array]


def votes_of(graph: IntGraph, images: NDArray[Any], encode: Encode, batch: int = 256) -> NDArray[np.float64]:
    """Votes [T, N, n_classes] in model time for images [N, C, H, W]; `encode` makes chip input of a batch of them."""
    parts = (images[start : start + batch] for start in range(0, len(images), batch))
    votes = [simulate(graph, encode(graph, part), graph.n_chip_steps, record="output").votes for part in parts]
    return np.concatenate(votes, axis=1)


def accuracy(votes: NDArray[np.float64], labels: NDArray[Any]) -> float:
    """Share of right answers after the last timestep, 0..1."""
    return float((predictions(votes)[-1] == labels).mean())
