"""A search with the stub evaluator of the AutoSNN fixture; also a program, so that tests can kill it.

python stub_search.py STORAGE FIXTURE LOG RESULT SEED BUDGET SLEEP_S [METHOD]: appends `begin GENOME` and `end GENOME` to LOG
around each evaluation, and writes the result to RESULT at the end. Imports no torch: it is started some twenty times.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

from neurodeploy.search.evolve import EvolutionSettings, Method
from neurodeploy.search.pareto import Objectives
from neurodeploy.search.space import Genome, Space
from neurodeploy.search.study import StudyResult, run
from neurodeploy.search.trials import Evaluation

N_POSITIONS = 5
OBJECTIVES: Objectives = {"accuracy": "max", "spikes": "min"}


def load(fixture: Path) -> tuple[Space, Callable[[Genome], dict[str, Any]]]:
    """The space, and the evaluator by the fixture's formula; one genome in seven never scores."""
    found = json.loads(fixture.read_text())
    space = Space.uniform(found["candidate_blocks"], N_POSITIONS)
    stub = found["stub_eval"]
    weights = [w for w in stub["position_weight"] if w]

    def evaluate(genome: Genome) -> dict[str, Any]:
        ids = [found["candidate_blocks"].index(block) for block in genome]
        return {
            "accuracy": sum(stub["acc_table"][i] * w for i, w in zip(ids, weights, strict=True)) / N_POSITIONS,
            "spikes": 40000 + sum(stub["spike_table"][i] * w for i, w in zip(ids, weights, strict=True)),
            "feasible": space.number(genome) % 7 != 3,
        }

    return space, evaluate


def score(metrics: dict[str, Any]) -> float | None:
    if not metrics["feasible"]:
        return None
    return float(metrics["accuracy"] * (metrics["spikes"] / 110_000) ** -0.08)


def standing(metrics: Mapping[str, Any]) -> tuple[tuple[float, ...], int]:
    return ((-metrics["accuracy"], metrics["spikes"]), 0) if metrics["feasible"] else ((), 1)


def settings(budget: int, method: Method = "evolution") -> EvolutionSettings:
    return EvolutionSettings(budget=budget, method=method)


def search(
    storage: str | Path,
    fixture: Path,
    seed: int,
    budget: int,
    log: Callable[[str], None] = lambda line: None,
    sleep_s: float = 0.0,
    method: Method = "evolution",
    **options: Any,
) -> StudyResult:
    space, evaluate = load(fixture)

    def logged(genome: Genome) -> dict[str, Any]:
        log(f"begin {'-'.join(genome)}\n")
        time.sleep(sleep_s)
        metrics = evaluate(genome)
        log(f"end {'-'.join(genome)}\n")
        return metrics

    options.setdefault("objectives", OBJECTIVES)
    return run(storage, settings(budget, method), space, seed, logged, score, standing=standing, **options)


def plain(result: StudyResult) -> dict[str, Any]:
    """A result as JSON holds it."""

    def row(evaluation: Evaluation | None) -> Any:
        if evaluation is None:
            return None
        return [evaluation.round, evaluation.slot, *evaluation.genome, dict(evaluation.metrics), evaluation.fitness]

    whole = [row(e) for e in result.evaluations], [row(e) for e in result.pareto], row(result.best), result.stopped
    return dict(zip(("evaluations", "pareto", "best", "stopped"), json.loads(json.dumps(whole)), strict=True))


def main() -> None:
    storage, fixture, log, result, seed, budget, sleep_s, *method = sys.argv[1:]
    assert "torch" not in sys.modules
    # One write of one short line: a kill cannot tear it, and two workers cannot mix theirs.
    descriptor = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    found = search(
        storage if "://" in storage else Path(storage),
        Path(fixture),
        int(seed),
        int(budget),
        lambda line: void(os.write(descriptor, line.encode())),
        float(sleep_s),
        *cast(list[Method], method),
    )
    Path(result).write_text(json.dumps({**plain(found), "n_here": found.n_evaluated_here}))


def void(_: object) -> None:
    """Drops a value."""


if __name__ == "__main__":
    main()
