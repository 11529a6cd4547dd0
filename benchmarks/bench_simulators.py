"""Reference simulator against the fast one on every test image of the digits: equal bit for bit, and how much faster.

    python benchmarks/bench_simulators.py [--bundle runs/demo/bundle] [--images 540]

Takes an exported bundle; without one, a network of the packaged recipe with random weights, whose firing is as dense as a
trained network's. Exit code 1 where a spike, a membrane potential's update or a vote differs.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import numpy as np
import torch
from neurodeploy.data.chip_input import chip_input
from neurodeploy.data.datasets import load as load_data
from neurodeploy.hw.profile import target
from neurodeploy.ir.graph import IntGraph
from neurodeploy.jobs.training import macro_of
from neurodeploy.lower import lower
from neurodeploy.models.autosnn import AutoSnn
from neurodeploy.models.convert import to_graph
from neurodeploy.quantize import quantize
from neurodeploy.search.recipe import read
from neurodeploy.sim import clocked, reference
from neurodeploy.sim.trace import Trace
from neurodeploy.train.batchnorm import recalibrate_bn
from neurodeploy.validate import open_bundle

ARCH = ("SCB_k3", "skip_connect", "SRB_k3", "SCB_k3", "SRB_k5")


def random_network() -> IntGraph:
    """The recipe's network with random weights, batch norms estimated on the digits, quantized for Loihi 2."""
    torch.manual_seed(0)
    data, recipe, profile = load_data("digits"), read("digits"), target("loihi2")
    module = AutoSnn(macro_of(recipe, data), ARCH).eval()
    module.metadata = {"data": {"name": "digits", "n_levels": data.n_levels}}
    recalibrate_bn(module, data.split("train")[0], 4, 128)
    return quantize(lower(to_graph(module), profile), profile, data.split("validation")[0])


def differences(first: Trace, second: Trace) -> list[str]:
    """Names of the layers whose spikes or updates differ, and `votes`."""
    found = [n for n in first.spikes if not np.array_equal(first.spikes[n], second.spikes[n])]
    found += [f"{n} (updates)" for n in first.updated if not np.array_equal(first.updated[n], second.updated[n])]
    return found + ([] if np.array_equal(first.votes, second.votes) else ["votes"])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", type=Path, help="an exported bundle of the digits")
    parser.add_argument("--images", type=int, help="this many test images only")
    parser.add_argument("--batch", type=int, default=128)
    args = parser.parse_args()
    torch.set_num_threads(1)
    net = random_network() if args.bundle is None else open_bundle(args.bundle).net
    images = load_data("digits").split("test")[0][: args.images]
    seconds = {"reference": 0.0, "fast": 0.0}
    n_spikes = 0
    wrong: set[str] = set()
    clocked.simulate(net, chip_input(net, images[:1]))  # loads the compiled loops
    for start in range(0, len(images), args.batch):
        x = chip_input(net, images[start : start + args.batch])
        traces = {}
        for name, simulate in (("reference", reference.simulate), ("fast", clocked.simulate)):
            began = time.perf_counter()
            traces[name] = simulate(net, x)
            seconds[name] += time.perf_counter() - began
        wrong.update(differences(traces["reference"], traces["fast"]))
        n_spikes += sum(int(traces["fast"].spikes[n.name].sum()) for n in net.neurons)
    n_neurons = sum(int(np.prod(net.shapes[n.name])) for n in net.neurons)
    print(f"{len(images)} images, {n_neurons} neurons, {net.n_chip_steps} chip timesteps, {n_spikes} spikes")
    for name, spent in seconds.items():
        print(f"{name:>10}  {spent:8.2f} s  {len(images) / spent:10.1f} images/s")
    print(f"{'ratio':>10}  {seconds['reference'] / seconds['fast']:8.2f}")
    if wrong or not n_spikes:
        print(f"DIFFERENT: {', '.join(sorted(wrong)) or 'no spike at all'}")
        return 1
    print("equal: every spike, update and vote")
    return 0


if __name__ == "__main__":
    sys.exit(main())
