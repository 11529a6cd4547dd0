"""An EventNetwork as the flat tables that the compiled loops of events_kernel.py read."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neurodeploy.errors import UsageError
from neurodeploy.ir.nodes import Array
from neurodeploy.sim import events_kernel as k
from neurodeploy.sim.events_network import INPUT, EventLayer, EventNetwork


@dataclass(frozen=True, eq=False)
class _Connections:
    """Connections by source, the first and last of each; sources by layer, likewise; the input is the last source.

    reach [P, 4]: what an event meets at each position of each layer's input map, one layer after the other. arrivals: for each
    connection and position of its source's map, the row of `reach` where a spike arrives, -1 outside.
    """

    edges: NDArray[np.int64]
    spans: list[tuple[int, int]]
    sources: NDArray[np.int64]
    source_spans: list[tuple[int, int]]
    reach: NDArray[np.int64]
    arrivals: NDArray[np.int32]


@dataclass(frozen=True, eq=False)
class Tables:
    """Made once for a network and used for any number of samples, by several threads at a time."""

    network: EventNetwork

    @cached_property
    def v_starts(self) -> list[int]:
        """Where each layer's neurons begin among all, and their number."""
        return [0, *np.cumsum([layer.n_neurons for layer in self.network.layers]).tolist()]

    @cached_property
    def _weights(self) -> tuple[NDArray[np.int16], list[int], list[int]]:
        """All weights and biases, and where each layer's begin."""
        parts: list[Array] = []
        w_starts, bias_starts = [], []
        for layer in self.network.layers:
            columns = [column for taps in _taps(layer) for column in taps]
            w_starts.append(sum(p.size for p in parts))
            parts.append(layer.weight[..., columns].transpose(1, 2, 3, 0).ravel())
            bias_starts.append(-1 if layer.bias is None else sum(p.size for p in parts))
            parts += [] if layer.bias is None else [layer.bias]
        return np.concatenate(parts).astype(np.int16), w_starts, bias_starts

    @cached_property
    def _connections(self) -> _Connections:
        network = self.network
        edges: list[tuple[int, int, int]] = []
        arrivals: list[NDArray[np.int64]] = []
        spans = []
        first_positions = np.cumsum([0, *(layer.in_shape[1] * layer.in_shape[2] for layer in network.layers)])
        sources_maps = [(layer.shape, layer.destinations) for layer in network.layers]
        for (_, height, width), destinations in [*sources_maps, (network.input_shape, network.entry)]:
            first = len(edges)
            for d in destinations:
                edges.append((network.index[d.layer], sum(a.size for a in arrivals), d.feature_shift))
                y, x = np.arange(height)[:, np.newaxis] // d.pool[0], np.arange(width) // d.pool[1]
                _, in_height, in_width = network[d.layer].in_shape
                position = first_positions[edges[-1][0]] + y * in_width + x
                arrivals.append(np.where((y < in_height) & (x < in_width), position, -1).ravel())
            spans.append((first, len(edges)))
        sources: list[int] = []
        source_spans = []
        for i in range(len(network.layers)):
            first = len(sources)
            for source in (len(network.layers), *network.order):
                if any(edge[0] == i for edge in edges[slice(*spans[source])]):
                    sources.append(source)
            source_spans.append((first, len(sources)))
        return _Connections(
            np.asarray(edges, dtype=np.int64), spans, np.asarray(sources, dtype=np.int64), source_spans,
            np.concatenate([_reach(layer) for layer in network.layers]), np.concatenate(arrivals).astype(np.int32),
        )

    def net(self, recorded: Collection[str], v_init: dict[str, Array]) -> tuple[Any, ...]:
        """What a compiled run takes; raises UsageError for a recorded layer that the network does not have."""
        unknown = set(recorded) - set(self.network.index)
        if unknown:
            raise UsageError(f"no layer {', '.join(sorted(unknown))}", where="record",
                             limit=f"Layers: {', '.join(self.network.index)}")
        weights, w_starts, bias_starts = self._weights
        c = self._connections
        table = np.zeros((len(self.network.layers) + 1, k.N_COLUMNS), dtype=np.int64)
        for i, layer in enumerate(self.network.layers):
            row, (n_out, _, width), (k_h, k_w) = table[i], layer.shape, layer.weight.shape[2:]
            row[[k.V0, k.N, k.N_OUT, k.W]] = self.v_starts[i], layer.n_neurons, n_out, width
            row[[k.W0, k.W_CHANNEL, k.BIAS0]] = w_starts[i], k_h * k_w * n_out, bias_starts[i]
            row[[k.ROW_PLACE, k.ROW_W]] = width * n_out, layer.stride[0] * k_w * n_out
            row[[k.V_TH, k.V_MIN, k.HARD]] = layer.v_th, layer.v_min, layer.reset == "hard"
            row[k.SATURATES] = may_saturate(layer, v_init[layer.name], self.network.state_bits)
            row[[k.SOURCE0, k.SOURCE1]] = c.source_spans[i]
            row[k.RECORDED] = layer.name in recorded
        table[-1, k.W] = self.network.input_shape[2]
        table[:, [k.FIRST, k.LAST]] = c.spans
        return table, c.edges, np.asarray(self.network.order, dtype=np.int64), c.sources, c.reach, c.arrivals, weights

    def flat(self, states: dict[str, Array]) -> NDArray[np.int16]:
        """States [C, H, W] by layer as the loops keep them, [y, x, channel] one layer after the other."""
        return np.concatenate([states[n].transpose(1, 2, 0).ravel() for n in self.network.index]).astype(np.int16)

    def maps(self, values: Array) -> dict[str, NDArray[np.int64]]:
        """The opposite of `flat`."""
        found = {}
        for i, layer in enumerate(self.network.layers):
            n_out, height, width = layer.shape
            part = values[self.v_starts[i] : self.v_starts[i + 1]].reshape(height, width, n_out)
            found[layer.name] = part.transpose(2, 0, 1).astype(np.int64)
        return found

    @property
    def sources_of_drops(self) -> tuple[str, ...]:
        """Names in the order of the rows of a tally."""
        return (*self.network.index, INPUT)


