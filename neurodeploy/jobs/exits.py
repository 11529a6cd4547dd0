"""The early-exit policy of a recipe, fixed on validation votes."""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

from neurodeploy.early_exit.confidence import ConfidencePolicy, calibrate_temperature, choose_threshold
from neurodeploy.search.recipe import ExitSettings


def choose_policy(settings: ExitSettings, votes: NDArray[Any], labels: NDArray[Any]) -> ConfidencePolicy:
    """The cheapest policy that the recipe allows, on validation votes [T, N, C] and labels [N]; never on test data."""
    temperature = settings.temperature
    if temperature == "calibrate":
        temperature = calibrate_temperature(votes, labels, settings.logits)
    start = ConfidencePolicy(1.0, temperature, settings.metric, settings.logits)
    return choose_threshold(votes, labels, start, max_drop=settings.max_drop)
