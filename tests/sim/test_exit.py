"""Early exit on the simulated chip: what the full run would decide, and nothing happens after it."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest
from neurodeploy.data.chip_input import chip_input
from neurodeploy.early_exit.confidence import ConfidencePolicy, exit_steps
from neurodeploy.errors import NeurodeployError, UsageError
from neurodeploy.hw.profile import target
from neurodeploy.ir.graph import Edge, IntGraph
from neurodeploy.ir.nodes import CubaLif, Input, Linear, Vote
from neurodeploy.ir.votes import predictions
from neurodeploy.lower import lower
from neurodeploy.quantize import quantize
from neurodeploy.sim.clocked import Clocked, simulate
from neurodeploy.sim.exit import simulate_for, simulate_until
from neurodeploy.sim.trace import Trace

from deployable import ARCHS, autosnn, images

CHIP = target("loihi2")


@cache
def run(kind: Any) -> tuple[IntGraph, np.ndarray, Trace]:
    """A network of groups of three (thirds, which no float holds), T = 5, and its full simulation."""
    lowered = lower(autosnn(ARCHS[0], False, T=5), CHIP, kind, n_levels=17)
    x = images(24)
    net = quantize(lowered, CHIP, x)
    data = chip_input(net, x)
    return net, data, simulate(net, data)


def thresholds(trace: Trace, policy: ConfidencePolicy) -> list[float]:
    """Observed confidences: the strict comparison must fall alike in both simulations."""
    return [float(c) for c in np.unique(policy.confidences(trace.votes)[:-1])]


@pytest.mark.parametrize("kind", ["graded", "bias"])
@pytest.mark.parametrize(("metric", "logits"), [("confidence", "sum"), ("entropy", "sum"), ("confidence", "mean")])
def test_it_decides_as_the_full_votes_do_and_stops(kind: Any, metric: Any, logits: Any) -> None:
    net, data, full = run(kind)
    latency = net.n_chip_steps - net.n_timesteps
    base = ConfidencePolicy(1.0, metric=metric, logits=logits)
    observed = thresholds(full, base)
    seen: set[int] = set()
    for threshold in (0.0, *observed[:: max(1, len(observed) // 4)], 1.0):
        policy = ConfidencePolicy(threshold, metric=metric, logits=logits)
        found = simulate_until(net, data, policy)
        wanted = exit_steps(full.votes, policy)
        assert np.array_equal(found.exit_steps, wanted)
        assert np.array_equal(found.chip_steps, wanted + latency)
        assert np.array_equal(found.answers, predictions(full.votes)[wanted - 1, np.arange(24)])
        running = np.arange(full.n_steps)[:, None] < found.chip_steps
        for kind_of in ("spikes", "updated"):
            mine, whole = getattr(found.trace, kind_of), getattr(full, kind_of)
            assert mine.keys() == whole.keys()
            for name, raster in mine.items():
                mask = running.reshape(*running.shape, *[1] * (raster.ndim - 2))
                assert raster.dtype == whole[name].dtype
                assert np.array_equal(raster, whole[name] * mask), (kind_of, name)
        assert found.trace.votes.shape == full.votes.shape
        assert np.array_equal(found.trace.votes, full.votes * (np.arange(5)[:, None, None] < wanted[:, None]))
        seen |= set(wanted.tolist())
    assert full.votes.sum() > 0 and len(seen) >= 3


@pytest.mark.parametrize("kind", ["graded", "bias"])
def test_steps_that_were_set_before(kind: Any) -> None:
    """The answers of the full run after so many steps; messages of later ones never enter, and nothing runs after the exit."""
    net, data, full = run(kind)
    latency = net.n_chip_steps - net.n_timesteps
    steps = np.arange(24) % 5 + 1
    found = simulate_for(net, data, steps)
    assert np.array_equal(found.exit_steps, steps) and np.array_equal(found.chip_steps, steps + latency)
    assert np.array_equal(found.answers, predictions(full.votes)[steps - 1, np.arange(24)])
    assert np.array_equal(found.trace.votes, full.votes * (np.arange(5)[:, None, None] < steps[:, None]))
    entry = net.inputs[0].name
    entered = found.trace.spikes[entry]
    last = np.arange(len(entered))[:, None] < (steps if kind == "graded" else steps + latency)
    whole = full.spikes[entry]
    assert full.votes.sum() > 0
    assert np.array_equal(entered, whole * last.reshape(*last.shape, *[1] * (whole.ndim - 2)))


@pytest.mark.parametrize("steps", [[1] * 23, [0] + [1] * 23, [6] + [1] * 23])
def test_steps_that_are_none_are_refused(steps: list[int]) -> None:
    net, data, _ = run("graded")
    with pytest.raises(UsageError, match=r"\[24\] within 1 to 5"):
        simulate_for(net, data, np.array(steps))


def test_the_simulation_really_stops(monkeypatch: pytest.MonkeyPatch) -> None:
    net, data, full = run("graded")
    latency = net.n_chip_steps - net.n_timesteps
    sizes: list[int] = []
    step = Clocked.step

    def counted(self: Clocked, x_t: Any = None) -> Any:
        sizes.append(self.batch)
        return step(self, x_t)

    monkeypatch.setattr(Clocked, "step", counted)
    simulate_until(net, data, ConfidencePolicy(0.0))
    assert sizes == [24] * (latency + 1)
    sizes.clear()
    simulate_until(net, data, ConfidencePolicy(1.0))
    assert sizes == [24] * net.n_chip_steps
    sizes.clear()
    middle = float(np.median(ConfidencePolicy(1.0).confidences(full.votes)[2]))
    found = simulate_until(net, data, ConfidencePolicy(middle))
    alive = [int((found.chip_steps > s).sum()) for s in range(net.n_chip_steps)]
    assert sizes == [n for n in alive if n] and len(set(alive)) > 2


def test_thirds_add_up_to_whole_votes() -> None:
    """Two classes of three neurons: 1/3 + 1/3 + 1/3 against 1 and then nothing must tie, in the loop and outside of it."""
    nodes = (Input("x", (2,), kind="bias", max_value=4095),
             CubaLif("n", shape=(2,), v_decay=0, v_th=3, reset_interval=3, reset_offset=1),
             Linear("s", weight=np.array([[2, 0], [0, 0], [0, 0], [0, 2], [0, 2], [0, 2]])),
             CubaLif("out", shape=(6,), v_decay=4096, v_th=1), Vote("vote", 2, 3))  # fmt: skip
    edges = (Edge("x", "n"), Edge("n", "s", 1), Edge("s", "out"), Edge("out", "vote"))
    net = IntGraph(nodes, edges, 3, target="loihi2")
    # Input 4 fires every step, input 2 at the second step only: sums 1/3, 2/3, 1 against 0, 1, 1.
    data = np.repeat(np.array([[[4, 2]]]), 3, axis=0)
    full = simulate(net, data)
    np.testing.assert_allclose(full.votes[:, 0], [[1 / 3, 0], [1 / 3, 1], [1 / 3, 0]])
    found = simulate_until(net, data, ConfidencePolicy(0.65))
    assert (found.exit_steps.item(), found.answers.item()) == (3, 0)
    assert predictions(full.votes)[:, 0].tolist() == [0, 1, 0]


def test_only_a_network_with_read_out_can_exit() -> None:
    nodes = (Input("x", (1,), kind="spikes"), Linear("s", weight=np.array([[2]])), CubaLif("n", shape=(1,)))
    net = IntGraph(nodes, (Edge("x", "s", 1), Edge("s", "n")), 2, target="loihi2")
    with pytest.raises(NeurodeployError, match="a graph with a read-out"):
        simulate_until(net, np.ones((2, 1, 1), dtype=np.int64), ConfidencePolicy(0.5))
    loop = IntGraph((*nodes, Linear("r", weight=np.array([[2]])), Vote("vote", 1, 1)),
                    (*net.edges, Edge("n", "r", 1), Edge("r", "n"), Edge("n", "vote")), 2, target="loihi2")  # fmt: skip
    found = simulate_until(loop, np.ones((2, 1, 1), dtype=np.int64), ConfidencePolicy(0.5))
    assert found.exit_steps == [1] and found.chip_steps == [2] and found.trace.votes.sum() == 1  # one class is certain
