"""A checkout that runs where packages are missing says which, once."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from neurodeploy import resources
from neurodeploy.cli.frame import describe

ROOT = Path(__file__).parents[2]


def test_the_list_is_that_of_the_project() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = {re.split(r"[<>=!]", requirement)[0] for requirement in project["dependencies"]}
    assert set(resources.NEEDED.values()) == wanted and resources.missing_packages() is None


@pytest.mark.parametrize("gone", [("typer", "rich"), ("optuna", "nir", "h5py")])
def test_missing_packages_are_one_error_that_names_all(gone: tuple[str, ...], tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        "import sys\n"
        "class Gone:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        f"        if name.split('.')[0] in {gone!r}: raise ModuleNotFoundError(f'No module named {{name!r}}', name=name)\n"
        "sys.meta_path.insert(0, Gone())\n"
        "import importlib.util as u\n"
        "real = u.find_spec\n"
        f"u.find_spec = lambda name, *a: None if name in {gone!r} else real(name, *a)\n"
    )
    found = subprocess.run(
        [sys.executable, "-m", "neurodeploy", "train", "--recipe", "digits", "--arch", "AutoSNN"],
        capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)])}, cwd=tmp_path,
    )  # fmt: skip
    assert found.returncode == 5 and found.stdout == "" and found.stderr.count("Error") == 1
    assert "missing" in found.stderr and all(name in found.stderr for name in gone) and "Traceback" not in found.stderr


def test_a_module_of_ones_own_that_is_missing_stays_a_bug() -> None:
    assert describe(ModuleNotFoundError("No module named 'mine'", name="mine")).exit_code == 1
