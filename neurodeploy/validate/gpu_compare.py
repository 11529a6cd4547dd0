"""Spikes of two float32 runs of one network: equal, flipped at the threshold, or different.

The rule: a spike that differs at the FIRST divergence of a sample (its earliest timestep, there the first layer) passes where
the membrane is closer to the threshold than FLIP_TOLERANCE, and is listed; what differs later in that sample follows from it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neurodeploy.errors import Mismatch
from neurodeploy.export.golden_gpu import FLIP_TOLERANCE, boundary_distance
from neurodeploy.ir.graph import Graph
from neurodeploy.ir.nodes import Array
from neurodeploy.validate.compare import Divergence


@dataclass(frozen=True)
class Flip:
    """A spike that differs because its membrane `v` meets the threshold `v_th`; indices as in `Divergence`."""

    layer: str
    timestep: int
    neuron: tuple[int, ...]
    expected: int
    got: int
    sample: int
    v: float
    v_th: float

    def to_dict(self) -> dict[str, Any]:
        """Plain fields, for JSON."""
        return {**asdict(self), "neuron": list(self.neuron)}


@dataclass(frozen=True, eq=False)
class Comparison:
    """divergence: the earliest difference that the rule does not let pass. agreed [B]: samples without any difference."""

    n_differences: int
    n_compared: int
    flips: tuple[Flip, ...]
    divergence: Divergence | None
    agreed: NDArray[np.bool_]


def compare(
    graph: Graph, expected: Mapping[str, Array], got: Mapping[str, Array], membranes: Mapping[str, Array],
    first_sample: int = 0, *, n_samples: int = 1,
) -> Comparison:
    """Compare recordings [T', B, *shape] by neuron layer; membranes: those of `expected`, before the threshold.

    first_sample: number of the first sample in what is returned. n_samples: B, for networks without neurons, in which nothing
    differs. Raises Mismatch where a layer is missing or has another shape.
    """
    layers = [n for n in graph.order if n.is_neuron]
    differs: dict[str, NDArray[np.bool_]] = {}
    for node in layers:
        pair = [r[node.name].shape if node.name in r else None for r in (expected, got)]
        if pair[0] is None or pair[0] != pair[1]:
            raise Mismatch(f"recordings hold {pair[0]} and {pair[1]}", where=node.name, remedy="Record all layers again")
        differs[node.name] = expected[node.name] != got[node.name]
    n_differences = sum(int(mask.sum()) for mask in differs.values())
    n_compared = sum(mask.size for mask in differs.values())
    # [layer, T', B]: where anything differs
    masks = [mask.reshape(*mask.shape[:2], -1).any(axis=2) for mask in differs.values()]
    where = np.stack(masks) if masks else np.zeros((1, 1, n_samples), dtype=bool)
    flips: list[Flip] = []
    wrong: list[Divergence] = []
    for sample in np.flatnonzero(where.any(axis=(0, 1))):
        timestep = int(where[:, :, sample].any(axis=0).argmax())
        node = layers[int(where[:, timestep, sample].argmax())]
        for neuron in np.argwhere(differs[node.name][timestep, sample]):
            at = (timestep, int(sample), *(int(i) for i in neuron))
            before, now = int(expected[node.name][at]), int(got[node.name][at])
            place = (node.name, timestep, at[2:], before, now, first_sample + int(sample))
            v = membranes[node.name][at]
            if abs(before - now) == 1 and float(boundary_distance(node, np.asarray(v))) < FLIP_TOLERANCE:
                flips.append(Flip(*place, v=float(v), v_th=float(node.v_th)))  # type: ignore[attr-defined]
            else:
                wrong.append(Divergence(*place))
    first = min(wrong, key=lambda d: (d.timestep, d.sample), default=None)
    return Comparison(n_differences, n_compared, tuple(flips), first, np.logical_not(where.any(axis=(0, 1))))
