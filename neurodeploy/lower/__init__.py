"""From a trained graph to one that the target's primitives can express: `lower(graph, profile)`, one pass a file."""

from neurodeploy.lower.passes import InputCoding, lower

__all__ = ["InputCoding", "lower"]
