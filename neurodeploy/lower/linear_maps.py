"""Linear maps in a row as one synapse: what no neurons separate, a chip's synapse does at once.

Convolutions, sum pools, flattenings and linear layers are linear: f2(f1(x)) is one map, and its weights are exact sums of
products of theirs. A pool of k in front of a convolution makes its kernel, stride and padding k times as large.
"""

from __future__ import annotations

from dataclasses import replace
from math import gcd, prod

import numpy as np

from neurodeploy.errors import UsageError
from neurodeploy.ir.graph import Edge, Graph
from neurodeploy.ir.nodes import Array, BatchNorm, Conv2d, Flatten, Linear, Node, Shape, SumPool2d
from neurodeploy.lower.pool import depthwise_ones

MOST_WEIGHTS = 2**27  # of one synapse, a gigabyte while it is computed; no target holds a thousandth


def fold_linear_maps(graph: Graph) -> Graph:
    """Every chain of linear maps as its last synapse, which keeps its name; the function is the same.

    A map that others read too stays for them. A sum pool right in front of neurons or a batch norm becomes a convolution of
    ones. `metadata["lowering"]["folded"]` lists for each synapse the maps that it took in, the first one first. Raises
    UsageError (`cannot_lower`) where a convolution pads what the map in front of it does not end with zeros.
    """
    notes = graph.metadata.get("lowering", {})
    folded: dict[str, list[str]] = dict(notes.get("folded", {}))
    while (found := next((f for n in graph.nodes if (f := _foldable(graph, n)) is not None), None)) is not None:
        first, flat, last = found
        source = _source_shape(graph, first)
        synapse: Node
        if isinstance(last, Linear):
            synapse = _into_linear(first, last, source)
        else:
            synapse = compose(as_convolution(first, source), as_convolution(last, graph.shapes[first.name]), source)
        folded[last.name] = [*folded.get(first.name, []), first.name, *folded.get(last.name, [])]
        graph = _joined(graph, first, flat, synapse)
    ones: dict[str, Node] = {
        n.name: as_convolution(n, _source_shape(graph, n)) for n in graph.nodes
        if isinstance(n, SumPool2d) and any(_needs_synapse(graph[e.dst]) for e in graph.outgoing(n.name))
    }
    graph = replace(graph, nodes=tuple(ones.get(n.name, n) for n in graph.nodes))
    kept = {name: maps for name, maps in folded.items() if name in graph.by_name}
    return replace(graph, metadata={**graph.metadata, "lowering": {**notes, "folded": kept}}) if kept else graph


def _needs_synapse(node: Node) -> bool:
    return node.is_neuron or isinstance(node, BatchNorm)


def _source_shape(graph: Graph, node: Node) -> Shape:
    return graph.shapes[graph.incoming(node.name)[0].src]


def _foldable(graph: Graph, last: Node) -> tuple[Node, Flatten | None, Node] | None:
    """(the map in front, the flattening between, `last`) where both are linear, nothing is added between them or comes late."""
    flat = None
    before = graph.incoming(last.name)
    late = before[0].delay if before else 0
    if isinstance(last, Linear) and len(before) == 1 and isinstance(found := graph[before[0].src], Flatten):
        flat, before = found, graph.incoming(found.name)
        late += before[0].delay
    first = graph[before[0].src] if len(before) == 1 and not late else None
    maps = Linear if isinstance(last, Linear) and flat is None else Conv2d | SumPool2d
    joins = isinstance(last, Conv2d | SumPool2d | Linear) and isinstance(first, maps) and graph.incoming(first.name)
    return (first, flat, last) if joins and first is not None else None


def _joined(graph: Graph, first: Node, flat: Flatten | None, synapse: Node) -> Graph:
    """The graph with `synapse` in the place of its namesake, reading what `first` reads; maps that nobody reads are gone."""
    nodes = [synapse if n.name == synapse.name else n for n in graph.nodes]
    edges = [e for e in graph.edges if e.dst != synapse.name]
    for unread in (flat, first):
        if unread is not None and not any(e.src == unread.name for e in edges):
            nodes = [n for n in nodes if n is not unread]
            edges = [e for e in edges if e.dst != unread.name]
    reader = synapse.name
    if flat is not None:
        reader = f"{reader}.flat" if flat in nodes else flat.name
        nodes.append(Flatten(reader))
        edges.append(Edge(reader, synapse.name))
    edges += [replace(e, dst=reader) for e in graph.incoming(first.name)]
    return replace(graph, nodes=tuple(nodes), edges=tuple(edges))


def as_convolution(node: Node, source: Shape) -> Conv2d:
    """A convolution, or a sum pool as one of ones, that reads maps of shape `source`."""
    if isinstance(node, SumPool2d):
        return depthwise_ones(node.name, source[0], node.kernel)
    assert isinstance(node, Conv2d)
    return node


