"""What every command shares: where its result, warnings and errors go, and the exit code."""

from __future__ import annotations

import json
import math
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Any, TextIO

import typer
from rich.console import Console
from rich.text import Text

from neurodeploy.cli.bars import RichProgress
from neurodeploy.errors import DoesNotFit, Interrupted, NeurodeployError, NeurodeployWarning, UsageError
from neurodeploy.resources import missing_packages

SCHEMA_VERSION = 1
_WIDTH_OF_A_FILE = 200  # columns of a table that goes to a file or a pipe, where nothing has to fold


@dataclass(frozen=True)
class Outcome:
    """What a command hands back: its data, how to show them to a person, and what is wrong with them; `shown` where
    `show` prints every broken limit itself."""

    data: dict[str, Any]
    show: Callable[[Console], None]
    errors: tuple[NeurodeployError, ...] = ()
    shown: bool = False


@dataclass
class Frame:
    """One run of the command line. `stdout` receives data only; everything else goes to stderr."""

    stdout: TextIO
    as_json: bool = False
    debug: bool = False
    command: str = ""
    aliases: dict[str, str] = field(default_factory=dict)
    warnings: list[dict[str, str]] = field(default_factory=list)
    rank: int = 0  # among processes that torchrun started: the first speaks for all

    @property
    def log(self) -> Console:
        return Console(stderr=True, highlight=False, quiet=self.rank > 0)

    @contextmanager
    def progress(self) -> Iterator[RichProgress]:
        """Progress bars on stderr, where stderr is a terminal."""
        with RichProgress(self.log) as bars:
            yield bars

    def resolved(self, alias: str, name: str) -> None:
        """An alias stood for a target: say so."""
        if self.aliases.setdefault(alias, name) and not self.as_json:
            self.log.print(Text(f"{alias} = {name}"))

    @contextmanager
    def collecting_warnings(self) -> Iterator[None]:
        """Warnings become lines on stderr, or entries of the JSON object."""

        def show(
            message: Warning | str,
            category: type[Warning],
            filename: str,
            lineno: int,
            file: TextIO | None = None,
            line: str | None = None,
        ) -> None:
            if isinstance(message, NeurodeployWarning):
                entry = message.to_dict()
            else:
                entry = {"code": category.__name__, "where": f"{filename}:{lineno}", "what": str(message), "remedy": ""}
            if entry not in self.warnings:
                self.warnings.append(entry)
                if not self.as_json:
                    self.log.print(Text(f"Warning: {message}", style="yellow"), soft_wrap=True)

        with warnings.catch_warnings():
            warnings.simplefilter("always", NeurodeployWarning)
            warnings.showwarning = show
            yield

    def finish(self, outcome: Outcome) -> int:
        """Print a command's outcome; returns the exit code."""
        data = {"aliases": self.aliases, **outcome.data} if self.aliases else outcome.data
        if self.rank:
            pass
        elif self.as_json:
            self._emit(data, outcome.errors)
        else:
            outcome.show(self._console())
            self._show_errors(outcome.errors, shown=outcome.shown)
        return outcome.errors[0].exit_code if outcome.errors else 0

    def fail(self, error: BaseException) -> int:
        """Print why a command stopped; returns the exit code."""
        if self.debug:
            traceback.print_exception(error, file=sys.stderr)
        known = describe(error)
        data = {"fits": False} if isinstance(known, DoesNotFit) else {}
        if self.rank:  # the first process meets the same errors, but for bugs and memory
            if known is not error and known.exit_code == 1:
                Console(stderr=True, highlight=False).print(Text(f"Error in process {self.rank}: {known}"), soft_wrap=True)
        elif self.as_json:
            self._emit(data, (known,))
        else:
            self._show_errors((known,))
        return known.exit_code

    def help(self, text: str) -> int:
        """Print what `--help` says."""
        if self.as_json:
            self._emit({"help": text}, ())
        else:
            self.stdout.write(text)
        return 0

    def _console(self) -> Console:
        terminal = self.stdout.isatty()
        return _DataConsole(file=self.stdout, highlight=False, width=None if terminal else _WIDTH_OF_A_FILE)

    def _show_errors(self, errors: tuple[NeurodeployError, ...], *, shown: bool = False) -> None:
        for error in errors:
            lines = [str(error)]
            if isinstance(error, DoesNotFit):
                n = len(error.violations)
                summary = f"the network does not fit {error.where}: {n} limit{'s' if n != 1 else ''} broken"
                lines = [summary] if shown else [str(v) for v in error.violations]
            for line in lines:
                self.log.print(Text(f"Error: {line}", style="red"), soft_wrap=True)

    def _emit(self, data: dict[str, Any], errors: tuple[NeurodeployError, ...]) -> None:
        whole = {
            "schema_version": SCHEMA_VERSION,
            "command": self.command,
            "ok": not errors,
            "data": data,
            "warnings": self.warnings,
            "errors": [entry for error in errors for entry in _entries(error)],
        }
        self.stdout.write(json.dumps(plain(whole), indent=2, allow_nan=False) + "\n")


class _DataConsole(Console):
    def on_broken_pipe(self) -> None:
        """Leave a reader that has gone to `cli.main.run`; rich would end the process with exit code 1."""
        raise


def _entries(error: NeurodeployError) -> list[dict[str, str]]:
    if isinstance(error, DoesNotFit):
        return [{"code": error.error_code, **violation.to_dict()} for violation in error.violations]
    return [error.to_dict()]


def describe(error: BaseException) -> NeurodeployError:
    """The error as one of ours: usage errors of the parser, paths that the system refuses, and bugs included."""
    if isinstance(error, NeurodeployError):
        return error
    if isinstance(error, typer.TyperException):
        context = getattr(error, "ctx", None)
        path = context.command_path if context is not None else "neurodeploy"
        return UsageError(error.format_message(), where=path, remedy=f"See `{path} --help`")
    if isinstance(error, KeyboardInterrupt | typer.Abort):
        return Interrupted("interrupted")
    if isinstance(error, FileNotFoundError | PermissionError | IsADirectoryError | NotADirectoryError):
        return UsageError(error.strerror or str(error), where=str(error.filename or ""), code="path")
    if isinstance(error, ModuleNotFoundError) and (missing := missing_packages()):
        return missing
    last = traceback.extract_tb(error.__traceback__)[-1:]
    place = f"{last[0].filename}:{last[0].lineno}" if last else ""
    what = f"{type(error).__name__}: {error}".rstrip(": ")
    return NeurodeployError(what, where=place, remedy="This is a bug: --debug or NEURODEPLOY_DEBUG=1 shows its traceback")


def plain(value: Any) -> Any:
    """The value in JSON's types: paths as text, numpy numbers as numbers, numbers that JSON lacks (NaN) as null.

    >>> plain({"a": (1, float("nan"))})
    {'a': [1, None]}
    """
    if isinstance(value, dict):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(v) for v in value]
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, PurePath):
        return str(value)
    if hasattr(value, "tolist"):  # numpy scalars and arrays, without importing numpy
        return plain(value.tolist())
    if hasattr(value, "isoformat"):  # dates of TOML
        return value.isoformat()
    raise NeurodeployError(f"a {type(value).__name__} has no JSON form", where="--json")
