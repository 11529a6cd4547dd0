"""The main job: supernet, search with the chip's cost in the fitness, retraining, deployment, bundle, report."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from neurodeploy.errors import Interrupted, NeurodeployError, Unreachable, UsageError
from neurodeploy.hw.profile import any_target as profile_of
from neurodeploy.jobs.data import AnyDataset, load_data
from neurodeploy.jobs.extensions import require_extensions, require_shared
from neurodeploy.jobs.interrupts import finish_trial_first, interrupt_afterwards, remembered_interrupts
from neurodeploy.jobs.ray_pool import require_ray
from neurodeploy.jobs.routes import Evaluates, Route, default_recipe, route_of
from neurodeploy.jobs.run import BUNDLE, CANDIDATES, REFERENCES, RESULT, Run, opened, read_json, write_json
from neurodeploy.jobs.snas_search import check_cells_fit, prepare_cells, search_cells, study_cells
from neurodeploy.jobs.stages import Laps, Stage, help_training, require_stage, resume_command, stopped
from neurodeploy.jobs.training import places, supernet_of, train_arch
from neurodeploy.jobs.workers import evaluating, judge, storage_arguments, storage_of
from neurodeploy.models.macro import check_arch
from neurodeploy.progress import SILENT, Progress
from neurodeploy.search.evolve import Scored
from neurodeploy.search.executor import Evaluate, Executor
from neurodeploy.search.fitness import Metrics, References, energy_field, fitness
from neurodeploy.search.pareto import objectives_with
from neurodeploy.search.recipe import Recipe
from neurodeploy.search.regret import regrets
from neurodeploy.search.snas_recipe import AnyRecipe, SnasRecipe, parse_any, read_any, with_short
from neurodeploy.search.space import Space
from neurodeploy.search.standing import Standing
from neurodeploy.search.study import StudyResult
from neurodeploy.search.study import run as run_study
from neurodeploy.search.trials import Evaluation
from neurodeploy.train import ranks
from neurodeploy.train.runtime import threads
from neurodeploy.train.supernet import SuperNetResult

_EXECUTOR = "executor."
_N_SEEDS = 3  # of each method that an exhaustive search compares itself with


@dataclass(frozen=True)
class SearchResult:
    """`data` is the contract's object: run_dir, n_evaluated, best, pareto, bundle, and the final figures."""

    data: dict[str, Any]

    @property
    def run_dir(self) -> Path:
        return Path(self.data["run_dir"])

    @property
    def bundle(self) -> Path:
        return Path(self.data["bundle"])

    def to_dict(self) -> dict[str, Any]:
        """Plain fields, for JSON."""
        return self.data


def resolve_recipe(
    recipe: str | None, target: str | None, overrides: dict[str, Any], resume: Path | None = None, method: str | None = None
) -> dict[str, Any]:
    """What a run would use: the recipe with all defaults, and the target's profile; overrides of both (`--set`). `method` as
    `search` has it.

    With `resume`, what the run in that folder uses.
    """
    if resume is not None:
        run = _reopened(resume, overrides)
        return {"recipe": run.settings.to_dict(), "profile": run.profile.model_dump(mode="json")}
    of_recipe, of_profile = split_overrides(overrides)
    profile = None if target is None else profile_of(target, of_profile)
    if recipe is None:
        recipe = default_recipe(profile, method) if profile is not None else "digits"
    resolved: dict[str, Any] = {"recipe": with_short(recipe, of_recipe, method).model_dump(mode="json")}
    return resolved if profile is None else {**resolved, "profile": profile.model_dump(mode="json")}


