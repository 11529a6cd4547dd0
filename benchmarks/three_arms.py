"""Does the chip's cost in the fitness pay? Accuracy only, spikes only and the recipe's default, on one supernet per seed.

    python benchmarks/three_arms.py --seeds 0 1 2 --out runs/three_arms

Every arm searches with the same supernet, seed and budget, retrains its best architecture and deploys it. Figures are of
the test split on the integer simulator; energies are predicted by the target's model, pipelined. The folder keeps every
run and `three_arms.json`; a killed benchmark goes on where it stopped.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import sys
from pathlib import Path
from typing import Any

import numpy as np
from neurodeploy.jobs.run import write_json
from neurodeploy.jobs.search import CANDIDATES, RESULT, search

ARMS: dict[str, dict[str, float]] = {
    "accuracy only": {"fitness.lambda_spikes": 0.0, "fitness.mu_energy": 0.0, "fitness.nu_latency": 0.0},
    "spikes only": {"fitness.mu_energy": 0.0, "fitness.nu_latency": 0.0},
    "default": {},
}


def run_arm(recipe: str, target: str, seed: int, arm: str, out: Path, supernet: Path | None) -> dict[str, Any]:
    """Result of one search; the supernet's checkpoint is taken from another arm of the same seed."""
    folder = out / f"{arm.replace(' ', '_')}_{seed}"
    if (folder / RESULT).exists():
        return dict(json.loads((folder / RESULT).read_text()))
    if (folder / "run.json").exists():
        return search(resume=folder).to_dict()
    overrides: dict[str, Any] = dict(ARMS[arm])
    if arm == "spikes only":
        overrides["fitness.lambda_spikes"] = -0.08  # the paper's
    if supernet is None:
        return search(recipe, target, out=folder, seed=seed, overrides=overrides).to_dict()
    # Stop a fresh run before it trains: create its folder, then hand it the checkpoint, which is checked against the recipe.
    from neurodeploy.hw.profile import target as profile_of
    from neurodeploy.jobs.run import Run
    from neurodeploy.search.recipe import read

    run = Run.create("search", read(recipe, {**overrides, "seed": seed}), profile_of(target), folder)
    shutil.copyfile(supernet, run.path / "supernet.ckpt")
    return search(resume=run.path).to_dict()


def row(result: dict[str, Any]) -> dict[str, Any]:
    """The figures that the table shows of one result."""
    test, cost = result["test"], result["test"]["cost"]["pipelined"]
    return {
        "genome": ",".join(result["best"]["genome"]), "accuracy": test["accuracy"]["simulator"],
        "agreement": test["agreement"]["share"], "spikes": cost["counts"]["spikes"],
        "energy_dynamic_j": cost["energy_dynamic_j"]["nominal"], "energy_j": cost["energy_j"]["nominal"],
        "latency_s": cost["latency_s"], "n_cores": cost["n_cores"],
        "exit_mean": test["early_exit"]["mean_timesteps"], "exit_accuracy": test["early_exit"]["accuracy"],
        "fixed_at_mean": test["early_exit"]["accuracy_fixed_at_mean"], "energy_saved": test["early_exit"]["energy_saved"],
        "search_accuracy": result["best"]["accuracy"],
    }


def rank_correlation(folders: list[Path], field: str) -> tuple[float, int]:
    """(Spearman's correlation of spikes_paper with a field, n) over all candidates of several searches of one seed."""
    found: dict[str, dict[str, Any]] = {}
    for folder in folders:
        for candidate in json.loads((folder / CANDIDATES).read_text())["candidates"]:
            found[",".join(candidate["genome"])] = candidate
    ranks = [np.argsort(np.argsort([c[name] for c in found.values()])) for name in ("spikes_paper", field)]
    return float(np.corrcoef(*ranks)[0, 1]), len(found)


def line(arm: str, m: dict[str, Any]) -> str:
    """One line of the table."""
    energy = f"{1e6 * m['energy_dynamic_j']:7.3f} uJ dynamic  {1e6 * m['energy_j']:7.3f} uJ"
    return (f"{arm:14s} {100 * m['accuracy']:6.2f} %  {m['spikes']:6.0f} spikes  {energy}  "
            f"{1e6 * m['latency_s']:6.1f} us  {m['n_cores']:3.0f} cores")


def main() -> int:
    """Run all arms and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", default="digits")
    parser.add_argument("--target", default="loihi2")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--out", type=Path, default=Path("runs/three_arms"))
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    rows: dict[str, list[dict[str, Any]]] = {arm: [] for arm in ARMS}
    for seed in args.seeds:
        supernet = None
        for arm in ARMS:
            result = run_arm(args.recipe, args.target, seed, arm, args.out, supernet)
            supernet = Path(result["run_dir"]) / "supernet.ckpt"
            found = row(result)
            rows[arm].append(found)
            print(f"seed {seed}  {line(arm, found)}  {found['genome']}", flush=True)
    write_json(args.out / "three_arms.json", {"seeds": args.seeds, "rows": rows})
    print("\nmedian over seeds")
    median = {arm: {k: statistics.median(r[k] for r in of) for k in of[0] if k != "genome"} for arm, of in rows.items()}
    for arm, m in median.items():
        print(line(arm, m))
    for seed in args.seeds:
        folders = [args.out / f"{arm.replace(' ', '_')}_{seed}" for arm in ARMS]
        for field in ("energy_dynamic_j", "latency_s"):
            value, n = rank_correlation(folders, field)
            print(f"seed {seed}: rank correlation of spikes with {field} {value:.3f} over {n} candidates")
    base, own = median["accuracy only"], median["default"]
    print(f"default against accuracy only: {100 * (1 - own['energy_dynamic_j'] / base['energy_dynamic_j']):.1f} % less dynamic "
          f"energy, {100 * (own['accuracy'] - base['accuracy']):+.2f} points")
    return 0


if __name__ == "__main__":
    sys.exit(main())
