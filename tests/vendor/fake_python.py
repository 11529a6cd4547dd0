"""A stand-in for a Python 3.10 with a vendor's packages: a script that answers, installs and works as it is told to."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from neurodeploy.vendor import lock_named

PINS = lock_named("loihi2").pins

_SCRIPT = """#!{python} -S
import json, os, signal, subprocess, sys, time
told = {told!r}
here = os.path.dirname(os.path.abspath(__file__))
args = sys.argv[1:]
if told.get("ignores_term"):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
if told.get("says"):
    print(told["says"], flush=True)


def note(text):
    if told.get("diary"):
        with open(told["diary"], "a") as file:
            file.write(text + "\\n")


def answer():
    versions = dict(told.get("versions", {{}}))
    installed = os.path.join(here, "..", "installed.json")
    if os.path.exists(installed):
        with open(installed) as file:
            versions.update(json.load(file))
    marker = "NEURODEPLOY-" + "ANSWER "
    print(marker + json.dumps({{
        "version": told.get("version", "3.10.9"), "implementation": told.get("implementation", "CPython"),
        "executable": __file__, "base": told.get("base", __file__), "has_venv": told.get("has_venv", True),
        "versions": versions, "failed": told.get("failed", {{}}),
    }}))


def venv(folder):
    os.makedirs(os.path.join(folder, "bin"))
    copy = os.path.join(folder, "bin", "python")
    with open(__file__) as source, open(copy, "w") as target:
        target.write(source.read())
    os.chmod(copy, 0o755)
    note("venv")


def pip(packages):
    note("pip %d begins" % os.getpid())
    time.sleep(told.get("pip_s", 0))
    if told.get("pip_fails"):
        sys.stderr.write("ERROR: no matching distribution\\n")
        sys.exit(1)
    pins = dict(p.split("==") for p in packages if "==" in p)
    pins.update(told.get("installs", {{}}))
    with open(os.path.join(here, "..", "installed.json"), "w") as file:
        json.dump(pins, file)
    note("pip %d ends" % os.getpid())


def work(folder):
    note("work %d" % os.getpid())
    for _ in range(told.get("n_children", 0)):
        child = subprocess.Popen(["sleep", "300"], start_new_session=True)
        note("child %d" % child.pid)
    exec(told.get("work", ""), {{"folder": folder, "os": os, "sys": sys, "time": time, "json": json, "signal": signal}})


if told.get("dies"):
    sys.exit(told["dies"])
if told.get("hangs"):
    time.sleep(300)
if "-c" in args:
    answer()
elif "venv" in args:
    venv(args[-1])
elif "pip" in args:
    pip(args)
else:
    work(args[-1])
"""


def fake(path: Path, **told: Any) -> Path:
    """Write an executable at `path` that plays an interpreter. What it can be told:

    version, implementation, has_venv, versions, failed: its answer; says: noise on stdout; dies: exit code; hangs;
    pip_s, pip_fails, installs: how its pip behaves; diary: a file it writes down what it does in; work: Python source
    of the job (with `folder`); n_children: sleeping processes that leave its session; ignores_term.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    told = {k: str(v) if isinstance(v, Path) else v for k, v in told.items()}
    path.write_text(_SCRIPT.format(python=sys.executable, told=told))
    path.chmod(0o755)
    return path


def with_lava(path: Path, **told: Any) -> Path:
    """A fake that has all the pinned packages."""
    return fake(path, **{"versions": dict(PINS), **told})


def alive(pid: int) -> bool:
    """Whether a process runs (a zombie does not)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


def pids(diary: Path, what: str) -> list[int]:
    """Process numbers in the diary's lines that begin with `what`."""
    lines = diary.read_text().splitlines() if diary.exists() else []
    return [int(line.split()[1]) for line in lines if line.startswith(what + " ")]


def records(folder: Path) -> list[str]:
    """Names of everything in a cache's `envs` but lock files."""
    envs = folder / "envs"
    return sorted(p.name for p in envs.iterdir() if not p.name.endswith(".lock")) if envs.exists() else []


def wait_for(condition: Callable[[], object]) -> None:
    """Wait until something is so; fails after a minute."""
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, "it did not happen within a minute"
        time.sleep(0.02)


def own_path(*folders: Path) -> str:
    """A PATH of the given folders alone."""
    return os.pathsep.join(str(f) for f in folders)
