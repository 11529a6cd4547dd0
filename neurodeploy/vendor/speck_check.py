"""What the vendor's validator says of a configuration: one process a check, because it dies of some."""

from __future__ import annotations

import json
import shutil
import signal
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from neurodeploy.errors import NeurodeployError
from neurodeploy.export.speck_document import encode, read_document, read_speck, write_document
from neurodeploy.hw.event_profile import EventProfile
from neurodeploy.place.dynapcnn_config import ChipConfig
from neurodeploy.vendor import processes
from neurodeploy.vendor.environments import Environment
from neurodeploy.vendor.locks import lock_named
from neurodeploy.vendor.worker import failure

PROTOCOL = 1
Said = Literal["accepted", "rejected", "type_error", "crash"]
_PACKAGE = Path(__file__).parent.parent
_SPARE_BYTES = 2**24
_MAX_STATUS = 2**20
_FAULTS = frozenset({signal.SIGSEGV, signal.SIGFPE, signal.SIGABRT, signal.SIGBUS, signal.SIGILL})  # what a program dies of


@dataclass(frozen=True)
class VendorVerdict:
    """`accepted`, `rejected` with the validator's message, `type_error` where a value fits no field, `crash` where it died.

    module: whose validator it was; versions by package; wall_s: of the whole process.
    """

    verdict: Said
    message: str
    module: str
    versions: dict[str, str]
    wall_s: float

    @property
    def accepted(self) -> bool:
        """Whether the vendor's tools take the configuration."""
        return self.verdict == "accepted"

    def to_dict(self) -> dict[str, Any]:
        """Plain fields, for JSON."""
        return asdict(self)


def check_configuration(
    environment: Environment, source: Path | ChipConfig, profile: EventProfile, *, timeout_s: float = 60.0
) -> VendorVerdict:
    """Ask the vendor's validator in a side environment (`vendor.find("speck")`) about a configuration.

    source: a folder with `speck.json` and its arrays, or the configuration itself, sound or not. That the validator dies is
    a verdict. Raises VendorFailure where it hangs, cannot be asked, or answers nonsense, for a folder what `read_speck` does.
    """
    if isinstance(source, ChipConfig):
        fields, arrays = encode(source, {})
        document: dict[str, Any] = {**fields, "target": profile.name, "readout": None}
    else:
        read_speck(source)
        document, arrays = read_document(source)
    # Which module and class are asked is the profile's to say, not the file's.
    document["vendor"] = profile.vendor.model_dump(mode="json")
    with tempfile.TemporaryDirectory(prefix="neurodeploy-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        write_document(folder, document, arrays)
        return _ask(environment, folder, timeout_s)


def _ask(environment: Environment, folder: Path, timeout_s: float) -> VendorVerdict:
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
            timeout_s=timeout_s, max_bytes=n_given + _SPARE_BYTES,
        )
    except NeurodeployError as error:
        raise failure(error.what, "vendor_crashed", where, remedy="Run `neurodeploy doctor`") from error
    wall_s = time.perf_counter() - started
    said = processes.tail(log)
    if done.timed_out:
        raise failure(
            f"was stopped after {timeout_s:g} s", "vendor_timeout", where, said, "Allow more with --oracle-timeout SECONDS"
        )
    if done.too_large:
        raise failure("was stopped because it wrote too much", "vendor_garbage", where, said)
    began = _fields(folder / "progress.json", {"module": str, "versions": dict})
    if -done.code in _FAULTS and began is not None:
        return _verdict("crash", f"the validator {done.describe()}", began, wall_s)
    if not done.ok:
        raise failure(done.describe(), "vendor_crashed", where, said)
    status = _fields(folder / "status.json", {"ok": bool})
    if status is None:
        raise failure("ended without an answer", "vendor_garbage", where, said)
    if not status["ok"]:
        raise failure(f"failed: {str(status.get('error'))[:500]}", "vendor_crashed", where, said)
    answer = _fields(folder / "status.json", {"verdict": str, "message": str, "module": str, "versions": dict})
    if answer is None or answer["verdict"] not in ("accepted", "rejected", "type_error"):
        raise failure("answered with a status that is none", "vendor_garbage", where, said)
    return _verdict(answer["verdict"], answer["message"], answer, wall_s)


def _verdict(said: Said, message: str, fields: dict[str, Any], wall_s: float) -> VendorVerdict:
    versions = {str(k): str(v) for k, v in fields["versions"].items() if v is not None}
    return VendorVerdict(said, message, fields["module"], versions, wall_s)


def _fields(path: Path, types: dict[str, type]) -> dict[str, Any] | None:
    """The fields of a small JSON file of the worker, None where it is none with these types."""
    try:
        if path.is_symlink() or path.stat().st_size > _MAX_STATUS:
            return None
        fields = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return None
    return fields if isinstance(fields, dict) and all(isinstance(fields.get(k), t) for k, t in types.items()) else None
