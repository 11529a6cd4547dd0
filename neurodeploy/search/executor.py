"""Where genomes are evaluated: in this process, or several at once elsewhere. `study.run` asks and stores."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from typing import Any

from neurodeploy.search.space import Genome

Evaluate = Callable[[Genome], Mapping[str, Any]]
Metrics = Mapping[str, Any]


class Executor(ABC):
    """Evaluates up to `n_at_once` genomes at a time."""

    n_at_once: int

    @abstractmethod
    def submit(self, genome: Genome) -> Future[Metrics]:
        """Begin an evaluation; the future holds its metrics, plain JSON, or what it raised."""


class Here(Executor):
    """One after another in this process: `submit` returns when the evaluation is over, and raises what it raises."""

    n_at_once = 1

    def __init__(self, evaluate: Evaluate) -> None:
        self._evaluate = evaluate

    def submit(self, genome: Genome) -> Future[Metrics]:
        done = Future[Metrics]()
        done.set_result(self._evaluate(genome))
        return done
