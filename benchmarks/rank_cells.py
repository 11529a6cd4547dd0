"""Does SNASNet's score of untrained cells rank them as training does?

    python benchmarks/rank_cells.py [--cells 30] [--epochs 10] [--width 8] [--kind backward] [--out FILE.json]

Draws different random cells on the digits, scores each without training by the sparsity-aware Hamming distance and by the plain
one, trains each with the same settings and prints its validation accuracy, then Kendall's tau-a of both scores with the
accuracies and its 95 % interval (percentiles of 2,000 resamplings of the cells). One thread; test data are not read.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import get_args

import numpy as np
from neurodeploy.data.datasets import load
from neurodeploy.models.snas_cell import SnasConfig
from neurodeploy.models.snasnet import SnasNet
from neurodeploy.search.sahd import Distance, Scored, search_cells
from neurodeploy.train.config import TrainConfig
from neurodeploy.train.loop import train
from neurodeploy.train.runtime import seed_everything, threads
from numpy.typing import NDArray

SEED = 0


def order(values: list[float]) -> NDArray[np.int64]:
    """[n, n]: 1 where a value exceeds the other, -1 where it is less; -inf equals -inf."""
    v = np.array(values)
    return np.greater.outer(v, v).astype(int) - np.less.outer(v, v).astype(int)


def kendall_tau(a: list[float], b: list[float]) -> tuple[float, float, float]:
    """(tau-a, low, high): agreeing pairs less disagreeing ones, per pair; ties count as 0."""
    agree, n = order(a) * order(b), len(a)
    rng = np.random.default_rng(SEED)
    tau = agree.sum() / (n * (n - 1))
    drawn = [rng.integers(0, n, n) for _ in range(2000)]
    spread = np.percentile([agree[np.ix_(i, i)].sum() / (n * (n - 1)) for i in drawn], [2.5, 97.5])
    return float(tau), float(spread[0]), float(spread[1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", type=int, default=30)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--width", type=int, default=8)
    parser.add_argument("--kind", choices=["forward", "backward"], default="backward")
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    data = load("digits")
    learned, judged = data.split("train"), data.split("validation")
    config = SnasConfig(1, (8, 8), 10, width=asked.width, n_timesteps=4, hidden=64, linear_std=0.5)
    settings = TrainConfig(epochs=asked.epochs, batch_size=64, lr=5e-3, loss="ce")
    rows = []
    with threads(1):
        started, n_drawn, scored = time.monotonic(), 0, dict[Distance, tuple[Scored, ...]]()
        while len(scored.get("hamming", ())) < asked.cells:
            n_drawn += asked.cells
            scored = {d: search_cells(config, learned[0], n_cells=n_drawn, seed=SEED, kind=asked.kind, batch=128,
                                      distance=d).cells for d in get_args(Distance)}
        print(f"{len(scored['sahd'])} cells scored twice in {time.monotonic() - started:.1f} s", flush=True)
        for sahd, hamming in list(zip(scored["sahd"], scored["hamming"], strict=True))[: asked.cells]:
            seed_everything(SEED)  # initial weights
            best = train(SnasNet(config, sahd.cell), learned, judged, settings, seed=SEED, device="cpu").best
            rows.append({"cell": " ".join(sahd.cell), "sahd": sahd.score, "hamming": hamming.score, "accuracy": best.accuracy})
            print(f"{rows[-1]['cell']}  {sahd.score:8.2f}  {hamming.score:8.2f}  {100 * best.accuracy:6.2f} %", flush=True)
    accuracy = [row["accuracy"] for row in rows]
    taus = {name: kendall_tau([row[name] for row in rows], accuracy) for name in ("sahd", "hamming")}
    for name, (tau, low, high) in taus.items():
        print(f"{name:8} Kendall's tau {tau:.3f} (95 %: {low:.3f} to {high:.3f})")
    if asked.out:
        settings_used = {k: v for k, v in vars(asked).items() if k != "out"}
        written = {"settings": settings_used, "kendall_tau": taus, "cells": rows}
        asked.out.write_text(json.dumps(written, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
