"""The picture of exits: which samples are shown, equal files, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from neurodeploy.early_exit.plot import by_ease, plot_exits
from neurodeploy.errors import UsageError

STEPS = np.array([3, 1, 2, 1, 3, 1])
LABELS = np.array([0, 1, 2, 3, 4, 5])
IMAGES = np.random.default_rng(0).random((6, 1, 4, 4))


def test_ease_is_the_exit_step_then_certainty() -> None:
    assert by_ease(STEPS).tolist() == [1, 3, 5, 2, 0, 4]
    assert by_ease(STEPS, np.array([0.9, 0.2, 0.5, 0.8, 0.4, 0.3])).tolist() == [3, 5, 1, 2, 0, 4]


def test_easiest_and_hardest_are_named_and_equal_exits_give_equal_files(tmp_path: Path) -> None:
    answers = LABELS.copy()
    answers[4] = 7
    for name in ("a.svg", "b.svg"):
        plot_exits(IMAGES, STEPS, LABELS, answers, 3, tmp_path / name, n_each=2, title="exits of six")
    plot_exits(np.repeat(IMAGES, 3, axis=1), STEPS, LABELS, answers, 3, tmp_path / "c.png", n_each=8)
    text = (tmp_path / "a.svg").read_text(encoding="utf-8")
    assert text == (tmp_path / "b.svg").read_text(encoding="utf-8")
    shown = [part.split(" -->")[0].strip() for part in text.split("<!--")[1:]]
    assert "exits of six" in shown and "4, read 7" in shown and "samples" in shown
    assert shown.count("step 1") == 2 and shown.count("step 3") == 2 and "step 2" not in shown
    assert (tmp_path / "c.png").read_bytes().startswith(b"\x89PNG")


def test_what_cannot_be_drawn_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot draw"):
        plot_exits(IMAGES, STEPS, LABELS, LABELS, 3, tmp_path / "a.pdf")
    for images, steps in ((IMAGES[:5], STEPS), (IMAGES, STEPS[:5]), (np.repeat(IMAGES, 2, axis=1), STEPS), (IMAGES[0], STEPS)):
        with pytest.raises(UsageError, match="N of each"):
            plot_exits(images, steps, LABELS, LABELS, 3, tmp_path / "a.png")
