"""Layers to cores: exact on random small cases against every assignment, and what is said where none exists."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from neurodeploy.errors import DoesNotFit
from neurodeploy.place.core_memory import CoreMemory, Words, kernel_words, layer_words, neuron_words, out_map
from neurodeploy.place.matching import Requirement, match, require_match

MEMORIES = (CoreMemory(100, 1000, 10), CoreMemory(200, 500, 10), CoreMemory(400, 100, 10), CoreMemory(100, 1000, 10))


def layer(name: str, kernel: int = 1, neuron: int = 1, bias: int = 0, forbidden: tuple[int, ...] = ()) -> Requirement:
    return Requirement(name, Words(kernel, neuron, bias), frozenset(forbidden))


def test_words_by_hand() -> None:
    # 3x3 takes 16 places, 33 channels out 64, 5 channels in as they are; 9x17 takes 16 * 32, channels as they are.
    assert kernel_words(5, 33, (3, 3)) == 5 * 16 * 64
    assert neuron_words((33, 9, 17)) == 33 * 16 * 32
    assert layer_words(5, (3, 3), (33, 9, 17), bias=True) == Words(5120, 16896, 33)
    assert layer_words(1, (1, 1), (1, 1, 1), bias=False) == Words(1, 1, 0)
    assert out_map((7, 8), (3, 3), (2, 4), (0, 1)) == (3, 2)


def test_as_many_layers_as_any_assignment_serves() -> None:
    rng = np.random.default_rng(0)
    feasible = infeasible = 0
    for _ in range(400):
        layers = [
            layer(f"l{i}", int(rng.integers(1, 300)), int(rng.integers(1, 1005)), int(rng.integers(0, 11)),
                  tuple(np.flatnonzero(rng.random(4) < 0.1).tolist()))
            for i in range(rng.integers(1, 6))
        ]
        slots = [*range(4), *[None] * len(layers)]
        most = max(
            sum(core is not None and core in one.cores(MEMORIES) for one, core in zip(layers, cores, strict=True))
            for cores in set(permutations(slots, len(layers)))
        )
        found = match(layers, MEMORIES)
        taken = [core for core in found.cores if core is not None]
        assert len(taken) == len(set(taken)) == most
        assert all(core is None or core in one.cores(MEMORIES) for one, core in zip(layers, found.cores, strict=True))
        assert (not found.violations) == (most == len(layers))
        feasible += most == len(layers)
        infeasible += most < len(layers)
    assert feasible > 50
    assert infeasible > 50


def test_earlier_layers_move_for_later_ones() -> None:
    cores = require_match([layer("a"), layer("b"), layer("c", neuron=1000), layer("d", neuron=900)], MEMORIES, target="t")
    assert set(cores[2:]) == {0, 3}
    assert set(cores[:2]) == {1, 2}


def test_every_layer_that_fits_nowhere_is_named() -> None:
    layers = [layer("big", kernel=401), layer("fine"), layer("both", kernel=300, neuron=300), layer("biased", bias=11)]
    with pytest.raises(DoesNotFit) as caught:
        require_match(layers, MEMORIES, target="toy")
    big, both, biased = caught.value.violations
    assert (big.rule, big.where) == ("core_memory", "big")
    assert "401 kernel words" in big.what
    assert "400 kernel words" in big.limit
    assert "core 2 lacks 200 neuron words" in both.limit
    assert "no bias" in biased.remedy
    assert match(layers, MEMORIES).cores == (None, 0, None, None)


def test_layers_that_compete_are_named_together() -> None:
    layers = [layer("free"), *[layer(f"wide{i}", neuron=900) for i in range(4)]]
    found = match(layers, MEMORIES)
    (violation,) = found.violations
    assert violation.rule == "cores"
    assert violation.where == "wide0, wide1, wide2, wide3"
    assert "cores 0, 3" in violation.what
    assert sum(core is None for core in found.cores) == 2


def test_two_competitions_are_two_violations() -> None:
    layers = [layer("k1", kernel=400), layer("k2", kernel=300), *[layer(f"n{i}", neuron=1000) for i in range(3)]]
    assert [v.where for v in match(layers, MEMORIES).violations] == ["k1, k2", "n0, n1, n2"]


def test_more_layers_than_cores() -> None:
    (violation,) = match([layer(f"l{i}") for i in range(5)], MEMORIES).violations
    assert "5 layers fit only cores 0, 1, 2, 3" in violation.what


def test_forbidden_cores_stay_free() -> None:
    assert match([layer("a", forbidden=(0, 1))], MEMORIES).cores == (2,)
    (violation,) = match([layer("a", kernel=150, forbidden=(1, 2))], MEMORIES).violations
    assert "100 kernel words" in violation.limit
