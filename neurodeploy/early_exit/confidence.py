"""SEENN-I: stop at the first timestep at which the running vote is confident enough.

z_t = sum of the first t votes (or their mean), confidence = max softmax(z_t / temperature), or
1 - H(softmax(z_t / temperature)) / ln C for the entropy metric; exit at the first t with confidence > threshold
(strict), else at T; the prediction is the argmax of the same z_t. Exit steps count from 1.
Source: Li et al., SEENN, NeurIPS 2023 (the release sums logits, it does not average them).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from neurodeploy.errors import UsageError
from neurodeploy.ir.votes import predictions, running_votes

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]


@dataclass(frozen=True)
class ConfidencePolicy:
    """When to stop. A threshold of 1 or more never stops early. Raises UsageError for values that define no policy."""

    threshold: float
    temperature: float = 1.0
    metric: Literal["confidence", "entropy"] = "confidence"
    logits: Literal["sum", "mean"] = "sum"

    def __post_init__(self) -> None:
        if not isinstance(self.threshold, int | float) or np.isnan(self.threshold):
            raise UsageError(f"threshold is {self.threshold!r}", where="early exit", limit="A number")
        if not self.temperature > 0:
            raise UsageError(f"temperature is {self.temperature}", where="early exit", limit="Above 0")
        if self.metric not in ("confidence", "entropy") or self.logits not in ("sum", "mean"):
            raise UsageError(
                f"metric {self.metric!r}, logits {self.logits!r}", where="early exit",
                limit="Known: confidence, entropy; sum, mean",
            )

    def to_dict(self) -> dict[str, Any]:
        """Plain fields, for JSON."""
        return asdict(self)

    def confidence(self, z: FloatArray, t: int) -> FloatArray:
        """Confidence [B] of the summed votes z [B, C] after t timesteps (1-based)."""
        scaled = z / self.temperature / (t if self.logits == "mean" else 1)
        scaled = scaled - scaled.max(axis=1, keepdims=True)
        p = np.exp(scaled)
        p /= p.sum(axis=1, keepdims=True)
        if self.metric == "confidence":
            return np.asarray(p.max(axis=1))
        entropy = -(p * np.log(np.maximum(p, 1e-300))).sum(axis=1)  # p log p -> 0 where p underflows
        return np.asarray(np.clip(1 - entropy / np.log(z.shape[1]), 0, 1))  # rounding of a uniform p may fall below 0

    def confidences(self, votes: FloatArray) -> FloatArray:
        """Confidence [T, B] at every timestep of votes [T, B, C]."""
        z = running_votes(votes)
        return np.stack([self.confidence(z[t], t + 1) for t in range(len(z))])


@dataclass(frozen=True)
class Outcome:
    """What exits give on some data: accuracy in 0..1, mean exit step, samples leaving at each step 1..T."""

    accuracy: float
    mean_timesteps: float
    histogram: tuple[int, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain fields, for JSON."""
        return asdict(self)


