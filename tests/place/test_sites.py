"""Which block sits on which core: against every arrangement of a small case, and hops across chips by hand."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from neurodeploy.cost.assumed import expected_at
from neurodeploy.cost.counts import from_expected
from neurodeploy.hw.profile import target
from neurodeploy.ir.nodes import Input
from neurodeploy.place import place
from neurodeploy.place.assign import cuts_of
from neurodeploy.place.layers import read_network
from neurodeploy.place.sites import MOST_CORES, arrange, distances, slots, total_hops
from neurodeploy.place.traffic import traffic

from small_nets import chain, linear

LOIHI2 = target("loihi2")
SINGLE = target("loihi2", {"capacity.cores_per_tile.value": 1, "capacity.cores_per_chip.value": 32})


def packets(n: int, seed: int, density: float = 0.5) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    between = rng.integers(1, 100, (n, n)) * (rng.random((n, n)) < density)
    return between.astype(float), (rng.integers(0, 50, n) * (rng.random(n) < 0.5)).astype(float)


@pytest.mark.parametrize("seed", range(4))
def test_the_best_of_all_arrangements(seed: int) -> None:
    """7 blocks on 7 tiles, two columns of the mesh: all 5,040 arrangements."""
    between, entering = packets(7, seed)
    numbers = slots(7, SINGLE)
    far, out = distances(numbers, SINGLE)
    best = min(total_hops(between, entering, far, out, np.array(p)) for p in permutations(range(7)))
    found = arrange(between, entering, SINGLE, seed=seed)
    assert sorted(found.tolist()) == list(range(7))
    assert total_hops(between, entering, far, out, found) == best


@settings(max_examples=25, deadline=None)
@given(n=st.integers(1, 60), seed=st.integers(0, 99), density=st.sampled_from([0.02, 0.2, 1.0]))
def test_never_more_hops_and_every_core_once(n: int, seed: int, density: float) -> None:
    between, entering = packets(n, seed, density)
    found = arrange(between, entering, LOIHI2, seed=seed, n_swaps=2000)
    numbers = slots(n, LOIHI2)
    assert len(set(found.tolist())) == n and set(found.tolist()) <= set(numbers.tolist())
    far, out = distances(numbers, LOIHI2)
    plain = total_hops(between, entering, far, out, np.arange(n))
    assert total_hops(between, entering, far, out, found) <= plain
    assert (found == arrange(between, entering, LOIHI2, seed=seed, n_swaps=2000)).all()


def test_slots_are_whole_tiles_of_the_chips_in_use() -> None:
    assert slots(5, LOIHI2).tolist() == list(range(8))
    assert slots(120, LOIHI2).tolist() == list(range(120)) and len(slots(121, LOIHI2)) == 124


def test_a_system_too_large_to_search_keeps_its_order() -> None:
    n = MOST_CORES + 1
    assert (arrange(np.ones((n, n)), np.ones(n), LOIHI2) == np.arange(n)).all()


def test_hops_across_chips_by_hand() -> None:
    """One core a chip, chips side by side: from chip 0 to chip 1 are 8 routers, to chip 2 are 16."""
    one = target("loihi2", {"capacity.cores_per_chip.value": 1, "capacity.neurons_per_core.value": 5})
    graph = chain(Input("x", shape=(4,), kind="spikes"), linear("a", 4, 5), linear("b", 5, 10), n_timesteps=4)
    plan = place(graph, one, n_chips=8)
    assert [(core.chip, core.x, core.y) for core in plan.cores] == [(0, 0, 0), (1, 8, 0), (2, 16, 0)] and plan.n_chips == 3
    counts = from_expected(graph, plan, expected_at(graph, 0.5))
    sent = {t.source: (t.n_packets_out.sum(), t.n_hops_ew.sum(), t.n_hops_ns.sum()) for t in counts.traffic}
    # 5 neurons x 4 timesteps x 0.5 spikes = 10, one packet to each of the two cores of b.n.
    assert sent == {"x": (8.0, 0.0, 0.0), "a.n": (20.0, 10 * 8 + 10 * 16, 0.0)}


def test_traffic_equals_the_counted_packets() -> None:
    graph = chain(Input("x", shape=(6,), kind="spikes"), linear("a", 6, 9), linear("b", 9, 8), n_timesteps=3)
    few = target("loihi2", {"capacity.neurons_per_core.value": 3})
    plan = place(graph, few)
    network = read_network(graph)
    events = expected_at(graph, 0.25)
    between, entering = traffic(
        network, cuts_of(network, plan, few), {name: m.sum(axis=0)[0] for name, m in events.messages.items()}
    )
    counts = from_expected(graph, plan, events)
    received = np.concatenate([
        sum(t.n_packets_in.sum(axis=(0, 1)) for t in counts.traffic if t.target == name) for name in ("a.n", "b.n")
    ])
    assert received.sum() > 0
    np.testing.assert_allclose(between.sum(axis=0) + entering, received, rtol=1e-12)  # sums of the same floats in another order
    far, out = distances(np.arange(plan.n_cores), few)
    hops = sum(float(t.n_hops_ew.sum() + t.n_hops_ns.sum()) for t in counts.traffic)
    assert total_hops(between, entering, far, out, np.arange(plan.n_cores)) == pytest.approx(hops, rel=1e-12)  # as above