def split_overrides(overrides: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Overrides of the recipe, and those that begin with `profile.`, which go to the target's profile."""
    prefix = "profile."
    return (
        {k: v for k, v in overrides.items() if not k.startswith(prefix)},
        {k.removeprefix(prefix): v for k, v in overrides.items() if k.startswith(prefix)},
    )


def search(
    recipe: str | Path | None = None, target: str | None = None, *, method: str | None = None, budget: int | None = None,
    out: Path | str | None = None, resume: Path | str | None = None, workers: int | None = None, seed: int | None = None,
    storage: str | None = None, until: Stage | None = None, overrides: dict[str, Any] | None = None,
    progress: Progress = SILENT,
) -> SearchResult:
    """Run (or with `resume` continue) a search on `workers` processes, to a validated bundle of the best architecture.

    target is "loihi2" where not given, recipe the packaged one for that kind of target; method, budget and seed override the
    recipe. workers: 1 where not given, on a Ray cluster as many as it has CPUs. storage: a database's URL, or a journal
    outside the run's folder. A resumed run keeps all of them but workers and executor. until: the stage to stop behind; the
    result then says only where the run lies and how it is resumed. Processes of torchrun train the networks together, the
    first does all else, and all return the same.
    Raises UsageError for an invalid request, DoesNotFit where not even the smallest network fits, NeurodeployError where no
    candidate is feasible, Mismatch where the bundle does not reproduce itself, Unreachable where a database or cluster goes
    away, and Interrupted, both with the command that resumes.
    """
    run: Run | None = None
    try:
        with ranks.joined() as here:
            with interrupt_afterwards():  # or a Ctrl-C in the moment the folder appears would name no run
                run = opened(here, "search", lambda: _begin(
                    recipe, target, method, budget, out, resume, seed, storage, until, overrides or {}, workers))
            progress.message(f"run folder {run.path}")
            if not here.is_first:
                return SearchResult(help_training(run, here))
            with run.locked(), threads(1), remembered_interrupts() as interrupted:
                found = _finished(run)
                here.shared(found is None)
                if found is None and isinstance(run.settings, SnasRecipe):
                    found = SearchResult(search_cells(run, workers, progress, interrupted, until))
                found = found or _search(run, workers, progress, interrupted, until)
            here.shared(found.data)
            return found
    except KeyboardInterrupt as error:
        if run is None:
            raise
        raise Interrupted("interrupted; what is finished is kept", remedy=f"Resume with `{resume_command(run)}`") from error
    except Unreachable as error:
        if run is None:
            raise
        raise _kept(error, f"Resume with `{resume_command(run)}`") from error


def _kept(error: Unreachable, remedy: str) -> Unreachable:
    return Unreachable(error.what, where=error.where, limit=error.limit or "What is finished is kept", remedy=remedy)


def _begin(
    recipe: str | Path | None, target: str | None, method: str | None, budget: int | None, out: Path | str | None,
    resume: Path | str | None, seed: int | None, storage: str | None, until: Stage | None, overrides: dict[str, Any],
    workers: int | None,
) -> Run:
    """The run to work on: a new folder, or the one to resume, whose settings stay."""
    if resume is not None:
        fixed = [key for key in overrides if not key.startswith(_EXECUTOR)] or None
        given = {"method": method, "budget": budget, "seed": seed, "storage": storage, "--set": fixed, "out": out}
        if any(v is not None for v in given.values()):
            names = ", ".join(k for k, v in given.items() if v is not None)
            raise UsageError(f"{names} cannot change on resume", where=str(resume), remedy="Start a new run with them")
        run = _reopened(Path(resume), overrides)
        _require_same(run, recipe, target)
        require_stage(run.settings, until)
        _require_evaluable(run.settings, workers)
        return run
    of_recipe, of_profile = split_overrides(overrides)
    profile = profile_of("loihi2" if target is None else target, of_profile)
    settings = with_short(default_recipe(profile, method) if recipe is None else recipe, of_recipe, method, budget, seed)
    require_stage(settings, until)
    if isinstance(settings, SnasRecipe):
        _require_evaluable(settings, workers)
        check_cells_fit(settings, profile)
        return Run.create("search", settings, profile, None if out is None else Path(out), storage_arguments(storage))
    if budget is not None and settings.evolution.method == "exhaustive":
        raise UsageError(f"a budget of {budget}", where="search method exhaustive", limit="It evaluates the whole space",
                         remedy="Leave the budget out, or choose another method")
    # Before a folder is made: raises where nothing would fit, or could be trained.
    _require_evaluable(settings, workers)
    data = load_data(settings.data, settings.input.kind)
    require_extensions(settings, data)
    if settings.supernet.anchor is not None:
        check_arch(settings.supernet.anchor, settings.network.n_positions, settings.network.blocks)
    route_of(profile, settings).choices(settings, data)
    return Run.create("search", settings, profile, None if out is None else Path(out), storage_arguments(storage))


def _reopened(folder: Path, overrides: dict[str, Any]) -> Run:
    """The run in a folder, evaluated where `overrides` say."""
    run = Run.open(folder, "search")
    where = {key: value for key, value in overrides.items() if key.startswith(_EXECUTOR)}
    return replace(run, settings=parse_any(run.settings.to_dict(), where))


def _require_evaluable(recipe: AnyRecipe, workers: int | None) -> None:
    """Raises where those who evaluate would lack what this process has, or Ray is asked for and missing."""
    is_ray = recipe.executor.kind == "ray"
    require_shared(recipe, max(2, workers or 0) if is_ray else workers or 1)
    if is_ray:
        require_ray()


def _require_same(run: Run, recipe: str | Path | None, target: str | None) -> None:
    """A recipe and target may be named again on resume, but no others."""
    for what, asked, kept in (
        ("target", None if target is None else profile_of(target).name, run.profile.name),
        ("recipe", None if recipe is None else read_any(recipe).name, run.settings.name),
    ):
        if asked not in (None, kept):
            raise UsageError(
                f"the {what} cannot change on resume", where=str(run.path), limit=f"The run's {what} is {kept}, not {asked}",
                remedy=f"Leave --{what} out, or start a new run",
            )


def _finished(run: Run) -> SearchResult | None:
    """The result of a run that is complete, wherever its folder lies now."""
    if not (run.path / RESULT).is_file() or not (run.path / BUNDLE).is_dir():
        return None
    return SearchResult({**read_json(run.path / RESULT), **places(run)})


def _search(
    run: Run, workers: int | None, progress: Progress, interrupted: list[bool], until: Stage | None
) -> SearchResult:
    lap = Laps(progress, interrupted)
    data = load_data(run.recipe.data, run.recipe.input.kind)
    route = route_of(run.profile, run.recipe)

    evaluator, references = prepare(run, route, data, progress)
    lap("supernet", f"{run.recipe.supernet.epochs} epochs")
    if until == "supernet":
        ranks.current().shared([])
        return SearchResult(stopped(run, until))
    with evaluating(run, evaluator, workers) as executor:
        study = _study(run, route, executor, references, data, progress)
    lap("search", f"{len(study.evaluations)} candidates, {sum(e.fitness is not None for e in study.evaluations)} feasible")
    run.once(CANDIDATES, lambda: {"candidates": [_entry(e) for e in study.evaluations]})
    if study.best is None:
        raise NeurodeployError(
            f"none of the {len(study.evaluations)} candidates is feasible", where=str(run.path), code="no_candidate",
            limit="; ".join(sorted({r for e in study.evaluations for r in _why(e, run, references, data)})[:4]),
            remedy="Train the supernet longer, or widen the network or the limits",
        )
    ranks.current().shared([] if until == "search" else list(study.best.genome))
    if until == "search":
        return SearchResult(stopped(run, until, best=_entry(study.best), n_evaluated=len(study.evaluations)))
    network = train_arch(run, study.best.genome, data, progress)
    lap("training", f"{','.join(study.best.genome)}, {run.recipe.train.epochs} epochs")
    if until == "training":
        accuracy = network.metadata["accuracy_validation"]
        return SearchResult(stopped(run, until, best=_entry(study.best), accuracy_validation=accuracy))
    predicted = _entry(study.best)
    extra = {"genome": list(study.best.genome), "recipe": run.recipe.name, "predicted": predicted}
    final = route.finish(network, data, run.recipe, run.path / BUNDLE, extra, lap, progress)
    pareto = [_entry(e) for e in study.pareto]
    result = {
        **places(run), "target": run.profile.name, "n_evaluated": len(study.evaluations),
        "n_feasible": sum(e.fitness is not None for e in study.evaluations), "stopped": study.stopped,
        "best": predicted, "pareto": pareto, **route.front(pareto, data), **_exact(run, route, study, data),
        "references": references.to_dict(), **final,
        "seconds": lap.seconds, "data": {"name": data.name, "split": "test"}, "schedule": run.recipe.cost.schedule,
        "recipe": run.recipe.name, "disclaimer": run.profile.disclaimer,
    }
    write_json(run.path / RESULT, result)
    return SearchResult(read_json(run.path / RESULT))  # as a later resume gives it


def prepare(run: Run, route: Route, data: AnyDataset, progress: Progress) -> tuple[Evaluates, References]:
    """The trained supernet's evaluator and what the fitness divides by, both from the run's files where they exist."""
    require_extensions(run.recipe, data)
    supernet, log = supernet_of(run, data, route.choices(run.recipe, data), progress)
    evaluator = route.evaluator(supernet, data, run.recipe)
    return evaluator, References(**run.once(REFERENCES, lambda: _references(evaluator, log, run)))


def _references(evaluator: Evaluates, log: SuperNetResult, run: Run) -> dict[str, Any]:
    """Means over the supernet's own log, where it drew uniformly: spikes of all batches, energy and latency of the last
    architectures."""
    settings = run.recipe.supernet
    uniform = [sample for sample in log.log if settings.anchor_probability(sample.epoch - 1) == 0]
    drawn = list(dict.fromkeys(sample.arch for sample in reversed(uniform)))[: settings.n_references]
    found = [evaluator.metrics(evaluator.network(arch)) for arch in drawn]
    costed = [m for m in found if m.energy_j is not None and m.latency_s is not None]
    if not costed:
        raise NeurodeployError(
            "none of the architectures in the supernet's log fits the target", where=run.profile.name,
            code="no_candidate", limit=str(found[0].violations[0]), remedy="Narrow the network, or use a larger system",
        )
    energies = [getattr(m, energy_field(run.recipe.fitness)) for m in costed]
    judged = [m for m in costed if m.terms] or costed  # those that spike
    return References(
        spikes=float(np.mean([sample.spikes_paper for sample in uniform])),
        energy_j=float(np.mean([e for e in energies if e is not None])),
        latency_s=float(np.mean([m.latency_s for m in costed if m.latency_s is not None])),
        terms={name: float(np.mean([m.terms[name] for m in judged])) for name in run.recipe.fitness.terms if judged[0].terms},
    ).to_dict()


def _study(
    run: Run, route: Route, evaluate: Evaluate | Executor, references: References, data: AnyDataset, progress: Progress
) -> StudyResult:
    recipe = run.recipe
    storage, name = storage_of(run)
    space = Space(route.choices(recipe, data))

    def score(metrics: dict[str, Any]) -> float | None:
        return fitness(Metrics.from_dict(metrics), recipe.fitness, references, data.n_classes).value

    task, best = "search", 0.0
    is_exhaustive = recipe.evolution.method == "exhaustive"
    progress.start(task, space.size if is_exhaustive else min(recipe.evolution.budget, space.size))

    def show(evaluation: Evaluation) -> None:
        nonlocal best
        best = max(best, evaluation.fitness or 0.0)
        progress.advance(task, best_fitness=f"{best:.4f}")

    with finish_trial_first() as asked:
        result = run_study(
            storage, recipe.evolution, space, recipe.seed, evaluate, score, show,
            context=_context(recipe, run, references), objectives=objectives_with(recipe.fitness.terms),
            should_stop=lambda: asked[0],
            standing=Standing(recipe.fitness, data.n_classes) if recipe.evolution.method == "nsga2" else None,
            study=name,
        )
    progress.done(task)
    if asked[0]:  # perhaps during the last candidate: then the search is complete, and what follows it is not wanted
        raise KeyboardInterrupt
    return result


def _exact(run: Run, route: Route, study: StudyResult, data: AnyDataset) -> dict[str, Any]:
    """Of an exhaustive search: what the other methods would have found of it with the recipe's budget."""
    recipe = run.recipe
    if recipe.evolution.method != "exhaustive":
        return {}
    standing = Standing(recipe.fitness, data.n_classes)
    known = {e.genome: Scored(e.genome, e.fitness, *standing(e.metrics)) for e in study.evaluations}
    seeds = range(recipe.seed, recipe.seed + _N_SEEDS)
    found = regrets(Space(route.choices(recipe, data)), recipe.evolution, seeds, known)
    return {"exact": {
        "objectives": list(standing.objectives), "budget": recipe.evolution.budget, "searches": [r.to_dict() for r in found],
    }}


def _context(recipe: Recipe, run: Run, references: References) -> dict[str, Any]:
    """What else must not change between the workers and resumptions of one search."""
    decides = {key: value for key, value in recipe.to_dict().items() if key != "executor"}
    return {"recipe": decides, "profile": run.profile.digest, "references": references.to_dict()}


@dataclass(frozen=True)
class WorkerResult:
    """How many architectures this worker evaluated itself."""

    run_dir: Path
    n_evaluated: int
    stopped: str

    def to_dict(self) -> dict[str, Any]:
        """Plain fields, for JSON."""
        return {"run_dir": str(self.run_dir), "n_evaluated": self.n_evaluated, "stopped": self.stopped}


def worker(run_dir: Path, *, progress: Progress = SILENT) -> WorkerResult:
    """Join a running search whose supernet is trained; ends when the search's budget is spent."""
    run = Run.open(run_dir, "search")
    # Cells need no supernet: their worker may come at any time.
    if not isinstance(run.settings, SnasRecipe) and not (run.path / REFERENCES).exists():
        raise UsageError(
            "its supernet is not trained yet", where=str(run_dir), code="not_ready",
            remedy="Start the worker once the search itself evaluates architectures",
        )
    data = load_data(run.settings.data, run.settings.input.kind)
    route = route_of(run.profile, run.settings)
    again = f"Join again with `neurodeploy worker --run {run.path}`"
    try:
        with threads(1):
            if isinstance(run.settings, SnasRecipe):
                study = study_cells(run, *prepare_cells(run, data, progress), progress)
            else:
                evaluator, references = prepare(run, route, data, progress)
                study = _study(run, route, judge(run, evaluator), references, data, progress)
    except KeyboardInterrupt as error:
        raise Interrupted("interrupted; what is finished is kept", remedy=again) from error
    except Unreachable as error:
        raise _kept(error, again) from error
    return WorkerResult(run.path, study.n_evaluated_here, study.stopped)


def _why(evaluation: Evaluation, run: Run, references: References, data: AnyDataset) -> tuple[str, ...]:
    return fitness(Metrics.from_dict(evaluation.metrics), run.recipe.fitness, references, data.n_classes).reasons


def _entry(evaluation: Evaluation) -> dict[str, Any]:
    """A candidate as the contract lists it."""
    return {"genome": list(evaluation.genome), **evaluation.metrics, "fitness": evaluation.fitness}
