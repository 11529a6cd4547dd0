"""The job of `--method sahd`: cells drawn and scored untrained, the fittest trained, deployed, bundled and validated."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

import numpy as np

from neurodeploy.data.datasets import Dataset
from neurodeploy.errors import DoesNotFit, NeurodeployError, UsageError
from neurodeploy.hw.profile import AnyProfile, EventProfile, GpuProfile
from neurodeploy.jobs.data import AnyDataset, load_data
from neurodeploy.jobs.interrupts import finish_trial_first
from neurodeploy.jobs.routes import route_of
from neurodeploy.jobs.run import BUNDLE, CANDIDATES, REFERENCES, RESULT, Run, read_json, write_json
from neurodeploy.jobs.snas_candidate import CellEvaluator
from neurodeploy.jobs.stages import Laps, Stage, stopped
from neurodeploy.jobs.training import places, train_arch
from neurodeploy.jobs.workers import evaluating, storage_of
from neurodeploy.progress import Progress
from neurodeploy.search.cell_fitness import OBJECTIVES, CellReferences, cell_fitness, why_not
from neurodeploy.search.evolve import EvolutionSettings
from neurodeploy.search.executor import Evaluate, Executor
from neurodeploy.search.snas_recipe import SnasRecipe
from neurodeploy.search.snas_space import CellSpace, draw
from neurodeploy.search.study import StudyResult
from neurodeploy.search.study import run as run_study
from neurodeploy.search.trials import Evaluation
from neurodeploy.train import ranks

_UNTRAINED = (
    "Score, spikes, energy and latency of candidates are those of untrained networks: first weights, batch norms of the "
    "scoring images. Training changes spikes and what they cost."
)
_SMALLEST = ("0001", "0000", "0000", "0000")  # a wire from the first node to the last: no cell needs less of anything
_MOST_DRAWS = 50  # a reference, until too few cells have a form on the target


def check_cells_fit(recipe: SnasRecipe, profile: AnyProfile) -> None:
    """Raise what speaks against the network of the smallest cell: DoesNotFit with its violations, UsageError for a target that
    has no form of any cell, and for data that the network does not take."""
    if isinstance(profile, EventProfile):
        raise UsageError(
            "cells of SNASNet on an event-driven chip", where=profile.name, code="other_arithmetic",
            limit="Their neurons leak from timestep to timestep; such chips have neither timesteps nor leak",
            remedy="Search for a chip with timesteps, such as loihi2, or a GPU; or leave --method sahd out",
        )
    found = CellEvaluator(_images(load_data(recipe.data, recipe.input.kind)), recipe, profile).metrics(_SMALLEST, scored=False)
    said = found.refused or "; ".join(f"{v.where}: {v.what}" for v in found.violations)
    if said and recipe.network.ends == "released" and not isinstance(profile, GpuProfile):
        raise UsageError(
            f"{profile.name} does not take even the smallest cell: {said}", where=f"recipe {recipe.name}", code="cannot_lower",
            limit="A chip sends spikes; here real numbers enter the cells and leave the last layer",
            remedy="Set network.ends = 'spikes', which puts neurons around the cells",
        )
    if found.refused is not None:
        raise UsageError(f"{profile.name} does not take even the smallest cell", where=f"recipe {recipe.name}",
                         code="cannot_lower", limit=found.refused, remedy="Change the sizes under network")
    if found.violations:
        raise DoesNotFit(found.violations, target=profile.name)


def search_cells(
    run: Run, workers: int | None, progress: Progress, interrupted: list[bool], until: Stage | None
) -> dict[str, Any]:
    """Score the cells of a run, with `workers` as a search has them, train and deploy the fittest; the contract's result.
    until: as `jobs.search.search` has it.

    Raises NeurodeployError where no cell has a fitness, Mismatch where the bundle does not reproduce itself, KeyboardInterrupt
    where one came between two stages.
    """
    lap = Laps(progress, interrupted)
    recipe = _recipe(run)
    data = load_data(recipe.data, recipe.input.kind)
    route = route_of(run.profile, recipe)

    evaluator, references = prepare_cells(run, data, progress)
    with evaluating(run, evaluator, workers) as executor:
        study = study_cells(run, executor, references, progress)
    refused = _refused(study.evaluations, recipe)
    feasible = len(study.evaluations) - sum(refused.values())
    lap("search", f"{len(study.evaluations)} cells, {feasible} feasible")
    run.once(CANDIDATES, lambda: {
        "untrained": _UNTRAINED, "refused": refused, "candidates": [_entry(e, recipe) for e in study.evaluations],
    })  # fmt: skip
    if study.best is None:
        first = {reason: next(_said(e) for e in study.evaluations if why_not(e.metrics, recipe.fitness) == reason)
                 for reason in refused}
        raise NeurodeployError(
            f"none of {len(study.evaluations)} cells is feasible", where=str(run.path), code="no_candidate",
            limit="; ".join(f"{n}: {reason}{first[reason]}" for reason, n in refused.items()),
            remedy="Raise the budget, draw forward cells (network.cells), or narrow the network; "
                   f"{run.path / CANDIDATES} has each cell's reason",
        )
    best = _entry(study.best, recipe)
    ranks.current().shared([] if until == "search" else list(study.best.genome))
    if until == "search":
        return stopped(run, until, best=best, n_evaluated=len(study.evaluations))
    network = train_arch(run, study.best.genome, data, progress)
    lap("training", f"cell {' '.join(study.best.genome)}, {recipe.train.epochs} epochs")
    if until == "training":
        return stopped(run, until, best=best, accuracy_validation=network.metadata["accuracy_validation"])
    extra = {"genome": list(study.best.genome), "recipe": recipe.name, "predicted": best}
    final = route.finish(network, data, recipe, run.path / BUNDLE, extra, lap, progress)
    schedules = final["test"]["cost"]
    result = {
        **places(run), "target": run.profile.name, "method": "sahd", "untrained": _UNTRAINED,
        "n_evaluated": len(study.evaluations), "n_feasible": feasible, "refused": refused, "stopped": study.stopped,
        "best": best, "pareto": [_entry(e, recipe) for e in study.pareto],
        "references": read_json(run.path / REFERENCES) if recipe.fitness.weighs_costs else None, **final,
        "seconds": lap.seconds, "data": {"name": data.name, "split": "test"},
        "schedule": recipe.cost.schedule if recipe.cost.schedule in schedules else next(iter(schedules)),
        "recipe": recipe.name, "disclaimer": run.profile.disclaimer,
    }
    write_json(run.path / RESULT, result)
    return read_json(run.path / RESULT)


def prepare_cells(run: Run, data: AnyDataset, progress: Progress) -> tuple[CellEvaluator, CellReferences | None]:
    """What judges cells, and where costs count what the fitness divides by, in the run's file from the first time on."""
    recipe = _recipe(run)
    assert not isinstance(run.profile, EventProfile)  # `check_cells_fit` refused it before the run began
    evaluator = CellEvaluator(_images(data), recipe, run.profile)
    if not recipe.fitness.weighs_costs:
        return evaluator, None
    return evaluator, CellReferences(**run.once(REFERENCES, lambda: asdict(_references(evaluator, progress))))


