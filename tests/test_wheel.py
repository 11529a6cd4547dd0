"""The wheel carries the profiles, recipes, reference bundles and digits, and works away from the checkout."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tiny_search import write_dataset, write_recipe

ROOT = Path(__file__).parent.parent


def call(*command: str | Path, cwd: Path, env: dict[str, str] | None = None) -> str:
    done = subprocess.run([str(c) for c in command], cwd=cwd, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this checkout, built without a network."""
    out = tmp_path_factory.mktemp("wheel")
    call(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", out, ROOT, cwd=out)
    (file,) = out.glob("neurodeploy-*.whl")
    return file


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder into which the wheel alone is installed; its dependencies come from the running environment."""
    folder = tmp_path_factory.mktemp("installed")
    pip = (sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-index", "--target")
    call(*pip, folder, wheel, cwd=folder)
    return folder


def test_the_wheel_carries_its_data(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    for folder in ("hw_profiles", "searches", "exports"):
        packaged = {f"neurodeploy/_data/{p.relative_to(ROOT)}" for p in (ROOT / folder).rglob("*") if p.is_file()}
        assert packaged and packaged <= names
    assert {"neurodeploy/py.typed", "neurodeploy/data/digits.npz"} <= names
    assert {n.split("/")[0].split("-")[0] for n in names} == {"neurodeploy"}, "no other top-level package"


def test_the_installed_wheel_lists_its_targets(installed: Path, tmp_path: Path) -> None:
    env = {**os.environ, "PYTHONPATH": str(installed)}
    answer = json.loads(call(installed / "bin" / "neurodeploy", "targets", "list", "--json", cwd=tmp_path, env=env))
    assert "loihi2" in {t["name"] for t in answer["data"]["targets"]}
    where = "import neurodeploy, neurodeploy.resources as r; print(neurodeploy.__file__); print(r.folder('hw_profiles'))"
    package, profiles = call(sys.executable, "-c", where, cwd=tmp_path, env=env).splitlines()
    assert Path(package).is_relative_to(installed), "the checkout answered"
    assert Path(profiles) == installed / "neurodeploy" / "_data" / "hw_profiles"


def test_the_installed_wheel_searches_and_validates(installed: Path, tmp_path: Path) -> None:
    write_dataset(tmp_path)
    write_recipe(tmp_path, "three.npz")
    env = {**os.environ, "PYTHONPATH": str(installed), "OMP_NUM_THREADS": "1"}
    command = installed / "bin" / "neurodeploy"
    search = ("search", "--target", "loihi2", "--recipe", "tiny.toml", "--budget", "5", "--out", "run", "--json")
    answer = json.loads(call(command, *search, cwd=tmp_path, env=env))
    assert answer["ok"] and answer["data"]["n_evaluated"] == 5
    verdict = json.loads(call(command, "validate", tmp_path / "run" / "bundle", "--json", cwd=tmp_path.parent, env=env))
    assert verdict["ok"] and verdict["data"]["agreement"] == 1 and verdict["data"]["n_spikes"] > 0
