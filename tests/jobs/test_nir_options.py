"""Conventions that another tool's `.nir` leaves open, stated with `--set nir.key=value`."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pytest
from neurodeploy.errors import NeurodeployWarning, UsageError
from neurodeploy.ir.nir_foreign import NirOptions
from neurodeploy.ir.nodes import Lif, Vote
from neurodeploy.jobs.energy import energy
from neurodeploy.jobs.nir_options import nir_options
from neurodeploy.jobs.opened import open_with
from tests import event_models
from tests.ir.test_nir_foreign import parts, write

from commands import run_json

STATED = {"nir.fire": ">=", "nir.reset": "soft", "nir.v_min": -0.5, "nir.multi_spike": True, "nir.n_timesteps": 7}


def test_what_is_stated_is_taken(tmp_path: Path) -> None:
    path = write(tmp_path / "other.nir", parts())
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # nothing is assumed
        opened, rest = open_with(path, None, {**STATED, "nir.n_classes": 5, "seed": 3})
    assert rest == {"seed": 3} and opened.graph.n_timesteps == 7 and isinstance(opened.graph.output, Vote)
    assert all(isinstance(n, Lif) and n.v_min == -0.5 for n in opened.graph.neurons)
    with pytest.warns(NeurodeployWarning, match="assumed: fire >="):
        assert open_with(path, None, {"nir.n_timesteps": 7})[0].graph.n_timesteps == 7


def test_commands_take_them(tmp_path: Path) -> None:
    path = write(tmp_path / "other.nir", parts())
    asked = [word for key, value in STATED.items() for word in ("--set", f"{key}={str(value).lower()}")]
    code, answer = run_json("check", str(path), "--target", "speck", *asked)
    assert code == 0 and answer["data"]["n_cores"] == 3 and not [w for w in answer["warnings"] if w["code"] == "nir_assumed"]
    found = energy(path, ["speck2f"], rate=0.5, interval_s=0.1, overrides=dict(STATED)).targets["speck2f"]
    assert found["n_timesteps"] == 7 and found["counts"]["events_in"] == 0.5 * 7 * 128
    code, answer = run_json("check", str(path), "--target", "speck", "--set", "nir.v_min=none")
    assert code == 3 and {e["rule"] for e in answer["errors"]} == {"no_floor"}


@pytest.mark.parametrize(
    ("key", "value", "what"),
    [("reset", "harder", "reset"), ("nope", 1, "no convention 'nope'"), ("n_timesteps", 0, "n_timesteps is 0"),
     ("n_timesteps", 1.5, "n_timesteps"), ("multi_spike", "yes", "multi_spike"), ("v_min", "low", "v_min"),
     ("dt", 0.0, "dt is 0.0"), ("dt", -1e-4, "dt is"), ("dt", "ms", "dt")],
)  # fmt: skip
def test_what_is_no_convention_is_refused(key: str, value: Any, what: str) -> None:
    with pytest.raises(UsageError, match=what):
        nir_options({f"nir.{key}": value})
    assert nir_options({"seed": 1}) == (None, {"seed": 1}) and nir_options({"nir.fire": ">"})[0] == NirOptions(fire=">")


def test_own_files_leave_nothing_open(tmp_path: Path) -> None:
    model = event_models.write(tmp_path)
    for path in (model.path, tmp_path / "events.npz"):
        with pytest.raises(UsageError, match="conventions cannot be set"):
            open_with(path, None, {"nir.reset": "hard"})
