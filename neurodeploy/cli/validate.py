"""`neurodeploy validate`: run a bundle on its target's simulator and compare it with what it claims."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from neurodeploy.cli import tables
from neurodeploy.cli.frame import Frame, Outcome
from neurodeploy.cli.options import Data, Debug, DryRun, Json, NoSettings, no_overrides
from neurodeploy.cli.render_deploy import show_verdict


def validate(
    ctx: typer.Context,
    bundle: Annotated[Path, typer.Argument(metavar="BUNDLE", exists=True, file_okay=False, help="What `export` wrote.")],
    data: Data = None,
    oracle: Annotated[
        str | None, typer.Option("--oracle", metavar="TOOL", help="Also ask another tool: lava, samna, sinabs or onnxruntime.")
    ] = None,
    oracle_timeout: Annotated[float, typer.Option("--oracle-timeout", metavar="SECONDS",
        help="Stop each process of the vendor's tool after this long.")] = 600.0,
    trace: Annotated[bool, typer.Option("--trace",
        help="List the golden spikes of every layer, by timestep or sample, stored and simulated.")] = False,
    max_drop: Annotated[
        float, typer.Option("--max-drop", min=0.0, help="Largest accepted loss of accuracy, in percentage points.")
    ] = 0.5,
    out: Annotated[Path | None, typer.Option("--out", help="Folder of the verdict. Default: beside the bundle.")] = None,
    settings: NoSettings = None,
    dry_run: DryRun = False,
    json: Json = False,
    debug: Debug = False,
) -> Outcome:
    """Check a bundle: no byte changed, the golden spikes come out again, the accuracy holds.

    With --oracle lava the golden inputs are also played by Intel's Lava, which lives in an environment of its own
    (`neurodeploy env create loihi2` makes it), and the spikes of every layer are compared. For Speck and DYNAP-CNN, --oracle
    samna asks SynSense's validator whether it accepts the chip's configuration (`neurodeploy env create speck`), and --oracle
    sinabs whether sinabs makes the same integers of the network (`neurodeploy env create sinabs`, about 1 GB). For a GPU,
    --oracle onnxruntime runs each ONNX form on the golden inputs and the test split, and compares every spike and every exit.

    Exit code 4 when spikes or integers differ, the validator refuses or dies, or the accuracy drops by more than --max-drop,
    5 when the environment is missing, 6 when a file was changed, 7 when the vendor's tool failed or took too long.

    Examples:
      neurodeploy validate exports/mine
      neurodeploy validate exports/mine --trace --json
      neurodeploy validate exports/mine --oracle lava --oracle-timeout 120
      neurodeploy validate exports/speck --oracle samna
      neurodeploy validate exports/digits-orin-nano --oracle onnxruntime
    """
    frame: Frame = ctx.obj
    no_overrides(settings, "a bundle")
    if dry_run:
        asked = {"bundle": bundle, "data": data, "oracle": oracle, "trace": trace, "max_drop": max_drop, "out": out,
                 "oracle_timeout": oracle_timeout}
        return Outcome(asked, lambda console: tables.show(console, asked))

    from neurodeploy import commands

    with frame.progress() as progress:
        verdict = commands.validate(
            bundle, data=data, oracle=oracle, oracle_timeout_s=oracle_timeout, trace=trace, max_drop=max_drop, out=out,
            progress=progress,
        )
    found = verdict.to_dict()
    return Outcome(found, lambda console: show_verdict(console, found), tuple(verdict.errors))
