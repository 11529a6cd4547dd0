"""The early-exit policy of a recipe, fixed on validation votes."""

from __future__ import annotations

from typing import Any, Literal

from numpy.typing import NDArray

from neurodeploy.early_exit.confidence import ConfidencePolicy, calibrate_temperature, choose_threshold, evaluate_policy
from neurodeploy.search.recipe import ExitSettings


def choose_policy(settings: ExitSettings, votes: NDArray[Any], labels: NDArray[Any]) -> ConfidencePolicy:
    """The cheapest policy that the recipe allows, on validation votes [T, N, C] and labels [N]; never on test data."""
    kinds: tuple[Literal["sum", "mean"], ...] = ("sum", "mean") if settings.logits == "either" else (settings.logits,)
    found = []
    for logits in kinds:
        temperature = settings.temperature
        if temperature == "calibrate":
            temperature = calibrate_temperature(votes, labels, logits)
        start = ConfidencePolicy(1.0, temperature, settings.metric, logits)
        found.append(choose_threshold(votes, labels, start, max_drop=settings.max_drop))
    points = [evaluate_policy(votes, labels, policy) for policy in found]
    best = min(range(len(found)), key=lambda i: (points[i].mean_timesteps, -points[i].accuracy))
    return found[best]
