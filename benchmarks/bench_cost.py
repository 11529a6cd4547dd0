"""How many candidates a second the search's inner steps take: lowering, placement, counts from rates, cost, and all of it.

    python benchmarks/bench_cost.py [--recipe digits] [--target loihi2] [--candidates 20]

Architectures are drawn at random; weights are random, which changes activity but not the work. Exit code 1 where the cost
of one candidate differs between two passes.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections.abc import Callable
from typing import Any

import torch
from neurodeploy.cost.counts import from_rates
from neurodeploy.cost.model import cost
from neurodeploy.data.datasets import load as load_data
from neurodeploy.hw.profile import target
from neurodeploy.jobs.candidate import Evaluator
from neurodeploy.jobs.energy import uniform_rates
from neurodeploy.jobs.training import macro_of
from neurodeploy.lower import lower
from neurodeploy.models.autosnn import SuperNet
from neurodeploy.models.convert import to_graph
from neurodeploy.models.macro import BLOCKS, N_POSITIONS
from neurodeploy.place import place
from neurodeploy.search.recipe import read


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", default="digits")
    parser.add_argument("--target", default="loihi2")
    parser.add_argument("--candidates", type=int, default=20)
    args = parser.parse_args()
    torch.set_num_threads(1)
    recipe, profile = read(args.recipe), target(args.target)
    data = load_data(recipe.data.name)
    torch.manual_seed(0)
    evaluator = Evaluator(SuperNet(macro_of(recipe, data)), data, recipe, profile)
    rng = random.Random(0)
    archs = [tuple(rng.choice(BLOCKS) for _ in range(N_POSITIONS)) for _ in range(args.candidates)]
    evaluator(archs[0])  # what is imported or compiled once is no candidate's work
    seconds: dict[str, float] = {}

    def timed(name: str, step: Callable[..., Any], *columns: list[Any]) -> list[Any]:
        began = time.perf_counter()
        found = [step(*row) for row in zip(*columns, strict=True)]
        seconds[name] = time.perf_counter() - began
        return found

    networks = timed("recalibrate", evaluator.network, archs)
    timed("metrics (all below, and the accuracy)", evaluator.metrics, networks)
    graphs = timed("to_graph", to_graph, networks)
    lowered = timed("lower", lambda graph: lower(graph, profile, recipe.input.kind), graphs)
    plans = timed("place", lambda graph: place(graph, profile), lowered)
    rates = [uniform_rates(graph, 0.1) for graph in lowered]
    counts = timed("from_rates", from_rates, lowered, plans, rates)
    costs = timed("cost", lambda c, plan: cost(c, plan, profile), counts, plans)
    print(f"{args.candidates} candidates of {recipe.name} on {profile.name}, one thread")
    for name, spent in seconds.items():
        print(f"{1000 * spent / args.candidates:8.2f} ms  {args.candidates / spent:9.1f} /s  {name}")
    inner = seconds["place"] + seconds["from_rates"] + seconds["cost"]
    print(f"{1000 * inner / args.candidates:8.2f} ms  {args.candidates / inner:9.1f} /s  place + from_rates + cost")
    again = [cost(from_rates(*row), row[1], profile) for row in zip(lowered, plans, rates, strict=True)]
    if [c.to_dict() for c in again] != [c.to_dict() for c in costs]:
        print("DIFFERENT: a second pass gave other costs")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
