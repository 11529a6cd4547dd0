"""The halving rule against Intel's compiler tables, limits by hand, and the reach of convolutions by brute force."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from neurodeploy.hw.profile import target
from neurodeploy.ir.graph import Edge, Graph
from neurodeploy.ir.nodes import Conv2d, Input
from neurodeploy.place.layers import read_network
from neurodeploy.place.partition import cut_layer
from neurodeploy.place.reach import build_reach

from compiler_reports import cores_of, profile_of, reports
from small_nets import biased, chain, conv, linear

LOIHI2 = target("loihi2")


def test_pilotnet_takes_the_compilers_cores() -> None:
    (report,) = reports()
    cores = cores_of(report, profile_of(report, "2023"))
    assert cores == [layer["cores"] for layer in report["layers"]]
    assert sum(cores) == report["total_cores"] == 74


def test_pilotnet_takes_68_cores_with_the_2024_compiler() -> None:
    (report,) = reports()
    older, cores = (cores_of(report, profile_of(report, compiler)) for compiler in ("2023", "2024"))
    assert sum(cores) == 68
    (changed,) = (k for k in range(len(cores)) if cores[k] != older[k])
    assert report["layers"][changed]["n_in"] == 2560
    assert (older[changed], cores[changed]) == (12, 6)  # 2560 -> 100: 18 neurons a core instead of 9


def test_words_by_hand() -> None:
    graph = chain(Input("x", shape=(8, 8, 8), kind="graded"), conv("c", 8, 16, padding=(1, 1)), linear("d", 1024, 10))
    first, second = (cut_layer(layer, LOIHI2) for layer in read_network(graph).layers)
    assert first is not None and second is not None
    assert first.n_cores == 1 and first.n_words == (8 * 3 * 3 * 3,)  # ceil((16*8+1)/64) = 3 words a row
    assert first.n_axons_in.tolist() == [8 * 8 * 8]
    assert second.n_cores == 1 and second.n_words == (1024 * 4,)  # ceil((20*10+8)/64) = 4 words an axon


def test_groups_of_synapses_share_cores() -> None:
    """Two convolutions into one layer: words and axons add up, and may force another cut."""
    source = Input("x", shape=(64, 8, 8), kind="graded")
    one = chain(source, conv("a", 64, 64, padding=(1, 1)), conv("b", 64, 64, padding=(1, 1)))
    skip = conv("skip", 64, 64, 1)
    both = Graph(
        nodes=(*one.nodes, skip), n_timesteps=4,
        edges=(*one.edges, Edge("a.n", "skip", 1), Edge("skip", "b.n")),
    )
    alone, added = (cut_layer(read_network(g).layers[1], LOIHI2) for g in (one, both))
    assert alone is not None and added is not None
    row = 9  # ceil((64*8+1)/64)
    assert alone.n_words[0] == 64 * 9 * row and added.n_words[0] == 64 * 9 * row + 64 * row
    assert alone.n_cores == added.n_cores == 2  # 64*64 = 4096 neurons are not strictly below 4096
    assert added.n_axons_in.sum() > alone.n_axons_in.sum()


def test_depthwise_words() -> None:
    """One row of weights per kernel element, whatever the number of groups: 2*2*ceil((32*8+1)/64) = 20."""
    graph = chain(Input("x", shape=(32, 8, 8), kind="spikes"), conv("pool", 32, 32, 2, groups=32, stride=(2, 2)))
    cut = cut_layer(read_network(graph).layers[0], LOIHI2)
    assert cut is not None and cut.n_words == (20,) and cut.n_axons_in.tolist() == [32 * 8 * 8]


def test_synapse_memory_halves_channels_first() -> None:
    """512 -> 512, 3x3: all channels need 4608*65 words, ceil(512/16) = 32 fit: 4608 * ceil(257/64) is too much,
    16 channels take 4608*3 = 13,824 of 16,000."""
    graph = chain(Input("x", shape=(512, 4, 4), kind="spikes"), conv("c", 512, 512, padding=(1, 1)))
    cut = cut_layer(read_network(graph).layers[0], LOIHI2)
    assert cut is not None
    assert cut.n_cores == 32 and cut.channels[0] == (0, 16) and cut.n_words == (13824,) * 32


def test_axon_limits_cut_too() -> None:
    graph = chain(Input("x", shape=(4, 32, 32), kind="graded"), conv("c", 4, 3, padding=(1, 1)), linear("d", 3 * 32 * 32, 2))
    layer = read_network(graph).layers[0]
    free = cut_layer(layer, LOIHI2)
    few_in = cut_layer(layer, target("loihi2", {"capacity.axons_in_per_core.value": 1500}))
    few_out = cut_layer(layer, target("loihi2", {"capacity.axons_out_per_core.value": 500}))
    assert free is not None and few_in is not None and few_out is not None
    assert free.n_cores == 1 and free.n_axons_in.max() == 4 * 32 * 32
    assert few_in.n_cores > 1 and few_in.n_axons_in.max() <= 1500
    assert few_out.n_cores == 8  # 3072 neurons, an axon out each, tiles of 384


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_reach_equals_counting_synapses(data: st.DataObject) -> None:
    """The factored reach against loops over every synapse: random kernels, strides, paddings, dilations, groups, grids."""
    pick = lambda low, high: data.draw(st.integers(low, high))  # noqa: E731
    groups = data.draw(st.sampled_from([1, 2, 3]))
    c_in, c_out = groups * pick(1, 2), groups * pick(1, 3)
    how = {n: (pick(a, 2), pick(a, 2)) for n, a in (("stride", 1), ("padding", 0), ("dilation", 1))}
    kernel = (pick(1, 3), pick(1, 3))
    node = Conv2d("c", weight=np.zeros((c_out, c_in // groups, *kernel)), groups=groups, **how)
    graph = chain(Input("x", shape=(c_in, pick(5, 7), pick(5, 8)), kind="spikes"), node)
    (layer,) = read_network(graph).layers
    (group,) = layer.groups
    c, h, w = layer.map

    def grid(n: int) -> tuple[tuple[int, int], ...]:
        at = pick(0, n - 1)
        return ((0, at), (at, n)) if at else ((0, n),)

    axes = (grid(c), grid(h), grid(w))
    reach = build_reach(group, *axes)
    core = np.zeros(layer.map, dtype=int)
    blocks = [(a, b, d) for a in axes[0] for b in axes[1] for d in axes[2]]
    for k, (a, b, d) in enumerate(blocks):
        core[slice(*a), slice(*b), slice(*d)] = k
    fan_out = np.zeros((*group.source_map, len(blocks)), dtype=int)
    for o, y, x in np.ndindex(c, h, w):
        for i, ky, kx in np.ndindex(node.weight.shape[1:]):
            sy = y * how["stride"][0] - how["padding"][0] + ky * how["dilation"][0]
            sx = x * how["stride"][1] - how["padding"][1] + kx * how["dilation"][1]
            if 0 <= sy < group.source_map[1] and 0 <= sx < group.source_map[2]:
                fan_out[o // (c_out // groups) * (c_in // groups) + i, sy, sx, core[o, y, x]] += 1
    assert fan_out.sum() > 0
    raster = np.random.default_rng(0).integers(0, 2, (2, *group.source_map)).astype(float)
    assert (reach.apply(raster) == np.einsum("nchw,chwk->nk", raster, fan_out)).all()
    assert (reach.reached.apply(raster) == np.einsum("nchw,chwk->nk", raster, fan_out > 0)).all()
    assert (reach.n_axons_in == (fan_out > 0).sum(axis=(0, 1, 2))).all()


@pytest.mark.parametrize(("n", "cores"), [(4096, 1), (4097, 2), (8192, 2)])
def test_an_input_layer_needs_cores_but_no_words(n: int, cores: int) -> None:
    nodes, edges = biased("x", (n,))
    (layer,) = read_network(Graph(nodes=nodes, edges=edges, n_timesteps=1)).layers
    cut = cut_layer(layer, LOIHI2)
    assert cut is not None and cut.n_cores == cores and set(cut.n_words) == {0}
