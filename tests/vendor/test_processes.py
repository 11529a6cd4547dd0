"""A foreign program leaves nothing behind: no process, no endless file, no endless wait."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from pathlib import Path

import pytest
from neurodeploy.errors import NeurodeployError
from neurodeploy.vendor.processes import Finished, run, tail
from tests.vendor.fake_python import alive

# A program that starts a child, a grandchild in a session of its own, and one that ignores SIGTERM; then goes on.
_FAMILY = """
import os, signal, subprocess, sys, time
code = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(300)"
children = [subprocess.Popen(["sleep", "300"]), subprocess.Popen(["sleep", "300"], start_new_session=True),
            subprocess.Popen([sys.executable, "-S", "-c", code], start_new_session=True, stdout=subprocess.PIPE)]
children[2].stdout.readline()
open("pids", "w").write(" ".join(str(c.pid) for c in children) + " " + str(os.getpid()))
{then}
"""


def play(folder: Path, source: str, timeout_s: float | None = 30.0, max_bytes: int = 10**6) -> Finished:
    work = folder / "work"
    work.mkdir()
    command = (sys.executable, "-S", "-c", source)
    return run(command, folder=work, log=folder / "log", timeout_s=timeout_s, max_bytes=max_bytes)


def family(folder: Path) -> list[int]:
    return [int(p) for p in (folder / "work" / "pids").read_text().split()]


@pytest.mark.parametrize(
    ("then", "code"),
    [("os._exit(3)", 3), ("os.kill(os.getpid(), signal.SIGKILL)", -9), ("os.kill(os.getpid(), signal.SIGSEGV)", -11), ("", 0)],
)
def test_no_descendant_outlives_it(then: str, code: int, tmp_path: Path) -> None:
    done = play(tmp_path, _FAMILY.format(then=then))
    assert (done.code, done.n_left, done.timed_out, done.ok) == (code, 3, False, code == 0)
    assert not [p for p in family(tmp_path) if alive(p)]


def test_a_time_limit(tmp_path: Path) -> None:
    done = play(tmp_path, _FAMILY.format(then="time.sleep(300)"), timeout_s=1.0)
    assert done.timed_out and not done.ok
    assert not [p for p in family(tmp_path) if alive(p)]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_and_termination(number: signal.Signals, tmp_path: Path) -> None:
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL  # else this test would end itself

    def interrupt() -> None:
        while not (tmp_path / "work" / "pids").exists():
            time.sleep(0.02)
        os.kill(os.getpid(), number)

    thread = threading.Thread(target=interrupt)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        play(tmp_path, _FAMILY.format(then="time.sleep(300)"))
    thread.join()
    assert not [p for p in family(tmp_path) if alive(p)]
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


@pytest.mark.parametrize("where", ["open('big', 'wb')", "sys.stderr.buffer", "sys.stdout.buffer"])
def test_a_limit_on_what_it_writes(where: str, tmp_path: Path) -> None:
    done = play(tmp_path, f"import sys\nout = {where}\nwhile True: out.write(bytes(10**5)); out.flush()", max_bytes=10**6)
    assert done.too_large and not done.ok


def test_a_large_file_at_the_very_end(tmp_path: Path) -> None:
    assert play(tmp_path, "open('big', 'wb').truncate(10**9)").too_large


def test_how_it_ended(tmp_path: Path) -> None:
    assert play(tmp_path, "import sys; print('one'); sys.stderr.write('two\\n\\n\\x1b[31mthree\\n')").ok
    assert tail(tmp_path / "log") .split(" | ")[-1].endswith("three")
    assert tail(tmp_path / "nothing") == ""
    assert Finished(-11, False, False, 0).describe() == "was ended by signal SIGSEGV"
    assert Finished(7, False, False, 0).describe() == "ended with exit code 7"


def test_what_cannot_be_started(tmp_path: Path) -> None:
    for name in ("missing", "folder", "text"):
        path = tmp_path / name
        if name == "folder":
            path.mkdir()
        elif name == "text":
            path.write_text("no program")
            path.chmod(0o755)
        with pytest.raises(NeurodeployError, match="cannot be started") as caught:
            run((path,), folder=tmp_path, log=tmp_path / "log", timeout_s=5, max_bytes=10**6)
        assert caught.value.error_code == "cannot_start"


def test_it_does_not_inherit_settings_of_this_python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", "/somewhere")
    monkeypatch.setenv("KEPT", "yes")
    source = "import os; open('env', 'w').write(repr((os.environ.get('PYTHONPATH'), os.environ['KEPT'])))"
    assert play(tmp_path, source).ok
    assert (tmp_path / "work" / "env").read_text() == "(None, 'yes')"
