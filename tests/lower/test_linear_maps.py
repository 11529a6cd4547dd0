"""Chains of linear maps as one synapse: the same function, integers equal; and what no convolution can be."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from neurodeploy.errors import NeurodeployError, UsageError
from neurodeploy.ir.graph import Edge, Graph
from neurodeploy.ir.nodes import BatchNorm, Conv2d, Flatten, Input, Lif, Linear, Node, SumPool2d
from neurodeploy.ir.reference import evaluate
from neurodeploy.lower.linear_maps import compose, fold_linear_maps


def chain(*nodes: Node) -> Graph:
    return Graph(nodes, tuple(Edge(a.name, b.name) for a, b in pairwise(nodes)), 3)


def whole(rng: np.random.Generator, *shape: int) -> np.ndarray:
    """Whole numbers as float64, so that sums and products are exact in any order."""
    return rng.integers(-4, 5, shape).astype(np.float64)


def drawn_conv(rng: np.random.Generator, name: str, channels: int, *, padded: bool) -> Conv2d:
    groups = int(rng.choice([g for g in (1, 2, 3) if channels % g == 0]))
    out = groups * int(rng.integers(1, 4))
    pair = [tuple(int(v) for v in rng.integers(low, high, 2)) for low, high in ((1, 4), (1, 3), (0, 3), (1, 3))]
    kernel, stride, padding, dilation = pair
    return Conv2d(name, whole(rng, out, channels // groups, *kernel), whole(rng, out) if rng.random() < 0.5 else None,
                  stride=stride, padding=padding if padded else (0, 0), dilation=dilation, groups=groups)


def drawn(rng: np.random.Generator) -> Graph:
    """Input, two to four maps, the last perhaps a linear layer, neurons; odd sizes, floors and borders among them."""
    nodes: list[Node] = [Input("x", tuple(int(v) for v in rng.integers((1, 9, 9), (7, 16, 16))))]
    n, flat = int(rng.integers(2, 5)), rng.random() < 0.4
    shape = nodes[0].output_shape(())
    for i in range(n):
        if flat and i == n - 1:
            nodes += [Flatten("flat"), Linear(f"m{i}", whole(rng, 5, int(np.prod(shape))), whole(rng, 5))]
            if rng.random() < 0.5:
                nodes.append(Linear("after", whole(rng, 4, 5), whole(rng, 4)))
            continue
        node: Node = SumPool2d(f"m{i}", tuple(int(v) for v in rng.integers(1, 4, 2))) if rng.random() < 0.4 else drawn_conv(
            rng, f"m{i}", shape[0], padded=rng.random() < 0.5)  # fmt: skip
        nodes.append(node)
        shape = node.output_shape(shape)
    graph = chain(*nodes)
    neurons = Lif("n", shape=graph.shapes[nodes[-1].name], v_th=20.0)
    return Graph((*nodes, neurons), (*graph.edges, Edge(nodes[-1].name, "n")), 3)


def test_random_chains_compute_the_same() -> None:
    """Integers in float64 are exact: equal or wrong."""
    rng = np.random.default_rng(5)
    counts = {"folded": 0, "refused": 0, "too small": 0, "padded": 0}
    spikes = 0
    for _ in range(400):
        try:
            graph = drawn(rng)
        except NeurodeployError as error:  # a kernel that does not fit the map
            assert "does not fit" in str(error)
            counts["too small"] += 1
            continue
        try:
            folded = fold_linear_maps(graph)
        except UsageError as error:
            assert error.error_code == "cannot_lower" and error.remedy
            counts["refused"] += 1
            continue
        maps = [n for n in folded.nodes if not isinstance(n, Input | Flatten | Lif)]
        assert len(maps) == 1 and maps[0].name in graph.by_name and not isinstance(maps[0], SumPool2d)
        wanted = [n.name for n in graph.nodes if not isinstance(n, Input | Flatten | Lif)]
        assert folded.metadata["lowering"]["folded"] == {wanted[-1]: wanted[:-1]}
        x = whole(rng, 3, 2, *graph.inputs[0].shape)
        assert np.array_equal(evaluate(folded, x)[wanted[-1]], evaluate(graph, x)[wanted[-1]])
        spikes += int(evaluate(folded, x)["n"].sum())
        counts["folded"] += 1
        counts["padded"] += any(isinstance(n, Conv2d) and any(n.padding) for n in graph.nodes[2:])
    assert spikes > 0 and min(counts.values()) >= 20, counts


def test_a_pool_makes_the_kernel_stride_and_padding_larger() -> None:
    rng = np.random.default_rng(0)
    conv = Conv2d("c", whole(rng, 3, 4, 3, 3), whole(rng, 3), stride=(2, 1), padding=(1, 1))
    graph = fold_linear_maps(chain(Input("x", (4, 8, 12)), SumPool2d("p"), conv, Lif("n", shape=(3, 2, 6))))
    found = graph["c"]
    assert isinstance(found, Conv2d) and found.weight.shape == (3, 4, 6, 6)
    assert (found.stride, found.padding, found.groups) == ((4, 2), (2, 2), 1)
    assert np.array_equal(found.weight, conv.weight.repeat(2, 2).repeat(2, 3)) and found.bias is conv.bias


def test_padding_over_a_row_that_the_pool_drops_is_refused() -> None:
    """A convolution over 7 rows would read the seventh in its padding, which the pool dropped."""
    conv = Conv2d("c", np.ones((1, 1, 3, 3)), padding=(1, 1))
    graph = chain(Input("x", (1, 7, 8)), SumPool2d("p"), conv, Lif("n", shape=(1, 3, 4)))
    with pytest.raises(UsageError, match="p: 7 rows in windows of 2") as caught:
        fold_linear_maps(graph)
    assert caught.value.error_code == "cannot_lower" and "no padding in c" in (caught.value.remedy or "")
    biased = Conv2d("b", np.ones((1, 1, 1, 1)), np.ones(1))
    with pytest.raises(UsageError, match="its biases end where c pads"):
        compose(biased, conv, (1, 4, 4))
    # A stride that never reaches the padding behind is no obstacle.
    strided = replace(conv, stride=(2, 2), weight=np.ones((1, 1, 2, 2)))
    graph = chain(Input("x", (1, 7, 7)), SumPool2d("p"), strided, Lif("n", shape=(1, 2, 2)))
    x = np.random.default_rng(1).integers(0, 2, (2, 4, 1, 7, 7)).astype(np.float64)
    assert np.array_equal(evaluate(fold_linear_maps(graph), x)["c"], evaluate(graph, x)["c"])


def test_what_would_fill_the_memory_is_refused() -> None:
    far = Conv2d("far", np.ones((1, 1, 2, 2)), stride=(20_000, 20_000), padding=(10_000, 10_000))
    with pytest.raises(UsageError, match="far: as one synapse with near it has 400080004 weights"):
        compose(far, Conv2d("near", np.ones((1, 1, 2, 2))), (1, 30_000, 30_000))
    wide = chain(Input("x", (1, 20_000, 20_000)), SumPool2d("p", (20_000, 20_000)), Flatten("f"), Linear("d", np.ones((1, 1))))
    with pytest.raises(UsageError, match="p: as one synapse with d it has 400000000 weights"):
        fold_linear_maps(wide)


def test_a_map_with_other_readers_stays_for_them() -> None:
    rng = np.random.default_rng(2)
    nodes: tuple[Node, ...] = (
        Input("x", (2, 4, 4)), SumPool2d("p"), Conv2d("c", whole(rng, 2, 2, 1, 1)), Flatten("f"), Linear("d", whole(rng, 3, 8)),
        Linear("e", whole(rng, 3, 8)), Lif("n", shape=(2, 2, 2)), Lif("m", shape=(3,)), Lif("o", shape=(3,)),
        Lif("q", shape=(2, 2, 2)),
    )  # fmt: skip
    edges = [("x", "p"), ("p", "c"), ("c", "n"), ("p", "f"), ("f", "d"), ("f", "e"), ("d", "m"), ("e", "o"), ("p", "q")]
    graph = Graph(nodes, tuple(Edge(*e) for e in edges), 2)
    folded = fold_linear_maps(graph)
    x = rng.integers(0, 3, (2, 5, 2, 4, 4)).astype(np.float64)
    found, wanted = evaluate(folded, x), evaluate(graph, x)
    for name in ("n", "m", "o", "q"):
        assert wanted[name].sum() > 0 and np.array_equal(found[name], wanted[name]), name
    assert folded.metadata["lowering"]["folded"] == {"c": ["p"], "d": ["p"], "e": ["p"]}
    assert isinstance(folded["p"], Conv2d)  # q reads it without weights


def test_sums_in_front_of_a_map_are_kept_and_sums_behind_end_a_chain() -> None:
    rng = np.random.default_rng(3)
    graph = Graph(
        (Input("x", (1, 4, 4)), Conv2d("a", whole(rng, 1, 1, 1, 1)), Conv2d("b", whole(rng, 1, 1, 1, 1)), SumPool2d("p"),
         Conv2d("c", whole(rng, 2, 1, 1, 1)), Lif("n", shape=(2, 2, 2))),
        (Edge("x", "a"), Edge("x", "b"), Edge("a", "p"), Edge("b", "p"), Edge("p", "c"), Edge("c", "n")), 2,
    )  # fmt: skip
    folded = fold_linear_maps(graph)
    assert {e.src for e in folded.incoming("c")} == {"a", "b"} and "p" not in folded.by_name
    x = rng.integers(-3, 4, (2, 5, 1, 4, 4)).astype(np.float64)
    assert np.array_equal(evaluate(folded, x)["c"], evaluate(graph, x)["c"])


def test_graphs_without_such_chains_are_left_alone() -> None:
    graph = chain(Input("x", (1, 4, 4)), Conv2d("c", np.ones((1, 1, 1, 1))), Lif("n", shape=(1, 4, 4)), Flatten("f"),
                  Linear("d", np.ones((2, 16))), Lif("m", shape=(2,)))
    found = fold_linear_maps(graph)
    assert found.nodes == graph.nodes and found.edges == graph.edges and found.metadata == graph.metadata


def test_a_batch_norm_behind_a_pool_finds_a_synapse() -> None:
    norm = BatchNorm("bn", *(np.ones(1),) * 4)
    graph = fold_linear_maps(chain(Input("x", (1, 4, 4)), Conv2d("c", np.ones((1, 1, 1, 1))), SumPool2d("p"), norm,
                                   Lif("n", shape=(1, 2, 2))))
    assert [n.name for n in graph.nodes] == ["x", "p", "bn", "n"] and isinstance(graph["p"], Conv2d)
