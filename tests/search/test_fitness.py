import json
import math
from dataclasses import replace

import pytest
from neurodeploy.errors import UsageError, Violation
from neurodeploy.search.fitness import FitnessSettings, Metrics, References, fitness
from pydantic import ValidationError
from search_fixtures import released_searches

VIOLATION = Violation("neurons", "conv1", "needs 9000 neurons", "A core holds 8192.", "Use fewer channels.")
GOOD = Metrics(
    accuracy=0.9,
    spikes_paper=2000.0,
    spikes=1800.0,
    synops=50_000.0,
    energy_j=4e-5,
    energy_dynamic_j=1e-5,
    energy_at_exit_j=2e-5,
    energy_dynamic_at_exit_j=1e-5,
    latency_s=1e-3,
    n_cores=7,
    fits=True,
)
REFERENCES = References(spikes=1000.0, energy_j=1e-5, latency_s=4e-3)


def test_the_paper_s_cases() -> None:
    cases = [
        case
        for path in released_searches()
        for case in json.loads(path.read_text())["fitness_cases_acc_spikes_Navg_lambda_fitness"]
    ]
    assert len(cases) >= 48
    assert len({case[-1] for case in cases}) >= 30
    for accuracy, spikes, n_avg, exponent, expected in cases:
        settings = FitnessSettings(lambda_spikes=exponent, chance_margin=0.0)
        metrics = replace(GOOD, accuracy=accuracy, spikes_paper=spikes)
        found = fitness(metrics, settings, References(n_avg, 1.0, 1.0), n_classes=10)
        # One power and one product of doubles.
        assert found.value == pytest.approx(expected, rel=1e-14)


def test_each_term_by_hand() -> None:
    settings = FitnessSettings(lambda_spikes=-1, mu_energy=-0.5, nu_latency=-2)
    # 0.9 * (2000/1000)^-1 * (4e-5/1e-5)^-0.5 * (1e-3/4e-3)^-2 = 0.9 * 1/2 * 1/2 * 16
    assert fitness(GOOD, settings, REFERENCES, 10).value == pytest.approx(3.6, rel=1e-14)
    at_exit = settings.model_copy(update={"objective": "energy_at_exit"})
    # Energy ratio 2 instead of 4.
    assert fitness(GOOD, at_exit, REFERENCES, 10).value == pytest.approx(3.6 * math.sqrt(2), rel=1e-14)
    # Energy ratio 1: what is dynamic of the energy at the exit.
    dynamic = at_exit.model_copy(update={"energy": "dynamic"})
    assert fitness(GOOD, dynamic, REFERENCES, 10).value == pytest.approx(7.2, rel=1e-14)


def test_a_term_that_is_left_out_needs_no_figure() -> None:
    unpriced = replace(GOOD, energy_j=None, latency_s=None)
    settings = FitnessSettings(lambda_spikes=0.0)
    assert fitness(unpriced, settings, References(0.0, 0.0, 0.0), 10).value == 0.9
    with pytest.raises(UsageError, match="energy_j is None"):
        fitness(unpriced, FitnessSettings(mu_energy=-1), REFERENCES, 10)
    with pytest.raises(UsageError, match="reference of latency_s is 0"):
        fitness(GOOD, FitnessSettings(nu_latency=-1), References(1.0, 1.0, 0.0), 10)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"fits": False, "violations": (VIOLATION,)}, "conv1: needs 9000 neurons"),
        ({"fits": False}, "does not fit the target"),
        ({"silent_layers": ("block3",)}, "layer block3 is silent"),
        ({"spikes_paper": 0.0}, "never spikes"),
        ({"spikes": 0.0}, "never spikes"),
        ({"accuracy": 0.15}, "not above chance"),
        ({"accuracy": math.nan}, "not above chance"),
    ],
)
def test_an_infeasible_candidate_is_not_scored_however_cheap(change: dict[str, object], reason: str) -> None:
    found = fitness(replace(GOOD, **change), FitnessSettings(), REFERENCES, n_classes=10)  # type: ignore[arg-type]
    assert found.value is None
    assert len(found.reasons) == 1
    assert reason in found.reasons[0]


def test_all_reasons_are_given_at_once() -> None:
    bad = replace(GOOD, accuracy=0.1, spikes=0.0, fits=False, silent_layers=("a", "b"), violations=(VIOLATION,) * 2)
    assert len(fitness(bad, FitnessSettings(), REFERENCES, 10).reasons) == 6


def test_just_above_chance_is_scored() -> None:
    settings = FitnessSettings(chance_margin=0.125)
    assert fitness(replace(GOOD, accuracy=0.625), settings, REFERENCES, 2).value is None
    assert fitness(replace(GOOD, accuracy=0.6251), settings, REFERENCES, 2).value is not None


def test_metrics_survive_json() -> None:
    metrics = replace(GOOD, fits=False, violations=(VIOLATION,), silent_layers=("x",), energy_j=None)
    assert Metrics.from_dict(json.loads(json.dumps(metrics.to_dict()))) == metrics


@pytest.mark.parametrize(
    "wrong",
    [{"lambda_spikes": 0.1}, {"mu_energy": 1}, {"nu_latency": math.nan}, {"chance_margin": -0.1}, {"lamda": -1}],
)
def test_impossible_settings_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        FitnessSettings.model_validate(wrong)
