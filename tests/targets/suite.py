"""What every target must pass: `class TestMyChip(Conformance): target = "my_chip"` in a file beside this one.

A small residual network with a max-pool and a leaky and a non-leaky layer goes through lowering, quantization, both
simulators, placement and cost, with inputs coded in each way. Known gaps of a target are strict xfail with a reason.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from itertools import pairwise
from typing import Any, ClassVar, get_args

import numpy as np
import pytest
from neurodeploy.cost.counts import count
from neurodeploy.cost.model import cost
from neurodeploy.data.chip_input import chip_input
from neurodeploy.hw import profile as hw
from neurodeploy.hw.profile import Profile, Quantity
from neurodeploy.ir.graph import Edge, Graph, IntGraph
from neurodeploy.ir.nodes import (
    BatchNorm,
    Conv2d,
    CubaLif,
    Flatten,
    Input,
    Lif,
    Linear,
    MaxPool2d,
    Node,
    Vote,
)
from neurodeploy.ir.serialize import from_bytes, same, to_bytes
from neurodeploy.lower import InputCoding, lower
from neurodeploy.place import Placement, check, place
from neurodeploy.quantize import quantize
from neurodeploy.sim import clocked, reference
from neurodeploy.sim.trace import Trace, first_difference

CODINGS: tuple[InputCoding, ...] = tuple(c for c in get_args(InputCoding) if c != "counts")  # those of images
N_SAMPLES = 64


def network() -> Graph:
    """Conv, BN, PLIF; a residual block of IF neurons; max-pool; linear LIF; votes. Random weights, T = 4."""
    rng = np.random.default_rng(5)

    def conv(name: str, n_in: int, n_out: int) -> Conv2d:
        return Conv2d(name, weight=rng.normal(0, 1.2 / n_in, (n_out, n_in, 3, 3)), padding=(1, 1))

    def norm(name: str) -> BatchNorm:
        return BatchNorm(name, mean=rng.normal(0, 0.1, 6), var=rng.uniform(0.5, 1.5, 6), gamma=rng.uniform(0.8, 1.5, 6),
                         beta=rng.normal(0.2, 0.2, 6))

    nodes: tuple[Node, ...] = (
        Input("image", shape=(1, 8, 8)), conv("stem", 1, 6), norm("stem.bn"),
        Lif("stem.n", shape=(6, 8, 8), inv_tau=0.5, decay_input=True, v_th=0.5),
        conv("body", 6, 6), norm("body.bn"), Lif("body.n", shape=(6, 8, 8)), conv("body2", 6, 6), norm("body2.bn"),
        Lif("sum.n", shape=(6, 8, 8), inv_tau=0.25),
        MaxPool2d("pool"), Flatten("flatten"),
        Linear("fc", weight=rng.normal(0.02, 0.2, (6, 96)), bias=rng.normal(0.1, 0.1, 6)), Lif("fc.n", shape=(6,)),
        Vote("vote", n_classes=3, group=2),
    )
    path = ["image", "stem", "stem.bn", "stem.n", "body", "body.bn", "body.n", "body2", "body2.bn", "sum.n", "pool", "flatten",
            "fc", "fc.n", "vote"]
    edges = (*(Edge(a, b) for a, b in pairwise(path)), Edge("stem.n", "sum.n"))
    return Graph(nodes, edges, n_timesteps=4, metadata={"data": {"n_levels": 17}})


@cache
def deployed(name: str, coding: InputCoding) -> tuple[Profile, Graph, IntGraph]:
    """(profile, lowered, integer) network of a target."""
    profile = hw.target(name)
    lowered = lower(network(), profile, coding)
    images = np.random.default_rng(1).random((16, 1, 8, 8))
    return profile, lowered, quantize(lowered, profile, images)


@cache
def traced(name: str, coding: InputCoding) -> tuple[Trace, Placement]:
    """The fast simulator's trace of random inputs, and the placement."""
    profile, _, graph = deployed(name, coding)
    images = np.random.default_rng(2).random((N_SAMPLES, 1, 8, 8))
    return clocked.simulate(graph, chip_input(graph, images), record_state=True), place(graph, profile)


