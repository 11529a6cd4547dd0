from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import numba
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from neurodeploy.errors import NeurodeployError, UsageError
from neurodeploy.ir.graph import Edge, IntGraph
from neurodeploy.ir.nodes import Conv2d, CubaLif, Flatten, Input, Linear, Vote
from neurodeploy.sim import clocked, reference, scan
from neurodeploy.sim.trace import first_difference

from random_graphs import inputs_for, int_graphs

SEEN: Counter[str] = Counter()


def compare(data: st.DataObject, every: bool) -> None:
    """One random network on both simulators, the fast one in windows and chunks of a drawn size."""
    graph = data.draw(int_graphs(every=every))
    x = data.draw(inputs_for(graph))
    n_steps = data.draw(st.none() | st.integers(1, 12))
    readout = data.draw(st.sampled_from(["lava", "loihi2"]))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(clocked, "_WORKING_SET", data.draw(st.sampled_from([1, 50, 300, 2**21])))
        try:
            slow = reference.simulate(graph, x, n_steps, True, readout)
        except NeurodeployError as error:
            with pytest.raises(NeurodeployError) as refused:
                clocked.simulate(graph, x, n_steps, True, readout)
            assert error.error_code == refused.value.error_code == "overflow"
            SEEN.update(graphs=1, overflowing=1)
            return
        fast = clocked.simulate(graph, x, n_steps, True, readout)
    assert first_difference(slow, fast) is None
    assert slow.votes.dtype == fast.votes.dtype == np.float64
    for name, raster in slow.spikes.items():
        assert raster.dtype == fast.spikes[name].dtype == (np.int8 if isinstance(graph[name], CubaLif) else np.int32)
        assert raster.shape == (slow.n_steps, x.shape[1], *graph.shapes[name])
    fired = sum(n for name, n in slow.n_spikes.items() if graph[name].is_neuron)
    idle = sum(int((~flags).sum()) for flags in slow.updated.values())
    SEEN.update(graphs=1, spiking=fired > 0, idle=idle > 0, recurrent=not graph.is_acyclic, voting=bool(slow.votes.sum() > 0))
    for node in graph.nodes:
        if slow.n_spikes.get(node.name):
            SEEN.update([type(node).__name__, "negative" if slow.spikes[node.name].min() < 0 else "positive"])
        if isinstance(node, Linear):
            SEEN.update(delays=node.delays is not None, weight_exp=node.weight_exp != 0, binary=node.binary)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def check_trained(data: st.DataObject) -> None:
    compare(data, every=False)


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def check_every(data: st.DataObject) -> None:
    compare(data, every=True)


@pytest.mark.parametrize("check", [check_trained, check_every])
def test_equal_on_random_graphs(check: Callable[[], None]) -> None:
    SEEN.clear()
    check()
    # Two silent networks are equal whatever they compute: most of the set must spike, and every feature must occur.
    assert SEEN["graphs"] >= 100
    assert SEEN["spiking"] > SEEN["graphs"] / 2
    features = ["idle", "recurrent", "voting", "CubaLif"]
    if check is check_every:
        features += ["Delta", "SigmaDelta", "Sigma", "negative", "delays", "weight_exp", "binary"]
        assert SEEN["overflowing"] > 0, SEEN  # rare: a loop must grow beyond 32 bits
    for feature in features:
        assert SEEN[feature] > 5, SEEN


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_dropping_samples_leaves_the_others_alone(data: st.DataObject) -> None:
    graph = data.draw(int_graphs(every=data.draw(st.booleans())))
    x = data.draw(inputs_for(graph))
    batch = x.shape[1]
    n_steps = x.shape[0] + 3
    try:
        whole = reference.simulate(graph, x, n_steps)
    except NeurodeployError as error:
        assume(error.error_code != "overflow")
        raise
    network = clocked.Clocked(graph, batch)
    alive = np.arange(batch)
    for t in range(n_steps):
        spikes = network.step(x[t, alive] if t < x.shape[0] else None)
        for name, values in spikes.items():
            assert np.array_equal(values, whole.spikes[name][t, alive])
        for name, flags in network.updated.items():
            assert np.array_equal(flags, whole.updated[name][t, alive])
        mask = np.array(data.draw(st.lists(st.booleans(), min_size=len(alive), max_size=len(alive))), dtype=bool)
        network.keep(mask)
        alive = alive[mask]
        assert network.batch == len(alive) == len(network.votes)
        if not len(alive):
            break


def test_low_precision_products_are_avoided() -> None:
    """With TF32 or bfloat16 allowed in torch, the simulator stays exact by using float64."""
    @settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(st.data())
    def check(data: st.DataObject) -> None:
        graph: IntGraph = data.draw(int_graphs())
        x = data.draw(inputs_for(graph))
        assert first_difference(reference.simulate(graph, x), clocked.simulate(graph, x)) is None

    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        check()
    finally:
        torch.set_float32_matmul_precision(before)


