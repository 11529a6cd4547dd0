"""Strangers' HDF5 files, read in a child process: libhdf5 never sees an untrusted file in this one.

The child (`hdf5_child`) gets the open file, reads it under limits, and answers with an archive. It may crash, hang or
lie; each is one UnsafeFile here. Limits: files of up to 1 GiB; data of up to 32 MiB, or 4 times the file's size where
that is more (a small packed file cannot unpack to gigabytes), never above 1 GiB; the child's memory 3 times that plus 64
MiB on top of the interpreter; 10 s, and a second more for each 16 MiB of file.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from neurodeploy.errors import NeurodeployError, UnsafeFile, UsageError
from neurodeploy.ir import archive
from neurodeploy.ir.hdf5 import MAX_BYTES, MAX_OBJECTS, Tree
from neurodeploy.ir.hdf5_child import FORMAT, READY

MAX_FILE_BYTES = 2**30
MIN_DATA_BYTES = 32 * 2**20
TIMEOUT_S = 10.0
START_TIMEOUT_S = 60.0  # a busy machine may take long to start Python; that is not the file's fault
_OVERHEAD_BYTES = 2**20 + 1024 * MAX_OBJECTS  # of the archive around the data
_BOOTSTRAP = (
    "import json, sys; a = json.loads(sys.argv[1]); sys.path[:] = a['path']; "
    "from neurodeploy.ir.hdf5_child import main; main(a)"
)


@dataclass(frozen=True)
class Limits:
    """What reading one file may take: bytes of data, seconds."""

    max_bytes: int
    timeout_s: float

    @classmethod
    def of(cls, file_bytes: int) -> Limits:
        return cls(min(MAX_BYTES, max(MIN_DATA_BYTES, 4 * file_bytes)), TIMEOUT_S + file_bytes // 2**24)


# (descriptor of the open file, limits) -> (id of the process, descriptor of its answer)
Launch = Callable[[int, Limits], tuple[int, int]]


def spawn(source: int, limits: Limits) -> tuple[int, int]:
    """A fresh interpreter, in a process group of its own, that imports numpy and h5py and nothing else of weight."""
    answer, answer_of_child = os.pipe()
    arguments = {"path": [p for p in sys.path if p], "max_bytes": limits.max_bytes, "cpu_s": int(limits.timeout_s)}
    env = {k: v for k, v in os.environ.items() if not k.startswith("HDF5_")}
    env |= {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "HDF5_PLUGIN_PRELOAD": "::"}  # "::": no filter plugins
    try:
        process = subprocess.Popen(
            [sys.executable, "-I", "-c", _BOOTSTRAP, json.dumps(arguments)], stdin=source, stdout=answer_of_child,
            stderr=subprocess.DEVNULL, start_new_session=True, env=env,
        )
    except OSError as err:
        os.close(answer)
        raise NeurodeployError("the process that reads files cannot be started", limit=str(err), code="no_reader") from err
    finally:
        os.close(answer_of_child)
    process.returncode = 0  # `_running` waits for it
    return process.pid, answer


def read_tree(path: Path, launch: Launch = spawn) -> Tree:
    """Every dataset of a stranger's HDF5 file.

    Raises UsageError when it cannot be opened, UnsafeFile when it is unsafe, corrupt or too large, or when reading it
    crashed, hung or took too much memory.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC) if path.is_file() else -1
    except OSError as err:
        raise UsageError("cannot read the file", where=str(path), limit=str(err.strerror or err)) from err
    if descriptor < 0:
        raise UsageError(archive.missing(path), where=str(path))
    try:
        size = os.fstat(descriptor).st_size
        if size > MAX_FILE_BYTES:
            raise UnsafeFile(f"the file has {size} bytes", where=str(path), limit=f"At most {MAX_FILE_BYTES}")
        limits = Limits.of(size)
        payload = _ask(descriptor, limits, launch, str(path))
    finally:
        os.close(descriptor)
    return _tree(payload, str(path))


def _ask(source: int, limits: Limits, launch: Launch, where: str) -> bytes:
    pid, answer = launch(source, limits)
    most = len(READY) + limits.max_bytes + _OVERHEAD_BYTES
    received = bytearray()
    with _running(pid, answer) as ended:
        deadline = time.monotonic() + START_TIMEOUT_S
        started = False
        while (left := deadline - time.monotonic()) > 0:
            if not select.select([answer], [], [], left)[0]:
                break
            chunk = os.read(answer, 2**20)
            if not chunk:
                return _complete(bytes(received), ended(), limits, where)
            received += chunk
            if len(received) > most:
                raise UnsafeFile("reading it gives too much data", where=where, limit=f"At most {limits.max_bytes} bytes")
            if not started:
                started, deadline = True, time.monotonic() + limits.timeout_s
        if not started:
            raise NeurodeployError("the process that reads files does not start", where=where, code="no_reader",
                                   limit=f"Waited {START_TIMEOUT_S:g} s")
        raise UnsafeFile("reading it takes too long", where=where, limit=f"At most {limits.timeout_s:g} s")


@contextmanager
def _running(pid: int, answer: int) -> Iterator[Callable[[], int]]:
    """Ends the child with everything it may have started, whatever happens; yields what waits for its exit status."""
    waited: list[int] = []

    def ended() -> int:
        if not waited:
            waited.append(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
        return waited[0]

    try:
        yield ended
    finally:
        os.close(answer)
        if not waited:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(pid, signal.SIGKILL)
            ended()


def _complete(received: bytes, status: int, limits: Limits, where: str) -> bytes:
    if not received.startswith(READY):
        raise NeurodeployError("the process that reads files does not start", where=where, code="no_reader",
                               limit=f"It ended with status {status}")
    if status == -signal.SIGXCPU:
        raise UnsafeFile("reading it takes too long", where=where, limit=f"At most {limits.timeout_s:g} s")
    if status != 0:
        how = signal.Signals(-status).name if -status in set(signal.Signals) else f"exit status {status}"
        raise UnsafeFile("reading it crashed the HDF5 library", where=where, limit=f"The reading process ended with {how}")
    return received.removeprefix(READY)


def _tree(payload: bytes, where: str) -> Tree:
    document, arrays = archive.unpack(payload, where)
    if document.get("format") != FORMAT:
        raise UnsafeFile("the reading process gave a strange answer", where=where)
    error = document.get("error")
    if error is not None:
        if not _texts(error) or set(error) != {"what", "where", "limit"}:
            raise UnsafeFile("the reading process gave a strange answer", where=where)
        inside = f":/{error['where']}" if error["where"] else ""
        raise UnsafeFile(error["what"], where=f"{where}{inside}", limit=error["limit"])
    names, texts, groups = (document.get(key) for key in ("arrays", "texts", "groups"))
    if (
        not isinstance(names, dict) or not _texts(names) or set(names) != set(arrays) or not isinstance(texts, dict)
        or not _texts(texts) or not isinstance(groups, list) or not all(isinstance(g, str) for g in groups)
    ):
        raise UnsafeFile("the reading process gave a strange answer", where=where)
    return Tree({names[key]: array for key, array in arrays.items()}, dict(texts), frozenset(groups))


def _texts(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(v, str) for v in value.values())
