"""Candidates evaluated as tasks of a Ray cluster. Ray only computes: claims and results stay with the search that asks.

A process of its own speaks to Ray (`ray_driver.py`): Ray prints where data goes, takes over signals, and ends its process
without a word where the cluster goes away. Requests and answers are pickles in its pipes, between processes of ours.
"""

from __future__ import annotations

import io
import pickle
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neurodeploy.errors import EnvironmentMissing, Unreachable
from neurodeploy.search.executor import Evaluate, Executor
from neurodeploy.search.recipe import ExecutorSettings
from neurodeploy.search.space import Genome

WHERE = "Ray cluster"
_PROGRAM = "from neurodeploy.jobs.ray_driver import main; main()"
_END_S = 30.0  # for a cluster that was started here to end


def require_ray() -> None:
    """Raise EnvironmentMissing, with the line that installs it, where Ray is not installed."""
    if find_spec("ray") is None:
        raise EnvironmentMissing(
            "the package ray is not installed", where="executor.kind = 'ray'",
            remedy="Install it with pip install 'neurodeploy[ray]', or set executor.kind=processes",
        )


@contextmanager
def ray_pool(settings: ExecutorSettings, evaluate: Evaluate, n_at_once: int | None) -> Iterator[Executor]:
    """An executor on the cluster at `settings.address`; n_at_once: default all of its CPUs. A cluster that was started for
    it ends with the block, and with this process however that ends.

    Raises EnvironmentMissing without Ray, UsageError where no cluster answers.
    """
    require_ray()
    # In a session of its own, out of reach of Ctrl-C: what is running may be waited for.
    command, pipe = [sys.executable, "-c", _PROGRAM], subprocess.PIPE
    driver = subprocess.Popen(command, stdin=pipe, stdout=pipe, start_new_session=True)
    try:
        yield _RayPool(driver, settings, evaluate, n_at_once)
    finally:
        assert driver.stdin is not None and driver.stdout is not None
        with suppress(BrokenPipeError):
            driver.stdin.close()
        try:
            driver.wait(_END_S)
        except subprocess.TimeoutExpired:
            driver.kill()
            driver.wait()
        driver.stdout.close()


class _RayPool(Executor):
    """Sends genomes to the driver; a thread gives its answers to those who wait for them."""

    def __init__(
        self, driver: subprocess.Popen[bytes], settings: ExecutorSettings, evaluate: Evaluate, n_at_once: int | None
    ) -> None:
        assert driver.stdin is not None and driver.stdout is not None
        self._requests, self._answers = driver.stdin, driver.stdout
        self._asked: dict[int, Future[Mapping[str, Any]]] = {}
        self._lock, self._n, self._is_lost = threading.Lock(), 0, False
        try:
            self._send((settings, n_at_once, packed(evaluate)))
            n, error = pickle.load(self._answers)
        except (EOFError, BrokenPipeError) as lost:
            raise _lost() from lost
        if error is not None:
            raise error
        self.n_at_once = n
        threading.Thread(target=self._listen, name="neurodeploy-ray", daemon=True).start()

    def submit(self, genome: Genome) -> Future[Mapping[str, Any]]:
        future = Future[Mapping[str, Any]]()
        with self._lock:
            if self._is_lost:
                raise _lost()
            self._n += 1
            self._asked[self._n] = future
        try:
            self._send((self._n, genome))
        except BrokenPipeError as lost:
            raise _lost() from lost
        return future

    def _send(self, value: Any) -> None:
        pickle.dump(value, self._requests)
        self._requests.flush()

    def _listen(self) -> None:
        with self._answers:
            while True:
                try:
                    number, metrics, error = pickle.load(self._answers)
                except (EOFError, pickle.UnpicklingError):
                    break
                with self._lock:
                    future = self._asked.pop(number)
                if error is None:
                    future.set_result(metrics)
                else:
                    future.set_exception(error)
        with self._lock:
            self._is_lost = True
        for future in self._asked.values():
            future.set_exception(_lost())


def _lost() -> Unreachable:
    return Unreachable("the cluster went away", where=WHERE)


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
