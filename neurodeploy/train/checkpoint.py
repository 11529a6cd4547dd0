"""Checkpoint files: dicts of tensors and plain types, replaced in one step, read without executing anything."""

from __future__ import annotations

import hashlib
import os
import pickle
import tempfile
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray

from neurodeploy.errors import UnsafeFile, UsageError

VERSION = 1


def fingerprint(**settings: Any) -> dict[str, Any]:
    """What a resumed run must share with the one that was interrupted; arrays become their sha256."""
    return {key: _digest(value) if hasattr(value, "tobytes") else value for key, value in settings.items()}


def _digest(array: NDArray[Any]) -> str:
    head = f"{array.shape}{array.dtype.str}".encode()
    return hashlib.sha256(head + array.tobytes()).hexdigest()


def save(path: Path, run: dict[str, Any], state: dict[str, Any]) -> None:
    """Writes `state` and the run's fingerprint; a reader sees the old file or the new one, never half of one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=path.name, suffix=".part")
    try:
        with os.fdopen(handle, "wb") as file:
            torch.save({"version": VERSION, "run": run, "state": state}, file)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).chmod(0o644)  # mkstemp's files are private; a worker of another user reads it too
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def load(path: Path, run: dict[str, Any]) -> dict[str, Any] | None:
    """The state saved in `path`, None where there is no file.

    Raises UnsafeFile for a file that is not a checkpoint, UsageError for one of another run.
    """
    if not path.exists():
        return None
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        version, saved_run, state = content["version"], content["run"], content["state"]
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError, TypeError, OSError) as error:
        raise UnsafeFile(f"cannot be read as a checkpoint ({type(error).__name__})", where=str(path),
                         remedy="Delete it to start over") from error
    if version != VERSION:
        raise UnsafeFile(f"has checkpoint version {version}", where=str(path), limit=f"This release reads {VERSION}",
                         remedy="Delete it to start over")
    differing = sorted(key for key in {*run, *saved_run} if run.get(key) != saved_run.get(key))
    if differing:
        raise UsageError(f"belongs to another run: {', '.join(differing)} differ", where=str(path),
                         remedy="Resume with the same settings, or delete the file to start over")
    saved: dict[str, Any] = state
    return saved
