"""Where trials are kept: Optuna's journal in a file, made safe against kills, or any database Optuna knows.

Three traps of Optuna 5's own journal lock and file are closed here. A process killed while it writes leaves half a
line, to which the next write would be appended: every writer first cuts the file after its last newline, under the
lock. The lock of a dead process holds everyone up for 30 s: this lock is the kernel's (`flock`) and ends with its
holder. And a damaged file fails deep in the replay: here it is named with its line.
"""

from __future__ import annotations

import fcntl
import json
import os
from pathlib import Path

import optuna
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock

from neurodeploy.errors import UnsafeFile, UsageError
from neurodeploy.search.database import is_database, open_database

_READ = 1 << 16


def open_storage(storage: str | Path) -> BaseStorage:
    """The storage at a journal file's path, made where absent, or at a database URL such as `postgresql://...`.

    On a shared file system a journal needs one with working `flock` (NFS since version 4); else use a database.
    Raises UnsafeFile for a damaged journal, UsageError where the place cannot be opened.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    if is_database(storage):
        return open_database(str(storage))
    path = Path(storage)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = _JournalLock(path)
        lock.acquire()
        try:
            _check_lines(path)
        finally:
            lock.release()
        return JournalStorage(JournalFileBackend(str(path), lock_obj=lock))
    except OSError as error:
        raise UsageError(
            f"cannot open the journal: {error}", where=str(path), remedy="Give a folder that can be written"
        ) from error


def close_storage(storage: BaseStorage) -> None:
    """Close a database's connections; a journal holds none."""
    backend = getattr(storage, "_backend", None)
    if isinstance(backend, RDBStorage):
        backend.remove_session()
        backend.engine.dispose()


def check_storage(storage: str | Path) -> None:
    """Raise where `open_storage` does."""
    close_storage(open_storage(storage))


class _JournalLock(JournalFileOpenLock):
    """Exclusive writing, over processes and threads, to a journal that then ends with a whole line.

    Only the interface is taken from Optuna's lock. The lock file stays: removing it would let two processes hold locks
    on two files of the same name.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(str(path))
        self._path = path
        self._lock_path = path.with_name(path.name + ".flock")
        self._held = -1

    def acquire(self) -> bool:
        # A new descriptor each time: flock keeps apart descriptors, so threads of one process exclude each other too.
        descriptor = os.open(self._lock_path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            _cut_torn_line(self._path)
        except BaseException:
            os.close(descriptor)
            raise
        self._held = descriptor
        return True

    def release(self) -> None:
        os.close(self._held)


def _cut_torn_line(path: Path) -> None:
    """Cut a file after its last newline; nothing where it is absent or ends with one."""
    if not path.exists():
        return
    with path.open("r+b") as file:
        end = size = file.seek(0, os.SEEK_END)
        while end:
            start = max(0, end - _READ)
            file.seek(start)
            newline = file.read(end - start).rfind(b"\n")
            if newline >= 0:
                end = start + newline + 1
                break
            end = start
        if end < size:
            file.truncate(end)
            os.fsync(file.fileno())


def _check_lines(path: Path) -> None:
    if not path.exists():
        return
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            try:
                intact = isinstance(json.loads(line), dict)
            except ValueError:
                intact = False
            if not intact:
                raise UnsafeFile(
                    f"line {number} is not a journal record",
                    where=str(path),
                    remedy="Restore the journal from a copy, or remove the line if it is the last",
                )
