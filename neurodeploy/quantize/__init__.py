"""From a lowered graph to the target's integers: scales, formats, range analysis, fine-tuning."""

from neurodeploy.quantize.ptq import quantize

__all__ = ["quantize"]
