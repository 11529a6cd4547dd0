"""Who evaluates a trial, and whether that process still lives.

A lease names its holder. On the holder's own machine (same boot, same process namespace) the kernel knows whether the
process lives; process ids are used again, so its start time must match too. For a holder elsewhere only its heartbeat
tells: a counter that it raises while it works. An observer takes it for dead once the counter has stood still for
`lease_s` on the observer's own clock, so clocks need not agree.
"""

from __future__ import annotations

import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Any

# Tokens of the searches running in this process: a lease of this process with another token was left by one that ended.
_RUNNING: set[str] = set()


class Owner:
    """A search running in this process; a context manager, whose leases live only inside it."""

    def __init__(self) -> None:
        self.token = uuid.uuid4().hex

    def lease(self) -> dict[str, Any]:
        """Plain fields that name this owner."""
        pid = os.getpid()
        return {"machine": machine(), "pid": pid, "started": _started(pid), "token": self.token}

    def __enter__(self) -> Owner:
        _RUNNING.add(self.token)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _RUNNING.discard(self.token)


class LeaseWatch:
    """Tells live leases from stale ones; keeps in mind when it last saw a heartbeat change."""

    def __init__(self, lease_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._lease_s, self._clock = lease_s, clock
        self._beats: dict[int, tuple[int, float]] = {}

    def is_live(self, trial_id: int, lease: Mapping[str, Any], beat: int) -> bool:
        """Whether the holder of a trial's lease still works on it."""
        pid = int(lease["pid"])
        if lease["machine"] == machine():
            if pid == os.getpid():
                return lease["token"] in _RUNNING
            if not _exists(pid):
                return False
            if lease["started"]:
                return bool(lease["started"] == _started(pid))
        now = self._clock()
        known, since = self._beats.get(trial_id, (None, now))
        if known != beat:
            self._beats[trial_id] = (beat, now)
            return True
        return now - since <= self._lease_s


class Heartbeat:
    """Calls `send(1)`, `send(2)`, ... every `interval_s` seconds from `start` to `stop`, or until it returns False."""

    def __init__(self, send: Callable[[int], bool], interval_s: float) -> None:
        self._send, self._interval_s = send, interval_s
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="neurodeploy-heartbeat", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Ends the calls; one that runs is waited for."""
        self._done.set()
        if self._thread.ident is not None:
            self._thread.join()

    def _beat(self) -> None:
        beat = 1
        while not self._done.wait(self._interval_s) and self._send(beat):
            beat += 1


@cache
def machine() -> str:
    """This machine, boot and process namespace in one string; host name alone where there is no /proc."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        namespace = Path("/proc/self/ns/pid").readlink().name
    except OSError:
        boot, namespace = "", ""
    return " ".join(part for part in (socket.gethostname(), boot, namespace) if part)


def _started(pid: int) -> str:
    """Start time of a process in clock ticks since boot; empty where unknown or the process has ended."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return ""
    # The name, in parentheses, may hold spaces: fields are counted from its end. state is field 3, starttime field 22.
    fields = stat.rpartition(")")[2].split()
    return "" if fields[0] in "ZX" else fields[19]


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
