"""The search itself: asks the evolution for a round, shares its slots with other workers, stores every evaluation.

An executor says where genomes are evaluated; claims and results are made here, so that it may lose and repeat what it likes.

`run` may be killed at any moment and called again, and any number of processes may call it on one storage: nothing
that was stored is lost or evaluated again, and the result is the same as of one undisturbed run.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from neurodeploy.errors import UsageError
from neurodeploy.search.database import telling_loss
from neurodeploy.search.evolve import EvolutionSettings, Scored, is_exhausted, next_round
from neurodeploy.search.executor import Evaluate, Executor, Here
from neurodeploy.search.lease import Heartbeat, Owner
from neurodeploy.search.pareto import OBJECTIVES, Objectives, pareto_front
from neurodeploy.search.space import Genome, Space
from neurodeploy.search.storage import close_storage, open_storage
from neurodeploy.search.trials import STUDY, Evaluation, Score, Snapshot, Trials

# Of an evaluation's metrics: what "nsga2" minimises (of a feasible one), and how many limits they break.
Standing = Callable[[Mapping[str, Any]], tuple[tuple[float, ...], int]]

# A worker that waits for others looks again after these seconds, doubled each time up to the last.
_POLL_S = (0.005, 0.5)


@dataclass(frozen=True)
class StudyResult:
    """A search's outcome.

    `evaluations` are all that finished, in the order (round, slot); `pareto` those of the feasible ones on the front;
    `best` the feasible one of highest fitness, the first of equals, None where none is feasible. `stopped` says why
    the search ended: its budget was spent, no unseen genome was left, or `should_stop` asked for it.
    `n_evaluated_here` counts the evaluations that this call made itself, and is no part of equality.
    """

    evaluations: tuple[Evaluation, ...]
    pareto: tuple[Evaluation, ...]
    best: Evaluation | None
    stopped: Literal["budget", "exhausted", "interrupted"]
    n_evaluated_here: int = field(compare=False)


def run(
    storage: str | Path,
    settings: EvolutionSettings,
    space: Space,
    seed: int,
    evaluate: Evaluate | Executor,
    score: Score,
    on_result: Callable[[Evaluation], None] | None = None,
    *,
    context: Mapping[str, Any] | None = None,
    objectives: Objectives = OBJECTIVES,
    should_stop: Callable[[], bool] | None = None,
    standing: Standing | None = None,
    lease_s: float = 60.0,
    study: str = STUDY,
) -> StudyResult:
    """Search until the budget is spent, together with every other worker on the same storage.

    `storage` is a journal file or a database URL, `study` the search's name where one storage holds several.
    `evaluate(genome)` returns metrics in plain JSON, or is an executor of such evaluations; `score(metrics)` gives their
    fitness, None where infeasible, and must be a pure function. `on_result` is called once for each finished evaluation,
    stored earlier or by another worker too. `context` is what else must be the same on resume (data, target, fitness
    settings). `should_stop` is asked before each evaluation; those that run are waited for. Method "nsga2" needs `standing`.
    A worker on another machine counts as dead once its heartbeat has stood still for `lease_s` seconds.

    Raises UsageError, naming the differences, where the storage holds a search with another space, settings, seed or
    context, and Unreachable where a database goes away; whatever `evaluate` raises is passed on after its slot was given
    free.
    """
    identity = {
        "settings": settings.model_dump(mode="json"),
        "space": [list(blocks) for blocks in space.positions],
        "seed": seed,
        "context": json.loads(json.dumps(context or {})),
    }
    executor = evaluate if isinstance(evaluate, Executor) else Here(evaluate)
    opened = open_storage(storage)
    try:
        with telling_loss(), Owner() as owner:
            trials = Trials(opened, identity, space, score, lease_s, study)
            search = _Search(trials, settings, space, seed, executor, on_result, standing, owner, lease_s)
            try:
                return search.run(objectives, should_stop)
            except BaseException:
                search.withdraw()
                raise
    finally:
        close_storage(opened)


@dataclass(frozen=True)
class _Running:
    """An evaluation that was begun: its trial's heartbeat, and what comes of it."""

    heartbeat: Heartbeat
    metrics: Future[Mapping[str, Any]]


