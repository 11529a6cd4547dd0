"""The early-exit policy of a recipe, fixed on validation votes."""

from __future__ import annotations

import warnings
from typing import Any, Literal

from numpy.typing import NDArray

from neurodeploy.early_exit.confidence import (
    ConfidencePolicy,
    ExitPoint,
    calibrate_temperature,
    choose,
    choose_threshold,
    evaluate_policy,
)
from neurodeploy.errors import NeurodeployWarning
from neurodeploy.search.recipe import ExitSettings


def choose_policy(
    settings: ExitSettings, votes: NDArray[Any], labels: NDArray[Any], *, warn: bool = True
) -> ConfidencePolicy:
    """The best policy that the recipe allows, on validation votes [T, N, C] and labels [N]; never on test data.

    Warns (`exit_missed`) where none gives the accuracy or mean timesteps that the recipe wants, unless `warn` is False.
    """
    kinds: tuple[Literal["sum", "mean"], ...] = ("sum", "mean") if settings.logits == "either" else (settings.logits,)
    found = []
    for logits in kinds:
        temperature = settings.temperature
        if temperature == "calibrate":
            temperature = calibrate_temperature(votes, labels, logits)
        start = ConfidencePolicy(1.0, temperature, settings.metric, logits)
        found.append(choose_threshold(votes, labels, start, max_drop=settings.max_drop, accuracy=settings.accuracy,
                                      mean_timesteps=settings.mean_timesteps))
    points = [evaluate_policy(votes, labels, policy) for policy in found]
    best = choose(points, settings.accuracy or 0.0, settings.mean_timesteps)
    if warn:
        _warn_of_miss(settings, points[best])
    return found[best]


def _warn_of_miss(settings: ExitSettings, point: ExitPoint) -> None:
    if settings.accuracy is not None and point.accuracy < settings.accuracy - 1e-12:
        missed = f"accuracy {settings.accuracy:.4g}: {point.accuracy:.4g} at most"
    elif settings.mean_timesteps is not None and point.mean_timesteps > settings.mean_timesteps:
        missed = f"mean_timesteps {settings.mean_timesteps:.4g}: {point.mean_timesteps:.4g} at least"
    else:
        return
    warnings.warn(NeurodeployWarning(
        f"no threshold gives {missed} on validation data, which is what the policy now has", code="exit_missed",
        where="early_exit", remedy="Ask for less, or for another early_exit.metric, logits or temperature",
    ), stacklevel=3)
