"""Side environments: those made from a lock (`making.py`), and the lab's own interpreters; found, listed, removed.

    <cache>/envs/loihi2-<key>/          an environment made by `create`; `.complete` says with what
    <cache>/envs/.loihi2-<key>.<random> one that is being made, or was when its maker was killed
    <cache>/envs/loihi2.json            an interpreter named by `add`; it wins over one that was made
    <cache>/envs/.loihi2.lock           held by whoever changes any of them

The key is a hash of the lock, the interpreter and the platform. An environment appears whole, by renaming, or not at all.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import warnings
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from neurodeploy.errors import EnvironmentMissing, NeurodeployWarning, UsageError
from neurodeploy.progress import SILENT
from neurodeploy.vendor.cache import cache_folder, environments_folder, locked
from neurodeploy.vendor.locks import Lock, lock_named, locks
from neurodeploy.vendor.pythons import ask

COMPLETE = ".complete"


@dataclass(frozen=True)
class Environment:
    """A usable side environment. kind: `created` or `added`; versions: by package, as found by running it."""

    name: str
    kind: str
    python: Path
    python_version: str
    versions: dict[str, str]
    folder: Path | None

    def to_dict(self) -> dict[str, Any]:
        """Plain fields, for JSON."""
        return {**asdict(self), "python": str(self.python), "folder": None if self.folder is None else str(self.folder)}


def environments() -> list[Environment]:
    """All usable environments, of each name the one that is used first. Nothing is run."""
    return [entry for lock in locks().values() for entry in of_lock(lock)]


def find(name: str) -> Environment:
    """The environment to use: the interpreter that was added, else the one that was created.

    Raises UsageError for an unknown name, EnvironmentMissing with the command that makes it.
    """
    lock = lock_named(name)
    for entry in of_lock(lock):
        if not entry.python.is_file():
            raise EnvironmentMissing(
                f"the interpreter of the side environment {name!r} is gone", where=str(entry.python),
                remedy=f"Run `neurodeploy env remove {name}` and `neurodeploy env create {name}`",
            )
        return entry
    raise EnvironmentMissing(
        f"there is no side environment {name!r}, which holds {lock.main}", where=str(cache_folder()),
        remedy=f"Run `neurodeploy env create {name}`; `neurodeploy env add {name} --python PATH` takes an interpreter of yours",
    )


def of_lock(lock: Lock) -> list[Environment]:
    """The environments of a lock, the one that is used first: the interpreter that was added, then those created."""
    folder = cache_folder() / "envs"
    records: list[tuple[Path, Path | None]] = [(folder / f"{lock.name}.json", None)]
    records += [(path / COMPLETE, path) for path in sorted(folder.glob(f"{lock.name}-*")) if path.is_dir()]
    found = []
    for record, home in records:
        entry = _read(record)
        if entry is None or (home is not None and entry.get("lock") != lock.digest):
            continue
        python = Path(entry["python"]) if home is None else python_of(home)
        found.append(Environment(
            lock.name, "added" if home is None else "created", python, entry["python_version"], entry["versions"], home
        ))
    return found


def _read(record: Path) -> dict[str, Any] | None:
    """The fields of a record, None where there is none or it is damaged."""
    try:
        entry = json.loads(record.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    types: dict[str, type] = {"python": str, "python_version": str, "versions": dict}
    sound = isinstance(entry, dict) and all(isinstance(entry.get(k), t) for k, t in types.items())
    return entry if sound else None


def python_of(home: Path) -> Path:
    """The interpreter of an environment that was made in a folder."""
    return home / "venv" / "bin" / "python"


def add(name: str, python: Path) -> Environment:
    """Use an interpreter of one's own for an environment; it is run, and what it has is recorded.

    Raises UsageError where it is no Python or lacks the vendor's packages, VendorFailure where it hangs. Versions other
    than the pinned ones are a warning (`unpinned`).
    """
    lock = lock_named(name)
    on_path = shutil.which(python.name) if python.name == str(python) and not python.exists() else None
    # Not resolved: the python of a virtual environment is a link, and works under its own name only.
    path = Path(os.path.abspath(on_path or python.expanduser()))  # noqa: PTH100
    found = ask(path, tuple(lock.pins), lock.imports)
    if found.failed or lock.main not in found.versions:
        raise UsageError(
            f"{lock.main} does not run there", where=str(path), code="python",
            limit="; ".join(f"import {k}: {why}" for k, why in found.failed.items()) or f"{lock.main} is not installed",
            remedy=f"Install {lock.main}=={lock.pins[lock.main]} there, or run `neurodeploy env create {name}`",
        )
    other = {k: v for k, v in found.versions.items() if lock.pins.get(k) != v}
    if lock.main in other:
        warnings.warn(NeurodeployWarning(
            f"it has {lock.main} {other[lock.main]}, not {lock.pins[lock.main]} that this version was checked with",
            code="unpinned", where=str(path),
        ), stacklevel=2)
    entry = {"python": str(path), "python_version": found.version, "versions": found.versions}
    with locked(name, SILENT):
        folder = environments_folder()
        handle, temporary = tempfile.mkstemp(dir=folder, prefix=f".{name}.json.")
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(json.dumps(entry, indent=1) + "\n")
        Path(temporary).replace(folder / f"{name}.json")
    return next(e for e in of_lock(lock) if e.kind == "added")


def remove(name: str) -> list[Environment]:
    """Delete the environments of a name that were created, and forget an interpreter that was added (its files stay).

    Returns what was removed; raises UsageError where there is nothing.
    """
    lock = lock_named(name)
    with locked(name, SILENT):
        gone = of_lock(lock)
        folder = environments_folder()
        record = folder / f"{name}.json"
        paths = [p for pattern in (f"{name}-*", f".{name}-*") for p in folder.glob(pattern)]
        if not paths and not record.exists():
            raise UsageError(f"there is no side environment {name!r}", where=str(folder), remedy="`neurodeploy env list`")
        record.unlink(missing_ok=True)
        for path in paths:
            doomed = path.rename(path.with_name(f".{name}-removed.{os.getpid()}.{path.name.strip('.')}"))
            shutil.rmtree(doomed)
    return gone
