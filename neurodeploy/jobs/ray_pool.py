"""Candidates evaluated as tasks of a Ray cluster. Ray only computes: claims and results stay with the search that asks.

A task whose process dies is begun anew by Ray; its claim in the storage lives on with the search, so a slot gets one result.
"""

from __future__ import annotations

import io
import logging
import os
import pickle
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager, redirect_stdout
from types import ModuleType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from neurodeploy.errors import EnvironmentMissing, NeurodeployError, Unreachable, UsageError
from neurodeploy.jobs.run import tool_versions
from neurodeploy.search.executor import Evaluate, Executor
from neurodeploy.search.recipe import ExecutorSettings
from neurodeploy.search.space import Genome

_WHERE = "Ray cluster"
_RETRIES = 3  # of one evaluation whose process dies
# The evaluator of the search that this process of a cluster worked for last, by the search's key.
_EVALUATORS: dict[bytes, Evaluate] = {}


def require_ray() -> ModuleType:
    """The package; EnvironmentMissing with the line that installs it."""
    # Read when Ray is imported: no report of its use is sent, and no line about a coming change of devices printed.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    try:
        import ray
    except ImportError as error:
        raise EnvironmentMissing(
            "the package ray is not installed", where="executor.kind = 'ray'",
            remedy="Install it with pip install 'neurodeploy[ray]', or leave executor.kind at 'processes'",
        ) from error
    found: ModuleType = ray
    return found


@contextmanager
def ray_pool(settings: ExecutorSettings, evaluate: Evaluate, n_at_once: int | None) -> Iterator[Executor]:
    """An executor on the cluster at `settings.address` (a connection that this process has already is used, and kept);
    n_at_once: default all of its CPUs.

    Raises EnvironmentMissing without Ray, UsageError where no cluster answers.
    """
    ray = require_ray()
    with ExitStack() as stack:
        # Ray prints what happens to its workers on stdout, where this program's data goes.
        stack.enter_context(redirect_stdout(sys.stderr))
        if not ray.is_initialized():
            stack.enter_context(_connected(ray, settings.address, n_at_once))
        n = n_at_once or int(ray.cluster_resources().get("CPU", 0))
        if n < 1:
            raise UsageError("has no CPUs", where=_WHERE, remedy="Say how many evaluations run at once: --workers N")
        yield _RayPool(ray, evaluate, n)


@contextmanager
def _connected(ray: ModuleType, address: str, n_cpus: int | None) -> Iterator[None]:
    handler = signal.getsignal(signal.SIGTERM)
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    folder = None
    if address == "local":
        # A folder of its own: the usual one may be another user's, and would make this the cluster that "auto" finds.
        folder = tempfile.mkdtemp(prefix="nd-ray-")
        options |= {"num_cpus": n_cpus, "include_dashboard": False, "_temp_dir": folder}
    try:
        try:
            ray.init(address=address, **options)
        except (ConnectionError, ValueError, RuntimeError, OSError) as error:
            *_, reason = str(error.__cause__ or error).strip().splitlines()  # a traceback's last line
            raise UsageError(
                f"no cluster at {address!r}: {reason}", where=_WHERE, code="unreachable",
                remedy="Start one with `ray start --head` and give its address (executor.address), or leave it at 'local'",
            ) from error
        yield
    finally:
        ray.shutdown()
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)
        if handler is not None and signal.getsignal(signal.SIGTERM) is not handler:
            signal.signal(signal.SIGTERM, handler)


def packed(evaluate: Evaluate) -> bytes:
    """An evaluator pickled so that it computes the same bits where it is unpickled, with the memory layout of its arrays."""
    file = io.BytesIO()
    _Pickler(file).dump(evaluate)
    return file.getvalue()


class _Pickler(pickle.Pickler):
    """Keeps the strides of axes of length 1, by which torch chooses how it convolves: sums then differ in their last bits."""

    def reducer_override(self, value: Any) -> Any:
        if type(value) is np.ndarray and value.ndim > 1 and 1 in value.shape and value.flags.c_contiguous:
            return _strided, (value.ravel(), value.shape, value.strides)
        return NotImplemented


def _strided(values: NDArray[Any], shape: tuple[int, ...], strides: tuple[int, ...]) -> NDArray[Any]:
    return np.lib.stride_tricks.as_strided(values, shape, strides)


class _RayPool(Executor):
    """Tasks of one CPU each; the evaluator travels to each machine once."""

    def __init__(self, ray: ModuleType, evaluate: Evaluate, n_at_once: int) -> None:
        self.n_at_once, self._ray = n_at_once, ray
        # As bytes: arrays that Ray unpacks itself cannot be written to, at which torch warns.
        self._evaluator = ray.put(packed(evaluate))
        self._versions = tool_versions()
        self._task = ray.remote(num_cpus=1, max_retries=_RETRIES)(_evaluated)

    def submit(self, genome: Genome) -> Future[Mapping[str, Any]]:
        # In a list, or Ray would hand the bytes to the task each time, not only to a process that lacks them.
        asked = self._task.remote([self._evaluator], self._versions, genome).future()
        told = Future[Mapping[str, Any]]()

        def tell(finished: Future[Any]) -> None:
            error = finished.exception()
            if error is None:
                told.set_result(finished.result())
            else:
                told.set_exception(self._explained(error, genome))

        asked.add_done_callback(tell)
        return told

    def _explained(self, error: BaseException, genome: Genome) -> BaseException:
        known = self._ray.exceptions
        if isinstance(error, known.RayTaskError):
            if isinstance(error.cause, ImportError):
                return EnvironmentMissing(f"a machine lacks what evaluations need: {error.cause}", where=_WHERE,
                                          remedy="Install neurodeploy there, as here")
            cause = error.cause
            return cause if isinstance(cause, BaseException) else error
        if isinstance(error, known.WorkerCrashedError | known.OutOfMemoryError):
            return NeurodeployError(
                f"the process that evaluated {','.join(genome)} died {_RETRIES + 1} times", where=_WHERE,
                limit=" ".join(str(error).split())[:300], remedy="Let fewer evaluations run at once (--workers)",
            )
        if isinstance(error, known.RayError):
            return Unreachable(f"an evaluation was lost: {' '.join(str(error).split())[:300]}", where=_WHERE)
        return error


def _evaluated(evaluator: list[Any], versions: dict[str, str], genome: Genome) -> dict[str, Any]:
    """Runs in a process of the cluster."""
    import ray

    (reference,) = evaluator
    key = reference.binary()
    if key not in _EVALUATORS:
        here = tool_versions()
        if here != versions:
            differ = ", ".join(f"{name} {here[name]}, not {asked}" for name, asked in versions.items() if here[name] != asked)
            raise EnvironmentMissing(f"a machine has {differ}", where=_WHERE, limit="Figures could differ",
                                     remedy="Install the same versions on all machines")
        torch.set_num_threads(1)
        _EVALUATORS.clear()
        _EVALUATORS[key] = pickle.loads(ray.get(reference))
    return dict(_EVALUATORS[key](genome))
