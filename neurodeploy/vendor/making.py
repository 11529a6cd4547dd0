"""Making a side environment: a virtual environment and the pinned wheels, whole or not at all."""

from __future__ import annotations

import hashlib
import json
import platform
import shutil
import tempfile
import warnings
from pathlib import Path
from typing import Any

from neurodeploy.errors import NeurodeployError, NeurodeployWarning, VendorFailure
from neurodeploy.progress import SILENT, Progress
from neurodeploy.vendor import processes
from neurodeploy.vendor.cache import cache_folder, environments_folder, locked
from neurodeploy.vendor.environments import COMPLETE, Environment, of_lock, python_of
from neurodeploy.vendor.locks import Lock, lock_named
from neurodeploy.vendor.pythons import Interpreter, ask, find_python

_INSTALL_S = 3600.0
_STAGES = 4


def planned(name: str) -> dict[str, Any]:
    """What `create` would do: the interpreter it found, the folder, the packages. Errors as `find_python`."""
    lock = lock_named(name)
    base = find_python(lock.python)
    home = cache_folder() / "envs" / f"{name}-{_key(lock, base)}"
    return {"name": name, "python": str(base.path), "python_version": base.version, "folder": str(home),
            "packages": list(lock.packages)}


def create(name: str, progress: Progress = SILENT) -> Environment:
    """Make the pinned environment; one that is there and works is kept, what a killed attempt left is cleared away.

    Raises UsageError (unknown name, cache not writable), EnvironmentMissing (no Python of the right version),
    VendorFailure (the installation failed, or what it installed does not run).
    """
    lock = lock_named(name)
    task = f"{name}: environment"
    progress.start(task, _STAGES)
    try:
        base = find_python(lock.python)
        progress.message(f"{name}: Python {base.version} at {base.path}")
        progress.advance(task)
        home = environments_folder() / f"{name}-{_key(lock, base)}"
        with locked(name, progress) as handle:
            if _works(lock, home):
                progress.message(f"{name}: it is there already, {home}")
            else:
                _clear(lock, home)
                _make(lock, base, home, handle, progress, task)
    finally:
        progress.done(task)
    made = next(entry for entry in of_lock(lock) if entry.folder == home)
    if of_lock(lock)[0] != made:
        warnings.warn(NeurodeployWarning(
            f"the interpreter that was added is used, not {home}", code="shadowed", where=name,
            remedy=f"Run `neurodeploy env remove {name}` to forget it, then create again",
        ), stacklevel=2)
    return made


def _key(lock: Lock, base: Interpreter) -> str:
    parts = (lock.digest, base.version, base.base, platform.system(), platform.machine())
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:12]


def _works(lock: Lock, home: Path) -> bool:
    """Whether a finished environment is there and its interpreter still runs (the base may have been removed)."""
    if not any(entry.folder == home for entry in of_lock(lock)):
        return False
    try:
        return ask(python_of(home), tuple(lock.pins)).versions == lock.pins
    except NeurodeployError:
        return False


def _clear(lock: Lock, home: Path) -> None:
    """Remove what killed attempts left, and an environment that no longer works. The lock is held: nobody uses them."""
    for path in [home, *home.parent.glob(f".{lock.name}-*")]:
        if path.exists():
            shutil.rmtree(path)


def _make(lock: Lock, base: Interpreter, home: Path, handle: int, progress: Progress, task: str) -> None:
    building = Path(tempfile.mkdtemp(dir=home.parent, prefix=f".{home.name}."))
    try:
        log = building / "create.log"
        progress.message(f"{lock.name}: making a virtual environment")
        _step(lock, (base.path, "-I", "-m", "venv", building / "venv"), building, log, handle)
        progress.advance(task)
        progress.message(f"{lock.name}: installing {len(lock.packages)} pinned packages")
        pip = (python_of(building), "-I", "-m", "pip", "--disable-pip-version-check", "--no-input")
        # Wheels only and no dependencies: nothing but what is pinned gets in, and no package's code runs meanwhile.
        _step(lock, (*pip, "install", "--no-deps", "--only-binary", ":all:", *lock.packages), building, log, handle)
        progress.advance(task)
        progress.message(f"{lock.name}: trying it")
        found = ask(python_of(building), tuple(lock.pins), lock.imports)
        wrong = [f"{k} {found.versions.get(k, 'missing')} instead of {v}" for k, v in lock.pins.items()
                 if found.versions.get(k) != v]
        wrong += [f"import {k}: {why}" for k, why in found.failed.items()]
        if wrong:
            raise VendorFailure(
                f"the new environment {lock.name!r} does not work", where=lock.name, limit="; ".join(wrong),
                code="environment_broken", remedy="Check pip's settings for this user (index, constraints), then create again",
            )
        entry = {
            "lock": lock.digest, "python": str(base.path), "python_version": found.version, "versions": found.versions,
        }
        (building / COMPLETE).write_text(json.dumps(entry, indent=1) + "\n", encoding="utf-8")
        building.rename(home)
        progress.advance(task)
    finally:
        shutil.rmtree(building, ignore_errors=True)


def _step(lock: Lock, command: tuple[str | Path, ...], folder: Path, log: Path, handle: int) -> None:
    done = processes.run(
        command, folder=folder, log=log, timeout_s=_INSTALL_S, max_bytes=None, inherited=(handle,),
    )
    if not done.ok:
        what = f"was stopped after {_INSTALL_S:g} s" if done.timed_out else done.describe()
        raise VendorFailure(
            f"`{' '.join(str(part) for part in command[1:5])} ...` {what}", where=f"env create {lock.name}",
            limit=processes.tail(log), code="environment_failed",
            remedy="Mend what it says (network, disk, pip's settings), then create again",
        )
