"""Neuron groups: which neurons of a layer share one set of decays and threshold, of which a core holds a few.

Bias and initial state are each neuron's own; a reset belongs to the whole layer.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from neurodeploy.ir.nodes import Node

_SET = ("i_decay", "v_decay", "v_th")


def neuron_sets(node: Node) -> NDArray[np.int64] | None:
    """[C, H, W] (a vector is [N, 1, 1]): the number of each neuron's set, or None where all neurons share one."""
    shape = getattr(node, "shape", ())
    values = [np.asarray(getattr(node, name)) for name in _SET if hasattr(node, name)]
    if all(v.size == 1 for v in values):
        return None
    table = np.stack([np.broadcast_to(v, shape).reshape(-1) for v in values], axis=1)
    _, numbers = np.unique(table, axis=0, return_inverse=True)
    found: NDArray[np.int64] = numbers.astype(np.int64).reshape((*shape, 1, 1)[:3])
    return found if found.max(initial=0) else None
