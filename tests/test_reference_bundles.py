"""Every bundle in `exports/` is what it claims, on the machine and versions at hand."""

from __future__ import annotations

from pathlib import Path

import pytest
from neurodeploy.resources import folder

from commands import run_json

BUNDLES = sorted(p.parent for p in folder("exports").glob("*/manifest.json"))


def test_there_are_bundles() -> None:
    assert BUNDLES


@pytest.mark.parametrize("bundle", BUNDLES, ids=lambda path: path.name)
def test_a_reference_bundle_validates(bundle: Path, tmp_path: Path) -> None:
    before = sorted(p.name for p in bundle.iterdir())
    code, answer = run_json("validate", str(bundle), "--out", str(tmp_path))
    verdict = answer["data"]
    assert code == 0, answer["errors"]
    assert verdict["agreement"] == 1 and verdict["n_spikes"] > 0 and verdict["first_divergence"] is None
    # Golden spikes are integers and must come out everywhere; accuracy is theirs too.
    assert verdict["accuracy"]["simulator"] == verdict["accuracy"]["quantized"]
    assert sorted(p.name for p in bundle.iterdir()) == before
