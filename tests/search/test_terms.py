"""Terms of the fitness that somebody else brings."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import neurodeploy as nd
import pytest
from neurodeploy.errors import UsageError
from neurodeploy.ir.nodes import Input
from neurodeploy.search.fitness import FitnessSettings, Metrics, References, fitness
from neurodeploy.search.pareto import OBJECTIVES, objectives_with, pareto_front
from neurodeploy.search.terms import TERMS, with_terms
from pydantic import ValidationError

from small_nets import chain, linear

ARCH = ("SRB_k3", "skip_connect")
GOOD = Metrics(
    accuracy=0.9, spikes_paper=2000.0, spikes=1800.0, synops=50_000.0, energy_j=4e-5, energy_dynamic_j=1e-5,
    energy_at_exit_j=2e-5, energy_dynamic_at_exit_j=1e-5, latency_s=1e-3, n_cores=8, fits=True,
)
REFERENCES = References(spikes=1000.0, energy_j=1e-5, latency_s=4e-3, terms={"cores": 2.0})


@pytest.fixture(autouse=True)
def nothing_registered(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(TERMS, "_registered", {})
    yield


GRAPH = chain(Input("input", (6,), kind="spikes"), linear("one", 6, 4), linear("two", 4, 3))


def test_a_term_is_recorded_and_counts() -> None:
    nd.register_fitness("weights")(lambda metrics, graph: sum(n.weight.size for n in graph.nodes if n.is_synapse))
    nd.register_fitness("cores")(lambda metrics, graph: metrics.n_cores)
    found = with_terms(GOOD, GRAPH, {"weights": -1.0, "cores": 0.5}, ARCH)
    assert found.terms == {"weights": 36.0, "cores": 8.0}
    assert Metrics.from_dict(found.to_dict()) == found and found.to_dict()["terms"] == found.terms
    assert replace(found, terms={}) == GOOD
    settings = FitnessSettings(lambda_spikes=0.0, terms={"cores": -0.5})
    # 0.9 * (8 / 2)^-0.5
    assert fitness(found, settings, REFERENCES, 10).value == pytest.approx(0.45, rel=1e-14)
    more_is_better = FitnessSettings(lambda_spikes=-1, terms={"cores": 2.0})
    # 0.9 * (2000 / 1000)^-1 * (8 / 2)^2
    assert fitness(found, more_is_better, REFERENCES, 10).value == pytest.approx(7.2, rel=1e-14)
    only_recorded = FitnessSettings(lambda_spikes=0.0, terms={"cores": 0.0, "weights": 0.0})
    assert fitness(found, only_recorded, REFERENCES, 10).value == 0.9


def test_without_terms_nothing_is_written() -> None:
    assert "terms" not in GOOD.to_dict() and Metrics.from_dict(GOOD.to_dict()) == GOOD
    assert References(1.0, 2.0, 3.0).to_dict() == {"spikes": 1.0, "energy_j": 2.0, "latency_s": 3.0}
    assert References(**REFERENCES.to_dict()) == REFERENCES


def test_candidates_without_fitness_are_not_asked() -> None:
    nd.register_fitness("never")(lambda metrics, graph: 1 / 0)
    for hopeless in (replace(GOOD, fits=False), replace(GOOD, spikes=0.0)):
        assert with_terms(hopeless, GRAPH, ["never"], ARCH).terms == {}
        assert fitness(hopeless, FitnessSettings(terms={"never": -1.0}), REFERENCES, 10).value is None


@pytest.mark.parametrize(("term", "message"), [
    (lambda m, g: 1 / 0, "raised ZeroDivisionError"), (lambda m, g: 0, r"is 0\.0"), (lambda m, g: -2.5, r"is -2\.5"),
    (lambda m, g: math.inf, "is inf"), (lambda m, g: math.nan, "is nan"), (lambda m, g: "many", "raised ValueError"),
    (lambda m, g: None, "raised TypeError"), (lambda m: 1.0, "raised TypeError"), (lambda m, g: g["five"], "raised KeyError"),
])
def test_bad_terms_name_themselves_and_the_candidate(term: Any, message: str) -> None:
    nd.register_fitness("bad")(term)
    with pytest.raises(UsageError, match=f"fitness term 'bad' of candidate SRB_k3,skip_connect: {message}"):
        with_terms(GOOD, GRAPH, ["bad"], ARCH)


def test_a_term_without_a_figure_or_reference_is_an_error() -> None:
    for metrics, references in ((GOOD, REFERENCES), (replace(GOOD, terms={"cores": 3.0}), References(1.0, 1.0, 1.0))):
        with pytest.raises(UsageError, match="cores is None"):
            fitness(metrics, FitnessSettings(terms={"cores": -1.0}), references, 10)


def test_what_is_no_term() -> None:
    with pytest.raises(UsageError, match=r"fitness term 'seven'.*must be a function \(metrics, graph\)"):
        nd.register_fitness("seven")(7)  # type: ignore[type-var]
    with pytest.raises(UsageError, match=r"no fitness term 'none'\. Registered: none"):
        TERMS.get("none")
    with pytest.raises(ValidationError, match="finite"):
        FitnessSettings(terms={"cores": math.inf})


def test_terms_are_objectives_of_the_front() -> None:
    few = {"accuracy": 0.9, "energy_j": 1.0, "latency_s": 1.0, "spikes": 1.0, "n_cores": 1}
    candidates = [
        {**few, "terms": {"weights": weights, "slack": slack, "noted": noted}}
        for weights, slack, noted in ((9.0, 1.0, 5.0), (8.0, 1.0, 9.0), (9.0, 2.0, 9.0))
    ]
    assert pareto_front(candidates) == (0, 1, 2), "equal in everything else"
    assert pareto_front(candidates, objectives_with({"weights": -0.1, "slack": 0.3, "noted": 0.0})) == (1, 2)
    assert objectives_with({}) == OBJECTIVES
    with pytest.raises(UsageError, match=r"terms\.slack is None"):
        pareto_front([few, few], objectives_with({"slack": -1.0}))
