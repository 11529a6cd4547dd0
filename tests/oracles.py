"""Where fixtures with known answers are, and what a test does when there are none.

The folder is $NEURODEPLOY_ORACLES if set, else tests/golden. Tests read every file of their kind there, told apart by
content; a kind without a file fails in tests/golden, which the project keeps complete, and skips elsewhere.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

GOLDEN = Path(__file__).parent / "golden"


def folder(area: str) -> Path:
    """The folder of fixtures of one area: seeds, loihi, sanafe or speck."""
    return Path(os.environ.get("NEURODEPLOY_ORACLES") or GOLDEN) / area


def require(found: list[Any], kind: str, area: str) -> None:
    """Fail or skip the running test when no fixture of its kind was found."""
    if not found:
        message = f"no fixture of kind {kind} in {folder(area)}"
        if os.environ.get("NEURODEPLOY_ORACLES"):
            pytest.skip(message)
        pytest.fail(message)


def npz(path: Path) -> dict[str, np.ndarray]:
    """All arrays of a file."""
    with np.load(path, allow_pickle=False) as file:
        return {name: file[name] for name in file.files}


def described(pattern: str, area: str) -> list[tuple[str, dict[str, Any], Path]]:
    """(stem, content of the json, path of the npz of the same name) of every pair whose json matches the pattern."""
    return [
        (path.stem, json.loads(path.read_text(encoding="utf-8")), path.with_suffix(".npz"))
        for path in sorted(folder(area).glob(pattern))
    ]