def quantities(value: Any, path: str = "") -> Iterator[tuple[str, Quantity]]:
    """Every quantity of a profile with its dotted name."""
    if isinstance(value, Quantity):
        yield path, value
    elif isinstance(value, dict):
        for key, entry in value.items():
            yield from quantities(entry, f"{path}.{key}")
    elif hasattr(type(value), "model_fields"):
        for key in type(value).model_fields:
            yield from quantities(getattr(value, key), f"{path}.{key}")


def with_node(graph: IntGraph, name: str, **changes: Any) -> IntGraph:
    """The graph with fields of one node changed."""
    return replace(graph, nodes=tuple(replace(n, **changes) if n.name == name else n for n in graph.nodes))


def broken_rules(graph: Graph, profile: Profile) -> set[str]:
    """Rules that a network breaks; all violations say what, where, how much and what to do."""
    result = check(graph, profile)
    assert all(v.what and v.where and v.limit and v.remedy for v in result.violations)
    assert result.fits == (not result.violations) == (result.placement is not None)
    return {v.rule for v in result.violations}


class Conformance:
    """Inherit, set `target`. Tests that take a `coding` run for every way in which data enters the chip."""

    target: ClassVar[str]

    @pytest.fixture(params=CODINGS)
    def coding(self, request: pytest.FixtureRequest) -> InputCoding:
        found: InputCoding = request.param
        return found

    def test_simulators_agree(self, coding: InputCoding) -> None:
        _, _, graph = deployed(self.target, coding)
        trace, _ = traced(self.target, coding)
        images = np.random.default_rng(2).random((N_SAMPLES, 1, 8, 8))
        slow = reference.simulate(graph, chip_input(graph, images), record_state=True)
        assert first_difference(slow, trace) is None
        for neuron in graph.neurons:  # silent layers are equal whatever they compute
            assert 0 < trace.n_spikes[neuron.name] < trace.spikes[neuron.name].size, neuron.name

    def test_formats(self, coding: InputCoding) -> None:
        profile, _, graph = deployed(self.target, coding)
        arith = profile.arithmetic
        assert graph.target == profile.name
        for node in graph.nodes:
            if isinstance(node, Conv2d | Linear):
                assert arith.weight_min <= node.weight.min() and node.weight.max() <= arith.weight_max
                assert not (node.weight % arith.weight_step).any() and node.weight.any()
            if isinstance(node, CubaLif):
                assert 0 < node.v_th <= arith.v_th_max
                assert np.abs(node.bias_mant).max(initial=0) <= arith.bias_max and node.bias_exp == arith.bias_exp
                assert 0 <= node.v_decay <= arith.decay_one and 0 <= node.i_decay <= arith.decay_one
                assert (node.state_bits, node.state_shift) == (arith.state_bits, arith.state_shift)
            if isinstance(node, Input):
                top = {"graded": 2**arith.message_bits - 1, "bias": arith.bias_max, "spikes": 1}[node.kind]
                assert 0 < node.max_value <= top
        for edge in graph.edges:
            least = arith.synapse_latency if graph[edge.dst].is_synapse else 0
            assert least <= edge.delay <= least + arith.delay_max
        assert graph.is_balanced

    def test_states_stay_in_range(self, coding: InputCoding) -> None:
        trace, _ = traced(self.target, coding)
        limit = 2 ** (hw.target(self.target).arithmetic.state_bits - 1)
        assert trace.v_mem is not None and trace.i_syn is not None
        for table in (trace.v_mem, trace.i_syn):
            assert all(np.abs(state).max() < limit for state in table.values())

    def test_file_round_trip(self, coding: InputCoding) -> None:
        for graph in deployed(self.target, coding)[1:]:
            assert same(graph, from_bytes(to_bytes(graph))) is None

    def test_placement_covers_every_neuron_once(self, coding: InputCoding) -> None:
        profile, lowered, graph = deployed(self.target, coding)
        _, plan = traced(self.target, coding)
        assert place(lowered, profile) == plan  # shapes decide, not numbers
        sites = [(c.chip, c.index) for c in plan.cores]
        assert len(set(sites)) == plan.n_cores <= profile.capacity.cores_per_chip.count * plan.n_chips
        for neuron in graph.neurons:
            times = np.zeros(graph.shapes[neuron.name], dtype=int).reshape((*graph.shapes[neuron.name], 1, 1)[:3])
            for core in plan.cores_of(neuron.name):
                times[slice(*core.channels), slice(*core.rows), slice(*core.cols)] += 1
                assert core.n_neurons <= profile.capacity.neurons_per_core.count
                assert core.n_words <= profile.capacity.synapse_words_per_core.count
                assert core.n_axons_in <= profile.capacity.axons_in_per_core.count
                assert core.n_axons_out <= profile.capacity.axons_out_per_core.count
            assert (times == 1).all(), neuron.name
        assert {c.node for c in plan.cores} == {n.name for n in graph.neurons}
        assert Placement.from_dict(plan.to_dict()) == plan

    def test_cost_adds_up(self, coding: InputCoding) -> None:
        trace, plan = traced(self.target, coding)
        found = cost(count(trace, plan), plan, hw.target(self.target))
        terms = {name: band for name, band in found.breakdown_j.items() if band is not None}
        assert terms and found.energy_j.nominal > 0 and found.latency_s.nominal > 0
        for band in (*terms.values(), found.energy_j, found.energy_dynamic_j, found.latency_s, found.interval_s, found.edp_js,
                     *(layer.energy_dynamic_j for layer in found.layers), *(c.energy_dynamic_j for c in found.cores)):
            assert 0 <= band.low <= band.nominal <= band.high
        for pick in ("low", "nominal", "high"):  # float64 sums of a few terms, in another order
            total = sum(getattr(b, pick) for b in terms.values())
            layers = sum(getattr(layer.energy_dynamic_j, pick) for layer in found.layers)
            assert getattr(found.energy_j, pick) == pytest.approx(total, rel=1e-12)
            assert getattr(found.energy_dynamic_j, pick) == pytest.approx(layers, rel=1e-12)
        spikes = sum(int(trace.spikes[n.name].sum()) for n in trace.graph.neurons)
        assert found.counts["spikes"] == pytest.approx(spikes / N_SAMPLES, rel=1e-12)
        assert found.exact_counts and found.n_cores == plan.n_cores

    def test_every_quantity_has_source_and_status(self) -> None:
        found = dict(quantities(hw.target(self.target)))
        assert len(found) > 10
        for name, quantity in found.items():
            assert quantity.source.strip() and quantity.status in hw.STATUS_ORDER, name
            low, value, high = quantity.band
            assert 0 <= low <= value <= high, name
        for part in (hw.target(self.target).arithmetic, hw.target(self.target).partition):
            assert part.source.strip() and part.status in hw.STATUS_ORDER
        assert hw.resolve(self.target) == self.target

    @pytest.mark.parametrize(("limit", "value", "rule"), [
        ("capacity.cores_per_chip", 1, "cores"),
        ("capacity.neurons_per_core", 1, "neurons_per_core"),
        ("capacity.synapse_words_per_core", 1, "synapse_words"),
        ("capacity.axons_in_per_core", 1, "axons_in"),
        ("capacity.axons_out_per_core", 1, "axons_out"),
        ("capacity.neuron_groups_per_core", 0, "neuron_groups"),
    ])
    def test_capacity_rules(self, limit: str, value: int, rule: str) -> None:
        _, lowered, graph = deployed(self.target, "graded")
        assert broken_rules(graph, hw.target(self.target)) == set()
        lower_limit = hw.target(self.target, {f"{limit}.value": value})
        assert rule in broken_rules(graph, lower_limit)
        assert rule in broken_rules(lowered, lower_limit)

    def test_arithmetic_rules(self) -> None:
        profile, lowered, graph = deployed(self.target, "graded")
        arith = profile.arithmetic
        fc, neuron = graph["fc"], graph["fc.n"]
        assert isinstance(fc, Linear) and isinstance(neuron, CubaLif)

        def weight(value: int) -> IntGraph:
            return with_node(graph, "fc", weight=np.where(np.eye(*fc.weight.shape) > 0, value, fc.weight))

        def bias(value: int) -> IntGraph:
            return with_node(graph, "fc.n", bias_mant=np.full(neuron.shape, value))

        def delay(value: int) -> IntGraph:
            return replace(graph, edges=tuple(replace(e, delay=value) if e.dst == "fc" else e for e in graph.edges))

        # Without weights behind it, so that no current grows with the messages.
        deaf = with_node(graph, "stem", weight=np.zeros_like(graph["stem"].weight))  # type: ignore[attr-defined]
        longest = arith.synapse_latency + arith.delay_max
        fits = [
            weight(arith.weight_min), weight(arith.weight_max), bias(arith.bias_max), bias(-arith.bias_max),
            with_node(graph, "fc.n", v_th=arith.v_th_max), with_node(graph, "fc.n", v_decay=arith.decay_one), delay(longest),
        ]
        for good in fits:
            assert broken_rules(good, profile) == set()
        trips: list[tuple[str, Graph]] = [
            ("weights", weight(arith.weight_min - arith.weight_step)),
            ("weights", weight(arith.weight_max + arith.weight_step)),
            ("biases", bias(arith.bias_max + 1)), ("biases", bias(-arith.bias_max - 2)),
            ("biases", with_node(graph, "fc.n", bias_exp=arith.bias_exps[1] + 1)),
            ("thresholds", with_node(graph, "fc.n", v_th=arith.v_th_max + 1)),
            ("thresholds", with_node(graph, "fc.n", v_th=-1)),
            ("state_formats", with_node(graph, "fc.n", v_decay=arith.decay_one + 1)),
            ("state_formats", with_node(graph, "fc.n", i_decay=-1)),
            ("state_formats", with_node(graph, "fc.n", state_bits=arith.state_bits + 1)),
            ("input_messages", with_node(deaf, "image", max_value=arith.payload_max + 1)),
            ("delays", delay(longest + 1)), ("delays", delay(arith.synapse_latency - 1)),
        ]
        other = "soft" if arith.reset == "hard" else "hard"
        nodes = tuple(replace(n, reset=other) if n.name == "fc.n" else n for n in lowered.nodes)  # type: ignore[call-arg]
        trips.append(("reset_kind", replace(lowered, nodes=nodes)))
        if arith.weight_step > 1:
            trips.append(("weights", weight(arith.weight_max - 1)))
        for rule, bad in trips:
            assert broken_rules(bad, profile) == {rule}

    def test_absent_terms_are_not_available(self, coding: InputCoding) -> None:
        """Without its entry in the profile a term is None and named as excluded; the other terms stay."""
        trace, plan = traced(self.target, coding)
        profile = hw.target(self.target)
        whole = cost(count(trace, plan), plan, profile)
        energy = {name: quantity for name, quantity in profile.energy.items() if not name.startswith("synapse")}
        without = profile.model_copy(update={"power": {}, "energy": energy})
        part = cost(count(trace, plan), plan, without)
        assert whole.breakdown_j["synapse"] is not None and part.breakdown_j["synapse"] is None
        assert part.breakdown_j["static"] is None
        assert part.breakdown_j["soma"] == whole.breakdown_j["soma"]
        assert part.energy_j.nominal < whole.energy_j.nominal
        assert any("synapse" in line for line in part.excluded) and any("static" in line for line in part.excluded)
        assert all(band is not None or name in "".join(whole.excluded) for name, band in whole.breakdown_j.items())
