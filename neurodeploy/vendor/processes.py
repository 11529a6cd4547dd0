"""A foreign program with a time limit, a limit on what it may write, and nothing of it left when it is over.

The program leads a session of its own, so that a Ctrl-C in the terminal reaches only us, who then end it. Its
descendants are known by their session, their process group, or the mark in their environment (also where they left the
session), and are ended with it: first asked, so that they remove shared memory, then killed.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from neurodeploy.errors import NeurodeployError

_MARK = "NEURODEPLOY_JOB"
_GRACE_S = 1.0  # for a program that was asked to end
_DROPPED = ("PYTHONPATH", "PYTHONHOME", "PYTHONSTARTUP", "PYTHONWARNINGS", "VIRTUAL_ENV", "__PYVENV_LAUNCHER__")


@dataclass(frozen=True)
class Finished:
    """How a program ended. `code` is its exit code, or minus the signal that ended it."""

    code: int
    timed_out: bool
    too_large: bool
    n_left: int

    @property
    def ok(self) -> bool:
        return self.code == 0 and not self.timed_out and not self.too_large

    def describe(self) -> str:
        """`was ended by signal SIGSEGV`, for messages."""
        if self.code >= 0:
            return f"ended with exit code {self.code}"
        try:
            return f"was ended by signal {signal.Signals(-self.code).name}"
        except ValueError:
            return f"was ended by signal {-self.code}"


def run(
    command: Sequence[str | Path], *, folder: Path, log: Path, timeout_s: float | None, max_bytes: int | None,
    environment: Mapping[str, str] | None = None, inherited: Sequence[int] = (), stdout: Path | None = None,
) -> Finished:
    """Run a program in `folder` until it ends, `timeout_s` is over, or what it wrote exceeds `max_bytes`.

    Counted are all files in `folder`, the log and stdout. Its stderr goes to the file `log`, and its stdout too unless
    `stdout` names another file. inherited: file descriptors it keeps open. `n_left` of the answer: descendants that were
    still running when it ended. Raises NeurodeployError (code `cannot_start`) where the program cannot be started, and
    KeyboardInterrupt, after the program's end, on a Ctrl-C and on a SIGTERM that nobody else handles.
    """
    mark = secrets.token_hex(16)
    values = {k: v for k, v in os.environ.items() if k not in _DROPPED}
    values |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", **(environment or {}), _MARK: mark}
    written = {folder, log, *([] if stdout is None else [stdout])}
    timed_out = too_large = False
    with log.open("ab") as errors, contextlib.ExitStack() as stack:
        out = errors if stdout is None else stack.enter_context(stdout.open("wb"))
        stack.enter_context(_terminated_as_interrupted())
        try:
            process = subprocess.Popen(
                [str(part) for part in command], cwd=folder, stdin=subprocess.DEVNULL, stdout=out, stderr=errors,
                env=values, start_new_session=True, pass_fds=tuple(inherited),
            )
        except (OSError, ValueError) as error:
            raise NeurodeployError(
                f"cannot be started: {getattr(error, 'strerror', None) or error}", where=str(command[0]), code="cannot_start"
            ) from error
        n_left = 0
        try:
            started, pause = time.monotonic(), 0.01
            while not _has_ended(process.pid):
                timed_out = timeout_s is not None and time.monotonic() - started > timeout_s
                too_large = max_bytes is not None and _n_bytes(*written) > max_bytes
                if timed_out or too_large:
                    break
                time.sleep(pause)
                pause = min(0.1, pause * 1.2)
        finally:
            n_left = _end(process.pid, mark)
            process.wait()
    too_large = too_large or (max_bytes is not None and _n_bytes(*written) > max_bytes)
    return Finished(process.returncode, timed_out, too_large, n_left)


@contextlib.contextmanager
def _terminated_as_interrupted() -> Iterator[None]:
    """A SIGTERM, as job schedulers send it, is raised as a Ctrl-C: the program has a session of its own and would run on."""

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    main = threading.current_thread() is threading.main_thread()  # which alone may set handlers
    if not main or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield
        return
    signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _has_ended(pid: int) -> bool:
    """Whether a child has ended; it stays unreaped, so that its number is not given to a stranger."""
    return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def _end(leader: int, mark: str) -> int:
    """End a session and every process with the mark; returns how many were running besides the leader."""
    running = _running(leader, mark)
    n_left = len(running - {leader})
    asked: set[int] = set()
    deadline = time.monotonic() + _GRACE_S
    while running and time.monotonic() < deadline + 10 * _GRACE_S:
        killing = time.monotonic() > deadline
        for pid in running if killing else running - asked:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL if killing else signal.SIGTERM)
        asked |= running
        time.sleep(0.01)
        running = _running(leader, mark)
    return n_left


def _running(leader: int, mark: str) -> set[int]:
    """Processes of the leader's session or group, or with the mark, that are not mere zombies."""
    found = set()
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            state, _, group, session = (entry / "stat").read_text().rpartition(")")[2].split()[:4]
            if state in "ZX":
                continue
            ours = leader in (int(group), int(session))
            if ours or f"{_MARK}={mark}".encode() in (entry / "environ").read_bytes().split(b"\0"):
                found.add(int(entry.name))
        except (OSError, ValueError):  # it has ended meanwhile, or belongs to somebody else
            continue
    if not found and not Path("/proc/self/stat").exists() and not _has_ended(leader):  # no Linux: the leader's group
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(leader, signal.SIGKILL)
    return found


def _n_bytes(*paths: Path) -> int:
    """Size of some files, and of all files below some folders; a file in one of the folders counts once."""
    found: dict[Path, int] = {}
    for path in paths:
        for entry in [path, *(path.rglob("*") if path.is_dir() else [])]:
            try:
                found[entry] = 0 if entry.is_dir() else entry.lstat().st_size
            except OSError:  # it vanished between listing and asking
                continue
    return sum(found.values())


def tail(log: Path, n_lines: int = 4, n_chars: int = 500) -> str:
    """The last lines of a log that say something, for an error message."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - 4 * n_chars))
            text = file.read().decode("utf-8", "replace")
    except OSError:
        return ""
    lines = ["".join(c if c.isprintable() else " " for c in line).strip() for line in text.splitlines()]
    return " | ".join(line for line in [line for line in lines if line][-n_lines:])[-n_chars:]
