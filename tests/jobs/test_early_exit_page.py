"""The example of docs/early_exit.md runs as printed."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]


def test_the_example_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "early_exit.md").read_text(encoding="utf-8"), re.DOTALL)
    monkeypatch.chdir(ROOT)
    names: dict[str, Any] = {}
    exec(compile(code, "docs/early_exit.md", "exec"), names)
    report = names["report"]
    assert report["accuracy"] > 0.9 and 1 <= report["mean_timesteps"] < 4 and report["histogram"] and report["n"] == 100
    assert report["energy_with_policy_j"]["nominal"] > report["energy_j"]["nominal"] > 0
