"""The import rule of docs/architecture.md, and what else can be read off the source without running it."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "neurodeploy"
# A part imports only from itself and from parts to its left. The package's own __init__ is exempt: it is lazy.
ORDER = (
    "errors", "progress", "resources", "extensions", "fixedpoint", "ir", "hw", "data", "models", "train", "search", "lower",
    "quantize", "place", "early_exit", "sim", "cost", "export", "vendor", "validate", "report", "pipeline_events",
    "pipeline_gpu", "pipeline", "jobs", "commands", "cli", "__main__",
)  # fmt: skip
VENDOR = {"lava", "samna", "sinabs"}
# Verbs of the API: `import neurodeploy.place.rules as r` would look `place` up in the package and find the function.
VERBS = {"train", "search", "lower", "quantize", "place", "cost", "export", "validate"}
# Copied into bundles and run there with the vendor's Python: no part of the package, though it travels in its folder.
SCRIPTS = sorted((PACKAGE / "export").glob("run_on_*.py"))
FILES = sorted(set(PACKAGE.rglob("*.py")) - set(SCRIPTS))


def imported(tree: ast.AST, module: str) -> Iterator[tuple[int, str, bool]]:
    """(line, dotted name, whether it is an `import a.b as c`) of every import, those inside functions included."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name, alias.asname is not None) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = ".".join([*module.split(".")[: -node.level], node.module or ""]).strip(".") if node.level else node.module
            yield from ((node.lineno, f"{base}.{alias.name}", False) for alias in node.names)


def part_of(dotted: str) -> str | None:
    names = dotted.split(".")
    return names[1] if names[0] == "neurodeploy" and len(names) > 1 else None


def module_of(file: Path) -> str:
    return ".".join(["neurodeploy", *file.relative_to(PACKAGE).with_suffix("").parts])


def wrong_imports(source: str, module: str) -> list[str]:
    """The lines of a module that break the rule, as `module:line: reason`."""
    here = part_of(module)
    if here not in ORDER:
        return [f"{module}:1: {here} is not listed in docs/architecture.md"]
    found = []
    for line, name, renamed in imported(ast.parse(source), module):
        part = part_of(name)
        if name.split(".")[0] in VENDOR:
            found.append(f"{module}:{line}: imports {name}; vendor packages live in side environments")
        elif part is None or part == "__version__":
            continue
        elif renamed and part in VERBS:
            found.append(f"{module}:{line}: `import {name} as` meets the API's function {part}; use `from ... import`")
        elif part not in ORDER:
            found.append(f"{module}:{line}: imports {name}, which docs/architecture.md does not list (or is lazy API)")
        elif ORDER.index(part) > ORDER.index(here):
            found.append(f"{module}:{line}: {here} imports {name}, but {part} stands below {here}")
    return found


def test_every_part_of_the_package_is_in_the_order() -> None:
    parts = {f.relative_to(PACKAGE).parts[0].removesuffix(".py") for f in FILES} - {"__init__"}
    assert parts <= set(ORDER), f"not in ORDER: {parts - set(ORDER)}"


def test_imports_point_upwards() -> None:
    checked = [f for f in FILES if f != PACKAGE / "__init__.py"]
    wrong = [entry for f in checked for entry in wrong_imports(f.read_text("utf-8"), module_of(f))]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("from neurodeploy.cli.main import run", "cli stands below sim"),
        ("def f():\n    from neurodeploy import pipeline", "pipeline stands below sim"),
        ("from ..cost import model", "cost stands below sim"),
        ("import lava.proc", "side environments"),
        ("import neurodeploy.place.rules as r", "use `from ... import`"),
        ("from neurodeploy import simulate", "does not list"),
    ],
)
def test_the_rule_catches(source: str, reason: str) -> None:
    (entry,) = wrong_imports(source, "neurodeploy.sim.clocked")
    assert reason in entry


def test_the_rule_lets_pass() -> None:
    source = "import numpy as np\nfrom neurodeploy.ir import graph\nfrom neurodeploy.sim import trace\nfrom . import trace"
    assert wrong_imports(source, "neurodeploy.sim.clocked") == []


def test_scripts_of_bundles_stand_alone() -> None:
    for script in SCRIPTS:
        names = [name for _, name, _ in imported(ast.parse(script.read_text("utf-8")), module_of(script))]
        assert not [n for n in names if n.startswith("neurodeploy")], f"{script.name} must run without neurodeploy"
    everywhere = [n for f in FILES for _, n, _ in imported(ast.parse(f.read_text("utf-8")), module_of(f))]
    assert not [n for n in everywhere if ".run_on_" in n], "a bundle's script is copied, never imported"


def chip_names() -> set[str]:
    profiles = PACKAGE.parent / "hw_profiles"
    names = {p.stem for p in profiles.glob("[!_]*.toml")}
    aliases = {a for p in profiles.glob("[!_]*.toml") for a in re.findall(r'"([^"]+)"', _aliases(p.read_text("utf-8")))}
    return names | aliases | {"loihi1", "speck", "speck2e", "speck2f", "dynapcnn"}


def _aliases(toml: str) -> str:
    match = re.search(r"^aliases\s*=(.*)$", toml, re.MULTILINE)
    return match.group(1) if match else ""


def chip_questions(tree: ast.AST, chips: set[str]) -> Iterator[int]:
    """Lines that compare with, or match on, the name of a chip."""
    for node in ast.walk(tree):
        parts: list[ast.AST] = []
        if isinstance(node, ast.Compare):
            parts = [node.left, *node.comparators]
        elif isinstance(node, ast.MatchValue):
            parts = [node.value]
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "startswith":
            parts = list(node.args)
        constants = {c.value for p in parts for c in ast.walk(p) if isinstance(c, ast.Constant)}
        if constants & chips:
            yield node.lineno if hasattr(node, "lineno") else 0


def test_no_code_asks_for_a_chip_by_name() -> None:
    chips = chip_names()
    assert "loihi2" in chips
    wrong = [f"{module_of(f)}:{line}" for f in FILES for line in chip_questions(ast.parse(f.read_text("utf-8")), chips)]
    assert not wrong, f"a profile should answer: {wrong}"


@pytest.mark.parametrize("source", ['if chip == "loihi2": pass', 'if "loihi" in (a, b): pass', 'x.name.startswith("speck")'])
def test_a_question_for_a_chip_is_found(source: str) -> None:
    assert list(chip_questions(ast.parse(source), chip_names())) == [1]


def test_the_package_does_not_print() -> None:
    wrong = [
        f"{module_of(f)}:{node.lineno}"
        for f in FILES
        for node in ast.walk(ast.parse(f.read_text("utf-8")))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print"
    ]
    assert not wrong, f"print in {wrong}; results go through the command line, events through warnings or progress"


@pytest.mark.parametrize("args", [["--help"], ["search", "--help"], ["targets"], ["--version", "--json"]])
def test_light_commands_do_not_import_torch(args: list[str]) -> None:
    script = (
        "import io, sys; from neurodeploy.cli.main import main; code = main(sys.argv[1:], io.StringIO());"
        "heavy = {'torch', 'optuna', 'h5py', 'scipy'} & set(sys.modules); sys.exit(f'imported {heavy}' if heavy else code)"
    )
    done = subprocess.run([sys.executable, "-c", script, *args], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
