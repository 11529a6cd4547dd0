"""The trials of one search in an Optuna storage: claims, results, and what the dead left behind.

One trial is one attempt at one slot of one round; its user attributes hold `slot` [round, slot], `genome`, `lease`,
`heartbeat` and at the end `metrics` (plain JSON), and the blocks are its parameters, for Optuna's own tools. States:
RUNNING  a lease;  COMPLETE  a result, the value is the fitness;  PRUNED  a result without fitness (infeasible);
FAIL  an attempt withdrawn or broken off, whose slot is free again.

A claim is made by creating a trial, in one atomic step with its attributes, and then reading back: the slot belongs
to the lowest trial that is finished or whose lease lives. Storages number trials in the order of creation, so of
several claims on one slot exactly one is confirmed; the others are withdrawn.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from optuna.distributions import CategoricalDistribution
from optuna.exceptions import DuplicatedStudyError, StorageInternalError, UpdateFinishedTrialError
from optuna.storages import BaseStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState, create_trial

from neurodeploy.errors import NeurodeployError, UsageError
from neurodeploy.search.lease import LeaseWatch, Owner
from neurodeploy.search.space import Genome, Space

Score = Callable[[dict[str, Any]], float | None]
Slot = tuple[int, int]

STUDY = "neurodeploy-search"
_IDENTITY = "search"


@dataclass(frozen=True)
class Evaluation:
    """One finished evaluation; `fitness` None where the genome is infeasible."""

    round: int
    slot: int
    genome: Genome
    metrics: Mapping[str, Any]
    fitness: float | None


@dataclass
class Snapshot:
    """What the storage held at one moment: results, and the trial that holds each slot without a result."""

    results: dict[Slot, Evaluation] = field(default_factory=dict)
    holders: dict[Slot, int] = field(default_factory=dict)


class Trials:
    """The trials of one search, seen by one worker."""

    def __init__(
        self, storage: BaseStorage, identity: dict[str, Any], space: Space, score: Score, lease_s: float, study: str = STUDY
    ) -> None:
        """Create the study or open it, by its name.

        Raises UsageError, naming the differences, where it was begun with another `identity` (a JSON object).
        """
        self._storage, self._space, self._score = storage, space, score
        self._watch = LeaseWatch(lease_s)
        self._evaluations: dict[int, Evaluation] = {}
        # The first trials, all of them over, and their results: a space of thousands is not read anew each time.
        self._n_over, self._over = 0, dict[Slot, Evaluation]()
        try:
            self._study_id = storage.get_study_id_from_name(study)
        except KeyError:
            try:
                self._study_id = storage.create_new_study([StudyDirection.MAXIMIZE], study)
            except DuplicatedStudyError:
                self._study_id = storage.get_study_id_from_name(study)
        if _IDENTITY not in storage.get_study_user_attrs(self._study_id):
            storage.set_study_user_attr(self._study_id, _IDENTITY, identity)
        _require_same(storage.get_study_user_attrs(self._study_id)[_IDENTITY], identity)

    def read(self) -> Snapshot:
        """Results and holders now; on the way, what dead workers left is finished or marked failed."""
        trials = self._storage.get_all_trials(self._study_id, deepcopy=False)
        n = self._n_over
        while n < len(trials) and trials[n].state.is_finished():
            if trials[n].state != TrialState.FAIL and "lease" in trials[n].user_attrs:
                found = self._evaluation(trials[n])
                self._over.setdefault((found.round, found.slot), found)
            n += 1
        self._n_over = n
        snapshot = Snapshot(dict(self._over))
        for trial in trials[n:]:
            if "lease" not in trial.user_attrs or trial.state in (TrialState.FAIL, TrialState.WAITING):
                continue
            first, second = trial.user_attrs["slot"]
            slot = (int(first), int(second))
            if trial.state.is_finished():
                snapshot.results.setdefault(slot, self._evaluation(trial))
            elif self._watch.is_live(
                trial._trial_id, trial.user_attrs["lease"], trial.user_attrs.get("heartbeat", 0)
            ):
                snapshot.holders.setdefault(slot, trial._trial_id)
            elif "metrics" in trial.user_attrs:
                # Killed between storing the metrics and closing the trial: the evaluation had finished.
                if self._close(trial._trial_id, trial.user_attrs["metrics"]):
                    closed = self._storage.get_trial(trial._trial_id)
                    snapshot.results.setdefault(slot, self._evaluation(closed))
            else:
                self.withdraw(trial._trial_id)
        return snapshot

    def claim(self, owner: Owner, slot: Slot, genome: Genome) -> int | None:
        """Try to take a slot; the trial's id, or None where another worker has it."""
        trial = create_trial(
            state=TrialState.RUNNING,
            params={f"position_{i}": block for i, block in enumerate(genome)},
            distributions={
                f"position_{i}": CategoricalDistribution(blocks) for i, blocks in enumerate(self._space.positions)
            },
            user_attrs={"slot": list(slot), "genome": list(genome), "lease": owner.lease()},
        )
        trial_id: int = self._storage.create_new_trial(self._study_id, trial)
        snapshot = self.read()
        if slot not in snapshot.results and snapshot.holders.get(slot) == trial_id:
            return trial_id
        self.withdraw(trial_id)
        return None

    def beat(self, trial_id: int, beat: int) -> bool:
        """Raise a lease's heartbeat; False where the trial is over, so that nothing is left to keep alive."""
        try:
            self._storage.set_trial_user_attr(trial_id, "heartbeat", beat)
        except UpdateFinishedTrialError:
            return False
        except (StorageInternalError, OSError):
            # A database out of reach for a moment: the next beat tries again, and storing the result will raise.
            return True
        return True

    def store(self, trial_id: int, metrics: Mapping[str, Any]) -> bool:
        """Store a finished evaluation; False where the lease was lost to another worker meanwhile.

        Raises NeurodeployError where the metrics are not plain JSON with finite numbers.
        """
        try:
            plain = json.loads(json.dumps(metrics, allow_nan=False))
        except (TypeError, ValueError) as error:
            raise NeurodeployError(
                f"the metrics of an evaluation are not plain JSON: {error}",
                where="search",
                remedy="Return plain numbers, strings, lists and dicts, and None for a figure that is not available",
            ) from error
        try:
            self._storage.set_trial_user_attr(trial_id, "metrics", plain)
        except UpdateFinishedTrialError:
            return False
        return self._close(trial_id, plain)

    def withdraw(self, trial_id: int) -> None:
        """Mark an attempt failed; its slot is free again."""
        try:
            self._storage.set_trial_state_values(trial_id, TrialState.FAIL)
        except UpdateFinishedTrialError:
            return

    def _close(self, trial_id: int, metrics: dict[str, Any]) -> bool:
        value = self._score(metrics)
        if value is not None and not math.isfinite(value):
            raise NeurodeployError(f"the fitness of an evaluation is {value}", where="search")
        state = TrialState.PRUNED if value is None else TrialState.COMPLETE
        try:
            self._storage.set_trial_state_values(trial_id, state, None if value is None else [value])
        except UpdateFinishedTrialError:
            return False
        return True

    def _evaluation(self, trial: FrozenTrial) -> Evaluation:
        known = self._evaluations.get(trial._trial_id)
        if known is None:
            attrs = trial.user_attrs
            value = trial.value if trial.state == TrialState.COMPLETE else None
            round_, slot = attrs["slot"]
            known = Evaluation(round_, slot, tuple(attrs["genome"]), attrs["metrics"], value)
            self._evaluations[trial._trial_id] = known
        return known


def _require_same(stored: Mapping[str, Any], asked: Mapping[str, Any]) -> None:
    differences = [
        f"{name}: {json.dumps(before)} before, {json.dumps(now)} now" for name, before, now in _differences(stored, asked)
    ]
    if differences:
        raise UsageError(
            "the stored search was begun differently: " + "; ".join(differences),
            where="search storage",
            remedy="Resume with the same settings, or start a new search elsewhere",
        )


def _differences(stored: Any, asked: Any, name: str = "") -> list[tuple[str, Any, Any]]:
    if isinstance(stored, Mapping) and isinstance(asked, Mapping):
        return [
            difference
            for key in sorted({*stored, *asked})
            for difference in _differences(stored.get(key), asked.get(key), f"{name}.{key}" if name else key)
        ]
    return [] if stored == asked else [(name, stored, asked)]
