"""A Ray cluster for tests, on this machine, ended with the process that holds it; also the program that is this process."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import tempfile
from types import TracebackType
from typing import Self

import pytest

# As a user of a cluster sets it. Without, Ray makes a token in the home folder.
TOKEN = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "0123456789abcdef0123456789abcdef"}


class RayCluster:
    """A context manager; skips the test, with the reason, where Ray is not installed."""

    def __enter__(self) -> Self:
        pytest.importorskip("ray", reason="needs Ray: pip install 'neurodeploy[ray]'")
        importable = {"PYTHONPATH": os.pathsep.join(sys.path)}
        env = {**os.environ, **TOKEN, **importable, "RAY_USAGE_STATS_ENABLED": "0", "OMP_NUM_THREADS": "1"}
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        self._process = subprocess.Popen([sys.executable, __file__], text=True, env=env, **pipes)
        assert self._process.stdout is not None
        self.address = self._process.stdout.readline().strip()
        assert self.address, "the cluster does not start"
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._process.communicate("")


def main() -> None:
    import ray

    with tempfile.TemporaryDirectory(prefix="nd-rt-", ignore_cleanup_errors=True) as folder:
        ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR,
                 _temp_dir=folder)
        print(ray.get_runtime_context().gcs_address, flush=True)
        sys.stdin.read()
        ray.shutdown()


if __name__ == "__main__":
    main()
