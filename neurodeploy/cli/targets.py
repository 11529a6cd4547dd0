"""`neurodeploy targets`: the hardware profiles, every number with its unit, band, status and source."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from neurodeploy.cli import tables
from neurodeploy.cli.frame import Frame, Outcome
from neurodeploy.cli.options import Arch, Debug, DryRun, Json, Settings, one_target, overrides
from neurodeploy.cli.render_measure import show_measured
from neurodeploy.cli.render_targets import show_profile
from neurodeploy.hw.profile import AnyProfile, GpuProfile, Profile, any_target, names, read, weakest


def targets(ctx: typer.Context, json: Json = False, debug: Debug = False) -> Outcome | None:
    """The chips neurodeploy knows: what limits them, what an event costs, and where each number comes from.

    Without a sub-command: the list. The status of a number is measured, published, estimated or assumed,
    from most to least trustworthy.

    Examples:
      neurodeploy targets
      neurodeploy targets show loihi2
      neurodeploy targets show speck2f
      neurodeploy targets show h200
      neurodeploy targets check my_chip.toml
      neurodeploy targets measure --out mine.toml
    """
    return None if ctx.invoked_subcommand else _list()


def list_targets(json: Json = False, debug: Debug = False) -> Outcome:
    """List the targets: name, status of their energy constants, size.

    Examples:
      neurodeploy targets list --json
    """
    return _list()


def show(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(metavar="TARGET", help="A target's name or alias.")],
    settings: Settings = None,
    json: Json = False,
    debug: Debug = False,
) -> Outcome:
    """Show every number of a target with its unit, band, status and source.

    Examples:
      neurodeploy targets show loihi2
      neurodeploy targets show speck2f
      neurodeploy targets show loihi2 --set profile.energy.synapse.value=20
    """
    frame: Frame = ctx.obj
    # Here everything is the profile's: the key that the other commands take, and the one that this table shows.
    changes = {key.removeprefix("profile."): value for key, value in overrides(settings).items()}
    profile = any_target(one_target(frame, name), changes)
    data = {"profile": profile.model_dump(mode="json"), "digest": profile.digest}
    return Outcome(data, lambda console: show_profile(console, profile))


def check(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A profile in TOML.")],
    json: Json = False,
    debug: Debug = False,
) -> Outcome:
    """Check a profile of your own: its keys, units, sources, bands and counts.

    A file with `extends = "NAME"` holds only what differs from that profile, which stands beside it or is a packaged one.

    Examples:
      neurodeploy targets check my_chip.toml
    """
    profile = read(file)
    data = {"profile": profile.name, "file": file, "digest": profile.digest, **_summary(profile)}
    return Outcome(data, lambda console: tables.show(console, data))


def measure(
    ctx: typer.Context,
    model: Annotated[Path | None, typer.Argument(metavar="MODEL", exists=True,
        help="A network to measure too, beside what the model says of it.")] = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", metavar="PROFILE.TOML",
        help="The profile to write; it must not exist. Default: only print.")] = None,
    target: Annotated[str | None, typer.Option("--target", "-t", metavar="TARGET",
        help="The packaged profile to extend. Default: the one that names this GPU.")] = None,
    batch: Annotated[int, typer.Option("--batch", min=1, help="The batch beside batch 1, with MODEL.")] = 64,
    seconds: Annotated[float, typer.Option("--seconds", metavar="S", help="Length of each of five windows a quantity.")] = 1.0,
    arch: Arch = None,
    dry_run: DryRun = False,
    json: Json = False,
    debug: Debug = False,
) -> Outcome:
    """Measure this machine's GPU: idle power, launches, memory, arithmetic; power through NVML.

    Each constant is the median of five windows, its band their spread. The profile extends the packaged one of this GPU, whose
    peaks and sizes it keeps. With MODEL, the network itself runs in the unrolled form at batch 1 and --batch. Keep other
    programs off the GPU. Needs an NVIDIA GPU, torch for CUDA and the package nvidia-ml-py.

    Examples:
      neurodeploy targets measure
      neurodeploy targets measure --out mine.toml
      neurodeploy targets measure model.safetensors --batch 128 --out mine.toml
    """
    frame: Frame = ctx.obj
    name = None if target is None else one_target(frame, target)
    asked: dict[str, Any] = {"model": model, "target": name, "out": out, "batch": batch, "seconds": seconds}
    if dry_run:
        return Outcome(asked, lambda console: tables.show(console, asked))

    from neurodeploy import commands

    with frame.progress() as progress:
        found = commands.measure_gpu(**asked, overrides=overrides(None, arch), progress=progress).to_dict()
    base = any_target(found["base"]).model_dump()
    return Outcome(found, lambda console: show_measured(console, found, base))


def _list() -> Outcome:
    entries = [_summary(any_target(name)) for name in names()]

    def print_list(console: Console) -> None:
        columns = ("name", "aliases", "title", "kind", "energy_status", "n_cores", "systems")
        tables.table(console, "Targets", entries, columns)
        said: dict[str, list[str]] = {}
        for entry in entries:
            said.setdefault(entry["disclaimer"], []).append(entry["name"])
        for text, who in said.items():
            if text:
                console.print(f"{', '.join(who)}: {text}", markup=False, soft_wrap=True)

    return Outcome({"targets": entries}, print_list)


def _summary(profile: AnyProfile) -> dict[str, Any]:
    n_cores: int | None
    systems: dict[str, int]
    if isinstance(profile, Profile):
        kind, n_cores, systems = "timesteps", profile.capacity.cores_per_chip.count, dict(profile.systems)
    elif isinstance(profile, GpuProfile):
        kind, n_cores, systems = "GPU", None, {}
    else:
        kind, n_cores, systems = "event-driven", profile.capacity.n_cores, {profile.vendor.device: 1}
    return {
        "name": profile.name,
        "title": profile.title,
        "aliases": list(profile.aliases),
        "kind": kind,
        "energy_status": weakest([q.status for q in profile.energy.values()]),
        "n_cores": n_cores,
        "systems": systems,
        "disclaimer": profile.disclaimer,
    }
