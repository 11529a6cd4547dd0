"""The accounting check on keyword spotting with Loihi 1 (docs/loihi1_keyword_spotting.md): an input is an input here too."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest
from neurodeploy.hw.profile import target

ROOT = Path(__file__).parents[2]
MEASURED_DYNAMIC_J, MEASURED_S = 271.6e-6, 3.4e-3


def script() -> ModuleType:
    name = "account_loihi1"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, ROOT / "benchmarks" / f"{name}.py")
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module  # dataclasses look their module up
        spec.loader.exec_module(module)
    return sys.modules[name]


def test_what_the_measured_figures_mean() -> None:
    """Dynamic is running less idle power over the measured rate; the published 271.6 uJ differ by rounding."""
    dynamic_j, interval_s = (110.2e-3 - 29.7e-3) / 296, 1 / 296
    assert dynamic_j == pytest.approx(MEASURED_DYNAMIC_J, rel=2e-3)  # three and four digits are printed
    assert interval_s == pytest.approx(MEASURED_S, rel=1e-2)  # "3.4 ms"
    synapses = 390 * 256 + 256 * 256 + 256 * 29
    assert synapses * 10 * 23.6e-12 == pytest.approx(41e-6, rel=1e-2)  # "41 uJ at most"


def test_neurocores_and_management_account_for_the_dynamic_energy() -> None:
    found = script().account(0.1)
    assert 0 < found.neurocores_j.high <= 41e-6
    # Inputs, over the measured interval.
    assert found.management_j.nominal == pytest.approx(70e-3 / 296, rel=1e-12)
    assert found.static_j.nominal == pytest.approx(29.7e-3 / 296, rel=1e-12)
    assert found.dynamic_j.nominal == pytest.approx(MEASURED_DYNAMIC_J, rel=0.25)
    running = found.dynamic_j.nominal + found.static_j.nominal
    assert running == pytest.approx(110.2e-3 / 296, rel=0.25)


def test_the_sum_hardly_depends_on_the_rate_that_nobody_published() -> None:
    accounts = [script().account(rate) for rate in script().RATES]
    assert [a.n_synops for a in accounts] == pytest.approx([172800 * 10 * a.rate for a in accounts], rel=1e-9)
    for a in accounts:
        assert a.dynamic_j.nominal == pytest.approx(MEASURED_DYNAMIC_J, rel=0.25)
    joule = [a.neurocores_j.nominal for a in accounts]
    assert joule == sorted(joule) and joule[-1] > 41e-6  # the bound is of the events, not of the model
    assert script().account(script().rate_that_costs(41e-6)).neurocores_j.nominal == pytest.approx(41e-6, rel=1e-6)


def test_the_predicted_time_is_that_of_the_cores_alone() -> None:
    """Ten steps of one or two tiles' synchronisation at least; below the measured time even if everything fires."""
    accounts = [script().account(rate) for rate in script().RATES]
    assert accounts[0].n_cores == 5
    for a in accounts:
        assert 10 * target("loihi1").sync["2"].si[1] < a.time_s.nominal < MEASURED_S
    assert accounts[1].time_s.nominal < 0.1 * MEASURED_S


def test_the_page_shows_what_the_command_prints() -> None:
    page = (ROOT / "docs" / "loihi1_keyword_spotting.md").read_text("utf-8")
    assert script().tables() in page
