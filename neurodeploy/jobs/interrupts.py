"""Ctrl-C at moments where it must wait."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def interrupt_afterwards() -> Iterator[None]:
    """A Ctrl-C inside this block is raised at its end."""
    asked = [False]

    def ask(*_: object) -> None:
        asked[0] = True

    try:
        before = signal.signal(signal.SIGINT, ask)
    except ValueError:  # not the main thread, which alone may set handlers and alone receives Ctrl-C
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if asked[0]:
        raise KeyboardInterrupt


@contextmanager
def finish_trial_first() -> Iterator[list[bool]]:
    """The first Ctrl-C lets the running trial finish: yields a one-element list that turns true. The second stops at once."""
    asked = [False]

    def ask(*_: object) -> None:
        if asked[0]:
            raise KeyboardInterrupt
        asked[0] = True

    try:
        before = signal.signal(signal.SIGINT, ask)
    except ValueError:  # not the main thread, which alone may set handlers and alone receives Ctrl-C
        yield asked
        return
    try:
        yield asked
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def remembered_interrupts() -> Iterator[list[bool]]:
    """Ctrl-C interrupts as ever, and is remembered: yields a one-element list that turns true.

    A KeyboardInterrupt that is raised inside a finalizer or a callback from C is only reported by Python, and lost. Work of
    many parts asks the list between them.
    """
    asked = [False]

    def ask(*_: object) -> None:
        asked[0] = True
        raise KeyboardInterrupt

    try:
        before = signal.signal(signal.SIGINT, ask)
    except ValueError:  # not the main thread
        yield asked
        return
    try:
        yield asked
    finally:
        signal.signal(signal.SIGINT, before)
