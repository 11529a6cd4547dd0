"""How many candidates a second the cost models take, and how far the fast one is from the accurate one.

    python benchmarks/bench_cost.py [--recipe digits] [--target loihi2] [--candidates 20] [--drawn 2000]

Times are CPU times of one thread, which other work on the machine stretches less than the clock's.
Per neuron: the steps of a search's candidate (lowering, placement, counts from rates per neuron, cost), one after another.
From layer rates: (a) new rates on one placed network; (b) architectures drawn from the space, each genome to geometry,
cut, placement, matrices and cost, once with empty caches and once with other genomes on warm ones. No weights, no graph and
no arithmetic rules are in (b). Weights are random, which changes activity but not the work.
Exit code 1 where a pass gives other costs than the pass before, where both models differ at uniform rates, or by more than
5 % in energy at recorded ones.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from neurodeploy.cost.counts import from_rates
from neurodeploy.cost.geometry import shape_of
from neurodeploy.cost.layer_rates import LayerRates
from neurodeploy.cost.model import cost
from neurodeploy.cost.space_shapes import Segment, SpaceShapes
from neurodeploy.data.chip_input import chip_input
from neurodeploy.data.datasets import load as load_data
from neurodeploy.hw.profile import Profile, target
from neurodeploy.ir.graph import Graph
from neurodeploy.jobs.candidate import Evaluator
from neurodeploy.jobs.energy import uniform_rates
from neurodeploy.jobs.training import macro_of
from neurodeploy.lower import lower
from neurodeploy.models.autosnn import AutoSnn, SuperNet
from neurodeploy.models.convert import to_graph
from neurodeploy.models.macro import BLOCKS, N_POSITIONS
from neurodeploy.models.record import record
from neurodeploy.place import Placement, place
from neurodeploy.search.recipe import read
from neurodeploy.search.space import Genome, Space
from neurodeploy.train.trainer import as_input

RATE = 0.1
# Relative dynamic energy. At uniform rates the models differ only in what biases make layers do before their windows, which
# wakes neurons behind them (`from_rates` simulates it); without biases they are equal, which the tests hold.
AGREE_UNIFORM, AGREE_RECORDED = 0.005, 0.05


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", default="digits")
    parser.add_argument("--target", default="loihi2")
    parser.add_argument("--candidates", type=int, default=20)
    parser.add_argument("--drawn", type=int, default=2000)
    args = parser.parse_args()
    torch.set_num_threads(1)
    recipe, profile = read(args.recipe), target(args.target)
    data = load_data(recipe.data.name)
    torch.manual_seed(0)
    macro = macro_of(recipe, data)
    evaluator = Evaluator(SuperNet(macro), data, recipe, profile)
    space = Space.uniform(BLOCKS, N_POSITIONS)
    rng = random.Random(0)
    archs = [space.draw(rng) for _ in range(args.candidates)]
    evaluator(archs[0])  # what is imported or compiled once is no candidate's work
    seconds: dict[str, float] = {}

    def timed(name: str, step: Callable[..., Any], *columns: Sequence[Any]) -> list[Any]:
        began = time.process_time()
        found = [step(*row) for row in zip(*columns, strict=True)]
        seconds[name] = (time.process_time() - began) / len(found)
        return found

    networks = timed("recalibrate", evaluator.network, archs)
    timed("metrics (all below, and the accuracy)", evaluator.metrics, networks)
    graphs = timed("to_graph", to_graph, networks)
    lowered = timed("lower", lambda graph: lower(graph, profile, recipe.input.kind), graphs)
    plans = timed("place", lambda graph: place(graph, profile), lowered)
    rates = [uniform_rates(graph, RATE) for graph in lowered]
    counts = timed("from_rates", from_rates, lowered, plans, rates)
    costs = timed("cost", lambda c, plan: cost(c, plan, profile, "pipelined"), counts, plans)
    per_neuron = seconds["from_rates"] + seconds["cost"]

    segments = [Segment("stem", None), *(Segment(p.name, p.index) for p in macro.positions), Segment("classifier", None)]
    shapes = SpaceShapes(space, segments, lambda arch: lower(to_graph(evaluator.network(arch)), profile, recipe.input.kind))
    model = LayerRates(profile)

    def candidate(genome: Genome) -> float:
        placed = model.place(shapes(genome))
        return figures(placed.cost(np.full(len(placed.names), RATE), "pipelined"))

    drawn = [space.draw(rng) for _ in range(args.drawn)]
    half = max(1, min(100, len(drawn) // 2))
    timed("(b) architectures from the space, caches cold", candidate, drawn[:half])
    timed("(b) architectures from the space, caches warm", candidate, drawn[half:])
    placed = model.place(shapes(archs[0]))
    figures(placed.cost(np.zeros(len(placed.names)), "pipelined"))
    vectors = np.random.default_rng(0).random((args.drawn, len(placed.names))) * 2 * RATE
    timed("(a) new rates on one placed network", lambda r: figures(placed.cost(r, "pipelined")), vectors)

    print(f"{recipe.name} on {profile.name}: {args.candidates} candidates per neuron, {args.drawn} from layer rates; CPU time")
    for name, spent in seconds.items():
        print(f"{1000 * spent:9.3f} ms  {1 / spent:9.1f} /s  {name}")
    inner = seconds["place"] + per_neuron
    print(f"{1000 * inner:9.3f} ms  {1 / inner:9.1f} /s  place + from_rates + cost")
    print(f"(a) is {per_neuron / seconds['(a) new rates on one placed network']:.0f} x from_rates + cost")
    print(f"(b) warm is {inner / seconds['(b) architectures from the space, caches warm']:.0f} x place + from_rates + cost")
    again = [cost(from_rates(*row), row[1], profile, "pipelined") for row in zip(lowered, plans, rates, strict=True)]
    same = [c.to_dict() for c in again] == [c.to_dict() for c in costs]
    if not same:
        print("DIFFERENT: a second pass gave other costs")
    uniform = [
        differ(model, shapes(arch), dict.fromkeys(r, RATE), found.energy_dynamic_j.nominal, graph)
        for arch, r, found, graph in zip(archs, rates, costs, lowered, strict=True)
    ]
    recorded = [
        compare(evaluator, model, network, graph, plan, profile)
        for network, graph, plan in zip(networks, lowered, plans, strict=True)
    ]
    energy, latency = (np.array(column) for column in zip(*recorded, strict=True))
    print(f"dynamic energy from layer rates against per neuron: uniform rates {max(uniform):.1e}; recorded rates median "
          f"{np.median(abs(energy)):.2%}, worst {max(abs(energy)):.2%}")
    print(f"latency at recorded rates: median {np.median(latency):+.2%}, {min(latency):+.2%} to {max(latency):+.2%}")
    return 0 if same and max(uniform) <= AGREE_UNIFORM and max(abs(energy)) <= AGREE_RECORDED else 1


def figures(found: Any) -> float:
    """What a search reads of a cost."""
    return float(found.energy_j.nominal * found.energy_dynamic_j.nominal * found.latency_s.nominal)


def differ(model: LayerRates, shape: Any, rates: dict[str, float], expected: float, graph: Graph) -> float:
    """Relative difference in dynamic energy; the geometry put together is that of the lowered network."""
    assert shape == shape_of(graph)
    return abs(model.place(shape).cost(rates, "pipelined").energy_dynamic_j.nominal / expected - 1)


def compare(
    evaluator: Evaluator, model: LayerRates, network: AutoSnn, graph: Graph, plan: Placement, profile: Profile
) -> tuple[float, float]:
    """(energy, latency) from layer means over those from the rates of every neuron, minus 1, on the validation split."""
    images = evaluator.data.split("validation")[0]
    recipe = evaluator.recipe
    with torch.inference_mode(), record(network) as recorded:
        network(as_input(torch.from_numpy(images), recipe.supernet.encoding, recipe.network.n_timesteps))
        rates = {name: s.mean(dim=1, dtype=torch.float64).numpy() for name, s in recorded.items()}
    entry = graph.inputs[0].name
    rates[entry] = (chip_input(graph, images) != 0).mean(axis=1)
    expected = cost(from_rates(graph, plan, rates), plan, profile, "pipelined")
    means = {name: rate.reshape(len(rate), -1).mean(axis=1) for name, rate in rates.items()}
    found = model.place(shape_of(graph)).cost(means, "pipelined")
    return (
        found.energy_dynamic_j.nominal / expected.energy_dynamic_j.nominal - 1,
        found.latency_s.nominal / expected.latency_s.nominal - 1,
    )


if __name__ == "__main__":
    sys.exit(main())
