"""Runs the command line in processes that can be killed, started by forking one that has imported everything.

A process of its own takes seconds to import torch; killed there, nothing of interest can break. As a program: reads one
JSON request a line, answers one JSON line each.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self


class ForkServer:
    """A context manager; `start` begins a command, `wait` ends with its exit status (negative: the signal)."""

    def __enter__(self) -> Self:
        env = {**os.environ, "OMP_NUM_THREADS": "1"}
        self._process = subprocess.Popen(
            [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=env
        )
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()

    def start(self, *args: str | Path, log: Path) -> int:
        """The id of a process that runs `neurodeploy ARGS`; what it prints goes to `log`."""
        return int(self._ask({"args": [str(a) for a in args], "log": str(log)}))

    def wait(self, pid: int, timeout_s: float = 120.0) -> int | None:
        """Exit status of the process, None where it still runs after `timeout_s`."""
        status = self._ask({"pid": pid, "timeout_s": timeout_s})
        return None if status is None else int(status)

    def _ask(self, request: dict[str, Any]) -> Any:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())


def _start(args: list[str], log: str) -> int:
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        for stream in (1, 2):
            os.dup2(descriptor, stream)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        sys.argv = ["neurodeploy", *args]
        from neurodeploy.cli.main import run

        run()
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else 1
    finally:
        with contextlib.suppress(ValueError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def _wait(pid: int, timeout_s: float) -> int | None:
    end = time.monotonic() + timeout_s
    while True:
        found, status = os.waitpid(pid, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() > end:
            return None
        time.sleep(0.002)


def main() -> None:
    import neurodeploy.commands
    import torch._dynamo  # every optimizer of torch imports it when it is made

    assert neurodeploy.commands and torch._dynamo
    for line in sys.stdin:
        request = json.loads(line)
        answer = _wait(**request) if "pid" in request else _start(**request)
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
