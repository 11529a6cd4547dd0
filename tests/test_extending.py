"""docs/extending.md is run: its pieces as a plain script, and as a package with entry points."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
from neurodeploy.search.recipe import read

from own_packages import install

PAGE = (Path(__file__).parent.parent / "docs" / "extending.md").read_text(encoding="utf-8")
CODE = "\n".join(re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL))
TABLES = [tomllib.loads(text) for text in re.findall(r"```toml\n(.*?)```", PAGE, flags=re.DOTALL)]


def run(folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    env = os.environ | {"PYTHONPATH": str(folder / "site"), "OMP_NUM_THREADS": "1"}
    return subprocess.run([sys.executable, *command], cwd=folder, env=env, capture_output=True, text=True, check=False)


def neurodeploy(folder: Path, *command: str) -> tuple[int, dict[str, Any]]:
    done = run(folder, "-m", "neurodeploy", *command, "--json")
    assert done.stdout, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    return done.returncode, answer


@pytest.fixture(scope="module")
def scripted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the page's script has been run."""
    folder = tmp_path_factory.mktemp("extending")
    (folder / "script.py").write_text(CODE)
    done = run(folder, "script.py")
    assert done.returncode == 0, done.stderr
    assert "'single_k3'" in done.stdout
    return folder


def package(folder: Path, source: str = CODE) -> None:
    """The page's package with a module of this source, as an installer leaves it."""
    groups = next(table for table in TABLES if "project" in table)["project"]["entry-points"]
    install(folder / "site", "mine", source, {
        group: {name: thing.removeprefix("mine:") for name, thing in names.items()} for group, names in groups.items()
    })  # fmt: skip


def test_the_page_s_examples_are_about_ten_lines() -> None:
    examples = [text for text in re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL) if "@nd." in text]
    assert len(examples) == 3
    for text in examples:
        lines = [line for line in text.splitlines() if line.strip() and '"""' not in line and "import" not in line]
        assert len(lines) <= 12, text


def test_the_script_s_search_used_all_three(scripted: Path) -> None:
    result = json.loads((scripted / "runs/stripes/result.json").read_text())
    candidates = json.loads((scripted / "runs/stripes/candidates.json").read_text())["candidates"]
    assert result["data"]["name"] == "stripes" and len(candidates) == 6
    assert any("single_k3" in c["genome"] for c in candidates) and result["test"]["accuracy"]["n"] == 72
    weights = {"-".join(c["genome"]): c["terms"]["weights"] for c in candidates if c["fits"]}
    assert len(set(weights.values())) > 1 and all(n == int(n) > 0 for n in weights.values())
    exponent, reference = -0.1, result["references"]["terms"]["weights"]
    for c in (c for c in candidates if c["fitness"] is not None):
        # digits' exponents: spikes -0.02, dynamic energy -0.05, latency -0.02; the rest of the fitness is its own term
        rest = c["accuracy"] * (c["spikes_paper"] / result["references"]["spikes"]) ** -0.02 * (
            c["energy_dynamic_j"] / result["references"]["energy_j"]) ** -0.05 * (
            c["latency_s"] / result["references"]["latency_s"]) ** -0.02
        assert c["fitness"] == pytest.approx(rest * (c["terms"]["weights"] / reference) ** exponent, rel=1e-12)


def test_processes_that_lack_the_names_refuse_and_leave_the_run_as_it_is(scripted: Path) -> None:
    """Without package or script: the model file and the run are refused with what is missing; the bundle needs no class."""
    def content() -> dict[str, bytes]:
        return {str(p): p.read_bytes() for p in (scripted / "runs").rglob("*") if p.is_file() and p.suffix != ".lock"}

    before = content()
    code, answer = neurodeploy(scripted, "check", "runs/stripes/model.safetensors", "--target", "loihi2")
    assert code == 6 and answer["errors"][0]["code"] == "unknown_extension" and "'single_k3'" in answer["errors"][0]["what"]
    assert "nd.register_block" in answer["errors"][0]["remedy"] and "neurodeploy.blocks" in answer["errors"][0]["remedy"]
    code, answer = neurodeploy(scripted, "worker", "--run", "runs/stripes")
    assert code == 2 and "no dataset 'stripes'" in answer["errors"][0]["what"]
    code, answer = neurodeploy(scripted, "energy", "runs/stripes/bundle", "--target", "loihi2", "--rate", "0.1")
    assert code == 0, answer["errors"]
    assert content() == before


def test_the_package_makes_them_known_to_every_command(scripted: Path, tmp_path: Path) -> None:
    package(tmp_path)
    (tmp_path / "runs").symlink_to(scripted / "runs")
    code, answer = neurodeploy(tmp_path, "check", "runs/stripes/model.safetensors", "--target", "loihi2")
    assert code == 0, answer["errors"]
    code, answer = neurodeploy(tmp_path, "validate", "runs/stripes/bundle", "--out", str(tmp_path))
    assert code == 0, answer["errors"]
    recipe: dict[str, Any] = read("digits").to_dict()
    for section, keys in next(table for table in TABLES if "data" in table).items():
        recipe[section] |= keys
    recipe["network"]["width"], recipe["supernet"]["epochs"], recipe["train"]["epochs"] = 4, 20, 20
    (tmp_path / "own.toml").write_text(_toml(recipe))
    code, answer = neurodeploy(tmp_path, "search", "--recipe", "own.toml", "--budget", "6", "--workers", "2", "--out", "again")
    assert code == 0 and answer["warnings"] == [], answer["errors"] + answer["warnings"]
    one, two = (json.loads((p / "candidates.json").read_text()) for p in (scripted / "runs/stripes", tmp_path / "again"))
    assert one == two, "the same search, by a script alone and by two processes with the package"
    assert (scripted / "runs/stripes/model.safetensors").read_bytes() == (tmp_path / "again/model.safetensors").read_bytes()


def _toml(recipe: dict[str, Any]) -> str:
    """A recipe's plain fields as TOML, which has no null."""
    def table(fields: dict[str, Any]) -> str:
        return "\n".join(f"{k} = {json.dumps(v)}" for k, v in fields.items() if not isinstance(v, dict | None))

    sections = {k: v for k, v in recipe.items() if isinstance(v, dict)}
    nested = {f"{k}.{name}": v for k, fields in sections.items() for name, v in fields.items() if isinstance(v, dict)}
    return "\n".join([table(recipe), *(f"[{k}]\n{table(v)}" for k, v in {**sections, **nested}.items())])


def test_worker_without_the_block_refuses_beside_a_running_search(scripted: Path, tmp_path: Path) -> None:
    """A package that lost its block: resume and worker say so, with the journal as it was."""
    package(tmp_path, re.sub(r"@nd.*\n", "", CODE).replace("class Single", "class Gone"))
    (tmp_path / "runs").symlink_to(scripted / "runs")
    journal = (scripted / "runs/stripes/journal.log").read_bytes()
    code, answer = neurodeploy(tmp_path, "worker", "--run", "runs/stripes")
    assert code == 2 and "block 'single_k3' cannot be imported (AttributeError" in answer["errors"][0]["what"]
    assert "Mend or uninstall mine" in answer["errors"][0]["remedy"]
    assert (scripted / "runs/stripes/journal.log").read_bytes() == journal
