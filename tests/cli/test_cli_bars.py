"""Progress on stderr: bars on a terminal, only messages elsewhere."""

from __future__ import annotations

import io

import pytest
from neurodeploy.cli.bars import RichProgress
from rich.console import Console


def drawn(terminal: bool) -> str:
    out = io.StringIO()
    with RichProgress(Console(file=out, force_terminal=terminal, width=120)) as progress:
        progress.start("search", 4)
        progress.advance("search", 2, best=0.98765, genome="k3[k5]")
        progress.start("train", 2)
        progress.message("best [0.99] so far")
        progress.done("train")
        progress.start("search", 4)  # again, from its beginning
        progress.advance("search")
        progress.done("search")
        progress.done("search")
    return out.getvalue()


@pytest.mark.parametrize("terminal", [False, True])
def test_progress(terminal: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    shown = drawn(terminal)
    assert "best [0.99] so far" in shown
    assert ("search" in shown and "train" in shown) is terminal
    if not terminal:
        assert shown == "best [0.99] so far\n"
