"""QCFS training against calibration: accuracy of the converted network after so many timesteps.

    python benchmarks/qcfs.py [--recipe RECIPE] [--seeds 0 1 2] [--timesteps 2 4 8 16 32] [--out FILE.json] [--work FOLDER]

Trains the recipe's network (default: the packaged digits_qcfs) with its QCFS activations, and once more with ReLU and
all else equal, and converts both for each number of timesteps T, the ReLU network by the 99.9th percentile of its activations
on validation images (`lower.ann`), with membranes that start at zero and at half a threshold. Accuracies are of the test split,
after all T timesteps, with the logits as spikes (what chips do) and as real numbers (what the QCFS paper does). Trainings keep
their checkpoints in --work and go on from them; a finished one is not trained again. A minute of one core.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np
from neurodeploy.data.datasets import load
from neurodeploy.ir.graph import Graph
from neurodeploy.ir.votes import predictions
from neurodeploy.lower.ann import activations, convert
from neurodeploy.models.from_torch import from_torch
from neurodeploy.train import runtime
from neurodeploy.train.ann2snn import AnnRecipe, logits_of, read_ann_recipe, train_ann

ARMS = {  # name -> (activation, where membranes start)
    "QCFS": ("qcfs", "half"), "99.9th percentile": ("relu", "zero"), "99.9th percentile, start at half": ("relu", "half"),
}  # fmt: skip


def measured(graph: Graph, images: Any, labels: Any, n_timesteps: int) -> dict[str, float]:
    """Accuracy after all timesteps, and spikes an image of all layers."""
    votes, spikes = [], 0.0
    for found in activations(graph, images, n_timesteps):
        votes.append(found[graph.output.name])
        spikes += sum(float(found[n.name].sum()) for n in graph.neurons)
    right = predictions(np.concatenate(votes, axis=1))[-1] == labels
    return {"accuracy": float(right.mean()), "spikes": spikes / len(images)}


def trained(recipe: AnnRecipe, activation: str, seed: int, work: Path) -> tuple[Graph, float]:
    """(the network, its accuracy on the test split) for one activation and seed."""
    data = load(recipe.data)
    runtime.seed_everything(seed)
    network = recipe.network.model_copy(update={"activation": activation})
    shape = data.split("train")[0].shape[1:]
    module = network.build(shape, data.n_classes)
    train_ann(module, data.split("train"), data.split("validation"), recipe.train, seed=seed, device="cpu",
              checkpoint_file=work / f"{activation}-{seed}.ckpt")
    x, y = data.split("test")
    return from_torch(module, shape), float((logits_of(module, x).argmax(axis=1) == y).mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", default="digits_qcfs", help="a packaged name, or a TOML file")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--timesteps", type=int, nargs="+", default=[2, 4, 8, 16, 32])
    parser.add_argument("--out", type=Path)
    parser.add_argument("--work", type=Path)
    asked = parser.parse_args()
    recipe = read_ann_recipe(asked.recipe)
    data = load(recipe.data)
    calibration, (x, y) = data.split("validation")[0], data.split("test")
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as temporary:
        for seed in asked.seeds:
            nets = {kind: trained(recipe, kind, seed, asked.work or Path(temporary)) for kind in ("qcfs", "relu")}
            for arm, (kind, start) in ARMS.items():
                graph, before = nets[kind]
                for readout in ("spikes", "logits"):
                    for t in asked.timesteps:
                        snn = convert(graph, calibration, t, start=start, readout=readout).graph  # type: ignore[arg-type]
                        rows.append({"seed": seed, "arm": arm, "readout": readout, "n_timesteps": t, "accuracy_ann": before,
                                     **measured(snn, x, y, t)})
    for readout in ("spikes", "logits"):
        print(f"\n--readout {readout}: accuracy in % of each seed, and spikes an image")
        print(f"  {'':34}{'before':>22}" + "".join(f"{f'T = {t}':>22}" for t in asked.timesteps))
        for arm in ARMS:
            of_arm = [r for r in rows if (r["arm"], r["readout"]) == (arm, readout)]
            before = [next(r for r in of_arm if r["seed"] == seed)["accuracy_ann"] for seed in asked.seeds]
            cells = [" ".join(f"{100 * share:.2f}" for share in before)]
            counts = []
            for t in asked.timesteps:
                at = [r for r in of_arm if r["n_timesteps"] == t]
                cells.append(" ".join(f"{100 * r['accuracy']:.2f}" for r in at))
                counts.append(f"{mean(r['spikes'] for r in at):.0f}")
            print(f"  {arm:34}" + "".join(f"{cell:>22}" for cell in cells))
            print(f"  {'':34}{'':>22}" + "".join(f"{count:>22}" for count in counts))
    if asked.out is not None:
        content = {"recipe": recipe.model_dump(mode="json"), "data": recipe.data, "n_test": len(y), "rows": rows}
        asked.out.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
