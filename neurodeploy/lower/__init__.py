"""From a trained graph to one that the target's primitives can express: `lower(graph, profile)`, one pass a file."""

from neurodeploy.lower.neurons import as_trained, to_chip_neurons
from neurodeploy.lower.passes import InputCoding, lower

__all__ = ["InputCoding", "as_trained", "lower", "to_chip_neurons"]
