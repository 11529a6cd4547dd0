"""The folder that holds side environments, and the lock that lets one process at a time change one."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from neurodeploy.errors import UsageError
from neurodeploy.progress import Progress


def cache_folder() -> Path:
    """$NEURODEPLOY_CACHE, else `neurodeploy` in $XDG_CACHE_HOME or ~/.cache. It need not exist."""
    own = os.environ.get("NEURODEPLOY_CACHE")
    if own:
        return Path(own).expanduser().absolute()
    xdg = os.environ.get("XDG_CACHE_HOME")
    return (Path(xdg) if xdg and Path(xdg).is_absolute() else Path.home() / ".cache") / "neurodeploy"


def environments_folder() -> Path:
    """Where environments lie. Made where it is missing; raises UsageError where it cannot be."""
    folder = cache_folder() / "envs"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK | os.X_OK):
            raise PermissionError(13, "Permission denied")
    except OSError as error:
        raise UsageError(
            "cannot write to the cache folder", where=str(folder), limit=error.strerror or str(error), code="path",
            remedy="Name another one in NEURODEPLOY_CACHE",
        ) from error
    return folder


@contextmanager
def locked(name: str, progress: Progress) -> Iterator[int]:
    """Hold the lock of an environment; waits for another holder, and says so. Yields the lock's file descriptor.

    A child process that inherits the descriptor holds the lock too, so that an installation whose parent was killed
    keeps others out until it is over. The system lets go of the lock of a process that ends.
    """
    path = environments_folder() / f".{name}.lock"
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        told = False
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if not told:
                    progress.message(f"{name}: another process is working on it; waiting")
                    told = True
                time.sleep(0.05)
        yield handle
    finally:
        os.close(handle)
