"""Networks beyond chains: recurrence and delays of every kind, and sigma-delta neurons with graded messages."""

from __future__ import annotations

import numpy as np
from neurodeploy.ir.graph import Edge, IntGraph
from neurodeploy.ir.nodes import CubaLif, Delta, Input, Linear, Node, Sigma, SigmaDelta
from tests.ir.hand_graphs import even

T = 24


def recurrent_delayed() -> IntGraph:
    """Spikes 9 -> dense with a delay a synapse -> 12 neurons with constants of their own and a loop of two timesteps ->
    dense over an edge of 5 timesteps, its sums shifted -> 7 neurons that restart, which also hear the input after 3 ->
    feedback of the second layer to the first."""
    rng = np.random.default_rng(8)
    nodes: list[Node] = [
        Input("input", shape=(9,), kind="spikes"),
        Linear("a.in", weight=even(rng, (12, 9), 120), delays=rng.integers(0, 9, size=(12, 9))),
        CubaLif(
            "a", shape=(12,), i_decay=np.repeat([1024, 4096, 2000], 4), v_decay=np.repeat([128, 1024], 6),
            v_th=np.repeat([60, 90, 150], 4), bias_mant=rng.integers(-4, 30, size=12),
        ),
        Linear("a.loop", weight=even(rng, (12, 12), 60)),
        Linear("b.in", weight=even(rng, (7, 12), 250), weight_exp=-1),
        Linear("b.early", weight=even(rng, (7, 9), 80)),
        CubaLif(
            "b", shape=(7,), i_decay=3000, v_decay=512, v_th=110, bias_mant=rng.integers(-9, 20, size=7), reset_interval=10,
            reset_offset=3,
        ),
        Linear("a.feedback", weight=even(rng, (12, 7), 80)),
    ]
    edges = (
        Edge("input", "a.in", 1), Edge("a.in", "a"), Edge("a", "a.loop", 2), Edge("a.loop", "a"), Edge("a", "b.in", 5),
        Edge("b.in", "b"), Edge("input", "b.early", 3), Edge("b.early", "b"), Edge("b", "a.feedback", 1),
        Edge("a.feedback", "a"),
    )
    return IntGraph(tuple(nodes), edges, T, {"name": "recurrent"}, target="loihi2")


def sigma_delta() -> IntGraph:
    """Graded messages 6 -> delta-encoded straight from the input -> dense -> sigma-delta -> dense -> sums."""
    rng = np.random.default_rng(9)
    nodes: list[Node] = [
        Input("input", shape=(6,), kind="graded", max_value=255, signed=True),
        Delta("code", shape=(6,), v_th=12, spike_exp=2, state_exp=3),
        Linear("a.in", weight=even(rng, (8, 6), 20)),
        SigmaDelta("a", shape=(8,), v_th=20, spike_exp=2, state_exp=3, bias_mant=rng.integers(-60, 60, size=8)),
        Linear("b.in", weight=even(rng, (3, 8), 20)),
        Sigma("b", shape=(3,)),
    ]
    edges = (
        Edge("input", "code"), Edge("code", "a.in", 1), Edge("a.in", "a"), Edge("a", "b.in", 1), Edge("b.in", "b"),
    )
    return IntGraph(tuple(nodes), edges, T, {"name": "sigma-delta"}, target="loihi2")
