"""Networks that do not spike are refused by every chip that does, with the way out."""

from __future__ import annotations

from neurodeploy.errors import DoesNotFit, Violation
from neurodeploy.ir.graph import Graph
from neurodeploy.ir.nodes import Qcfs, Relu


def refuse_relu(graph: Graph, target: str) -> None:
    """Raise DoesNotFit where a graph has activations that are no spikes."""
    found = [n for n in graph.nodes if isinstance(n, Relu | Qcfs)]
    if found:
        kinds = " and ".join(sorted({"ReLU" if isinstance(n, Relu) else "QCFS" for n in found}, reverse=True))
        raise DoesNotFit((Violation(
            "activation", ", ".join(n.name for n in found), f"{kinds} activations: this network does not spike",
            "The chip runs spiking neurons",
            "Convert it: neurodeploy convert MODEL --timesteps 32 --data DATA, or nd.convert(graph, images, 32)",
        ),), target=target)