def wide() -> tuple[IntGraph, np.ndarray]:
    """A layer of two blocks (2048 neurons) and its input for 17 samples."""
    rng = np.random.default_rng(3)
    weight = rng.integers(-127, 127, (32, 8, 3, 3)) * 2
    nodes = (
        Input("in", shape=(8, 8, 8), kind="spikes"), Conv2d("c", weight=weight, padding=(1, 1)),
        CubaLif("n", shape=(32, 8, 8), v_decay=1000, v_th=300), Flatten("f"),
        Linear("fc", weight=rng.integers(-20, 24, (6, 2048)) * 2), CubaLif("o", shape=(6,), v_th=2000), Vote("vote", 3, 2),
    )  # fmt: skip
    delays = {"c": 1, "fc": 1}
    edges = tuple(Edge(a.name, b.name, delays.get(b.name, 0)) for a, b in pairwise(nodes))
    graph = IntGraph(nodes, edges, 4, target="loihi2")
    return graph, rng.integers(0, 2, (4, 17, 8, 8, 8))


@pytest.mark.parametrize("batch", [1, 17])
@pytest.mark.parametrize("threads", [1, 2])
def test_neither_batch_size_nor_threads_matter(batch: int, threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    graph, x = wide()
    before = torch.get_num_threads()
    monkeypatch.setattr(scan, "_WORTH_A_THREAD", 1)
    starts: list[int] = []
    monkeypatch.setattr(scan, "ThreadPoolExecutor", lambda n: starts.append(n) or ThreadPoolExecutor(n))
    torch.set_num_threads(threads)
    try:
        fast = clocked.simulate(graph, x[:, :batch], record_state=True)
    finally:
        torch.set_num_threads(before)
    slow = reference.simulate(graph, x[:, :batch], record_state=True)
    assert first_difference(slow, fast) is None
    assert 0 < slow.n_spikes["n"] < slow.spikes["n"].size
    assert slow.votes.sum() > 0
    assert set(starts) == ({1} if threads == 2 else set())


def test_recording_less_changes_nothing_else() -> None:
    graph, x = wide()
    full, spikes, output = (clocked.simulate(graph, x, record=record) for record in ("all", "spikes", "output"))  # type: ignore[arg-type]
    assert spikes.updated == output.updated == {}
    assert spikes.spikes.keys() == full.spikes.keys()
    assert all(np.array_equal(spikes.spikes[name], raster) for name, raster in full.spikes.items())
    assert list(output.spikes) == ["o"] and np.array_equal(output.spikes["o"], full.spikes["o"])
    assert full.n_spikes["o"] > 0
    for trace in (spikes, output):
        assert np.array_equal(trace.votes, full.votes)
    with pytest.raises(UsageError, match="One of all, spikes, output"):
        clocked.simulate(graph, x, record="nothing")  # type: ignore[arg-type]


def test_a_recurrent_network_has_no_longer_window() -> None:
    nodes = (Input("in", (1,), kind="spikes"), Linear("a", weight=np.array([[2]])), CubaLif("n", shape=(1,)))
    loop = IntGraph((*nodes, Linear("r", weight=np.array([[2]]))),
                    (Edge("in", "a", 1), Edge("a", "n"), Edge("n", "r", 1), Edge("r", "n")), 2)  # fmt: skip
    with pytest.raises(UsageError, match="one at a time"):
        clocked.Clocked(loop, 1).advance(np.ones((2, 1, 1), dtype=np.int64), 2)


def test_input_fits_its_window() -> None:
    graph, x = wide()
    with pytest.raises(UsageError, match="4 timesteps of input"):
        clocked.Clocked(graph, 17).advance(x, 3)


def test_a_network_may_be_restarted() -> None:
    graph, x = wide()
    network = clocked.Clocked(graph, 17)
    network.advance(x, 4)
    network.restart(3)
    again = network.advance(x[:, 5:8], 4)
    assert np.array_equal(again.spikes["n"], reference.simulate(graph, x[:, 5:8], 4).spikes["n"])
    assert again.spikes["n"].any()


def test_memory_does_not_grow_with_time_and_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is worked on at once stays within the working set, however many timesteps and samples there are."""
    graph, x = wide()
    sizes: list[int] = []
    advance = clocked.Clocked.advance

    def seen(self: clocked.Clocked, x: Any, n_steps: int, **options: Any) -> clocked.Window:
        sizes.append(n_steps * self.batch * 2048)
        return advance(self, x, n_steps, **options)

    monkeypatch.setattr(clocked.Clocked, "advance", seen)
    for size in (1, 3 * 2048, 40 * 2048):
        sizes.clear()
        monkeypatch.setattr(clocked, "_WORKING_SET", size)
        clocked.simulate(graph, np.concatenate([x] * 5), 20)
        assert sum(sizes) == 20 * 17 * 2048
        assert max(sizes) <= max(size, 2048)


def test_the_compiled_loops_need_no_place_to_be_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    def njit(function: Any, *, cache: bool = False, **options: Any) -> Any:
        if cache:
            raise RuntimeError("cannot cache function: no locator available")
        return numba.njit(function, **options)

    monkeypatch.setattr(scan, "numba", SimpleNamespace(njit=njit))
    assert scan.compiled(lambda a: a + 1)(41) == 42
