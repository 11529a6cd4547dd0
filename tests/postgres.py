"""A PostgreSQL server for tests, in a temporary folder, on loopback alone; it can be stopped hard and started again."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pytest

USER, PASSWORD = "lab", "s3cret/p@ss"


def program(name: str) -> str | None:
    """The path of one of PostgreSQL's programs."""
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    return shutil.which(name, path=os.pathsep.join([os.environ.get("PATH", ""), *map(str, folders)]))


class Postgres:
    """A context manager; skips the test, with the reason, where PostgreSQL or its driver is not installed."""

    def __enter__(self) -> Self:
        pytest.importorskip("psycopg", reason="needs the driver: pip install 'neurodeploy[db]'")
        self._n_made = 0
        initdb, self._postgres = program("initdb"), program("postgres")
        if initdb is None or self._postgres is None:
            pytest.skip("needs PostgreSQL: initdb is neither on PATH nor in /usr/lib/postgresql")
        # Not under pytest's folder, which only its owner may enter: the server refuses to run as root.
        self._folder = Path(tempfile.mkdtemp(prefix="nd-pg-"))
        (self._folder / "password").write_text(PASSWORD)
        self._as: dict[str, Any] = {}
        if os.getuid() == 0:
            nobody = pwd.getpwnam("nobody")
            self._as = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
            for path in (self._folder, self._folder / "password"):
                os.chown(path, nobody.pw_uid, nobody.pw_gid)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        options = ["--auth=scram-sha-256", f"--pwfile={self._folder}/password", "--locale=C", "--encoding=UTF8", "--no-sync"]
        made = subprocess.run([initdb, "-D", str(self._data), "-U", USER, *options], capture_output=True, text=True,
                              cwd=self._folder, check=False, **self._as)
        assert made.returncode == 0, made.stderr
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()
        shutil.rmtree(self._folder)

    @property
    def _data(self) -> Path:
        return self._folder / "data"

    def new_database(self) -> str:
        """The URL of an empty database, its password in the variable DB_PASSWORD."""
        self._n_made += 1
        with self._connected() as connection:
            connection.execute(f"CREATE DATABASE search{self._n_made}")
        return f"postgresql+psycopg://{USER}:$DB_PASSWORD@127.0.0.1:{self.port}/search{self._n_made}"

    def _connected(self) -> Any:
        import psycopg

        login = {"host": "127.0.0.1", "port": self.port, "user": USER, "password": PASSWORD, "dbname": "postgres"}
        return psycopg.connect(**login, autocommit=True)

    def start(self) -> None:
        import psycopg

        assert self._postgres is not None
        settings = {"port": self.port, "listen_addresses": "127.0.0.1", "unix_socket_directories": self._folder, "fsync": "off"}
        command = [self._postgres, "-D", str(self._data), *(f"-c{name}={value}" for name, value in settings.items())]
        with (self._folder / "log").open("a") as log:
            self._server = subprocess.Popen(command, cwd=self._folder, stderr=log, **self._as)
        end = time.monotonic() + 60
        while True:
            try:
                return self._connected().close()
            except psycopg.OperationalError:
                said = (self._folder / "log").read_text()
                assert self._server.poll() is None and time.monotonic() < end, said
                time.sleep(0.02)

    def stop(self) -> None:
        """Ends the server and all connections at once; what was committed stays."""
        self._server.send_signal(signal.SIGQUIT)
        self._server.wait()
