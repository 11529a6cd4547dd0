"""`neurodeploy search`: an architecture search with the chip's cost inside the fitness, down to a validated bundle."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from neurodeploy.cli import tables
from neurodeploy.cli.frame import Frame, Outcome
from neurodeploy.cli.options import Debug, DryRun, Json, Seed, Settings, Target, one_target, overrides
from neurodeploy.cli.render_search import show_search, show_stopped
from neurodeploy.errors import Interrupted


def search(
    ctx: typer.Context,
    target: Target = "loihi2",
    recipe: Annotated[str | None, typer.Option("--recipe", "-r", metavar="RECIPE",
        help="A packaged recipe's name or a TOML file. Default: the digits, as images or events, whatever the target takes; "
             "with sahd, digits_snasnet.",
    )] = None,
    method: Annotated[str | None, typer.Option("--method", metavar="METHOD",
        help="evolution (fittest), nsga2 (front), random, exhaustive (the whole space), or sahd: cells of SNASNet, "
             "scored untrained. Default: the recipe's.",
    )] = None,
    budget: Annotated[
        int | None, typer.Option("--budget", min=1, help="Architectures to evaluate. Default: the recipe's.")
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", help="New folder of the run. Default: one under runs/.")] = None,
    resume: Annotated[Path | None, typer.Option("--resume", exists=True, help="Continue the run in this folder.")] = None,
    workers: Annotated[int | None, typer.Option("--workers", min=1,
        help="Processes that evaluate; the result is the same. Default: 1, on a Ray cluster all its CPUs.")] = None,
    storage: Annotated[str | None, typer.Option("--storage", metavar="URL",
        help="Where trials are kept: a database's URL without password, or a journal file. Default: in the run's folder.",
    )] = None,
    seed: Seed = None,
    until: Annotated[Literal["supernet", "search", "training"] | None, typer.Option("--until",
        help="Stop behind this stage, for a machine that is lent in parts; --resume goes on from there.")] = None,
    settings: Settings = None,
    dry_run: DryRun = False,
    json: Json = False,
    debug: Debug = False,
) -> Outcome:
    """Search an architecture for a chip and deploy the best.

    Evaluates architectures with the chip's cost in their fitness; then trains, quantizes, places, exports and
    validates the best, and reports the front of accuracy against energy. Ctrl-C ends the running trial and
    prints the command that resumes.

    Event-driven chips (speck2f, speck2e, dynapcnn) take streams of events, of a camera or of images in front of a simulated
    one (`neurodeploy events`); what counts is then the accuracy on the event-driven simulator. GPUs take images; energy and
    latency in the fitness are then those of one sample alone: launches, bytes and operations.

    More machines (docs/search.md): `neurodeploy worker` helps from anywhere that reaches the storage, and
    `--set executor.kind=ray` evaluates on a Ray cluster. Neither changes the result.

    Examples:
      neurodeploy search --target loihi2
      neurodeploy search --target loihi2 --budget 20 --workers 2 --out runs/first
      neurodeploy search --target speck2f
      neurodeploy search --target orin-nano
      neurodeploy search --method exhaustive --workers 2 --out runs/all
      neurodeploy search --method sahd --target loihi2
      neurodeploy search --resume runs/first
      neurodeploy search --storage postgresql://lab@db.example.org/searches --workers 2
      neurodeploy search --set executor.kind=ray --set executor.address=auto
      torchrun --nproc-per-node 2 -m neurodeploy search --recipe cifar10_small --out runs/two --until supernet
      neurodeploy search --set evolution.budget=20 --set fitness.mu_energy=-0.1 --dry-run
      neurodeploy search --set profile.energy.synapse.value=20
    """
    frame: Frame = ctx.obj
    name = one_target(frame, target)
    changes = overrides(settings)
    from neurodeploy import commands

    if dry_run:
        from neurodeploy.search.database import kept_storage

        flags = {"method": method, "budget": budget, "out": out, "resume": resume, "workers": workers, "seed": seed,
                 "storage": None if storage is None else kept_storage(storage), "until": until}
        given = {k: v for k, v in flags.items() if v is not None}
        of_run: dict[str, Any] = {k: v for k, v in (("resume", resume), ("method", method)) if v is not None}
        resolved = {**commands.resolve_recipe(recipe, name, changes, **of_run), "arguments": given}
        return Outcome(resolved, lambda console: tables.settings(console, tables.by_key(resolved)))
    try:
        with frame.progress() as progress:
            result = commands.search(
                recipe, _asked(ctx, "target", name, resume), method=method, budget=budget,
                out=out, resume=resume, workers=workers, seed=seed, storage=storage, until=until, overrides=changes,
                progress=progress,
            )
    except KeyboardInterrupt as error:
        # A run that has begun says itself how it resumes (commands.search raises Interrupted).
        remedy = f"Resume with `neurodeploy search --resume {resume}`" if resume else "No run had begun: give the command again"
        raise Interrupted("interrupted", remedy=remedy) from error
    data = result.to_dict()
    return Outcome(data, lambda console: (show_stopped if "until" in data else show_search)(console, data))


def _asked(ctx: typer.Context, option: str, value: str, resume: Path | None) -> str | None:
    """An option's value; None on resume where it is only the default, which the run need not share."""
    source = ctx.get_parameter_source(option)
    return None if resume is not None and (source is None or source.name != "COMMANDLINE") else value
