"""How a long stage tells what it is doing. The stage gets a `Progress`; the command line hands in one that draws."""

from __future__ import annotations


class Progress:
    """Silent progress, the default everywhere; subclasses show it. Tasks are known by their name."""

    def start(self, task: str, total: int) -> None:
        """A task of `total` equal pieces begins."""

    def advance(self, task: str, n: int = 1, **info: object) -> None:
        """`n` pieces of the task are done; `info` are short facts to show beside it (`loss=0.31`)."""

    def done(self, task: str) -> None:
        """The task is over, whether or not all its pieces were done."""

    def message(self, text: str) -> None:
        """One line worth reading after the task is over."""


SILENT = Progress()
