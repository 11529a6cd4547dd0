"""Neurons, factors, delays and loops of other tools' NIR: by hand, and against NIR's equations by forward Euler."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import nir
import numpy as np
import pytest
from neurodeploy.errors import DoesNotFit, NeurodeployWarning, UnsafeFile
from neurodeploy.hw.profile import target
from neurodeploy.ir.graph import Edge, Graph
from neurodeploy.ir.nir import read_nir
from neurodeploy.ir.nir_foreign import NirOptions
from neurodeploy.ir.nodes import Conv2d, Lif, Linear, Vote
from neurodeploy.ir.reference import evaluate
from neurodeploy.lower.passes import lower
from tests.ir.nir_euler import Edges, euler
from tests.ir.test_nir_foreign import conv, write

TEXT = NirOptions(fire=">", reset="hard", v_min="none", multi_spike=False, n_timesteps=12)  # NIR's text
RNG = np.random.default_rng(11)
START = RNG.bit_generator.state
TWO = np.array([2, 2])


@pytest.fixture(autouse=True)
def _same_numbers() -> None:
    RNG.bit_generator.state = START


def lif(*shape: int, tau: float = 2.0, r: Any = 1.0, leak: float = 0.0, v_th: float = 1.0, reset: float = 0.0) -> nir.LIF:
    one = np.ones(shape)
    return nir.LIF(tau=one * tau, r=one * r, v_leak=one * leak, v_threshold=one * v_th, v_reset=one * reset)


def net(n: int, *middle: tuple[str, Any], out: int | None = None) -> dict[str, Any]:
    return {"input": nir.Input(np.array([n])), **dict(middle), "output": nir.Output(np.array([out or n]))}


def fc(n_out: int, n_in: int, bias: bool = False) -> Any:
    weight = RNG.normal(0.3, 0.6, (n_out, n_in))
    return nir.Affine(weight, RNG.normal(0, 0.2, n_out)) if bias else nir.Linear(weight)


def read(tmp_path: Path, nodes: dict[str, Any], edges: Edges | None = None, options: NirOptions = TEXT) -> Graph:
    return read_nir(write(tmp_path / "g.nir", nodes, edges), options)


def spikes(graph: Graph, x: list[float], name: str = "n") -> list[float]:
    """Of one neuron for one input."""
    return [float(v) for v in evaluate(graph, np.array(x).reshape(-1, 1, 1))[name].reshape(-1)]


ONE = nir.Linear(np.ones((1, 1)))
BY_HAND: list[tuple[str, Any, list[float], list[float]]] = [
    # v: 1 (not above 1), 0.5, 0.5 + (4 - 0.5) / 2 = 2.25 fires, 0 + 1.5 fires, 0
    ("r = 1", lif(1), [2, 0, 4, 3, 0], [0, 0, 1, 1, 0]),
    # r = tau: v = v/2 + x: 0.75, 0.375 + 0.75 = 1.125 fires, 0.75
    ("r = tau", lif(1, r=2.0), [0.75, 0.75, 0.75], [0, 1, 0]),
    # r dt/tau = 2: v = v/2 + 2 x: 0.6, 0.3 + 0.6, 0.45 + 0.6 = 1.05 fires
    ("r folded", lif(1, r=4.0), [0.3, 0.3, 0.3, 0.3], [0, 0, 1, 0]),
    # v_leak 3: v = v/2 + 1.5 + x/2: 1.5 fires, 1.5 - 1 = 0.5, 0.25 + 1.5 fires
    ("v_leak", lif(1, leak=3.0), [0, -2, 0], [1, 0, 1]),
    # starts and restarts at -1, leak to 0: v = v/2 + x/2: -0.5, 0.75, 1.375 fires, -1/2
    ("v_reset", lif(1, reset=-1.0), [0, 2, 2, 0], [0, 0, 1, 0]),
    # dt r = 0.5: v = 0.6, 1.2 fires, 0.6
    ("if", nir.IF(np.array([0.5]), np.array([1.0])), [1.2, 1.2, 1.2], [0, 1, 0]),
    # tau_syn = dt: i = 2 x, v = v/2 + i/2: 0.5, 0.25 + 1 = 1.25 fires, 0.5
    ("cuba", nir.CubaLIF(*(np.array([v]) for v in (1.0, 2.0, 1.0, 0.0, 1.0, 0.0, 2.0))), [0.5, 1, 0.5], [0, 1, 0]),
    ("threshold", nir.Threshold(np.array([0.5])), [0.5, 0.75, -3, 0.625, 0], [0, 1, 0, 1, 0]),
]  # fmt: skip


@pytest.mark.parametrize(("node", "x", "wanted"), [b[1:] for b in BY_HAND], ids=[b[0] for b in BY_HAND])
def test_by_hand(node: Any, x: list[float], wanted: list[float], tmp_path: Path) -> None:
    nodes = net(1, ("fc", ONE), ("n", node))
    graph = read(tmp_path, nodes, options=replace(TEXT, dt=1.0))
    assert spikes(graph, x) == wanted
    assert euler(nodes, list(pairwise(nodes)), np.array(x)[:, None], 1.0)["n"].reshape(-1).tolist() == wanted
    seconds = {**nodes, "n": _in_seconds(node)}  # the same in units of 1e-4
    assert spikes(read(tmp_path, seconds, options=replace(TEXT, dt=1e-4)), x) == wanted


def _in_seconds(node: Any) -> Any:
    times = {k: getattr(node, k) * 1e-4 for k in ("tau", "tau_syn", "tau_mem") if hasattr(node, k)}
    return replace(node, **({"r": node.r * 1e4} if isinstance(node, nir.IF) else times))


def deep() -> tuple[dict[str, Any], tuple[int, ...]]:
    """Maps: Scale before and behind weights, pools, LIF of several kinds, v_leak, IF with r."""
    per_channel = np.broadcast_to(np.array([0.5, 2.0, 1.5])[:, None, None], (3, 6, 6))
    n_if = nir.IF(np.full((4, 3, 3), 0.7), np.full((4, 3, 3), 0.9))
    return {
        "input": nir.Input(np.array([2, 6, 6])), "s0": nir.Scale(np.full((2, 6, 6), 0.5)),
        "c1": conv(RNG.normal(0.1, 0.4, (3, 2, 3, 3)), (6, 6), bias=RNG.normal(0, 0.1, 3)), "s1": nir.Scale(per_channel),
        "n1": lif(3, 6, 6, tau=3.0, r=2.5, leak=0.2, v_th=0.8, reset=-0.1), "s2": nir.Scale(per_channel),
        "c2": conv(RNG.normal(0.2, 0.4, (4, 3, 3, 3)), bias=RNG.normal(0, 0.1, 4)),
        "avg": nir.AvgPool2d(TWO, TWO, np.zeros(2)), "n2": n_if, "flat": nir.Flatten(None, 0, -1),
        "s3": nir.Scale(RNG.uniform(0.5, 1.5, 36)), "fc": nir.Affine(RNG.normal(0, 0.3, (5, 36)), RNG.normal(0, 0.2, 5)),
        "n3": lif(5, tau=2.0, r=RNG.uniform(0.5, 2.0, 5)), "output": nir.Output(np.array([5])),
    }, (2, 6, 6)  # fmt: skip


def flat_maps() -> tuple[dict[str, Any], tuple[int, ...]]:
    def conv1d(out: int, n_in: int, length: int | None, **more: Any) -> nir.Conv1d:
        fields = {"stride": 1, "padding": 1, "dilation": 1, "groups": 1, **more}
        weight = RNG.normal(0.2, 0.5, (out, n_in // fields["groups"], 3))
        return nir.Conv1d(length, weight, bias=RNG.normal(0, 0.1, out), **fields)

    return {
        "input": nir.Input(np.array([2, 11])), "c1": conv1d(4, 2, 11, stride=2), "n1": lif(4, 6, tau=4.0, r=4.0),
        "c2": conv1d(4, 4, None, dilation=2, groups=2), "n2": lif(4, 4), "flat": nir.Flatten(None, 0, -1), "fc": fc(3, 16),
        "n3": nir.Threshold(np.full(3, 0.4)), "output": nir.Output(np.array([3])),
    }, (2, 11)  # fmt: skip


def delayed() -> tuple[dict[str, Any], tuple[int, ...]]:
    return net(3, ("fc", fc(4, 3)), ("n1", lif(4, tau=5.0, r=5.0)), ("d", nir.Delay(np.full(4, 2.0))),
               ("s", nir.Scale(np.full(4, 1.5))), ("fc2", fc(2, 4)), ("n2", lif(2, tau=2.0, r=3.0)), out=2), (3,)  # fmt: skip


@pytest.mark.parametrize("make", [deep, flat_maps, delayed])
@pytest.mark.parametrize("fire", [">", ">="])
def test_networks_against_euler(make: Any, fire: Any, tmp_path: Path) -> None:
    nodes, shape = make()
    edges = list(pairwise(nodes))
    x = RNG.poisson(0.8, (12, *shape)).astype(float)
    wanted = euler(nodes, edges, x, 1.0, fire=fire)
    graph = read(tmp_path, nodes, options=replace(TEXT, fire=fire, dt=1.0))
    ours = evaluate(graph, x.reshape(12, 1, *graph.inputs[0].shape), 12)
    for neuron in graph.neurons:
        found = ours[neuron.name][:, 0]
        np.testing.assert_array_equal(found.reshape(wanted[neuron.name].shape), wanted[neuron.name], err_msg=neuron.name)
        assert 0 < found.mean() < 1, neuron.name


def recurrent(inner: Any) -> tuple[dict[str, Any], Edges]:
    edges = [("input", "fc"), ("fc", "n1"), ("n1", "w"), ("w", "n1"), ("n1", "fc2"), ("fc2", "n2"), ("n2", "output")]
    first, second = ("n1", lif(4, tau=3.0, r=3.0)), ("n2", lif(2, r=2.0))
    return net(3, ("fc", fc(4, 3)), first, ("w", inner), ("fc2", fc(2, 4)), second, out=2), edges


@pytest.mark.parametrize("bias", [False, True])
def test_recurrence(bias: bool, tmp_path: Path) -> None:
    """The spikes of a timestep act in the next one; a bias on the way acts from the first timestep on."""
    nodes, edges = recurrent(nir.Affine(RNG.normal(0, 0.8, (4, 4)), np.full(4, 0.2 * bias)))
    x = RNG.poisson(0.8, (12, 3)).astype(float)
    order = {n: nodes[n] for n in ("input", "fc", "w", "n1", "fc2", "n2", "output")}
    wanted = euler(order, edges, x, 1.0, last=[("n1", "w")])
    graph = read(tmp_path, nodes, edges, replace(TEXT, dt=1.0))
    assert Edge("n1", "w", 1) in graph.edges and sum(e.delay for e in graph.edges) == 1 and graph.output.name == "n2"
    ours = evaluate(graph, x[:, None])
    for name in ("n1", "n2"):
        np.testing.assert_array_equal(ours[name][:, 0], wanted[name])
        assert 0 < wanted[name].mean() < 1
    four = np.array([4])
    inside = nir.NIRGraph({"in": nir.Input(four), "lif": nodes["n1"], "w": nodes["w"], "out": nir.Output(four)},
                          [("in", "lif"), ("lif", "w"), ("w", "lif"), ("lif", "out")])  # fmt: skip
    outer = {n: v for n, v in nodes.items() if n not in ("n1", "w")} | {"rnn": inside}
    around = [("input", "fc"), ("fc", "rnn"), ("rnn", "fc2"), ("fc2", "n2"), ("n2", "output")]
    nested = read(tmp_path, outer, around, replace(TEXT, dt=1.0))
    np.testing.assert_array_equal(evaluate(nested, x[:, None])["n2"], ours["n2"])
    assert {"rnn.lif", "rnn.w"} < set(nested.by_name)


def test_delays_are_the_lowering_s_to_refuse(tmp_path: Path) -> None:
    """Without loops; and a loop of one timestep whose neurons a bias may fire before a sample arrives."""
    biased = recurrent(nir.Affine(RNG.normal(0, 0.8, (4, 4)), np.full(4, 0.2)))
    cases = ((*biased, "n1 -> n1: a delay of 1 in a loop"), (delayed()[0], None, "n1 -> fc2: a delay of 2"))
    for nodes, edges, what in cases:
        with pytest.raises(DoesNotFit, match=what):
            lower(read(tmp_path, nodes, edges, replace(TEXT, dt=1.0)), target("loihi2"))


def test_a_layer_that_feeds_itself_is_lowered(tmp_path: Path) -> None:
    graph = read(tmp_path, *recurrent(nir.Linear(RNG.normal(0, 0.8, (4, 4)))), replace(TEXT, dt=1.0))
    entry = replace(graph.inputs[0], kind="graded", max_value=15)
    graph = replace(graph, nodes=tuple(entry if n is graph.inputs[0] else n for n in graph.nodes), n_timesteps=12)
    lowered = lower(graph, target("loihi2"), "counts")
    x = np.minimum(RNG.poisson(0.8, (12, 5, 3)), 15).astype(float)
    wanted, found = evaluate(graph, x), evaluate(lowered, x, lowered.n_chip_steps)
    for name, d in (("n1", 1), ("n2", 2)):
        np.testing.assert_array_equal(found[name][d : d + 12], wanted[name])
        assert 0 < wanted[name].mean() < 1


def test_a_loop_with_a_delay_takes_no_other(tmp_path: Path) -> None:
    """By hand: v = v + x, fires above 1; its spike comes back after three timesteps with weight 2."""
    nodes = net(1, ("fc", ONE), ("n", nir.IF(np.ones(1), np.ones(1))), ("d", nir.Delay(np.array([3.0]))),
                ("w", nir.Linear(np.array([[2.0]]))))  # fmt: skip
    edges = [("input", "fc"), ("fc", "n"), ("n", "d"), ("d", "w"), ("w", "n"), ("n", "output")]
    graph = read(tmp_path, nodes, edges, replace(TEXT, dt=1.0))
    assert sorted(e.delay for e in graph.edges) == [0, 0, 0, 3]
    assert spikes(graph, [1.5, 0, 0, 0, 0, 0, 0, 0]) == [1, 0, 0, 1, 0, 0, 1, 0]


def test_an_integrator_at_the_end_is_the_sum_of_a_vote(tmp_path: Path) -> None:
    nodes = net(2, ("fc", fc(3, 2)), ("n", lif(3)), ("fc2", fc(2, 3)), ("v", nir.I(np.array([0.5, 2.0]))), out=2)
    x = RNG.poisson(1.5, (12, 2)).astype(float)
    graph = read(tmp_path, nodes, options=replace(TEXT, dt=1.0))
    assert isinstance(graph.output, Vote) and graph.output.n_classes == 2
    wanted = euler(nodes, list(pairwise(nodes)), x, 1.0)["v"]
    np.testing.assert_allclose(np.cumsum(evaluate(graph, x[:, None])["v"][:, 0], axis=0), wanted, rtol=1e-12)
    assert wanted[-1].any() and read(tmp_path, nodes, options=replace(TEXT, dt=1.0, n_classes=2)).output.name == "v"
    with pytest.raises(UnsafeFile, match="2 integrators for 4 classes"):
        read(tmp_path, nodes, options=replace(TEXT, dt=1.0, n_classes=4))


@pytest.mark.parametrize(
    ("node", "dt", "why"),
    [(lif(1, tau=1e-3, r=10.0), "0.0001", "every time is below 1: seconds"),
     (lif(1, tau=2.0), "1", "every time is 1 or more: timesteps"),
     (nir.IF(np.array([1e4]), np.ones(1)), "0.0001", "r is 1e4 everywhere"),
     (nir.IF(np.array([2.0]), np.ones(1)), "1", "no time constants")],
)  # fmt: skip
def test_the_timestep_that_is_assumed(node: Any, dt: str, why: str, tmp_path: Path) -> None:
    nodes = net(1, ("fc", ONE), ("n", node))
    with pytest.warns(NeurodeployWarning, match=f"fire >, reset hard, v_min none, .*dt {dt} .{why}"):
        graph = read(tmp_path, nodes, options=NirOptions())
    assert graph.metadata["nir"]["dt"] == float(dt)
    if isinstance(node, nir.LIF) and dt != "1":  # as snntorch writes beta = 0.9
        n, w = graph["n"], graph["fc"]
        assert isinstance(n, Lif) and n.inv_tau == pytest.approx(0.1) and not n.decay_input
        assert isinstance(w, Linear) and w.weight.tolist() == [[1.0]]


def test_seconds_or_timesteps_is_asked_where_a_file_has_both(tmp_path: Path) -> None:
    nodes = net(1, ("fc", ONE), ("n", lif(1, tau=20.0)), ("fc2", ONE), ("m", lif(1, tau=0.5)))
    with pytest.raises(UnsafeFile, match=r"m: times from 0.5 \(m\) to 20 \(n\).*--set nir.dt"):
        read(tmp_path, nodes)
    assert len(read(tmp_path, nodes, options=replace(TEXT, dt=0.1)).neurons) == 2


def test_what_real_files_get_wrong(tmp_path: Path) -> None:
    """Scalars and one-element arrays for a layer, a batch dimension, an input without shape."""
    ragged = lif(4)
    ragged.tau, ragged.r, ragged.v_threshold = np.float32(2.0), np.ones(1), np.ones((1, 4))
    nodes = net(3, ("fc", fc(4, 3)), ("n", ragged))
    right = net(3, ("fc", nodes["fc"]), ("n", lif(4)))
    x = RNG.poisson(1.0, (12, 1, 3)).astype(float)
    options = replace(TEXT, dt=1.0)
    wanted = evaluate(read(tmp_path, right, options=options), x)["n"]
    assert wanted.any()
    parameters = "n: its parameters in one shape; "
    for shape, said in (([3], ""), ([1, 3], "input: shape .3., without the batch's axis; "),
                        ([], "input: shape .3., that of the layer behind; ")):
        nodes["input"] = nir.Input(np.array(shape, int))
        told = f"not quite NIR, read as: {parameters}{said}n: arrays without the batch's axis[.]"
        with pytest.warns(NeurodeployWarning, match=told) as seen:
            np.testing.assert_array_equal(evaluate(read(tmp_path, nodes, options=options), x)["n"], wanted)
        assert [w.message.code for w in seen] == ["nir_repaired"]  # type: ignore[union-attr]
    maps = {"input": nir.Input(np.array([1, 2, 6, 6])), "c": conv(np.ones((3, 2, 3, 3))), "n": lif(1, 3, 6, 6),
            "output": nir.Output(np.array([3, 6, 6]))}  # fmt: skip
    with pytest.warns(NeurodeployWarning, match="input: shape .2, 6, 6., without .*n: arrays without the batch's axis[.]"):
        graph = read(tmp_path, maps, options=options)
    assert graph.inputs[0].shape == (2, 6, 6) and isinstance(graph["c"], Conv2d)


BAD: list[tuple[str, dict[str, Any], str]] = [
    ("taus", net(2, ("fc", fc(2, 2)), ("n", replace(lif(2), tau=np.array([2.0, 3.0])))),
     "n: tau from 2 to 3. One value for a layer"),
    ("short", net(1, ("fc", ONE), ("n", lif(1, tau=0.5))), "n: tau is 0.5. At least the timestep, dt = 1"),
    ("negative", net(1, ("fc", ONE), ("n", lif(1, tau=-2.0))), "n: tau is -2"),
    ("reset", net(1, ("fc", ONE), ("n", lif(1, reset=1.0))), "n: v_reset 1 is not below the threshold 1"),
    ("current", net(1, ("n", nir.CubaLIF(*(np.array([v]) for v in (4.0, 2.0, 1.0, 0.0, 1.0)))), ("n.current", lif(1))),
     "n: its current would be named n.current, as another node is"),
    ("wide", net(5000, ("n", lif(5000, r=4.0))), "n: a factor for each of 5000 values, with no weights in front"),
    ("floors", net(2, ("fc", fc(2, 2)), ("n", replace(lif(2), v_threshold=np.array([1.0, 2.0])))), "n: floors, in units of"),
    ("delay", net(1, ("d", nir.Delay(np.array([1.5]))), ("n", lif(1))), "d: a delay of 1.5. Whole timesteps of dt = 1"),
    ("delays", net(2, ("d", nir.Delay(np.array([1.0, 2.0]))), ("n", lif(2))), "d: delays from 1 to 2. One delay a layer"),
    ("within", {"input": nir.Input(np.array([2, 2, 2])), "s": nir.Scale(np.arange(8.0).reshape(2, 2, 2)),
                "c": conv(np.ones((1, 2, 3, 3))), "output": nir.Output(np.array([1, 2, 2]))},
     "c: a Scale in front of it differs within"),
    ("mixed", {"input": nir.Input(np.array([2, 2, 2])), "c": conv(np.ones((1, 2, 3, 3))),
               "d": nir.Conv1d(None, np.ones((1, 1, 3)), 1, 0, 1, 1, np.zeros(1)), "output": nir.Output(np.ones(1))},
     "d: a Conv1d in one"),
]  # fmt: skip


WIDE: list[tuple[str, Any]] = [("fc", nir.Linear(np.ones((2, 1)))), ("c", conv(np.ones((1, 1, 3, 3))))]


@pytest.mark.parametrize(("name", "node"), WIDE)
def test_a_scale_does_not_widen_weights(name: str, node: Any, tmp_path: Path) -> None:
    shape = (3,) if name == "fc" else (3, 4, 4)
    scale = np.broadcast_to(np.arange(1.0, 4).reshape(3, *[1] * (len(shape) - 1)), shape)
    nodes = {"input": nir.Input(np.array(shape)), "s": nir.Scale(scale), name: node, "output": nir.Output(np.ones(1))}
    with pytest.raises(UnsafeFile, match=f"{name}: expects 1 input"):
        read(tmp_path, nodes)


@pytest.mark.parametrize(("nodes", "text"), [b[1:] for b in BAD], ids=[b[0] for b in BAD])
def test_what_cannot_be_expressed_is_named(nodes: dict[str, Any], text: str, tmp_path: Path) -> None:
    v_min = -1.0 if text.startswith("n: floors") else "none"
    with pytest.raises(UnsafeFile, match=text):
        read(tmp_path, nodes, options=replace(TEXT, dt=1.0, v_min=v_min))


def test_loops_that_cannot_be_read(tmp_path: Path) -> None:
    nodes, edges = recurrent(fc(4, 4))
    options = replace(TEXT, dt=1.0)
    square = {**nodes, "x": fc(4, 4)}
    for more, text in (
        ([("w", "fc2")], "w: on the way back to n1, with 1 sources and 2 readers"),
        ([("w", "x"), ("x", "w")], "(w|x): "),
        ([("x", "x"), ("n1", "x")], "x: a recurrent connection without neurons"),
        ([("x", "x")], "x: nothing feeds it but its own loop"),
    ):
        with pytest.raises(UnsafeFile, match=text):
            read(tmp_path, square, [*edges, *more], options)
    gain = {**nodes, "n1": lif(4, tau=3.0, r=2.0)}
    graph = read(tmp_path, gain, edges, options)  # both ways into n1 have weights of their own
    assert isinstance(graph["w"], Linear) and np.allclose(graph["w"].weight, nodes["w"].weight * 2 / 3)
    direct = [e for e in edges if "w" not in e] + [("n1", "n1")]
    bare = {n: v for n, v in gain.items() if n != "w"}
    own = read(tmp_path, bare, direct, options)  # the way back has none, and n1 feeds others too: it gets weights
    factor = own["n1.factor"]
    assert isinstance(factor, Linear) and np.allclose(factor.weight, np.eye(4) * 2 / 3)
    assert Edge("n1", "n1.factor", 1) in own.edges
