"""The options that several commands share, and what their texts mean."""

from __future__ import annotations

import inspect
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypedDict

import typer
from rich.console import Console
from rich.markup import escape

from neurodeploy.cli import tables
from neurodeploy.cli.frame import Frame, Outcome
from neurodeploy.errors import UsageError

if TYPE_CHECKING:
    from neurodeploy.jobs.net_options import NetOptions

# --json and --debug are read before the parser runs (a usage error needs them too); declared here for --help.
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout and nothing else there.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Print what the settings resolve to, and stop.")]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Override one value: a recipe's (train.epochs=20), "
                 "a profile's (profile.energy.synapse.value=20), a .net's (net.num_layers=3). Repeatable."),
]
NoSettings = Annotated[list[str] | None, typer.Option("--set", hidden=True)]

Target = Annotated[str, typer.Option("--target", "-t", metavar="TARGET", help="The chip: a name of `neurodeploy targets`.")]
Targets = Annotated[
    list[str],
    typer.Option("--target", "-t", metavar="TARGET", help="A chip, repeatable or with commas; `all` = every profile."),
]
Data = Annotated[
    str | None,
    typer.Option("--data", metavar="DATA", help="A dataset's name (cifar10, or cifar10:FOLDER; docs/data.md), a folder, an "
                 ".npz with x and y, or one of events. Default: the model's own."),
]


def _checked(path: Path) -> Path:
    """A model file, its headers looked at before anything large is imported: what is unsafe is refused in no time."""
    from neurodeploy.models.foreign_gate import check_model_file

    check_model_file(path)
    return path


Model = Annotated[Path, typer.Argument(metavar="MODEL", exists=True, callback=_checked,
    help="A .safetensors or .pt model or state_dict, a .nir, a lava-dl .net, a graph.npz or a bundle folder.")]
Network = Annotated[Path, typer.Argument(metavar="FILE", exists=True, callback=_checked,
    help="A lava-dl .net, a bundle, a graph.npz, a .nir or a model.")]
Arch = Annotated[str | None, typer.Option("--arch", "-a", metavar="SPEC",
    help="The architecture of a state_dict: one line, or a .toml or .json file (docs/models.md). Without it, an error says "
    "what the file holds and proposes one.")]
ChipInput = Annotated[Path | None, typer.Option("--input", "-i", metavar="IN.NPZ",
    help="What enters the network, one array of integers, as for `simulate`.")]
LayoutOption = Annotated[Literal["torch", "lava", "images"], typer.Option("--layout",
    help="What the input's axes are: torch = time first, maps (C, H, W); lava = time last, maps (W, H, C); images = "
    "(B, C, H, W) in 0..1, coded as the network's file says.")]
Timesteps = Annotated[int | None, typer.Option("--timesteps", min=1, metavar="T",
    help="Timesteps of one inference. Default: those of --input, else the file's own.")]
ResetInterval = Annotated[int | None, typer.Option("--reset-interval", min=1, metavar="N",
    help="Of a .net: reset all neurons every N timesteps, as netx's reset_interval.")]
ResetOffset = Annotated[int | None, typer.Option("--reset-offset", min=0, metavar="N",
    help="Of a .net: timestep of the first reset, as netx's reset_offset.")]
MessageBits = Annotated[int | None, typer.Option("--message-bits", min=0, max=32, metavar="BITS",
    help="Of a .net: bits of the messages that enter it, as netx's input_message_bits; 0 = spikes.")]
Seed = Annotated[int | None, typer.Option("--seed", min=0, help="Seed of every random choice. Default: the recipe's.")]


class HelpTexts(TypedDict):
    help: str
    epilog: str


def help_texts(command: Callable[..., Any]) -> HelpTexts:
    """`help` and `epilog` from a command's docstring: its paragraphs, and its examples, one a line, at the end."""
    prose, heading, examples = inspect.cleandoc(command.__doc__ or "").partition("\n\nExamples:\n")
    return {
        "help": "\n\n".join(" ".join(paragraph.splitlines()) for paragraph in prose.split("\n\n")),
        "epilog": escape(f"{heading}{examples}".strip()),
    }


def overrides(settings: list[str] | None, arch: str | None = None) -> dict[str, Any]:
    """`--set` texts as a dict of dotted keys; a value is TOML where it parses as one TOML value, else text. `--arch` is the
    key `arch`.

    Raises UsageError for a text without `=`, an empty key part, or a key given twice.

    >>> overrides(["evolution.budget=20", "space.widths=[8, 16]", "name=first try"])
    {'evolution.budget': 20, 'space.widths': [8, 16], 'name': 'first try'}
    """
    found: dict[str, Any] = {}
    for text in settings or []:
        key, equals, value = text.partition("=")
        key = key.strip()
        if not equals or not all(key.split(".")):
            raise UsageError("expected KEY=VALUE", where=f"--set {text}", remedy="For example --set evolution.budget=20")
        if key in found:
            raise UsageError("the key is set twice", where=f"--set {text}", limit=f"It is {found[key]!r} already")
        found[key] = _toml(value.strip())
    return found if arch is None else {**found, "arch": arch}


def _toml(text: str) -> Any:
    try:
        table = tomllib.loads(f"value = {text}")
    except tomllib.TOMLDecodeError:
        return text
    return table["value"] if len(table) == 1 else text


def no_overrides(settings: list[str] | None, fixed_by: str) -> None:
    """Refuse `--set` where a file fixes every value."""
    if settings:
        raise UsageError(
            "nothing can be set here", where=f"--set {settings[0]}", limit=f"{fixed_by} fixes every value",
            remedy="Set it in the command that writes it (search, train or export)",
        )


def one_target(frame: Frame, name: str) -> str:
    """The profile name behind a name or alias. Raises UsageError for `all`, several, or an unknown one."""
    names = [part for part in name.split(",") if part]
    if len(names) != 1 or names[0] == "all":
        raise UsageError("this command takes exactly one target", where=f"--target {name}")
    return several_targets(frame, names)[0]


def several_targets(frame: Frame, given: list[str]) -> list[str]:
    """Profile names behind names, aliases, comma lists and `all`, each once. Raises UsageError for an unknown one."""
    from neurodeploy.hw import profile

    names: list[str] = []
    for name in (part for text in given for part in text.split(",") if part):
        for known in profile.names() if name == "all" else [profile.resolve(name)]:
            if name not in ("all", known):
                frame.resolved(name, known)
            if known not in names:
                names.append(known)
    if not names:
        raise UsageError("no target is given", where="--target", remedy="`neurodeploy targets` lists them")
    return names


def asks_all(given: list[str]) -> bool:
    """Whether every target was asked for, so that some are of another kind than the network."""
    return any(name == "all" for text in given for name in text.split(","))


def net_options(reset_interval: int | None, reset_offset: int | None, message_bits: int | None) -> NetOptions:
    """What was said about a `.net` beside its file."""
    from neurodeploy.jobs.net_options import NetOptions

    return NetOptions(reset_interval, reset_offset, message_bits)


def resolved(model: Path, names: list[str], changes: dict[str, Any], net: NetOptions | None = None) -> Outcome:
    """What `--dry-run` prints for a model: how it would be deployed, and the profiles, with the overrides applied."""
    from neurodeploy import commands

    given = {} if net is None else {f"net.{name}": value for name, value in net.given.items()}
    found = commands.resolve_deploy(model, names, {**given, **changes})

    def show(console: Console) -> None:
        tables.settings(console, {"net": found["net"]} if "net" in found else {})
        tables.settings(console, found["settings"])
        for profile in found["profiles"].values():
            tables.settings(console, {"profile": profile})

    return Outcome(found, show)
