"""Where two recordings of one network first differ."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from neurodeploy.errors import Mismatch
from neurodeploy.ir.graph import Graph
from neurodeploy.ir.nodes import Array


@dataclass(frozen=True)
class Divergence:
    """The first spike that differs, in chip time, counted from 0; `neuron` is its index in the layer's shape."""

    layer: str
    timestep: int
    neuron: tuple[int, ...]
    expected: int
    got: int
    sample: int

    def to_dict(self) -> dict[str, Any]:
        """Plain fields, for JSON."""
        return {**asdict(self), "neuron": list(self.neuron)}

    def __str__(self) -> str:
        return (
            f"layer {self.layer}, timestep {self.timestep}, neuron {self.neuron}, sample {self.sample}: "
            f"expected {self.expected}, got {self.got}"
        )


def first_divergence(graph: Graph, expected: Mapping[str, Array], got: Mapping[str, Array]) -> Divergence | None:
    """The earliest difference of two recordings [T', B, *shape] by neuron layer, or None where they are equal.

    In one timestep the layer that comes first in the network counts: what differs there caused the rest. Raises Mismatch
    where a layer is missing from one of them or has another shape.
    """
    first: Divergence | None = None
    for node in graph.neurons:
        name = node.name
        if name not in expected or name not in got or expected[name].shape != got[name].shape:
            shapes = [r[name].shape if name in r else "nothing" for r in (expected, got)]
            raise Mismatch(f"recordings hold {shapes[0]} and {shapes[1]}", where=name, remedy="Record all layers again")
        places = np.argwhere(expected[name] != got[name])
        if len(places) and (first is None or places[0][0] < first.timestep):
            t, sample, *neuron = (int(i) for i in places[0])
            at = (t, sample, *neuron)
            first = Divergence(name, t, tuple(neuron), int(expected[name][at]), int(got[name][at]), sample)
    return first


def n_differences(expected: Mapping[str, Array], got: Mapping[str, Array]) -> tuple[int, int]:
    """(values that differ, values compared) over all layers of `expected`."""
    n_differ = sum(int(np.count_nonzero(expected[name] != got[name])) for name in expected)
    return n_differ, sum(raster.size for raster in expected.values())


def golden_mismatch(simulator: str, first: object, n_differ: int, n_compared: int, where: str, *, values: str) -> Mismatch:
    """The error of golden spikes that a simulator does not give; `values`: what was counted."""
    return Mismatch(
        f"golden spikes differ on the {simulator} simulator, first at {first}", where=where,
        limit=f"{n_differ} of {n_compared} {values} differ", code="golden_mismatch",
        remedy="Export again; if it stays, the arithmetic of this version changed",
    )


def silent_golden(where: str) -> Mismatch:
    """The error of golden vectors without a spike."""
    return Mismatch(
        "the golden vectors hold no spike: any silent network equals them", where=where,
        remedy="Export with inputs that make the network fire",
    )
