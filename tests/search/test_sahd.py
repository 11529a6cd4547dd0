"""SNASNet's search: draws, scores against formulas written out anew, and a search that is a function of its seed."""

from __future__ import annotations

import math
import random
from typing import Any

import numpy as np
import pytest
import torch
from neurodeploy.errors import UsageError
from neurodeploy.models.snas_cell import OPS, SnasConfig, check_cell, edges, has_loop, is_recurrent, is_spiking
from neurodeploy.models.snas_convert import to_graph
from neurodeploy.models.snasnet import SnasNet
from neurodeploy.search.sahd import kernel, log_det, mean_kernel, score, search_cells
from neurodeploy.search.snas_space import draw, draw_raw, is_accepted, sanitise

SMALL = SnasConfig(1, (8, 8), 3, width=4, group=2, n_timesteps=3, hidden=12, linear_std=0.5)
IMAGES = np.random.default_rng(0).random((40, 1, 8, 8), dtype=np.float32)


def test_raw_draws_are_uniform() -> None:
    """Each operation on each pair; with feedback each direction of a pair as often, and never both."""
    rng, n = random.Random(0), 4000
    forward, backward = ([draw_raw(rng, kind) for _ in range(n)] for kind in ("forward", "backward"))
    for row in range(4):
        for col in range(row + 1, 4):
            for op in map(str, range(len(OPS))):
                # Five deviations of a binomial of 4,000 draws are 0.032 and less.
                assert sum(c[row][col] == op for c in forward) / n == pytest.approx(1 / 5, abs=0.032)
                if op != "0":
                    assert sum(c[row][col] == op for c in backward) / n == pytest.approx(1 / 10, abs=0.024)
                    assert sum(c[col][row] == op for c in backward) / n == pytest.approx(1 / 10, abs=0.024)
            assert all("0" in (c[row][col], c[col][row]) for c in backward)
    assert not any(row > col for c in forward for row, col, _ in edges(c))


def test_cells_drawn_count_and_spiking_ones_have_no_loop_without_neurons() -> None:
    rng = random.Random(1)
    cells = [draw(rng, "backward") for _ in range(400)]
    assert all(is_accepted(c) and sanitise(c) == c for c in cells)
    assert any(is_recurrent(c) for c in cells) and any(not is_spiking(c) for c in cells)
    kept = [draw(rng, "backward", spiking=True) for _ in range(100)]
    assert all(is_spiking(c) and has_loop(c) == is_recurrent(c) for c in kept) and any(is_recurrent(c) for c in kept)
    assert any(has_loop(c) != is_recurrent(c) for c in cells)
    for cell in {*kept}:
        to_graph(SnasNet(SMALL, cell))
    assert not is_spiking(check_cell("0001 4000 0000 0100")) and is_spiking(check_cell("0001 4000 0000 0200"))


@pytest.mark.parametrize("wrong", ["0303 0030 2002", "0305 0030 2002 0200", "1000 0000 0000 0000", "snasnet_x", ["03", "0"]])
def test_what_is_no_cell_is_named(wrong: Any) -> None:
    with pytest.raises(UsageError, match=r"cell|itself"):
        check_cell(wrong)


@pytest.mark.parametrize("distance", ["sahd", "hamming"])
def test_kernels_are_the_formula_pair_by_pair(distance: Any) -> None:
    rng = np.random.default_rng(2)
    x = rng.random((6, 5, 7, 3)) < rng.random((6, 1, 1, 1))
    x[0] = False
    n, flat = 105, x.reshape(6, -1)
    for i, row in enumerate(kernel(torch.from_numpy(x), distance)):
        for j, found in enumerate(row):
            apart, (r, s) = int((flat[i] != flat[j]).sum()), (flat[i].mean(), flat[j].mean())
            wanted = n - apart if distance == "hamming" else n - 0.5 * apart / (n * (r * (1 - s) + (1 - r) * s) + 1e-3)
            assert found == pytest.approx(wanted, rel=1e-13)


def test_distances_do_not_drown_in_the_number_of_neurons() -> None:
    """Two samples that differ in one of 2^21 neurons (more than one chunk) are not the same."""
    x = torch.zeros(2, 2**21)
    x[:, :7] = 1
    x[1, -1] = 1
    k = kernel(x, "hamming")
    assert k[0, 0] - k[0, 1] == 1.0 and math.isfinite(log_det(k))
    assert log_det(kernel(x[[0, 0]], "hamming")) == -math.inf


def test_score_leaves_the_network_as_it_was_and_has_no_dropout() -> None:
    torch.manual_seed(0)
    net = SnasNet(SMALL, "snasnet_cifar10").eval()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    images = torch.from_numpy(IMAGES[:12])
    first = score(net, [images])
    assert math.isfinite(first) and first == score(net, [images])
    assert not net.training and not net.dropout.training
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert mean_kernel(net, images).shape == (12, 12)
    with pytest.raises(UsageError, match="two images"):
        score(net, [images[:1]])


def test_search_is_a_function_of_its_seed() -> None:
    state, told = torch.get_rng_state(), []
    found = search_cells(SMALL, IMAGES, n_cells=25, seed=3, batch=10, progress=lambda i, s: told.append((i, s)))
    again = search_cells(SMALL, IMAGES, n_cells=25, seed=3, batch=10)
    assert found == again and torch.equal(torch.get_rng_state(), state)
    assert [i for i, _ in told] == list(range(1, 26)) and {s for _, s in told} == set(found.cells)
    assert found.n_drawn == 25 >= len(found.cells) > 10
    assert found.best.score == max(s.score for s in found.cells) and found.best in found.cells
    assert len({c.cell for c in found.cells}) == len(found.cells)
    assert search_cells(SMALL, IMAGES, n_cells=10, seed=3, batch=10).cells == found.cells[: len({s.cell for _, s in told[:10]})]
    other = search_cells(SMALL, IMAGES, n_cells=25, seed=4, batch=10)
    plain = search_cells(SMALL, IMAGES, n_cells=25, seed=3, batch=10, distance="hamming")
    assert other.cells != found.cells
    assert [s.cell for s in plain.cells] == [s.cell for s in found.cells] and plain.cells != found.cells


def test_what_cannot_be_searched_is_said() -> None:
    with pytest.raises(UsageError, match="40 images"):
        search_cells(SMALL, IMAGES, n_cells=2, seed=0, batch=256)
    with pytest.raises(UsageError, match="apart"):
        search_cells(SMALL, np.repeat(IMAGES[:1], 8, axis=0), n_cells=2, seed=0, batch=4)
    with pytest.raises(UsageError, match="sideways"):
        draw(random.Random(0), "sideways")  # type: ignore[arg-type]
