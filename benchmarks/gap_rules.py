"""What the rules of training do to the gap between clocked and event-driven simulation: one training each, every layer.

    python benchmarks/gap_rules.py [--arch A] [--epochs N] [--seed S] [--out FILE.json]

The same architecture and seed four times: as the recipe `digits_events` has it; with larger first weights under the same limit
and without a limit; with the floor at minus the threshold, as sinabs has it unless told otherwise. Prints for 16, 32 and 64
bins a sample the share of the event-driven spikes that the clocked simulation of the same integers misses, and how many
answers agree. Validation data choose scales; the gap is that of the test split.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import torch
from neurodeploy.data.event_dataset import EventDataset
from neurodeploy.hw.profile import EventProfile, any_target
from neurodeploy.jobs.data import load_data
from neurodeploy.jobs.event_deploy import deploy_events
from neurodeploy.jobs.event_evaluate import BINS, evaluate_events
from neurodeploy.jobs.train import parse_arch
from neurodeploy.jobs.training import labelled, macro_of
from neurodeploy.lower.event_cores import lower_to_events
from neurodeploy.models.autosnn import AutoSnn
from neurodeploy.models.convert import to_graph
from neurodeploy.search.recipe import read
from neurodeploy.train.loop import train

ARMS: dict[str, dict[str, Any]] = {
    "recipe": {},
    "larger weights, at most the threshold": {"network.gain": 2.0},
    "larger weights, no limit": {"network.gain": 2.0, "network.w_max": None},
    "floor at minus the threshold": {"network.v_min": -1.0},
}


def run(arch: str, overrides: dict[str, Any]) -> dict[str, Any]:
    """Train, deploy and evaluate one arm; the evaluation's plain values."""
    recipe = read("digits_events", overrides)
    data, profile = load_data(recipe.data.name, "events"), any_target("speck2f")
    assert isinstance(data, EventDataset) and isinstance(profile, EventProfile)
    torch.manual_seed(recipe.seed)
    network = AutoSnn(macro_of(recipe, data), parse_arch(arch, recipe.network.n_positions))
    train(network, labelled(recipe, data, "train"), labelled(recipe, data, "validation"), recipe.train, seed=recipe.seed)
    done = deploy_events(lower_to_events(to_graph(network), profile), profile, recipe.deploy, data)
    return evaluate_events(done.lowered, done.net, done.plan, profile, None, data).to_dict()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--arch", default="SRB_k3,SCB_k3,skip")
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    found = {}
    for name, overrides in ARMS.items():
        found[name] = run(asked.arch, {**overrides, "train.epochs": asked.epochs, "seed": asked.seed})
        accuracy, gaps = found[name]["accuracy"], found[name]["gap"]
        over = sum(layer["n_over_threshold"] for layer in gaps[0]["layers"])
        print(f"\n{name}: {100 * accuracy['simulator']:.2f} % event-driven, {100 * accuracy['float']:.2f} % float, "
              f"{over} weights above a threshold")
        print(f"  {'layer':24}" + "".join(f"{f'{n} bins':>10}" for n in BINS))
        for i, layer in enumerate(gaps[0]["layers"]):
            print(f"  {layer['name']:24}" + "".join(f"{100 * g['layers'][i]['total']['relative']:9.2f}%" for g in gaps))
        print(f"  {'agreement':24}" + "".join(f"{100 * g['agreement']:9.2f}%" for g in gaps), flush=True)
    if asked.out is not None:
        kept = {name: {k: e[k] for k in ("accuracy", "gap")} for name, e in found.items()}
        whole = {"arch": asked.arch, "epochs": asked.epochs, "seed": asked.seed, "arms": kept}
        asked.out.write_text(json.dumps(whole, indent=1) + "\n")


if __name__ == "__main__":
    main()
