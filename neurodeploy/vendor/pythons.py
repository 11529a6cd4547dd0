"""Interpreters: which ones are there, and what one of them says of itself when it is run.

A file called `python3.10` proves nothing (version managers put shims on PATH that fail), so every candidate is run.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from neurodeploy.errors import EnvironmentMissing, NeurodeployError, UsageError, VendorFailure
from neurodeploy.vendor import processes

_ANSWER = "NEURODEPLOY-ANSWER "
_MAX_BYTES = 2**20
_LOOK_S = 20.0  # an interpreter that needs longer to say its version is of no use
_IMPORT_S = 180.0  # modules may be compiled on their first import

# Run by the interpreter in question, which may be any Python 3. argv: packages, modules to import.
_QUESTION = f"""
import json, platform, sys
from importlib import import_module, metadata, util
packages, modules = json.loads(sys.argv[1])
versions = {{}}
for name in packages:
    try:
        versions[name] = metadata.version(name)
    except metadata.PackageNotFoundError:
        pass
failed = {{}}
for name in modules:
    try:
        import_module(name)
    except Exception as error:
        failed[name] = type(error).__name__ + ": " + str(error)
print()
print({_ANSWER!r} + json.dumps({{
    "version": platform.python_version(), "implementation": platform.python_implementation(),
    "executable": sys.executable, "base": getattr(sys, "_base_executable", sys.executable),
    "has_venv": util.find_spec("venv") is not None and util.find_spec("ensurepip") is not None,
    "versions": versions, "failed": failed,
}}))
"""


@dataclass(frozen=True)
class Interpreter:
    """What an interpreter said: its path as given, its version, packages' versions, and why modules did not import."""

    path: Path
    version: str
    implementation: str
    base: str
    has_venv: bool
    versions: dict[str, str]
    failed: dict[str, str]

    @property
    def minor(self) -> str:
        """"major.minor"."""
        return ".".join(self.version.split(".")[:2])


def ask(path: Path, packages: Sequence[str] = (), modules: Sequence[str] = ()) -> Interpreter:
    """Run an interpreter and hear which versions of packages it has and whether modules import.

    Raises UsageError where it cannot be started or is no Python, VendorFailure where it hangs or dies.
    """
    with tempfile.TemporaryDirectory(prefix="neurodeploy-ask-") as name:
        folder = Path(name)
        work, out, log = folder / "work", folder / "stdout", folder / "stderr"
        work.mkdir()
        limit = _IMPORT_S if modules else _LOOK_S
        question = json.dumps([list(packages), list(modules)])
        command = (path, "-I", "-c", _QUESTION, question)
        try:
            done = processes.run(command, folder=work, log=log, stdout=out, timeout_s=limit, max_bytes=_MAX_BYTES)
        except NeurodeployError as error:
            raise UsageError(error.what, where=str(path), code="python", remedy="Name a Python interpreter") from error
        if done.timed_out:
            raise VendorFailure(
                "the interpreter does not answer", where=str(path), limit=f"Within {limit:g} s", code="vendor_timeout",
                remedy="Run it by hand: it should start at once",
            )
        said = _answer(out)
        if not done.ok or said is None:
            why = f"it {done.describe()}" if not done.ok else "it did not answer as Python does"
            raise UsageError(
                f"no usable Python: {why}", where=str(path), limit=processes.tail(log), code="python",
                remedy="Name a Python interpreter that runs",
            )
    return Interpreter(path=path, **said)


def _answer(out: Path) -> dict[str, Any] | None:
    """The fields in the interpreter's answer, None where it gave none of the right types."""
    types: dict[str, type] = {"version": str, "implementation": str, "base": str, "has_venv": bool, "versions": dict,
                              "failed": dict}
    try:
        lines = out.read_bytes()[:_MAX_BYTES].decode("utf-8", "replace").splitlines()
        text = next(line for line in reversed(lines) if line.startswith(_ANSWER))
        said = json.loads(text.removeprefix(_ANSWER))
    except (OSError, StopIteration, ValueError):
        return None
    if not isinstance(said, dict) or not all(isinstance(said.get(k), t) for k, t in types.items()):
        return None
    return {k: said[k] for k in types}


def candidates(minor: str) -> Iterator[Path]:
    """Where a Python of that version may be: PATH, pyenv's and uv's folders; the same file comes once."""
    home = Path.home()
    folders = [Path(p) for p in os.environ.get("PATH", "").split(os.pathsep) if p]
    found = [folder / name for name in (f"python{minor}", "python3", "python") for folder in folders]
    pyenv = Path(os.environ.get("PYENV_ROOT") or home / ".pyenv")
    found += sorted(pyenv.glob(f"versions/{minor}.*/bin/python{minor}"), reverse=True)
    data = Path(os.environ.get("XDG_DATA_HOME") or home / ".local" / "share")
    uv = Path(os.environ.get("UV_PYTHON_INSTALL_DIR") or data / "uv" / "python")
    found += sorted(uv.glob(f"cpython-{minor}*/bin/python{minor}"), reverse=True)
    seen = set()
    for path in found:
        if path.is_file() and os.access(path, os.X_OK) and path not in seen:
            seen.add(path)
            yield path


def find_python(minor: str) -> Interpreter:
    """The first interpreter of that version that runs and can make environments.

    $NEURODEPLOY_PYTHON310 (the digits of the version) names one that is taken, or refused, without a look at others.
    Raises UsageError where that one is of no use, EnvironmentMissing with what was tried where there is none.
    """
    variable = f"NEURODEPLOY_PYTHON{minor.replace('.', '')}"
    named = os.environ.get(variable)
    if named:
        found = ask(Path(named).expanduser())
        why = _why_not(found, minor)
        if why:
            raise UsageError(why, where=f"{variable}={named}", code="python", remedy=f"Name a Python {minor}, or unset it")
        return found
    tried: list[str] = []
    for path in candidates(minor):
        try:
            found = ask(path)
        except NeurodeployError as error:
            tried.append(f"{path}: {error.what}")
            continue
        why = _why_not(found, minor)
        if why is None:
            return found
        if path.name == f"python{minor}":
            tried.append(f"{path}: {why}")
    raise EnvironmentMissing(
        f"no Python {minor} was found", where="PATH, pyenv's and uv's folders", code="python_missing",
        limit="; ".join(tried) or f"No file there is called python{minor}",
        remedy=f"Install Python {minor} (`pyenv install {minor}` or `uv python install {minor}`), or name one in {variable}",
    )


def _why_not(found: Interpreter, minor: str) -> str | None:
    if found.minor != minor or found.implementation != "CPython":
        return f"it is {found.implementation} {found.version}, not CPython {minor}"
    return None if found.has_venv else "its modules venv and ensurepip are missing"
