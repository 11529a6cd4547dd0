"""Is the network that a search found better than hand-made ones of equal energy?

    python benchmarks/hand_made.py RUN [--hand-made all_SRB_k3:3,4 all_SCB_k3:3,4 all_SRB_k5:2,3] [--seeds 0 1] [--out OUT]

RUN is the folder of a finished search on images. Its found network and the hand-made ones, each in the widths behind its name,
are trained from scratch with RUN's recipe and deployed on RUN's target, all with the same seeds; figures are means over the
seeds, of the test split on the integer simulator, samples that follow each other. Between two widths the accuracy of a
hand-made network at the found one's energy is interpolated, linearly in the logarithm of the energy. OUT keeps every finished
network; what was killed goes on.
"""

from __future__ import annotations

import argparse
import math
from itertools import pairwise
from pathlib import Path
from statistics import mean
from typing import Any

import torch
from neurodeploy.hw.profile import AnyProfile
from neurodeploy.jobs.data import load_data
from neurodeploy.jobs.routes import route_of
from neurodeploy.jobs.run import Run, read_json, write_json
from neurodeploy.jobs.search import RESULT
from neurodeploy.jobs.training import MODEL, labelled, train_arch
from neurodeploy.models.files import load_module
from neurodeploy.models.published import parse_arch
from neurodeploy.models.record import record, spikes_paper
from neurodeploy.models.snasnet import SnasNet
from neurodeploy.progress import SILENT
from neurodeploy.search.recipe import Recipe, parse
from neurodeploy.search.snas_recipe import AnyRecipe
from neurodeploy.train.runtime import threads

ROW = "row.json"
ENERGIES = {"energy_j": "in all", "energy_dynamic_j": "dynamic"}
Row = dict[str, Any]


def figures(result: Row, model: Path, settings: AnyRecipe) -> Row:
    """The figures of one deployed network on the test split; the paper's spikes are those of the trained network."""
    test = result["test"]
    cost = test["cost"][settings.cost.schedule]
    images, _ = labelled(settings, load_data(settings.data, settings.input.kind), "test")
    network = load_module(model)
    found = []
    with torch.inference_mode():
        for batch in torch.from_numpy(images).split(256):
            if isinstance(network, SnasNet):
                found.append(spikes_paper(network.spikes(batch)))
                continue
            with record(network) as recorded:
                network(batch)
                found.append(spikes_paper(recorded))
    return {
        "accuracy": test["accuracy"]["simulator"], "spikes_paper": float(torch.cat(found).mean()),
        "energy_j": cost["energy_j"]["nominal"], "energy_dynamic_j": cost["energy_dynamic_j"]["nominal"],
        "latency_s": cost["latency_s"], "n_cores": cost["n_cores"], "fine_tuned": result["fine_tuned"],
    }


def built(settings: Recipe, arch: tuple[str, ...], profile: AnyProfile, folder: Path) -> Row:
    """An architecture trained by a recipe and deployed as a search does it with its best one; a finished one is read."""
    if (folder / ROW).is_file():
        return read_json(folder / ROW)
    run = Run.open(folder, "train") if (folder / "run.json").is_file() else Run.create(
        "train", settings, None, folder, {"arch": list(arch)}
    )
    data = load_data(settings.data, settings.input.kind)
    with run.locked(), threads(1):
        network = train_arch(run, arch, data, SILENT)
        extra = {"genome": list(arch), "recipe": settings.name}
        result = route_of(profile, settings).finish(
            network, data, settings, folder / "bundle", extra, lambda stage, text: None, SILENT
        )
        row = {"genome": ",".join(arch), **figures(result, folder / MODEL, settings)}
    write_json(folder / ROW, row)
    return row


def at_energy(rows: list[Row], key: str, energy_j: float) -> float | None:
    """Accuracy that networks of several widths have at an energy, `key` of their rows; None outside of theirs."""
    known = sorted((r[key], r["accuracy"]) for r in rows)
    for (e0, a0), (e1, a1) in pairwise(known):
        if e0 <= energy_j <= e1:
            share = 0.0 if e0 == e1 else math.log(energy_j / e0) / math.log(e1 / e0)
            return float(a0 + share * (a1 - a0))
    return None


def line(name: str, rows: list[Row]) -> str:
    """One line of the table: means over the seeds, and the lowest and highest accuracy."""
    accuracies = [100 * r["accuracy"] for r in rows]
    spread = f"({min(accuracies):.2f} to {max(accuracies):.2f})"
    m = {key: mean(r[key] for r in rows) for key in ("spikes_paper", "energy_j", "energy_dynamic_j", "latency_s", "n_cores")}
    return (f"{name:20} {mean(accuracies):6.2f} % {spread:16} {m['spikes_paper']:7.0f} spikes {1e6 * m['energy_j']:7.1f} uJ "
            f"({1e6 * m['energy_dynamic_j']:6.2f} dynamic) {1e3 * m['latency_s']:6.3f} ms {m['n_cores']:5.1f} cores")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--hand-made", nargs="+", default=["all_SRB_k3:3,4", "all_SCB_k3:3,4", "all_SRB_k5:2,3"])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--out", type=Path, default=Path("runs/hand_made"))
    asked = parser.parse_args()
    run = Run.open(asked.run, "search")
    found = tuple(read_json(asked.run / RESULT)["best"]["genome"])
    own = run.recipe.network.width
    widths = {name: [int(w) for w in of.split(",")] for name, _, of in (given.partition(":") for given in asked.hand_made)}
    wanted = [("found", found, own)] + [
        (name, parse_arch(name, run.recipe.network.n_positions), width) for name, of in widths.items() for width in of
    ]
    table: dict[str, list[Row]] = {}
    for seed in asked.seeds:
        for name, arch, width in wanted:
            raw = run.recipe.to_dict()
            settings = parse(raw, {"seed": seed, "network.width": width})
            label = f"{name}, width {width}"
            folder = asked.out / f"{name}_{width}_{seed}"
            if name == "found" and seed == run.recipe.seed and not (folder / ROW).is_file():  # the search's own network
                folder.mkdir(parents=True, exist_ok=True)
                row = {"genome": ",".join(arch), **figures(read_json(asked.run / RESULT), asked.run / MODEL, settings)}
                write_json(folder / ROW, row)
            row = built(settings, arch, run.profile, folder)
            table.setdefault(label, []).append({"seed": seed, "width": width, **row})
            print(f"seed {seed}  {line(label, [row])}", flush=True)
    print(f"\nmean of {len(asked.seeds)} seeds; found: {', '.join(found)}")
    for label, rows in table.items():
        print(line(label, rows))
    means = {
        label: {key: mean(r[key] for r in rows) for key in ("accuracy", *ENERGIES)} for label, rows in table.items()
    }
    mine = means[f"found, width {own}"]
    equal: dict[str, dict[str, float | None]] = {}
    for name, of in widths.items():
        same = [means[f"{name}, width {w}"] for w in of]
        equal[name] = {key: at_energy(same, key, mine[key]) for key in ENERGIES}
        for key, what in ENERGIES.items():
            spent = sorted(1e6 * m[key] for m in same)
            text = f"all cost {spent[0]:.1f} to {spent[-1]:.1f} uJ" if (at := equal[name][key]) is None else f"{100 * at:.2f} %"
            print(f"{name} at {1e6 * mine[key]:.1f} uJ {what}: {text}; found {100 * mine['accuracy']:.2f} %")
    write_json(asked.out / "hand_made.json", {
        "recipe": run.recipe.name, "found": list(found), "rows": table, "at_equal_energy": equal,
    })


if __name__ == "__main__":
    main()