def compose(first: Conv2d, last: Conv2d, source: Shape) -> Conv2d:
    """`last` behind `first`, which reads maps of shape `source` (C, H, W), as one convolution of the name of `last`.

    Raises UsageError where no convolution is that: `last` pads with zeros, and `first`, moved on there, would not give zeros.
    """
    _check_borders(first, last, source)
    groups = gcd(first.groups, last.groups)
    a, b = in_groups(first, groups), in_groups(last, groups)
    # On each axis, element i of `last` and j of `first` meet in the input at i * far + j * near.
    far, near = (last.dilation[0] * first.stride[0], last.dilation[1] * first.stride[1]), first.dilation
    (by, bx), (ay, ax) = b.shape[3:], a.shape[3:]
    dilation = (_step(far[0], by, near[0], ay), _step(far[1], bx, near[1], ax))
    size = [((n - 1) * far[i] + (m - 1) * near[i]) // dilation[i] + 1 for i, (n, m) in enumerate(((by, ay), (bx, ax)))]
    _check_size(first, last, groups * b.shape[1] * a.shape[2] * size[0] * size[1])
    weight = np.zeros((groups, b.shape[1], a.shape[2], *size), dtype=np.result_type(a, b))
    for y, x, v, u in np.ndindex(by, bx, ay, ax):
        row, column = (y * far[0] + v * near[0]) // dilation[0], (x * far[1] + u * near[1]) // dilation[1]
        weight[..., row, column] += b[..., y, x] @ a[..., v, u]
    bias = last.bias
    if first.bias is not None:
        carried = np.einsum("gomyx,gm->go", b, first.bias.reshape(groups, -1)).reshape(-1)
        bias = carried if bias is None else bias + carried
    return Conv2d(
        last.name, weight.reshape(-1, *weight.shape[2:]), bias,
        stride=(first.stride[0] * last.stride[0], first.stride[1] * last.stride[1]),
        padding=(first.padding[0] + last.padding[0] * first.stride[0], first.padding[1] + last.padding[1] * first.stride[1]),
        dilation=dilation, groups=groups,
    )


def _step(far: int, n_far: int, near: int, n_near: int) -> int:
    """Largest step on whose multiples all of a composite kernel's elements lie."""
    return gcd(far if n_far > 1 else 0, near if n_near > 1 else 0) or 1


def in_groups(node: Conv2d, groups: int) -> Array:
    """The weights with fewer, larger groups, zeros where nothing was connected: [groups, O / groups, I / groups, kH, kW]."""
    w = node.weight.reshape(groups, node.groups // groups, -1, *node.weight.shape[1:])
    wide = np.zeros((*w.shape[:3], w.shape[1], *w.shape[3:]), dtype=w.dtype)
    for i in range(w.shape[1]):
        wide[:, i, :, i] = w[:, i]
    return wide.reshape(groups, -1, w.shape[1] * w.shape[3], *w.shape[4:])


def _check_borders(first: Conv2d, last: Conv2d, source: Shape) -> None:
    between = first.output_shape(source)
    after = last.output_shape(between)
    for i, axis in ((0, "rows"), (1, "columns")):
        if not last.padding[i]:
            continue
        if first.bias is not None and first.bias.any():
            raise _refused(first, last, f"its biases end where {last.name} pads with zeros")
        reach = first.dilation[i] * (first.weight.shape[2 + i] - 1) + 1
        read = (after[1 + i] - 1) * last.stride[i] + last.dilation[i] * (last.weight.shape[2 + i] - 1) - last.padding[i]
        begins = first.stride[i] * between[1 + i] - first.padding[i]  # of the input that the first padded output would read
        if reach > first.stride[i] + first.padding[i] or (read >= between[1 + i] and begins < source[1 + i]):
            raise _refused(first, last, f"{source[1 + i]} {axis} in windows of {reach}, stride {first.stride[i]}, "
                                        f"leave out or share some that {last.name} would read in its padding")


def _check_size(first: Node, last: Node, n_weights: int) -> None:
    if n_weights > MOST_WEIGHTS:
        raise _refused(first, last, f"as one synapse with {last.name} it has {n_weights} weights, of {MOST_WEIGHTS} at most")


def _refused(first: Node, last: Node, what: str) -> UsageError:
    return UsageError(
        what, where=first.name, code="cannot_lower", limit="Between two layers of neurons the target has one synapse",
        remedy=f"Use sizes that the pool divides, no padding in {last.name}, or neurons between the two",
    )


def _into_linear(first: Node, last: Linear, source: Shape) -> Linear:
    """A linear layer that reads what `first` reads: its weights, sent back through the map."""
    _check_size(first, last, len(last.weight) * prod(source))
    if isinstance(first, Linear):
        weight = last.weight @ first.weight
        constant = None if first.bias is None else last.weight @ first.bias
    else:
        conv = as_convolution(first, source)
        shape = conv.output_shape(source)
        weight = _sent_back(conv, last.weight.reshape(-1, *shape), source).reshape(len(last.weight), -1)
        constant = None if conv.bias is None else last.weight @ np.repeat(conv.bias, shape[1] * shape[2])
    bias = last.bias if constant is None else constant if last.bias is None else constant + last.bias
    return replace(last, weight=weight, bias=bias)


def _sent_back(conv: Conv2d, maps: Array, source: Shape) -> Array:
    """The adjoint of a convolution without its bias: maps [N, O, H', W'] of its output to [N, *source]."""
    (_, height, width), (dy, dx), (sy, sx), (py, px) = source, conv.dilation, conv.stride, conv.padding
    w = in_groups(conv, 1)[0]
    padded = np.zeros((len(maps), source[0], height + 2 * py, width + 2 * px), dtype=np.result_type(maps, w))
    for y, x in np.ndindex(w.shape[2:]):
        window = padded[:, :, y * dy :: sy, x * dx :: sx][..., : maps.shape[2], : maps.shape[3]]
        window += np.einsum("nohw,oi->nihw", maps, w[:, :, y, x])
    return padded[:, :, py : py + height, px : px + width]