def study_cells(
    run: Run, evaluate: Evaluate | Executor, references: CellReferences | None, progress: Progress
) -> StudyResult:
    """Score cells of a run, with everybody else who does, until its budget is spent."""
    recipe = _recipe(run)
    task, best = "search", float("-inf")
    progress.start(task, recipe.sahd.budget)

    def show(evaluation: Evaluation) -> None:
        nonlocal best
        best = max(best, float("-inf") if evaluation.fitness is None else evaluation.fitness)
        progress.advance(task, best_fitness=f"{best:.2f}")

    storage, name = storage_of(run)
    decides = {key: value for key, value in recipe.to_dict().items() if key != "executor"}
    with finish_trial_first() as asked:
        study = run_study(
            storage, EvolutionSettings(method="random", budget=recipe.sahd.budget, pool=recipe.sahd.pool),
            CellSpace.of(recipe.network.cells), recipe.seed, evaluate,
            lambda metrics: cell_fitness(metrics, recipe.fitness, references), show,
            context={
                "recipe": decides, "profile": run.profile.digest,
                "references": None if references is None else asdict(references),
            },
            objectives=OBJECTIVES, should_stop=lambda: asked[0], study=name,
        )
    progress.done(task)
    if asked[0]:
        raise KeyboardInterrupt
    return study


def _references(evaluator: CellEvaluator, progress: Progress) -> CellReferences:
    """The means and the spread over the first cells of a draw of their own that fit and have a score."""
    recipe = evaluator.recipe
    rng, n = random.Random(f"neurodeploy cells {recipe.seed}"), recipe.sahd.n_references
    seen, found = set[tuple[str, ...]](), list[dict[str, Any]]()
    progress.start("references", n)
    for _ in range(_MOST_DRAWS * n):
        cell = draw(rng, recipe.network.cells, spiking=True)
        metrics = evaluator(cell) if cell not in seen else None
        seen.add(cell)
        if metrics is not None and why_not(metrics, recipe.fitness) is None:
            found.append(metrics)
            progress.advance("references")
        if len(found) == n:
            break
    progress.done("references")
    if len(found) < 2:
        raise NeurodeployError(
            f"{len(found)} of {len(seen)} cells can be judged on the target", where=evaluator.profile.name, code="no_candidate",
            limit="The fitness weighs costs in units of the scores' deviation, which takes two",
            remedy="Draw forward cells (network.cells), narrow the network, or set the exponents under fitness to 0",
        )

    def mean(name: str) -> float:
        return float(np.mean([m[name] for m in found]))

    costs = {name: mean(name) for name in ("spikes", "energy_j", "energy_dynamic_j", "latency_s")}
    return CellReferences(float(np.std([m["score"] for m in found])), **costs)


def _recipe(run: Run) -> SnasRecipe:
    assert isinstance(run.settings, SnasRecipe)  # `jobs.search` sends no others here
    return run.settings


def _refused(evaluations: Iterable[Evaluation], recipe: SnasRecipe) -> dict[str, int]:
    """How many cells have no fitness, by reason."""
    reasons = (why_not(e.metrics, recipe.fitness) for e in evaluations)
    return dict(Counter(reason for reason in reasons if reason is not None).most_common())


def _said(evaluation: Evaluation) -> str:
    """What the target said of a cell."""
    metrics = evaluation.metrics
    said = metrics["refused"] or next((f"{v['where']}: {v['what']}" for v in metrics["violations"]), None)
    return "" if said is None else f" (cell {' '.join(evaluation.genome)}: {said})"


def _entry(evaluation: Evaluation, recipe: SnasRecipe) -> dict[str, Any]:
    """A candidate as the contract lists it; nothing says what an untrained network's accuracy would become."""
    return {
        "genome": list(evaluation.genome), "cell": " ".join(evaluation.genome), "accuracy": None, **evaluation.metrics,
        "fitness": evaluation.fitness, "why_not": why_not(evaluation.metrics, recipe.fitness),
    }


def _images(data: AnyDataset) -> Dataset:
    if not isinstance(data, Dataset):
        raise UsageError("streams of events", where=data.name, limit="Cells are scored on images",
                         remedy="Name a dataset of images")
    return data
