"""Exits as a picture: the images that stopped first, those that stopped last, and how many stopped when."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neurodeploy.data.event_plot import check_plot_path, write_figure
from neurodeploy.early_exit.confidence import IntArray
from neurodeploy.errors import UsageError


def by_ease(steps: IntArray, certainty: NDArray[np.float64] | None = None) -> IntArray:
    """Samples from the easiest to the hardest: by exit step, then by falling certainty [N] at the exit, then by number."""
    falling = np.zeros(len(steps)) if certainty is None else -certainty
    return np.lexsort((falling, steps))


def plot_exits(
    images: NDArray[Any], steps: IntArray, labels: IntArray, answers: IntArray, n_timesteps: int, path: Path, *,
    certainty: NDArray[np.float64] | None = None, n_each: int = 8, title: str = "",
) -> None:
    """Draw to a `.png` or `.svg` the `n_each` easiest and hardest of images [N, C, H, W] (C 1 or 3, values in 0..1) by
    `by_ease`, with label, answer and exit step, and the histogram of steps [N].

    Raises UsageError for another format and for arrays that do not fit together.
    """
    check_plot_path(path)
    n = len(images)
    if images.ndim != 4 or images.shape[1] not in (1, 3) or not n or {len(steps), len(labels), len(answers)} != {n}:
        raise UsageError(f"images {images.shape}, {len(steps)} steps, {len(labels)} labels, {len(answers)} answers",
                         where=str(path), limit="[N, 1 or 3, H, W] and N of each")
    from matplotlib.figure import Figure

    order = by_ease(steps, certainty)
    figure = Figure(figsize=(1.1 * n_each, 5.2), layout="constrained")
    grid = figure.add_gridspec(3, n_each, height_ratios=(1, 1, 1.2))
    figure.suptitle(title or f"{n} samples, {steps.mean():.2f} of {n_timesteps} timesteps")
    for line, (name, chosen) in enumerate((("easiest", order[:n_each]), ("hardest", order[::-1][:n_each]))):
        for k, i in enumerate(chosen):
            axis = figure.add_subplot(grid[line, k])
            axis.imshow(np.moveaxis(images[i], 0, -1).squeeze(), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
            axis.set(xticks=[], yticks=[], ylabel=name if k == 0 else "")
            wrong = answers[i] != labels[i]
            said = f"{labels[i]}, read {answers[i]}" if wrong else f"{labels[i]}"
            axis.set_title(f"{said}\nstep {steps[i]}", fontsize=7, color="#b2182b" if wrong else "black")
    axis = figure.add_subplot(grid[2, :])
    axis.bar(np.arange(1, n_timesteps + 1), np.bincount(steps, minlength=n_timesteps + 1)[1:], color="#2166ac")
    axis.set(xlabel="timesteps to the decision", ylabel="samples", xticks=range(1, n_timesteps + 1))
    write_figure(figure, path)
