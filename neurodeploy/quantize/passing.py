"""An integer network onto a target: its numbers stay as they are, and the target's rules decide whether they fit."""

from __future__ import annotations

from dataclasses import replace

from neurodeploy.errors import UsageError
from neurodeploy.hw.profile import AnyProfile
from neurodeploy.ir.graph import IntGraph
from neurodeploy.ir.nodes import CubaLif, Delta, Iaf, Node, Sigma, SigmaDelta

# Neurons that compute as a profile's `arithmetic.neuron` says.
BEHAVIOURS: dict[str, tuple[type[Node], ...]] = {"cuba_lif": (CubaLif, Delta, SigmaDelta, Sigma), "iaf": (Iaf,)}


def for_target(graph: IntGraph, profile: AnyProfile) -> IntGraph:
    """The network as one of this target: the same nodes, `target` set; the graph itself where it is one already.

    An integer network is never requantized. It passes onto every profile whose neurons behave alike, whatever profile it
    was made for, or none (a `.net`). Raises UsageError for a profile whose neurons compute otherwise.
    """
    known = BEHAVIOURS[profile.arithmetic.neuron]
    foreign = next((n for n in graph.neurons if not isinstance(n, known)), None)
    if foreign is not None:
        raise UsageError(
            f"an integer network of {type(foreign).__name__} neurons, the arithmetic of another chip", where=foreign.name,
            code="other_arithmetic",
            limit=f"{profile.name} computes with {profile.arithmetic.neuron}: {', '.join(t.__name__ for t in known)}",
            remedy="Give the trained network; integer networks are never requantized",
        )
    return graph if graph.target == profile.name else replace(graph, target=profile.name)
