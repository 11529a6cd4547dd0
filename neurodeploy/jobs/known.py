"""A search's run as a source of evaluations: what it evaluated, and with its supernet whatever else is asked."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from neurodeploy.errors import UsageError
from neurodeploy.jobs.data import load_data
from neurodeploy.jobs.routes import Evaluates, route_of
from neurodeploy.jobs.run import CANDIDATES, Run, read_json
from neurodeploy.jobs.search import prepare
from neurodeploy.progress import SILENT
from neurodeploy.search.fitness import FitnessSettings, Metrics, References, fitness
from neurodeploy.search.recipe import Recipe
from neurodeploy.search.space import Genome, Space
from neurodeploy.train.runtime import threads


@dataclass(frozen=True, eq=False)
class KnownRun:
    """Calls give metrics of an architecture, each evaluated once; `new` are those that the run had not evaluated."""

    recipe: Recipe
    space: Space
    evaluator: Evaluates
    references: References
    n_classes: int
    known: dict[Genome, dict[str, Any]]
    new: set[Genome] = field(default_factory=set)

    @classmethod
    def open(cls, path: Path) -> KnownRun:
        """The run in a folder; UsageError where its search is not over."""
        run = Run.open(path, "search")
        if not (path / CANDIDATES).is_file():
            raise UsageError("its search is not over", where=str(path), code="not_ready",
                             remedy=f"Finish it with `neurodeploy search --resume {path}`")
        data = load_data(run.recipe.data, run.recipe.input.kind)
        route = route_of(run.profile, run.recipe)
        evaluator, references = prepare(run, route, data, SILENT)
        known = {tuple(entry["genome"]): entry for entry in read_json(path / CANDIDATES)["candidates"]}
        plain = {genome: {k: v for k, v in e.items() if k not in ("genome", "fitness")} for genome, e in known.items()}
        return cls(run.recipe, Space(route.choices(run.recipe, data)), evaluator, references, data.n_classes, plain)

    def __call__(self, genome: Genome) -> dict[str, Any]:
        if genome not in self.known:
            with threads(1):  # as in the search
                self.known[genome] = self.evaluator(genome)
            self.new.add(genome)
        return self.known[genome]

    def require_all(self) -> None:
        """Raises UsageError unless the run evaluated the whole space."""
        if len(self.known) < self.space.size:
            raise UsageError(f"{len(self.known)} of {self.space.size} architectures were evaluated", where="run",
                             remedy="Name the run of a search with --method exhaustive")

    def score(self, metrics: dict[str, Any], settings: FitnessSettings | None = None) -> float | None:
        """Fitness by the run's settings, or by others."""
        found = Metrics.from_dict(metrics)
        return fitness(found, settings or self.recipe.fitness, self.references, self.n_classes).value