class _Search:
    """One worker's way through the rounds."""

    def __init__(
        self,
        trials: Trials,
        settings: EvolutionSettings,
        space: Space,
        seed: int,
        executor: Executor,
        on_result: Callable[[Evaluation], None] | None,
        standing: Standing | None,
        owner: Owner,
        lease_s: float,
    ) -> None:
        self._trials, self._settings, self._space, self._seed, self._executor = trials, settings, space, seed, executor
        self._on_result, self._standing, self._owner, self._lease_s = on_result, standing, owner, lease_s
        self._results: dict[tuple[int, int], Evaluation] = {}
        self._running: dict[int, _Running] = {}  # by trial
        self._n_here = 0

    def run(self, objectives: Objectives, should_stop: Callable[[], bool] | None) -> StudyResult:
        finished: list[tuple[Scored, ...]] = []
        while genomes := next_round(self._space, self._settings, self._seed, finished):
            if not self._finish_round(len(finished), genomes, should_stop):
                return self._result("interrupted", objectives)
            slots = [self._results[len(finished), slot] for slot in range(len(genomes))]
            finished.append(tuple(self._scored(e) for e in slots))
        is_spent = sum(map(len, finished)) >= self._settings.budget and self._settings.method != "exhaustive"
        exhausted = not is_spent and is_exhausted(self._space, finished)
        return self._result("exhausted" if exhausted else "budget", objectives)

    def withdraw(self) -> None:
        """Give the slots of what still runs free."""
        for trial_id, running in self._running.items():
            running.heartbeat.stop()
            self._trials.withdraw(trial_id)

    def _scored(self, evaluation: Evaluation) -> Scored:
        further = () if self._standing is None else self._standing(evaluation.metrics)
        return Scored(evaluation.genome, evaluation.fitness, *further)

    def _finish_round(
        self, round_: int, genomes: tuple[Genome, ...], should_stop: Callable[[], bool] | None
    ) -> bool:
        """Evaluate and wait until every slot of the round has a result; False where asked to stop before."""
        pause_s = _POLL_S[0]
        while True:
            self._store()
            snapshot = self._read()
            self._check_genomes(round_, genomes)
            open_slots = [slot for slot in range(len(genomes)) if (round_, slot) not in snapshot.results]
            if not open_slots:
                return True
            asked_to_stop = should_stop is not None and should_stop()
            if asked_to_stop and not self._running:
                return False
            free = [] if asked_to_stop else [slot for slot in open_slots if (round_, slot) not in snapshot.holders]
            room = self._executor.n_at_once - len(self._running)
            for slot in free[: max(room, 0)]:
                self._begin((round_, slot), genomes[slot])
                pause_s = _POLL_S[0]
            if self._running:
                wait([running.metrics for running in self._running.values()], pause_s, FIRST_COMPLETED)
            elif not free:
                time.sleep(pause_s)
            pause_s = min(2 * pause_s, _POLL_S[1])

    def _begin(self, slot: tuple[int, int], genome: Genome) -> None:
        trial_id = self._trials.claim(self._owner, slot, genome)
        if trial_id is None:
            return
        heartbeat = Heartbeat(lambda beat: self._trials.beat(trial_id, beat), self._lease_s / 4)
        # Before it begins, so that an error of the executor gives the slot free as well.
        self._running[trial_id] = _Running(heartbeat, Future())
        heartbeat.start()
        self._running[trial_id] = _Running(heartbeat, self._executor.submit(genome))

    def _store(self) -> None:
        """Store what has finished; raises what an evaluation raised."""
        for trial_id, running in list(self._running.items()):
            if running.metrics.done():
                running.heartbeat.stop()
                self._n_here += self._trials.store(trial_id, running.metrics.result())
                del self._running[trial_id]

    def _read(self) -> Snapshot:
        snapshot = self._trials.read()
        for slot in sorted(snapshot.results.keys() - self._results.keys()):
            self._results[slot] = snapshot.results[slot]
            if self._on_result is not None:
                self._on_result(snapshot.results[slot])
        return snapshot

    def _check_genomes(self, round_: int, genomes: tuple[Genome, ...]) -> None:
        for slot, asked in enumerate(genomes):
            stored = self._results.get((round_, slot))
            if stored is not None and stored.genome != asked:
                raise UsageError(
                    f"round {round_} slot {slot} holds {'-'.join(stored.genome)}, "
                    f"but these settings ask for {'-'.join(asked)}",
                    where="search storage",
                    remedy="Resume with the version of neurodeploy that began the search, or start a new one",
                )

    def _result(
        self, stopped: Literal["budget", "exhausted", "interrupted"], objectives: Objectives
    ) -> StudyResult:
        evaluations = tuple(self._results[slot] for slot in sorted(self._results))
        feasible = [e for e in evaluations if e.fitness is not None]
        scores = [e.fitness for e in evaluations if e.fitness is not None]
        front = pareto_front([e.metrics for e in feasible], objectives)
        best = feasible[scores.index(max(scores))] if scores else None
        return StudyResult(evaluations, tuple(feasible[i] for i in front), best, stopped, self._n_here)
