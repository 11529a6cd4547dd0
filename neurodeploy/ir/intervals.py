"""Which values a node of an integer graph can put out, whatever its input: interval arithmetic over the graph.

Two intervals are tracked. `output` holds in any single timestep; `total` holds for the sum of all outputs since the
start, which is what a sigma neuron adds up. A spiking layer has no total (it may spike for ever), but a Delta has:
its messages are differences and add up to what it last saw, up to its threshold. Where messages are rounded (a
`state_exp` on an activation that is no multiple of it, a negative `weight_exp`) every one of them may lose a part of a
unit, so their total drifts without bound, and is unknown here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from neurodeploy.ir.graph import IntGraph
from neurodeploy.ir.nodes import Array, Conv2d, CubaLif, Delta, Flatten, Iaf, Input, Linear, Node, Sigma, SigmaDelta, SumPool2d
from neurodeploy.ir.reference import input_range

Interval = tuple[int, int] | None  # lowest and highest value; None: no bound is known
_ZERO = (0, 0)


def add(a: Interval, b: Interval) -> Interval:
    """All sums of a value of each."""
    return None if a is None or b is None else (a[0] + b[0], a[1] + b[1])


def with_zero(a: Interval) -> Interval:
    """The smallest interval around `a` and 0: states start there."""
    return None if a is None else (min(a[0], 0), max(a[1], 0))


def largest(a: Interval) -> int:
    """Largest magnitude, -1 where unknown."""
    return -1 if a is None else max(abs(a[0]), abs(a[1]))


def message(synapse: Conv2d | Linear, a: Interval) -> Interval:
    """What a synapse takes its input for."""
    return (0, int(a != _ZERO)) if synapse.binary else a


def synaptic_sums(synapse: Conv2d | Linear, a: Interval) -> tuple[Array, Array] | None:
    """(lowest, highest) sum per output channel, exact, before any wrap, for inputs in `a`; borders as if none were padded."""
    m = message(synapse, a)
    if m is None:
        return None
    low: Array = np.zeros(synapse.weight.shape[0], dtype=object)
    high = low.copy()
    for weight in _by_delay(synapse):
        flat = weight.reshape(len(weight), -1).astype(np.int64)
        negative, positive = (part.sum(axis=1).astype(object) for part in (np.minimum(flat, 0), np.maximum(flat, 0)))
        for total, part in ((low, positive * m[0] + negative * m[1]), (high, positive * m[1] + negative * m[0])):
            total += _shifted(part, synapse)
    return low, high


def _by_delay(synapse: Conv2d | Linear) -> Iterator[Array]:
    """The weights that act together: the sum of each delay is shifted, and rounded, by itself."""
    if isinstance(synapse, Linear) and synapse.delays is not None and synapse.weight_exp < 0:
        for delay in np.unique(synapse.delays):
            yield np.where(synapse.delays == delay, synapse.weight, 0)
    else:
        yield synapse.weight


def _shifted(part: Array, synapse: Conv2d | Linear) -> Array:
    exponent = synapse.weight_exp if isinstance(synapse, Linear) else 0
    return np.asarray(part << exponent if exponent >= 0 else part >> -exponent)


class Intervals:
    """The intervals of the nodes of one graph, computed when asked for."""

    def __init__(self, graph: IntGraph) -> None:
        self.graph = graph
        self._known: dict[tuple[str, str], Interval] = {}

    def output(self, name: str) -> Interval:
        """Values of any element of a node in any timestep."""
        return self._lookup("output", name, self._output)

    def total(self, name: str) -> Interval:
        """Sum of the outputs of any element since the start, at any time."""
        return self._lookup("total", name, self._total)

    def arriving(self, name: str) -> Interval:
        """Sum of the edges into any element of a node, in any timestep."""
        return self._sum(name, self.output)

    def arriving_total(self, name: str) -> Interval:
        """The same, summed since the start."""
        return self._sum(name, self.total)

    def drive(self, name: str) -> tuple[int, int] | None:
        """(lowest, highest) sum of the edges into any neuron of a layer, each channel of its synapses for itself."""
        low: Array = np.zeros(1, dtype=object)
        high = low
        for edge in self.graph.incoming(name):
            source = self.graph[edge.src]
            if isinstance(source, Conv2d | Linear) and not self._wraps(source):
                sums = synaptic_sums(source, self.arriving(source.name))
            else:
                direct = self.output(source.name)
                sums = None if direct is None else (np.array([direct[0]], dtype=object), np.array([direct[1]], dtype=object))
            if sums is None:
                return None
            low, high = low + sums[0], high + sums[1]
        return int(low.min()), int(high.max())

    def activation(self, node: Delta) -> Interval:
        """What a Delta or SigmaDelta compares with what it sent, in state units."""
        e = node.spike_exp + node.state_exp
        if not isinstance(node, SigmaDelta):
            seen = self.arriving(node.name)
            return None if seen is None else (seen[0] << e, seen[1] << e)
        sigma = with_zero(self.arriving_total(node.name))
        act = add(sigma, (int(node.bias_mant.min()) << e, int(node.bias_mant.max()) << e))
        return (max(act[0], 0), max(act[1], 0)) if act is not None and node.activation == "relu" else act

    def _lookup(self, kind: str, name: str, rule: Callable[[Node], Interval]) -> Interval:
        key = (kind, name)
        if key not in self._known:
            self._known[key] = None  # in a loop that no spiking neuron breaks, nothing is known
            self._known[key] = rule(self.graph[name])
        return self._known[key]

    def _sum(self, name: str, of: Callable[[str], Interval]) -> Interval:
        found: Interval = _ZERO
        for edge in self.graph.incoming(name):
            found = add(found, of(edge.src))
        return found

    def _output(self, node: Node) -> Interval:
        if isinstance(node, Input):
            low, high = input_range(node)
            return int(low), int(high)
        if isinstance(node, CubaLif):
            return 0, 1
        if isinstance(node, Iaf):
            return self._spikes(node)
        if isinstance(node, Sigma):
            return with_zero(self.arriving_total(node.name))
        if isinstance(node, Delta):
            act = with_zero(self.activation(node))
            if act is None:
                return None
            reach = act[1] - act[0] + _kept_back(node)
            return -reach >> node.state_exp, reach >> node.state_exp
        arriving = self.arriving(node.name)
        if isinstance(node, SumPool2d):
            return _pooled(node, arriving)
        return self._through(node, arriving) if isinstance(node, Conv2d | Linear) else arriving

    def _spikes(self, node: Iaf) -> Interval:
        if not node.multi_spike:
            return 0, 1
        drive = self.drive(node.name)
        if drive is None:
            return None
        # However it is reset, no timestep leaves it at its threshold or above.
        highest = max(int(node.v_init.max()), node.v_th - 1) + drive[1] + int(node.bias.max())
        return 0, max(highest, 0) // node.v_th

    def _through(self, synapse: Conv2d | Linear, a: Interval) -> Interval:
        found = synaptic_sums(synapse, a)
        if isinstance(synapse, Conv2d) and synapse.sum_bits is not None and self._wraps(synapse):
            half = 2 ** (synapse.sum_bits - 1)
            return -half, half - 1
        return None if found is None else (int(found[0].min()), int(found[1].max()))

    def _total(self, node: Node) -> Interval:
        if self.output(node.name) == _ZERO:
            return _ZERO
        if isinstance(node, Delta):
            act = with_zero(self.activation(node))
            if act is None or (isinstance(node, SigmaDelta) and node.state_exp > 0):
                return None
            kept = _kept_back(node)
            return (act[0] - kept) >> node.state_exp, (act[1] + kept) >> node.state_exp
        if isinstance(node, Flatten):
            return self.arriving_total(node.name)
        if isinstance(node, SumPool2d):
            return _pooled(node, self.arriving_total(node.name))
        if isinstance(node, Conv2d | Linear) and not node.binary and not self._rounds(node):
            return self._through(node, with_zero(self.arriving_total(node.name)))
        return None  # inputs, spikes, sigmas and maxima may add up for ever

    def _rounds(self, node: Conv2d | Linear) -> bool:
        if isinstance(node, Linear):
            return node.weight_exp < 0
        return self._wraps(node)

    def _wraps(self, synapse: Conv2d | Linear) -> bool:
        """Whether some input may send a convolution's sum around."""
        if isinstance(synapse, Linear) or synapse.sum_bits is None:
            return False
        found = synaptic_sums(synapse, self.arriving(synapse.name))
        half = 2 ** (synapse.sum_bits - 1)
        return found is None or bool(found[0].min() < -half or found[1].max() >= half)


def _pooled(node: SumPool2d, a: Interval) -> Interval:
    n = node.kernel[0] * node.kernel[1]
    return None if a is None else (n * a[0], n * a[1])


def _kept_back(node: Delta) -> int:
    """Largest change that a neuron does not send."""
    return int(max(int(np.max(node.v_th)) << (node.spike_exp + node.state_exp), 1)) - 1


