"""Recipes of SNASNet, the space of cells and the fitness of untrained ones."""

from __future__ import annotations

import math
import random
from pathlib import Path
from typing import Any

import pytest
from neurodeploy.errors import UsageError, Violation
from neurodeploy.models.snas_cell import RELEASED_SIZES, check_cell, is_recurrent
from neurodeploy.search.cell_fitness import CellFitnessSettings, CellMetrics, CellReferences, cell_fitness, why_not
from neurodeploy.search.recipe import Recipe, read
from neurodeploy.search.snas_recipe import SnasRecipe, parse_any, read_any, with_short
from neurodeploy.search.snas_space import CellSpace, draw

MINIMAL: dict[str, Any] = {
    "schema_version": 1, "name": "mine", "data": {"name": "digits"},
    "network": {"family": "snasnet", "width": 4, "n_timesteps": 3}, "train": {"epochs": 2},
}
GOOD = CellMetrics(-100.0, 500.0, 9e3, 4e-6, 1e-6, 3e-5, 7, fits=True)


def test_the_paper_s_recipe_has_its_sizes_and_training() -> None:
    recipe = read_any("cifar10_snasnet")
    assert isinstance(recipe, SnasRecipe)
    assert recipe.network.sizes((3, 32, 32), 10) == RELEASED_SIZES["cifar10"]
    t = recipe.train
    assert (t.epochs, t.optimizer, t.lr, t.momentum, t.weight_decay, t.lr_end, t.batch_size, t.loss) == (
        300, "sgd", 0.1, 0.9, 5e-4, 0.01, 64, "ce")
    assert (recipe.sahd.budget, recipe.sahd.batch, recipe.sahd.n_batches, recipe.fitness.weighs_costs) == (5000, 256, 2, False)


def test_a_recipe_with_overrides_and_what_it_refuses() -> None:
    recipe = parse_any(MINIMAL, {"sahd.budget": 7, "network.cells": "forward", "fitness.mu_energy": -0.5})
    assert isinstance(recipe, SnasRecipe) and recipe.fitness.weighs_costs
    assert (recipe.sahd.budget, recipe.network.cells, recipe.network.group) == (7, "forward", 5)
    assert parse_any(recipe.to_dict()) == recipe and "lr_end" not in recipe.to_dict()["train"]
    for wrong, said in (
        ({"network.widht": 3}, "widht"), ({"sahd.budget": 0}, "budget"), ({"fitness.mu_energy": 1}, "mu_energy"),
        ({"supernet.epochs": 1}, "supernet"), ({"input.kind": "rate"}, "images as they are"),
    ):
        with pytest.raises(UsageError, match=said):
            parse_any(MINIMAL, wrong)
    with pytest.raises(UsageError, match="vanish"):
        recipe.network.sizes((1, 3, 3), 10)


def test_families_are_not_mixed_up() -> None:
    with pytest.raises(UsageError, match="recipe of SNASNet") as caught:
        read("digits_snasnet")
    assert caught.value.error_code == "other_family"
    assert isinstance(read_any("digits"), Recipe) and read_any("digits") == read("digits")
    with pytest.raises(UsageError, match=r"digits\.toml: method 'sahd'.*such as digits_snasnet"):
        with_short("digits", {}, "sahd")
    with pytest.raises(UsageError, match=r"method 'evolution'.*scored untrained"):
        with_short("digits_snasnet", {}, "evolution")
    short = with_short("digits_snasnet", {"seed": 1}, "sahd", 5, 9)
    assert isinstance(short, SnasRecipe) and (short.seed, short.sahd.budget) == (9, 5)
    other = with_short("digits", {}, "nsga2", 5, 9)
    assert isinstance(other, Recipe) and (other.seed, other.evolution.budget, other.evolution.method) == (9, 5, "nsga2")


def test_all_forward_cells_are_drawn_once_and_then_none() -> None:
    space = CellSpace.of("forward")
    rng, seen = random.Random(0), set[tuple[str, ...]]()
    for _ in range(300):
        cell = space.draw_unseen(rng, seen)
        assert cell is not None and cell in space and not is_recurrent(check_cell(cell))
        seen.add(cell)
    found = set(map(space.genome, range(space.size)))
    assert len(found) == space.size and seen < found
    last = {found.pop()}
    assert space.draw_unseen(random.Random(1), found) == next(iter(last))
    assert space.draw_unseen(random.Random(1), found | last) is None
    assert ("1000", "0000", "0000", "0000") not in space and ("0010", "0000", "0000", "0000") not in space
    assert ("0003", "0000", "0000") not in space and "0003" not in space
    assert space.number(space.genome(17)) == 17


def test_cells_with_feedback_are_in_their_space_alone() -> None:
    rng = random.Random(3)
    cells = [draw(rng, "backward", spiking=True) for _ in range(60)]
    assert sum(map(is_recurrent, cells)) > 20
    assert all(c in CellSpace.of("backward") for c in cells)
    integrator = ("0001", "4000", "0000", "0100")
    assert integrator not in CellSpace.of("backward") and integrator in CellSpace.of("backward", spiking=False)


def test_fitness_is_the_score_or_the_score_with_costs_worked_by_hand() -> None:
    references = CellReferences(10.0, 250.0, 2e-6, 1e-6, 3e-5)
    assert cell_fitness(GOOD.to_dict(), CellFitnessSettings(), None) == -100.0
    settings = CellFitnessSettings(lambda_spikes=-0.5, mu_energy=-1.0, nu_latency=-0.25)
    # Twice the spikes and twice the energy of the references, their latency: -100 - 10 (0.5 + 1) ln 2.
    assert cell_fitness(GOOD.to_dict(), settings, references) == pytest.approx(-100 - 15 * math.log(2), rel=1e-12)
    dynamic = CellFitnessSettings(mu_energy=-1.0, energy="dynamic")
    assert cell_fitness(GOOD.to_dict(), dynamic, references) == -100.0


@pytest.mark.parametrize(("metrics", "said"), [
    (CellMetrics(None, refused="entry.conv: ..."), "no form"),
    (CellMetrics(None, violations=(Violation("r", "a", "b", "c", "d"),)), "not fit"),
    (CellMetrics(None, 500.0, 1.0, 1e-6, 1e-6, 1e-5, 3, fits=True), "apart"),
    (CellMetrics(-1.0, 0.0, 0.0, 1e-6, 1e-6, 1e-5, 3, fits=True), "never spikes"),
])
def test_why_a_cell_has_no_fitness(metrics: CellMetrics, said: str) -> None:
    settings = CellFitnessSettings(lambda_spikes=-0.1)
    assert said in (why_not(metrics.to_dict(), settings) or "")
    assert cell_fitness(metrics.to_dict(), settings, CellReferences(1, 1, 1, 1, 1)) is None
    assert why_not(GOOD.to_dict(), settings) is None


def test_a_recipe_in_a_file(tmp_path: Path) -> None:
    path = tmp_path / "own.toml"
    path.write_text('schema_version = 1\nname = "own"\n[data]\nname = "digits"\n'
                    '[network]\nfamily = "snasnet"\nwidth = 4\nn_timesteps = 3\n[train]\nepochs = 2\n')
    found = read_any(path)
    assert isinstance(found, SnasRecipe) and found.deploy.loss == "mse" and found.encodings == {"direct"}
