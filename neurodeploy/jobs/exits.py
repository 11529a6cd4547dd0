"""The early-exit policy of a recipe, fixed on validation data: SEENN-I's threshold, or SEENN-II's network."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from neurodeploy.cost.policy_cost import host_of
from neurodeploy.data.datasets import Dataset
from neurodeploy.data.event_dataset import EventDataset
from neurodeploy.early_exit.confidence import (
    ConfidencePolicy,
    ExitPoint,
    Outcome,
    calibrate_temperature,
    choose,
    choose_threshold,
    evaluate_policy,
)
from neurodeploy.early_exit.planned import N_GOLDEN, PlannedPolicy, Sees
from neurodeploy.early_exit.policy import Correct, Images, PolicyConfig, train_for
from neurodeploy.errors import NeurodeployWarning, UsageError
from neurodeploy.progress import SILENT, Progress
from neurodeploy.search.recipe import DeploySettings, ExitSettings

Known = tuple[Images, Correct]  # what a policy sees of samples, and whether the answer after 1..T timesteps is right
AnyData = TypeVar("AnyData", bound=Dataset | EventDataset)


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


def choose_planned(
    settings: DeploySettings, known: Callable[[str], Known], sees: Sees, progress: Progress = SILENT
) -> PlannedPolicy:
    """SEENN-II's policy, trained on the `train` split and chosen by the recipe's wishes on `validation`, which `known` gives.

    Warns as `choose_policy`.
    """
    asked, early = settings.early_exit.policy, settings.early_exit
    if asked.energy_per_mac_j is None:
        host_of(asked, None)  # refused before the work, not after it
    config = PolicyConfig(
        channels=asked.channels, epochs=asked.epochs, batch_size=asked.batch_size, lr=asked.lr, seed=settings.seed,
        choices=asked.choices,
    )
    progress.start("early-exit policies", 1)
    validation = known("validation")
    best, _ = train_for(
        known("train"), validation, asked.betas, config, max_drop=early.max_drop, accuracy=early.accuracy,
        mean_timesteps=early.mean_timesteps,
    )
    progress.advance("early-exit policies")
    progress.done("early-exit policies")
    _warn_of_miss(early, best.validation)
    return PlannedPolicy(best.policy, best.beta, sees, validation[0][:N_GOLDEN], early)


def few_to_train(data: AnyData, settings: DeploySettings) -> AnyData:
    """The data with at most `early_exit.policy.samples` of their training samples, taken evenly."""
    n, train = settings.early_exit.policy.samples, data.splits["train"]
    if len(train) <= n:
        return data
    return replace(data, splits={**data.splits, "train": train[np.linspace(0, len(train) - 1, n).astype(np.int64)]})


def require_data(settings: DeploySettings, data: Dataset | EventDataset | None) -> None:
    """Raise UsageError where a policy would have to be trained on nothing."""
    if settings.early_exit.method == "policy" and data is None:
        raise UsageError("a policy for early exit is trained, and there are no data", where="early_exit.method",
                         code="missing_data", remedy="Name a dataset with --data, or --set early_exit.method=confidence")


def _warn_of_miss(settings: ExitSettings, point: ExitPoint | Outcome) -> None:
    if settings.accuracy is not None and point.accuracy < settings.accuracy - 1e-12:
        missed = f"accuracy {settings.accuracy:.4g}: {point.accuracy:.4g} at most"
    elif settings.mean_timesteps is not None and point.mean_timesteps > settings.mean_timesteps:
        missed = f"mean_timesteps {settings.mean_timesteps:.4g}: {point.mean_timesteps:.4g} at least"
    else:
        return
    warnings.warn(NeurodeployWarning(
        f"no policy gives {missed} on validation data, which is what the policy now has", code="exit_missed",
        where="early_exit", remedy="Ask for less, or for another early_exit.metric, logits or temperature",
    ), stacklevel=3)