def may_saturate(layer: EventLayer, v_init: Array, state_bits: int) -> bool:
    """Whether an addition could leave the states' width; not where every weight is at most v_th and there is room.

    A neuron below v_th that gets at most v_th is below v_th again after its spike.
    """
    added = [layer.weight.max(), layer.weight.min()]
    if layer.bias is not None:
        added += [layer.bias.max(), layer.bias.min()]
    high, low, half = int(max(added)), int(min(added)), 1 << (state_bits - 1)
    grows = high > layer.v_th or int(v_init.max()) >= max(layer.v_th, 1)
    return grows or layer.v_th + max(high, 0) > half - 1 or min(layer.v_min, int(v_init.min())) + min(low, 0) < -half


def _taps(layer: EventLayer) -> list[list[int]]:
    """Columns of the kernel by their remainder modulo the stride, each group backwards: neighbours in x share a group."""
    return [list(range(r, layer.weight.shape[3], layer.stride[1]))[::-1] for r in range(layer.stride[1])]


def _reach(layer: EventLayer) -> NDArray[np.int64]:
    """Rows of the table of positions for one input map, see events_kernel.PLACE."""
    n_out, height, width = layer.shape
    k_h, k_w = layer.weight.shape[2:]
    s_h, s_w = layer.stride
    bottom = np.arange(layer.in_shape[1])[:, np.newaxis] + layer.padding[0]
    upper = np.maximum(0, -(-(bottom - k_h + 1) // s_h))
    n_rows = np.minimum(height - 1, bottom // s_h) - upper + 1
    last, remainder = np.divmod(np.arange(layer.in_shape[2]) + layer.padding[1], s_w)
    n_taps = np.asarray([len(taps) for taps in _taps(layer)])
    left = np.maximum(0, last - n_taps[remainder] + 1)
    n = (np.minimum(width - 1, last) - left + 1) * n_out
    tap = n_taps.cumsum()[remainder] - 1 - (last - left)
    columns = [(upper * width + left) * n_out, ((bottom - upper * s_h) * k_w + tap) * n_out, n, n_rows]
    found = np.stack(np.broadcast_arrays(*columns), axis=-1)
    return np.asarray(np.where(((n > 0) & (n_rows > 0))[..., np.newaxis], found, 0)).reshape(-1, 4)
