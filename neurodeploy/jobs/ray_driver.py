"""The process that speaks to a Ray cluster for `ray_pool.py`, and what runs in the cluster's processes.

A task whose process dies is begun anew by Ray; its claim in the storage lives on with the search, so a slot gets one result.
"""

from __future__ import annotations

import logging
import os
import pickle
import shutil
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from types import ModuleType
from typing import Any, BinaryIO

from neurodeploy.errors import EnvironmentMissing, NeurodeployError, Unreachable, UsageError
from neurodeploy.jobs.ray_pool import WHERE
from neurodeploy.jobs.run import tool_versions
from neurodeploy.search.executor import Evaluate
from neurodeploy.search.recipe import ExecutorSettings
from neurodeploy.search.space import Genome

_RETRIES = 3  # of one evaluation whose process dies
# The evaluator of the search that this process of a cluster worked for last, by its object's id.
_EVALUATORS: dict[bytes, Evaluate] = {}


def main() -> None:
    """Reads (settings, n at once, evaluator) and then (number, genome) from stdin until it ends; answers on stdout with (n at
    once, error) and then (number, metrics, error)."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # Ray prints what happens to its workers
    lock = threading.Lock()

    def say(*answer: Any) -> None:
        with lock:
            answers.write(pickle.dumps(answer))
            answers.flush()

    requests = sys.stdin.buffer
    settings, n_at_once, evaluator = pickle.load(requests)
    try:
        with _connected(settings, n_at_once) as ray:
            n = n_at_once or int(ray.cluster_resources().get("CPU", 0))
            if n < 1:
                raise UsageError("has no CPUs", where=WHERE, remedy="Say how many evaluations run at once: --workers N")
            say(n, None)
            _serve(ray, evaluator, requests, say)
    except NeurodeployError as error:
        say(0, error)


def _serve(ray: ModuleType, evaluator: bytes, requests: BinaryIO, say: Callable[..., None]) -> None:
    # As bytes: arrays that Ray unpacks itself cannot be written to, at which torch warns.
    reference, versions = ray.put(evaluator), tool_versions()
    task = ray.remote(num_cpus=1, max_retries=_RETRIES)(_evaluated)
    while True:
        try:
            number, genome = pickle.load(requests)
        except EOFError:
            return

        def tell(finished: Future[Any], number: int = number, genome: Genome = genome) -> None:
            error = finished.exception()
            if error is None:
                say(number, finished.result(), None)
            else:
                say(number, None, _explained(ray, error, genome))

        # In a list, or Ray would hand the bytes to the task each time, not only to a process that lacks them.
        task.remote([reference], versions, genome).future().add_done_callback(tell)


@contextmanager
def _connected(settings: ExecutorSettings, n_cpus: int | None) -> Iterator[ModuleType]:
    # Read when Ray is imported: no report of its use is sent, and no line about a coming change of devices printed.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    import ray

    options: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    folder = None
    if settings.address == "local":
        # A folder of its own: the usual one may be another user's.
        folder = tempfile.mkdtemp(prefix="nd-ray-")
        options |= {"num_cpus": n_cpus, "include_dashboard": False, "_temp_dir": folder}
    try:
        try:
            ray.init(address=settings.address, **options)
        except (ConnectionError, ValueError, RuntimeError, OSError) as error:
            *_, reason = str(error.__cause__ or error).strip().splitlines()  # a traceback's last line
            raise UsageError(
                f"no cluster at {settings.address!r}: {reason}", where=WHERE, code="unreachable",
                remedy="Start one with `ray start --head` and give its address (executor.address), or leave it at 'local'",
            ) from error
        yield ray
    finally:
        ray.shutdown()
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)


def _explained(ray: ModuleType, error: BaseException, genome: Genome) -> NeurodeployError:
    """What a search says of an evaluation that failed."""
    said, known = " ".join(str(error).split())[:300], ray.exceptions
    cause = error.cause if isinstance(error, known.RayTaskError) else error
    if isinstance(cause, NeurodeployError):
        return cause
    if isinstance(cause, ImportError):
        return EnvironmentMissing(f"a machine lacks what evaluations need: {cause}", where=WHERE,
                                  remedy="Install neurodeploy there, as here")
    if isinstance(error, known.WorkerCrashedError | known.OutOfMemoryError):
        return NeurodeployError(f"the process that evaluated {','.join(genome)} died {_RETRIES + 1} times", where=WHERE,
                                limit=said, remedy="Let fewer evaluations run at once (--workers)")
    if isinstance(error, known.RayTaskError):
        return NeurodeployError(f"{type(cause).__name__}: {cause}", where=f"evaluation of {','.join(genome)}")
    return Unreachable(f"an evaluation was lost: {said}", where=WHERE)


def _evaluated(evaluator: list[Any], versions: dict[str, str], genome: Genome) -> dict[str, Any]:
    """Runs in a process of the cluster."""
    import ray
    import torch

    (reference,) = evaluator
    key = reference.binary()
    if key not in _EVALUATORS:
        here = tool_versions()
        if here != versions:
            differ = ", ".join(f"{name} {here[name]}, not {asked}" for name, asked in versions.items() if here[name] != asked)
            raise EnvironmentMissing(f"a machine has {differ}", where=WHERE, limit="Figures could differ",
                                     remedy="Install the same versions on all machines")
        torch.set_num_threads(1)
        _EVALUATORS.clear()
        _EVALUATORS[key] = pickle.loads(ray.get(reference))
    return dict(_EVALUATORS[key](genome))
