"""Where cores go, and the placement as a value."""

from __future__ import annotations

import json

import numpy as np
import pytest
from neurodeploy.errors import NeurodeployError, UnsafeFile
from neurodeploy.hw.profile import target
from neurodeploy.ir.nodes import Input
from neurodeploy.place import Placement, place, suggest
from neurodeploy.place.noc import hops, site

from small_nets import chain, conv, linear

LOIHI2 = target("loihi2")


def plan_of(n_chips: int | None = None, **overrides: object) -> Placement:
    graph = chain(
        Input("x", shape=(4, 32, 32), kind="graded"), conv("a", 4, 8, padding=(1, 1)), conv("b", 8, 16), linear("d", 14400, 40)
    )
    return place(graph, target("loihi2", {f"capacity.{k}.value": v for k, v in overrides.items()}), n_chips)


def test_every_neuron_has_one_core_within_its_limits() -> None:
    plan = plan_of()
    assert plan.n_cores == len(plan.cores) > 10
    assert [c.index for c in plan.cores] == list(range(plan.n_cores))
    for name, shape in plan.shapes:
        cores, where = plan.cores_of(name), plan.core_map(name)
        assert where.shape == shape
        assert np.bincount(where.reshape(-1)).tolist() == [c.n_neurons for c in cores]
        for core in cores:
            assert 0 < core.n_neurons <= 4096 and core.n_words <= 16000
            assert 0 < core.n_axons_in <= 16000 and core.n_axons_out <= 16000


def test_cores_fill_tiles_in_layer_order() -> None:
    plan = plan_of()
    assert [c.node for c in plan.cores] == sorted((c.node for c in plan.cores), key=["a.n", "b.n", "d.n"].index)
    assert [(c.tile, c.x, c.y) for c in plan.cores[:6]] == [(0, 0, 0)] * 4 + [(1, 0, 1)] * 2
    assert plan.n_chips == 1 and {c.chip for c in plan.cores} == {0}


@pytest.mark.parametrize(
    ("index", "expected"),
    [(0, (0, 0, 0, 0)), (3, (0, 0, 0, 0)), (4, (0, 1, 0, 1)), (16, (0, 4, 1, 0)), (119, (0, 29, 7, 1)), (120, (1, 0, 8, 0))],
)
def test_sites_by_hand(index: int, expected: tuple[int, int, int, int]) -> None:
    """4 cores a tile, 8 x 4 tiles counted down each column; 120 cores a chip, chips side by side."""
    found = site(index, LOIHI2)
    assert (found.chip, found.tile, found.x, found.y) == expected


def test_hops_are_xy_distances() -> None:
    assert hops((0, 0), (0, 0)) == (0, 0)
    assert hops((7, 1), (8, 3)) == (1, 2)


def test_several_chips() -> None:
    plan = plan_of(8, cores_per_chip=8)
    assert plan.n_chips == plan.cores[-1].chip + 1 == -(-plan.n_cores // 8) > 1
    assert plan.cores[8].chip == 1 and plan.cores[8].x == 8 and plan.cores[8].tile == 0


def test_round_trip_through_json() -> None:
    plan = plan_of()
    assert Placement.from_dict(json.loads(json.dumps(plan.to_dict()))) == plan


@pytest.mark.parametrize(
    "damage",
    [
        lambda d: d.pop("cores"),
        lambda d: d["cores"][0].pop("x"),
        lambda d: d["cores"].pop(0),
        lambda d: d["cores"][0].update(channels=[0]),
        lambda d: d.update(n_chips="many"),
    ],
)
def test_a_damaged_placement_is_refused(damage: object) -> None:
    data = plan_of().to_dict()
    damage(data)  # type: ignore[operator]
    with pytest.raises(UnsafeFile):
        Placement.from_dict(data)


def test_an_unplaced_layer_is_named() -> None:
    with pytest.raises(NeurodeployError, match="nowhere"):
        plan_of().core_map("nowhere")


def test_the_largest_system_is_suggested_where_eight_chips_are_too_few() -> None:
    small = target("loihi2", {"capacity.cores_per_chip.value": 1, "capacity.neurons_per_core.value": 10})
    graph = chain(Input("x", shape=(4,), kind="spikes"), linear("d", 4, 85))
    found = suggest(graph, small)
    assert found is not None and (found.name, found.n_chips) == ("Hala Point", 1152)
    plan = place(graph, small, 1152)
    assert plan.n_chips == plan.n_cores == 9 and {c.x for c in plan.cores} == {8 * k for k in range(9)}
