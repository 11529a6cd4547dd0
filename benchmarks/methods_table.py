"""Hand-made networks and every search method on one table: accuracy, spikes, energy, latency, time.

    python benchmarks/methods_table.py --seeds 0 1 2 [--budgets 100 200] [--target loihi2] --out runs/methods

For each seed one exhaustive search trains the supernet and evaluates the whole space; the other methods search what it knows,
with each of the budgets. What they find with the largest one is trained by the recipe and deployed as the search does it, and
so are the hand-made networks. Accuracies and costs are of the test split on the integer simulator, samples that follow each
other; fitness and regret are the search's own, on validation data. Times are of one processor: that of the candidates (for
methods that search what is known, their number times that of one, measured on the first of them) and, in brackets, of the
supernet, which the methods share. OUT keeps what is finished, and what was killed goes on.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from statistics import median
from typing import Any

from neurodeploy.hw.profile import target as profile_of
from neurodeploy.jobs.known import KnownRun
from neurodeploy.jobs.run import read_json, write_json
from neurodeploy.jobs.search import search
from neurodeploy.models.published import parse_arch
from neurodeploy.progress import Progress
from neurodeploy.search.evolve import EvolutionSettings, Scored, parents
from neurodeploy.search.recipe import names, read
from neurodeploy.search.regret import replay
from neurodeploy.search.snas_recipe import read_any
from neurodeploy.search.standing import Standing
from neurodeploy.train.runtime import threads

from hand_made import ROW, Row, built, figures

HAND_MADE = ("all_SCB_k3", "all_SRB_k5")
METHODS = {"random": "random", "evolution": "AutoSNN", "nsga2": "NSGA-II"}
SNASNET = "digits_snasnet"
FIGURES = ("accuracy", "spikes_paper", "energy_j", "energy_dynamic_j", "latency_s", "n_cores", "fine_tuned")
MEANS = (*FIGURES[:5], "regret", "search_s", "supernet_s")
N_TIMED = 20


class Laps(Progress):
    """Processor seconds of each task of a search, kept in a file so that a killed search goes on with them."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.seconds: dict[str, float] = read_json(path) if path.is_file() else {}
        self._before = time.process_time()

    def start(self, task: str, total: int) -> None:
        self._before = time.process_time()

    def advance(self, task: str, n: int = 1, **info: object) -> None:
        now = time.process_time()
        self.seconds[task] = self.seconds.get(task, 0.0) + now - self._before
        self._before = now
        write_json(self.path, self.seconds)


def whole(folder: Path, recipe: str, target: str, seed: int, method: str) -> Row:
    """One search by the command's own function: its figures, and where its time went."""
    if (folder / ROW).is_file():
        return read_json(folder / ROW)
    laps = Laps(folder.with_suffix(".laps.json"))
    result = search(resume=folder, progress=laps) if folder.exists() else search(
        recipe, target, method=method, seed=seed, out=folder, progress=laps
    )
    best = result.data["best"]
    row = {
        "genome": ",".join(best["genome"]), "fitness": best["fitness"], "n_evaluated": result.data["n_evaluated"],
        "search_s": laps.seconds["search"], "supernet_s": laps.seconds.get("supernet training", 0.0),
        **figures(result.data, Path(result.data["model"]), read_any(recipe, {"seed": seed})),
    }
    write_json(folder / ROW, row)
    return row


def found(folder: Path, seed: int, budgets: list[int]) -> dict[str, dict[int, Row]]:
    """What each method finds of an exhaustive search with each budget, and the processor seconds that it would take."""
    run = KnownRun.open(folder)
    run.require_all()
    standing = Standing(run.recipe.fitness, run.n_classes)
    known = {genome: Scored(genome, run.score(m), *standing(m)) for genome, m in run.known.items()}
    rows: dict[str, dict[int, Row]] = {}
    for method in METHODS:
        settings = {**run.recipe.evolution.model_dump(), "method": method}
        for budget in budgets:
            asked = EvolutionSettings.model_validate({**settings, "budget": budget})
            searched = replay(run.space, asked, seed, known)
            best = parents(1, [searched])[0]
            row = {"genome": ",".join(best.genome), "fitness": best.fitness, "n_evaluated": len(searched)}
            rows.setdefault(method, {})[budget] = row
        with threads(1):
            started = time.process_time()
            for scored in searched[:N_TIMED]:
                assert run.evaluator(scored.genome) == run.known[scored.genome]
            each = (time.process_time() - started) / N_TIMED
        for row in rows[method].values():
            row["search_s"] = each * row["n_evaluated"]
    return rows


def rows_of(seed: int, asked: argparse.Namespace) -> dict[str, Row]:
    """All rows of one seed, in the table's order."""
    out = asked.out / str(seed)
    settings, profile = read("digits", {"seed": seed}), profile_of(asked.target)
    exact = whole(out / "exhaustive", "digits", asked.target, seed, "exhaustive")
    deployed = {exact["genome"]: exact}

    def trained(genome: str) -> Row:
        if genome not in deployed:
            deployed[genome] = built(settings, tuple(genome.split(",")), profile, out / genome)
        return {key: deployed[genome][key] for key in FIGURES}

    rows: dict[str, Row] = {}
    for name in HAND_MADE:
        genome = ",".join(parse_arch(name, settings.network.n_positions))
        rows[name] = {"genome": genome, **trained(genome)}
    for method, of in found(out / "exhaustive", seed, asked.budgets).items():
        for budget, row in of.items():
            shown = trained(row["genome"]) if budget == max(asked.budgets) or row["genome"] in deployed else {}
            rows[f"{METHODS[method]}, {budget}"] = {**row, "supernet_s": exact["supernet_s"], **shown}
    rows["exhaustive"] = exact
    for row in rows.values():
        if "fitness" in row:
            row["regret"] = 1 - row["fitness"] / exact["fitness"]
    if SNASNET in names():
        rows["SAHD"] = whole(out / "sahd", SNASNET, asked.target, seed, "sahd")
    return rows


def line(name: str, row: dict[str, Any]) -> str:
    """One line of the table."""
    figures_ = f"{'':67}" if "accuracy" not in row else (
        f"{100 * row['accuracy']:6.2f} % {row['spikes_paper']:6.0f} spikes {1e6 * row['energy_j']:5.1f} uJ "
        f"({1e6 * row['energy_dynamic_j']:5.2f} dynamic) {1e6 * row['latency_s']:4.0f} us "
    )
    regret = f"{100 * row['regret']:5.2f} %" if "regret" in row else f"{'':7}"
    seconds = f"{row['search_s']:4.0f} s (+{row['supernet_s']:.0f})" if "search_s" in row else ""
    return f"{name:14} {figures_} {regret} {seconds}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--budgets", type=int, nargs="+", default=[100, 200])
    parser.add_argument("--target", default="loihi2")
    parser.add_argument("--out", type=Path, default=Path("runs/methods"))
    asked = parser.parse_args()
    table: dict[str, list[Row]] = {}
    for seed in asked.seeds:
        for name, row in rows_of(seed, asked).items():
            table.setdefault(name, []).append({"seed": seed, **row})
            print(f"seed {seed}  {line(name, row)}  {row['genome']}", flush=True)
    print(f"\nmedian of {len(asked.seeds)} seeds")
    for name, rows in table.items():
        print(line(name, {key: median(r[key] for r in rows) for key in MEANS if all(key in r for r in rows)}))
    write_json(asked.out / "methods_table.json", {"target": asked.target, "seeds": asked.seeds, "rows": table})


if __name__ == "__main__":
    main()
