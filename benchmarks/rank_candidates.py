"""Does a search's short look at a candidate rank it as a training from scratch does?

    python benchmarks/rank_candidates.py RUN [--candidates 10] [--epochs 20] [--out FILE.json]

RUN is the folder of a finished search on events (`neurodeploy search --target speck2f --out RUN`). Draws candidates at random
from all that it looked at, trains each from scratch for so many epochs, and prints both validation accuracies and Kendall's
tau-a between them (equal accuracies count as 0). One thread; test data are not read.
"""

from __future__ import annotations

import argparse
import json
from itertools import combinations
from pathlib import Path

import numpy as np
from neurodeploy.jobs.data import load_data
from neurodeploy.jobs.training import labelled, macro_of
from neurodeploy.models.autosnn import AutoSnn
from neurodeploy.search.recipe import read
from neurodeploy.train.loop import train
from neurodeploy.train.runtime import seed_everything, threads


def kendall_tau(rows: list[dict[str, float]]) -> float:
    """Agreeing pairs less disagreeing ones, per pair."""
    signs = [
        np.sign(a["searched"] - b["searched"]) * np.sign(a["trained"] - b["trained"]) for a, b in combinations(rows, 2)
    ]
    return float(np.mean(signs))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--candidates", type=int, default=10)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    known = json.loads((asked.run / "candidates.json").read_text(encoding="utf-8"))["candidates"]
    chosen = sorted(np.random.default_rng(0).choice(len(known), asked.candidates, replace=False))
    settings = read("digits_events", {"train.epochs": asked.epochs})
    data = load_data(settings.data.name, settings.input.kind)
    learned, judged = labelled(settings, data, "train"), labelled(settings, data, "validation")
    rows = []
    with threads(1):
        for i in chosen:
            genome = known[i]["genome"]
            seed_everything(0)  # initial weights
            best = train(AutoSnn(macro_of(settings, data), genome), learned, judged, settings.train, seed=0).best
            rows.append({"genome": genome, "searched": known[i]["accuracy"], "trained": best.accuracy})
            shares = f"searched {100 * known[i]['accuracy']:6.2f} %  trained {100 * best.accuracy:6.2f} %"
            print(f"{', '.join(genome):40} {shares}", flush=True)
    tau = kendall_tau(rows)
    print(f"Kendall's tau {tau:.3f}")
    if asked.out:
        found = {"epochs": asked.epochs, "kendall_tau": tau, "candidates": rows}
        asked.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
