"""Who evaluates the candidates of a search, and the storage they share."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import uuid
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from neurodeploy.errors import Interrupted, NeurodeployWarning, Unreachable
from neurodeploy.jobs.candidate import ImageEvaluator
from neurodeploy.jobs.routes import Evaluates
from neurodeploy.jobs.run import JOURNAL, Run
from neurodeploy.jobs.shared_prefixes import SharedPrefixes
from neurodeploy.jobs.snas_candidate import CellEvaluator
from neurodeploy.search.database import kept_storage
from neurodeploy.search.executor import Evaluate, Executor
from neurodeploy.search.recipe import Recipe
from neurodeploy.search.storage import check_storage
from neurodeploy.search.trials import STUDY


def storage_arguments(storage: str | None) -> dict[str, Any]:
    """What a run keeps of the storage that was asked for, which may hold other searches too; nothing where its own folder
    serves. Raises UsageError where it cannot be opened, or its URL holds a password."""
    if storage is None:
        return {}
    kept = kept_storage(storage)
    check_storage(kept)
    return {"storage": kept, "study": f"{STUDY}-{uuid.uuid4().hex}"}


def storage_of(run: Run) -> tuple[str | Path, str]:
    """A run's storage, and the search's name in it."""
    if "storage" not in run.arguments:
        return run.path / JOURNAL, STUDY
    return str(run.arguments["storage"]), str(run.arguments["study"])


def judge(run: Run, evaluator: Evaluates | CellEvaluator) -> Evaluate:
    """The evaluator as the run's method uses it best."""
    is_exhaustive = isinstance(run.settings, Recipe) and run.settings.evolution.method == "exhaustive"
    return SharedPrefixes(evaluator) if is_exhaustive and isinstance(evaluator, ImageEvaluator) else evaluator


@contextmanager
def evaluating(run: Run, evaluator: Evaluates | CellEvaluator, workers: int | None) -> Iterator[Evaluate | Executor]:
    """What evaluates a run's candidates within this block: this process with `workers` - 1 others beside it, or a Ray cluster
    on which `workers` (None: as many as it has CPUs) run at once."""
    if run.settings.executor.kind == "ray":
        from neurodeploy.jobs.ray_pool import ray_pool

        with ray_pool(run.settings.executor, judge(run, evaluator), workers) as pool:
            yield pool
    else:
        with _helpers(run, (workers or 1) - 1):
            yield judge(run, evaluator)


@contextmanager
def _helpers(run: Run, n: int) -> Iterator[None]:
    """n more worker processes on the run's storage, ended with this block; a warning for each that failed before."""
    command = [sys.executable, "-m", "neurodeploy", "worker", "--run", str(run.path)]
    with ExitStack() as stack:
        logs = [stack.enter_context(tempfile.TemporaryFile()) for _ in range(n)]
        processes = [
            subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=log) for log in logs
        ]
        told = {Interrupted.exit_code}
        try:
            yield
        except Unreachable:
            told.add(Unreachable.exit_code)  # they say the same
            raise
        finally:
            # Nothing is lost: what a worker has not stored by now is either not wanted or evaluated again on resume.
            running = [process.poll() is None for process in processes]
            for process in processes:
                process.terminate()
            for process, was_running, log in zip(processes, running, logs, strict=True):
                if process.wait() and not was_running and process.returncode not in told:
                    log.seek(0)
                    said = log.read()[-2000:].decode(errors="replace").strip()
                    warnings.warn(
                        NeurodeployWarning(f"a worker ended early with code {process.returncode}: {said}",
                                           where=str(run.path), code="worker_failed"), stacklevel=2,
                    )
