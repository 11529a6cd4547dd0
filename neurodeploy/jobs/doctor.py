"""`neurodeploy doctor`: what works on this machine, and the one command that mends each gap."""

from __future__ import annotations

import importlib
import os
import platform
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from neurodeploy import resources, vendor
from neurodeploy.errors import NeurodeployError
from neurodeploy.hw.nvml import Nvml
from neurodeploy.progress import SILENT, Progress
from neurodeploy.vendor.cache import cache_folder
from neurodeploy.vendor.pythons import ask, find_python

Status = Literal["ok", "gap", "none"]


@dataclass(frozen=True)
class Finding:
    """One thing that was tried. status `ok`; `gap`: something does not work until `remedy` is run; `none`: it is not
    there, and nothing but speed or a vendor's second opinion depends on it."""

    name: str
    status: Status
    what: str
    remedy: str = ""


@dataclass(frozen=True)
class Diagnosis:
    """All findings."""

    checks: tuple[Finding, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain fields, for JSON."""
        return {"checks": [asdict(c) for c in self.checks], "n_gaps": sum(c.status == "gap" for c in self.checks)}


def doctor(progress: Progress = SILENT) -> Diagnosis:
    """Try everything that neurodeploy may need; nothing is changed. Raises nothing: what fails is a finding."""
    rules: list[Callable[[], Finding]] = [_python, _packaged, _torch, _onnxruntime, _gpu, _power, _numba, _cache]
    for name in vendor.locks():
        rules += [lambda name=name: _vendor_python(name), lambda name=name: _environment(name)]  # type: ignore[misc]
    progress.start("doctor", len(rules))
    found = []
    for rule in rules:
        found.append(rule())
        progress.advance("doctor")
    progress.done("doctor")
    return Diagnosis(tuple(found))


def _python() -> Finding:
    return Finding("python", "ok", f"{platform.python_version()} at {sys.executable}, {os.cpu_count()} cores")


def _packaged() -> Finding:
    try:
        folders = [resources.folder(name) for name in ("hw_profiles", "searches")]
    except NeurodeployError as error:
        return Finding("packaged files", "gap", str(error), "pip install --force-reinstall neurodeploy")
    return Finding("packaged files", "ok", f"hardware profiles and recipes in {folders[0].parent}")


def _torch() -> Finding:
    try:
        torch = importlib.import_module("torch")
        return Finding("torch", "ok", f"{torch.__version__}, {torch.get_num_threads()} threads")
    except (ImportError, OSError) as error:
        return Finding("torch", "gap", f"does not import: {error}", "pip install --force-reinstall torch")


def _gpu() -> Finding:
    try:
        cuda = importlib.import_module("torch").cuda
        if cuda.is_available():
            names = ", ".join(cuda.get_device_name(i) for i in range(cuda.device_count()))
            return Finding("GPU", "ok", names)
    except (ImportError, OSError, RuntimeError) as error:
        return Finding("GPU", "none", f"torch cannot ask for one: {error}")
    return Finding("GPU", "none", "torch sees none; training and simulation run on the processor")


def _onnxruntime() -> Finding:
    try:
        found = importlib.import_module("onnxruntime")
    except (ImportError, OSError) as error:
        return Finding("onnxruntime", "gap", f"does not import: {error}", "pip install onnxruntime")
    return Finding("onnxruntime", "ok", f"{found.__version__}, {', '.join(found.get_available_providers())}")


def _power() -> Finding:
    """What `targets measure` reads."""
    try:
        meter = Nvml()
        what = f"{meter.name}, driver {meter.driver}, {meter.power_w():.3g} W now"
    except NeurodeployError as error:
        return Finding("GPU power", "none", f"{error.what}; `targets measure` needs it")
    return Finding("GPU power", "ok", what)


def _numba() -> Finding:
    """Compiled kernels are kept in NUMBA_CACHE_DIR, else beside the package, else in the user's cache."""
    try:
        numba = importlib.import_module("numba")
    except (ImportError, OSError) as error:
        return Finding("numba", "gap", f"does not import: {error}", "pip install numba")
    named = os.environ.get("NUMBA_CACHE_DIR")
    package = Path(resources.__file__).parent
    choices = [Path(named)] if named else [package, Path.home() / ".cache"]
    for folder in choices:
        if _may_write(folder):
            return Finding("numba", "ok", f"{numba.__version__}, compiled kernels are kept below {folder}")
    return Finding(
        "numba", "gap", f"{numba.__version__}, but no folder keeps its kernels: each start compiles them again",
        "export NUMBA_CACHE_DIR=/a/folder/of/yours",
    )


def _cache() -> Finding:
    folder = cache_folder()
    if _may_write(folder):
        return Finding("cache folder", "ok", str(folder))
    return Finding("cache folder", "gap", f"cannot write to {folder}", "export NEURODEPLOY_CACHE=/a/folder/of/yours")


def _may_write(folder: Path) -> bool:
    """Whether a folder, or the nearest one above it that exists, can be written to."""
    above = next(p for p in (folder.absolute(), *folder.absolute().parents) if p.exists())
    return above.is_dir() and os.access(above, os.W_OK | os.X_OK)


def _vendor_python(name: str) -> Finding:
    lock = vendor.lock_named(name)
    title = f"Python {lock.python} for {lock.tool}"
    try:
        found = find_python(lock.python)
    except NeurodeployError as error:
        added = any(e.name == name and e.kind == "added" for e in vendor.environments())
        status: Status = "none" if added else "gap"
        return Finding(title, status, f"{error.what}. {error.limit}", error.remedy)
    return Finding(title, "ok", f"{found.version} at {found.path}")


def _environment(name: str) -> Finding:
    lock = vendor.lock_named(name)
    title = f"environment {name}"
    try:
        here = vendor.find(name)
        found = ask(here.python, (lock.main,), lock.imports)
    except NeurodeployError as error:
        return Finding(title, "gap", error.what, f"neurodeploy env create {name}")
    if found.failed:
        why = "; ".join(f"{k}: {v}" for k, v in found.failed.items())
        return Finding(title, "gap", f"{here.python} does not import {why}", f"neurodeploy env create {name}")
    return Finding(title, "ok", f"{lock.main} {found.versions.get(lock.main, '?')} ({here.kind}), {here.python}")