@dataclass(frozen=True)
class ExitPoint:
    """The `Outcome` of a threshold."""

    threshold: float
    accuracy: float
    mean_timesteps: float
    histogram: tuple[int, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain fields, for JSON."""
        return asdict(self)


def outcome(correct: NDArray[np.bool_], steps: IntArray) -> Outcome:
    """Of exit steps [B], 1-based, where `correct` [T, B] says whether the answer after each number of steps is right."""
    right = correct[steps - 1, np.arange(correct.shape[1])]
    histogram = np.bincount(steps, minlength=len(correct) + 1)[1:]
    return Outcome(float(right.mean()), float(steps.mean()), tuple(int(n) for n in histogram))


def oracle_steps(correct: NDArray[np.bool_]) -> IntArray:
    """[B], the first step, 1-based, at which the answer is right, T where it never is: the upper bound of every policy.

    Its mean is what SEENN's release prints as empirical AET.
    """
    until = correct.copy()
    until[-1] = True
    return np.asarray(until.argmax(axis=0) + 1)


def oracle_outcome(correct: NDArray[np.bool_]) -> dict[str, float]:
    """Accuracy and mean timesteps of `oracle_steps`, plain values for a report."""
    best = outcome(correct, oracle_steps(correct))
    return {"accuracy": best.accuracy, "mean_timesteps": best.mean_timesteps}


def average_exit_time(accuracies: Sequence[float]) -> float:
    """SEENN's AET of a network, from its accuracies (0..1) after 1..T steps: sum_t t (a_t - a_(t-1)) + T (1 - a_T)."""
    T = len(accuracies)
    gains = np.diff(np.asarray(accuracies, dtype=np.float64), prepend=0.0)
    return float(np.arange(1, T + 1) @ gains + T * (1 - accuracies[-1]))


def exit_steps(votes: FloatArray, policy: ConfidencePolicy) -> IntArray:
    """Exit step [B], 1-based, for votes [T, B, C].

    >>> votes = np.array([[[0.0, 0.0]], [[9.0, 0.0]], [[9.0, 0.0]]])
    >>> exit_steps(votes, ConfidencePolicy(threshold=0.9)).tolist()
    [2]
    """
    return _steps(policy.confidences(votes), policy.threshold)


def _steps(confidences: FloatArray, threshold: float) -> IntArray:
    over = confidences > threshold
    over[-1] = True  # forced at T
    return np.asarray(over.argmax(axis=0) + 1)


def exit_curve(votes: FloatArray, labels: IntArray, policy: ConfidencePolicy, n_points: int = 200) -> list[ExitPoint]:
    """Accuracy against mean exit step for thresholds observed in the data (at most `n_points`, evenly over their ranks).

    Ordered by rising threshold; the last point never stops early. The policy's own threshold is not used.
    """
    confidences = policy.confidences(votes)
    correct = predictions(votes) == labels
    observed = np.unique(confidences[:-1]) if len(votes) > 1 else np.array([])
    if len(observed) > n_points:
        observed = observed[np.linspace(0, len(observed) - 1, n_points).astype(int)]
    thresholds = [0.0, *observed.tolist(), 1.0]
    return [_point(confidences, correct, threshold) for threshold in dict.fromkeys(thresholds)]


def _point(confidences: FloatArray, correct: NDArray[np.bool_], threshold: float) -> ExitPoint:
    found = outcome(correct, _steps(confidences, threshold))
    return ExitPoint(float(threshold), found.accuracy, found.mean_timesteps, found.histogram)


def evaluate_policy(votes: FloatArray, labels: IntArray, policy: ConfidencePolicy) -> ExitPoint:
    """Accuracy, mean exit step and histogram of a policy on votes [T, B, C] and labels [B]."""
    correct = predictions(votes) == labels
    return _point(policy.confidences(votes), correct, policy.threshold)


def choose_threshold(
    votes: FloatArray, labels: IntArray, policy: ConfidencePolicy, *, max_drop: float = 0.0, accuracy: float | None = None,
    mean_timesteps: float | None = None,
) -> ConfidencePolicy:
    """The policy with the threshold that suits VALIDATION votes best; never call it with test data.

    Default: fewest mean timesteps whose accuracy is at most `max_drop` (0..1) below that of all T timesteps. With
    `accuracy` (0..1): fewest that reach it, or the most accurate where none does. With `mean_timesteps`: highest accuracy
    among thresholds whose mean exit is at most that many, or the earliest exit.
    """
    curve = exit_curve(votes, labels, policy)
    best = curve[choose(curve, curve[-1].accuracy - max_drop if accuracy is None else accuracy, mean_timesteps)]
    return ConfidencePolicy(best.threshold, policy.temperature, policy.metric, policy.logits)


def choose(curve: Sequence[Outcome | ExitPoint], accuracy: float, mean_timesteps: float | None = None) -> int:
    """The index of the cheapest outcome with that accuracy (the most accurate where none reaches it); with `mean_timesteps`
    of the most accurate one that takes at most that many (the cheapest where none does)."""
    if mean_timesteps is not None:
        allowed = [i for i, p in enumerate(curve) if p.mean_timesteps <= mean_timesteps]
        if allowed:
            return max(allowed, key=lambda i: (curve[i].accuracy, -curve[i].mean_timesteps))
    else:
        best = max(p.accuracy for p in curve)
        # 1e-12: accuracies are ratios of small counts, their difference may round below the allowed drop
        allowed = [i for i, p in enumerate(curve) if p.accuracy >= min(accuracy, best) - 1e-12]
    return min(allowed or range(len(curve)), key=lambda i: (curve[i].mean_timesteps, -curve[i].accuracy))


def calibrate_temperature(votes: FloatArray, labels: IntArray, logits: Literal["sum", "mean"] = "sum") -> float:
    """The temperature of a fixed grid that minimises the negative log likelihood of the full vote on validation data.

    `logits` as in the policy that will use it.
    """
    z = votes.sum(axis=0) if logits == "sum" else votes.mean(axis=0)
    grid = np.geomspace(0.05, 20.0, 121)

    def loss(temperature: float) -> float:
        scaled = z / temperature
        top = scaled.max(axis=1)
        log_norm = top + np.log(np.exp(scaled - top[:, None]).sum(axis=1))
        return float((log_norm - scaled[np.arange(len(labels)), labels]).mean())

    return float(min(grid, key=loss))


def fixed_accuracy(votes: FloatArray, labels: IntArray) -> list[float]:
    """Accuracy after exactly 1, 2, ..., T timesteps."""
    correct = predictions(votes) == labels
    return [float(c.mean()) for c in correct]
