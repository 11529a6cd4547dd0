"""Keyword spotting on Loihi 1: where the measured energy of an inference goes. An accounting check, no prediction.

    python benchmarks/account_loihi1.py

Prints the tables of docs/loihi1_keyword_spotting.md. Exit code 1 where neurocores at a tenth of all spikes, management and
the measured dynamic energy do not fit together within a quarter.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from neurodeploy.cost.band import Band
from neurodeploy.cost.counts import from_rates
from neurodeploy.cost.model import cost
from neurodeploy.hw.profile import target
from neurodeploy.ir.graph import Edge, IntGraph
from neurodeploy.ir.nodes import CubaLif, Input, Linear, Node
from neurodeploy.place import place

# Measured: Blouw et al., Benchmarking keyword spotting efficiency on neuromorphic hardware, 2019.
LAYERS, N_TIMESTEPS = (390, 256, 256, 29), 10
INFERENCES_PER_S = 296.0
RUNNING_W, IDLE_W = 0.1102, 0.0297
DYNAMIC_J = 271.6e-6  # published; running less idle power over the rate gives 272.0
SYNOP_BOUND_J = 23.6e-12  # Davies et al. 2018: at least this much a synaptic operation
NEUROCORES_J = 41e-6  # every synapse in every timestep at that price
RATES = (0.02, 0.1, 0.3, 0.6, 1.0)  # spikes of a neuron or input and timestep: not published, so a range


@dataclass(frozen=True)
class Account:
    """One inference at the measured rate of inferences, with every input and neuron firing at `rate`."""

    rate: float
    n_cores: int
    n_synops: float
    neurocores_j: Band
    management_j: Band
    static_j: Band
    time_s: Band  # predicted, per inference

    @property
    def dynamic_j(self) -> Band:
        """What running adds to idling."""
        a, b = self.neurocores_j, self.management_j
        return Band(a.low + b.low, a.nominal + b.nominal, a.high + b.high)


def network() -> IntGraph:
    """The published shapes. Weights do not matter: no spike is computed here."""
    nodes: list[Node] = [Input("mfcc", shape=LAYERS[:1], kind="spikes")]
    edges = []
    for i, (n_in, n_out) in enumerate(pairwise(LAYERS), start=1):
        nodes += [Linear(f"fc{i}", weight=np.full((n_out, n_in), 2)), CubaLif(f"n{i}", shape=(n_out,))]
        edges += [Edge(nodes[-3].name, f"fc{i}", 1), Edge(f"fc{i}", f"n{i}")]
    return IntGraph(nodes=tuple(nodes), edges=tuple(edges), n_timesteps=N_TIMESTEPS, target="loihi1")


def account(rate: float) -> Account:
    """Counts to expect at a firing rate, priced by the profile; static and management power run between inferences."""
    profile, graph = target("loihi1"), network()
    plan = place(graph, profile)
    rates = {n.name: np.full((N_TIMESTEPS, *graph.shapes[n.name]), rate) for n in (*graph.inputs, *graph.neurons)}
    counts = from_rates(graph, plan, rates, profile.zeros)
    found = cost(counts, plan, profile, "pipelined", interval_s=1 / INFERENCES_PER_S)
    free = cost(counts, plan, profile, "pipelined")
    management, static = found.breakdown_j["management"], found.breakdown_j["static"]
    assert management is not None and static is not None
    return Account(rate, found.n_cores, found.counts["synops"], found.energy_dynamic_j, management, static, free.interval_s)


def rate_that_costs(joule: float) -> float:
    """The firing rate at which neurocores take this much, by bisection."""
    low, high = 0.0, 1.0
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (middle, high) if account(middle).neurocores_j.nominal < joule else (low, middle)
    return low


def tables() -> str:
    """Markdown."""
    accounts = [account(rate) for rate in RATES]
    one = accounts[0]
    n_synapses = sum(a * b for a, b in pairwise(LAYERS))
    per_s = 1e6 / INFERENCES_PER_S
    left = DYNAMIC_J - one.management_j.nominal
    lines = [
        "| measured, and what it says per inference | |", "|---|---|",
        f"| running power {1e3 * RUNNING_W:.1f} mW x 1/296 s | {RUNNING_W * per_s:.1f} uJ |",
        f"| idle power {1e3 * IDLE_W:.1f} mW x 1/296 s | {IDLE_W * per_s:.1f} uJ |",
        f"| running less idle | {(RUNNING_W - IDLE_W) * per_s:.1f} uJ (published as {1e6 * DYNAMIC_J:.1f} uJ dynamic) |",
        f"| time | {1e3 / INFERENCES_PER_S:.2f} ms, {per_s / N_TIMESTEPS:.0f} us a timestep |",
        f"| all {n_synapses:,} synapses, {N_TIMESTEPS} timesteps, at {1e12 * SYNOP_BOUND_J:.1f} pJ | "
        f"{1e6 * n_synapses * N_TIMESTEPS * SYNOP_BOUND_J:.1f} uJ |",
        "",
        "| rate (assumed) | synops | neurocores uJ (model) | management uJ (input) | sum uJ | against 271.6 uJ | "
        "static uJ (input) | time us (model) | of 3.4 ms |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for a in accounts:
        lines.append(
            f"| {a.rate:g} | {a.n_synops:,.0f} | {_micro(a.neurocores_j)} | {_micro(a.management_j)} | {_micro(a.dynamic_j)} | "
            f"{a.dynamic_j.nominal / DYNAMIC_J - 1:+.0%} | {_micro(a.static_j)} | {_micro(a.time_s)} | "
            f"{a.time_s.nominal * INFERENCES_PER_S:.1%} |"
        )
    lines += [
        "",
        f"{one.n_cores} cores. The model's neurocores reach 41 uJ at a rate of {rate_that_costs(NEUROCORES_J):.2f}; what the "
        f"measurement leaves beside management, {1e6 * left:.1f} uJ, at {rate_that_costs(left):.2f}.",
    ]
    return "\n".join(lines)


def _micro(band: Band) -> str:
    return f"{1e6 * band.nominal:.1f} ({1e6 * band.low:.1f}-{1e6 * band.high:.1f})"


def main() -> int:
    """Print the tables."""
    print(tables())
    found = account(0.1)
    fits = found.neurocores_j.nominal <= NEUROCORES_J and abs(found.dynamic_j.nominal / DYNAMIC_J - 1) <= 0.25
    return 0 if fits else 1


if __name__ == "__main__":
    sys.exit(main())
