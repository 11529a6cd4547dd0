"""Entry point of the `neurodeploy` command."""

from __future__ import annotations

import io
import os
import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import nullcontext, redirect_stdout
from typing import Annotated, TextIO

import typer

from neurodeploy import __version__
from neurodeploy.cli import (
    calibrate,
    check,
    compare,
    convert,
    doctor,
    energy,
    env,
    events,
    export,
    search,
    simulate,
    targets,
    train,
    validate,
    worker,
)
from neurodeploy.cli.frame import Frame, Outcome
from neurodeploy.cli.options import Debug, Json, help_texts
from neurodeploy.errors import Interrupted, UsageError
from neurodeploy.train import launch


def root(
    ctx: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version and stop.")] = False,
    json: Json = False,
    debug: Debug = False,
) -> Outcome | None:
    """Search, quantize, place, cost, simulate and export spiking networks for neuromorphic chips.

    Every command takes --json: one object on stdout with schema_version, command, ok, data, warnings, errors.
    Exit codes: 0 ok, 1 internal error, 2 usage, 3 does not fit the target, 4 mismatch or accuracy drop,
    5 side environment missing, 6 unsafe or corrupt file, 7 vendor tool failed, 130 interrupted.

    Examples:
      neurodeploy search --target loihi2
      neurodeploy targets show loihi2
    """
    if ctx.invoked_subcommand is not None and not version:
        return None
    if ctx.invoked_subcommand is not None or not version:
        raise UsageError("--version takes no command" if version else "a command is missing", remedy="See `neurodeploy --help`")
    return Outcome({"version": __version__}, lambda console: console.print(f"neurodeploy {__version__}"))


def application() -> typer.Typer:
    """The command with all its verbs, their help taken from their docstrings."""
    app = typer.Typer(
        name="neurodeploy",
        add_completion=False,
        rich_markup_mode="rich",
        context_settings={"help_option_names": ["--help", "-h"]},
    )
    app.callback(invoke_without_command=True, **help_texts(root))(root)
    verbs: tuple[Callable[..., Outcome], ...] = (
        search.search, train.train, check.check, export.export, validate.validate, simulate.simulate, energy.energy,
        compare.compare, convert.convert, events.events, calibrate.calibrate, worker.worker, doctor.doctor,
    )  # fmt: skip
    for verb in verbs:
        app.command(**help_texts(verb))(verb)
    group = typer.Typer(rich_markup_mode="rich")
    group.callback(invoke_without_command=True, **help_texts(targets.targets))(targets.targets)
    group.command("list", **help_texts(targets.list_targets))(targets.list_targets)
    group.command("show", **help_texts(targets.show))(targets.show)
    group.command("check", **help_texts(targets.check))(targets.check)
    group.command("measure", **help_texts(targets.measure))(targets.measure)
    app.add_typer(group, name="targets")
    group = typer.Typer(rich_markup_mode="rich")
    group.callback(invoke_without_command=True, **help_texts(env.env))(env.env)
    for name, command in (("create", env.create), ("add", env.add), ("list", env.list_envs), ("remove", env.remove)):
        group.command(name, **help_texts(command))(command)
    app.add_typer(group, name="env")
    return app


def main(args: Sequence[str], stdout: TextIO) -> int:
    """Run the command line with `args`; data goes to `stdout`, the rest to sys.stderr. Returns the exit code."""
    args = list(args) or ["--help"]
    options = args[: args.index("--")] if "--" in args else args
    place = launch.place()
    frame = Frame(
        stdout=stdout,
        as_json="--json" in options,
        debug="--debug" in options or os.environ.get("NEURODEPLOY_DEBUG", "0") not in ("", "0"),
        command=next((a for a in options if not a.startswith("-")), ""),
        rank=place.rank if place else 0,
    )
    asks_help = any(o in ("--help", "-h") for o in options)
    printed = io.StringIO()
    with frame.collecting_warnings():
        try:
            # The parser prints help on sys.stdout; so might a library, where a JSON object shall stand alone.
            with redirect_stdout(printed if asks_help else sys.stderr) if frame.as_json else nullcontext():
                if place is not None and frame.command not in ("train", "search"):
                    raise UsageError(f"torchrun has started {place.n} processes", where=frame.command, remedy="Start it alone",
                                     limit="`train` and `search` can train on several")
                command = typer.main.get_command(application())
                result = command.main(args=args, prog_name="neurodeploy", standalone_mode=False, obj=frame)
        except (Exception, KeyboardInterrupt) as error:
            return frame.fail(error)
        if isinstance(result, Outcome):
            return frame.finish(result)
        if result == Interrupted.exit_code:  # the parser has swallowed the KeyboardInterrupt
            return frame.fail(KeyboardInterrupt())
        return frame.help(printed.getvalue())


def run() -> None:
    """The console script: `main` on the process's own arguments; ends the process with the exit code."""
    args = sys.argv[1:]
    stdout: TextIO = sys.stdout
    if "--json" in args:
        # Native code and child processes write to descriptor 1: it becomes stderr, the object goes to a copy of it.
        stdout = os.fdopen(os.dup(1), "w", encoding="utf-8")
        os.dup2(2, 1)
    try:
        code = main(args, stdout)
        stdout.flush()
    except BrokenPipeError:  # the reader (`head`) has left: end as a Unix tool does, and keep the exit quiet
        os.dup2(os.open(os.devnull, os.O_WRONLY), stdout.fileno())
        code = 128 + signal.SIGPIPE
    sys.exit(code)
