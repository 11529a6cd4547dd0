"""How many channels of a layer would fit, for the remedy of a violation of memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from neurodeploy.errors import Violation
from neurodeploy.ir.event_layers import CoreNetwork
from neurodeploy.place.core_memory import CoreMemory, layer_words


def with_channels(violation: Violation, network: CoreNetwork, memories: Sequence[CoreMemory]) -> Violation:
    """The violation of a layer that no core holds, its remedy with the largest numbers of channels that one would hold."""
    layer = next((layer for layer in network.layers if layer.label == violation.where), None)
    if layer is None or violation.rule != "core_memory":
        return violation
    (c_in, _, _), (c_out, *size), bias = layer.in_shape, layer.out_shape, layer.bias is not None

    def fits(n_in: int, n_out: int) -> bool:
        words = layer_words(n_in, layer.kernel, (n_out, size[0], size[1]), bias=bias)
        return any(memory.fits(words) for memory in memories)

    fewer_in = _largest(c_in, lambda n: fits(n, c_out))
    fewer_out = _largest(c_out, lambda n: fits(c_in, n))
    found = [
        *([f"at most {fewer_in} channels in with {c_out} out"] if fewer_in else []),
        *([f"at most {fewer_out} channels out with {c_in} in"] if fewer_out else []),
    ]
    if not found:
        return violation
    return replace(violation, remedy=f"Use {', or '.join(found)}; or {violation.remedy.removeprefix('Use ')}")


def _largest(most: int, fits: Callable[[int], bool]) -> int:
    """The largest n below `most` that fits, 0 if none does; what fits n fits less."""
    low, high = 0, most
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low
