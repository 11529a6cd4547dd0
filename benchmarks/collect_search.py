"""A finished search as files of the project: its table and figures in searches/results/, the network found in exports/.

    python benchmarks/collect_search.py RUN NAME [--root FOLDER]

NAME.md is for a reader, NAME.json the whole result (the contract's object) with what the run was asked. What lies there under
the same names is replaced.
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path
from typing import Any

from neurodeploy.cli.figures import arch, percent, si
from neurodeploy.jobs.run import Run, read_json
from neurodeploy.jobs.search import BUNDLE, RESULT

ROOT = Path(__file__).parents[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("name")
    parser.add_argument("--root", type=Path, default=ROOT)
    asked = parser.parse_args()
    run = Run.open(asked.run, "search")
    result = read_json(run.path / RESULT)
    results = asked.root / "searches" / "results"
    results.mkdir(parents=True, exist_ok=True)
    kept = {k: v for k, v in result.items() if k not in ("run_dir", "model", "bundle")}
    request = {k: v for k, v in read_json(run.path / "run.json").items() if k != "profile"}
    (results / f"{asked.name}.json").write_text(json.dumps({"asked": request, "result": kept}, indent=1) + "\n")
    (results / f"{asked.name}.md").write_text(table(run, result, request["versions"]))
    bundle = asked.root / "exports" / asked.name
    shutil.rmtree(bundle, ignore_errors=True)
    shutil.copytree(run.path / BUNDLE, bundle)


def table(run: Run, result: dict[str, Any], versions: dict[str, str]) -> str:
    """The result as Markdown."""
    recipe, test = run.recipe, result["test"]
    cost = test["cost"][result["schedule"]]
    accuracy, exits = test["accuracy"], test["early_exit"]
    energy = cost["energy_j"]
    rows = [
        ("architecture", arch(result["best"]["genome"])),
        (f"accuracy in integers, {accuracy['n']} test images", percent(accuracy["simulator"])),
        ("accuracy, real-valued", percent(accuracy["float"])),
        ("spikes an image as the paper counts, of the supernet's weights", f"{result['best']['spikes_paper']:,.0f}"),
        ("N_avg, mean spikes of the supernet's draws", f"{result['references']['spikes']:,.0f}"),
        (f"energy, {result['schedule']}: low, nominal, high", ", ".join(si(v, "J") for v in energy.values())),
        ("latency", si(cost["latency_s"], "s")),
        ("cores", str(cost["n_cores"])),
    ]
    if exits is not None:
        rows.append(("early exit", f"{percent(exits['accuracy'])} at {exits['mean_timesteps']:.2f} of "
                     f"{recipe.network.n_timesteps} timesteps"))
    front = [
        [arch(e["genome"]), percent(e["accuracy"]), f"{e['spikes_paper']:,.0f}", si(e["energy_j"], "J"),
         si(e["latency_s"], "s")] for e in result["pareto"]
    ]
    seconds = ", ".join(f"{name} {value:.0f} s" for name, value in result["seconds"].items())
    return "\n".join([
        f"# {recipe.title}", "",
        f"`neurodeploy search --recipe {recipe.name} --target {result['target']}`, seed {recipe.seed}, data "
        f"{result['data']['name']}; supernet {recipe.supernet.epochs} epochs, {result['n_evaluated']} candidates "
        f"({result['n_feasible']} feasible), "
        f"retraining {recipe.train.epochs} epochs. Energy and latency are estimated, the accuracy is simulated.", "",
        f"Python {versions['python']}, torch {versions['torch']}. Time of the last part: {seconds}.", "",
        "| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows), "",
        "The front of all candidates, as the supernet's weights see it:", "",
        "| architecture | accuracy, validation | spikes | energy | latency |", "|---|---|---|---|---|",
        *(f"| {' | '.join(row)} |" for row in front), "",
    ])  # fmt: skip


if __name__ == "__main__":
    main()
