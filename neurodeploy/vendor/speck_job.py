"""A job about a chip's configuration in a side environment: the folder, the process, and the small JSON files it leaves."""

from __future__ import annotations

import json
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from neurodeploy.errors import NeurodeployError, VendorFailure
from neurodeploy.vendor import processes, worker
from neurodeploy.vendor.environments import Environment
from neurodeploy.vendor.locks import lock_named

PROTOCOL = 1
_PACKAGE = Path(__file__).parent.parent
_SPARE_BYTES = 2**24
_MAX_STATUS = 2**20


@dataclass(frozen=True)
class Job:
    """A worker that has ended in time and bounds; `code` is its exit code or minus the signal that ended it."""

    folder: Path
    where: str
    said: str
    code: int
    wall_s: float
    ending: str

    def describe(self) -> str:
        """How it ended, for messages."""
        return self.ending

    def failure(self, what: str, code: str) -> VendorFailure:
        """The error of this job."""
        return worker.failure(what, code, self.where, self.said)

    def status(self) -> dict[str, Any]:
        """Its `status.json`. Raises VendorFailure where there is none, or it tells of a failure."""
        if self.code != 0:
            raise self.failure(self.ending, "vendor_crashed")
        status = fields_of(self.folder / "status.json", {"ok": bool})
        if status is None:
            raise self.failure("ended without an answer", "vendor_garbage")
        if not status["ok"]:
            error = str(status.get("error"))[:500]
            if status.get("kind") == "unsupported":
                raise VendorFailure(
                    f"the vendor's tool cannot take this network: {error}", where=self.where, code="vendor_unsupported",
                    remedy="The checks here do (`neurodeploy validate` without --oracle)",
                )
            raise self.failure(f"failed: {error}", "vendor_crashed")
        return status


def run_worker(environment: Environment, folder: Path, timeout_s: float) -> Job:
    """Run the environment's worker on a folder that holds its data. Raises VendorFailure where it hangs or writes too much."""
    where = f"{environment.name} ({environment.python})"
    lock, log = lock_named(environment.name), folder / "log.txt"
    (folder / "code").mkdir()
    for script in (lock.worker, lock.runner):
        shutil.copyfile(_PACKAGE / script, folder / "code" / Path(script).name)
    job = {"protocol": PROTOCOL, "runner": Path(lock.runner).stem}
    (folder / "job.json").write_text(json.dumps(job), encoding="utf-8")
    n_given = sum(f.stat().st_size for f in folder.rglob("*") if f.is_file())
    started = time.perf_counter()
    try:
        done = processes.run(
            (environment.python, "-I", folder / "code" / Path(lock.worker).name, folder), folder=folder, log=log,
            timeout_s=timeout_s, max_bytes=16 * n_given + _SPARE_BYTES,
        )
    except NeurodeployError as error:
        raise worker.failure(error.what, "vendor_crashed", where, remedy="Run `neurodeploy doctor`") from error
    wall_s, said = time.perf_counter() - started, processes.tail(log)
    if done.timed_out:
        raise worker.failure(
            f"was stopped after {timeout_s:g} s", "vendor_timeout", where, said, "Allow more with --oracle-timeout SECONDS"
        )
    if done.too_large:
        raise worker.failure("was stopped because it wrote too much", "vendor_garbage", where, said)
    return Job(folder, where, said, done.code, wall_s, done.describe())


def fields_of(path: Path, types: dict[str, type]) -> dict[str, Any] | None:
    """The fields of a small JSON file of a worker, None where it is none with these types."""
    try:
        if path.is_symlink() or path.stat().st_size > _MAX_STATUS:
            return None
        fields = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return None
    return fields if isinstance(fields, dict) and all(isinstance(fields.get(k), t) for k, t in types.items()) else None


def versions_of(fields: dict[str, Any]) -> dict[str, str]:
    """Versions by package, of those that are there."""
    return {str(k): str(v) for k, v in fields["versions"].items() if v is not None}
