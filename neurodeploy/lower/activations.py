"""Networks that do not spike are refused by every chip that does, with the way out."""

from __future__ import annotations

from neurodeploy.errors import DoesNotFit, Violation
from neurodeploy.ir.graph import Graph
from neurodeploy.ir.nodes import Relu


def refuse_relu(graph: Graph, target: str) -> None:
    """Raise DoesNotFit where a graph has ReLU activations."""
    found = [n.name for n in graph.nodes if isinstance(n, Relu)]
    if found:
        raise DoesNotFit((Violation(
            "activation", ", ".join(found), "ReLU activations: this network does not spike", "The chip runs spiking neurons",
            "Convert it: neurodeploy convert MODEL --timesteps 32 --data DATA, or nd.convert(graph, images, 32)",
        ),), target=target)
