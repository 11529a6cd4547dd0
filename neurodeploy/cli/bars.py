"""Progress drawn by rich: bars on a terminal, nothing but messages elsewhere."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bars
from rich.text import Text

from neurodeploy.progress import Progress


class RichProgress(Progress):
    """Draws on the given console (stderr). Where that is no terminal there are no bars; messages are plain lines."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._tasks: dict[str, TaskID] = {}
        self._bars = Bars(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[info]}", markup=False),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._bars.stop()

    def start(self, task: str, total: int) -> None:
        self.done(task)
        self._tasks[task] = self._bars.add_task(task, total=total, info="")

    def advance(self, task: str, n: int = 1, **info: object) -> None:
        shown = "  ".join(f"{k} {v:.4g}" if isinstance(v, float) else f"{k} {v}" for k, v in info.items())
        self._bars.advance(self._tasks[task], n)
        if info:
            self._bars.update(self._tasks[task], info=shown)

    def done(self, task: str) -> None:
        known = self._tasks.pop(task, None)
        if known is not None:
            self._bars.remove_task(known)

    def message(self, text: str) -> None:
        self._console.print(Text(text), soft_wrap=True)
