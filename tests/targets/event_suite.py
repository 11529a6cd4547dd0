"""What every event-driven target must pass: `class TestMyChip(EventConformance): target = "my_chip"` in a file beside this one.

A small residual network of integrate-and-fire neurons with sum pools goes through lowering, quantization by both rules,
placement, the vendor's and the stricter rules, both simulators, cost and files; then each limit of the profile is tightened
until the rule that watches it trips, and no other.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from typing import Any, ClassVar, Literal

import numpy as np
import pytest
from neurodeploy.cost.event_activity import EventActivity, activity_of
from neurodeploy.cost.event_cost import event_cost
from neurodeploy.errors import DoesNotFit, NeurodeployWarning, Violation
from neurodeploy.hw.profile import STATUS_ORDER, Counts, EventProfile, Quantity, any_target, parse
from neurodeploy.ir.event_layers import read_cores
from neurodeploy.ir.graph import Graph, IntGraph
from neurodeploy.ir.nodes import Array, Conv2d, Flatten, Iaf, Input, Linear, SumPool2d, Vote
from neurodeploy.ir.serialize import from_bytes, same, to_bytes
from neurodeploy.lower.event_cores import lower_to_events
from neurodeploy.place import dynapcnn_rules
from neurodeploy.place.core_memory import layer_words
from neurodeploy.place.core_plan import CorePlan
from neurodeploy.place.dynapcnn_strict import STRICT
from neurodeploy.place.event_cores import check, configuration, limits_of, place
from neurodeploy.quantize.iaf_network import quantize_events
from neurodeploy.sim import events, events_reference
from neurodeploy.sim.event_runs import EventRuns, run_streams
from neurodeploy.sim.events_graph import from_graph
from neurodeploy.sim.events_stream import from_raster
from neurodeploy.sim.events_trace import EventTrace, first_difference

from event_nets import chain, conv, lif, linear

Rule = Literal["mismatch", "sinabs"]
RULES: tuple[Rule, ...] = ("mismatch", "sinabs")
N_SAMPLES, DURATION_US = 4, 20_000


def network() -> Graph:
    """A strided stem, a residual block, two pools, two layers into 5 classes of 2. Weights at most the threshold."""
    graph = chain(
        Input("events", (2, 16, 16)), conv("stem", 2, 4, stride=(2, 2)), lif("stem.n", 4, 8, 8), SumPool2d("pool1"),
        conv("body", 4, 4), lif("body.n", 4, 4, 4), conv("body2", 4, 4), lif("body2.n", 4, 4, 4),
        conv("body3", 4, 4), lif("sum.n", 4, 4, 4), SumPool2d("pool2"), Flatten("flatten"),
        linear("hidden", 16, 12), lif("hidden.n", 12), linear("out", 12, 10), lif("out.n", 10), Vote("vote", 5, 2),
        more=(("body.n", "sum.n"),), T=8, encoding="events",
    )  # fmt: skip
    limited = tuple(
        replace(n, weight=np.minimum(0.7 * n.weight, 1.0)) if isinstance(n, Conv2d | Linear) else n for n in graph.nodes
    )
    return replace(graph, nodes=limited)


def chip(name: str, overrides: dict[str, Any] | None = None) -> EventProfile:
    """The target with dotted overrides."""
    profile = any_target(name, overrides)
    assert isinstance(profile, EventProfile)
    return profile


@cache
def deployed(name: str, rule: Rule) -> tuple[EventProfile, Graph, IntGraph, CorePlan]:
    """(profile, lowered, integer network, cores) of a target."""
    profile = chip(name)
    lowered = lower_to_events(network(), profile)
    net = quantize_events(lowered, profile, rule=rule)
    return profile, lowered, net, place(net, profile)


@cache
def streams() -> tuple[Array, ...]:
    """Random events in 40 bins, at most one of a pixel in each."""
    rng = np.random.default_rng(7)
    found = []
    for _ in range(N_SAMPLES):
        stream = from_raster((rng.random((40, 2, 16, 16)) < 0.02).astype(np.int64))
        found.append(np.column_stack([stream[:, 0] * (DURATION_US // 40), stream[:, 1:]]))
    return tuple(found)


@cache
def traced(name: str, rule: Rule) -> tuple[list[EventTrace], EventRuns]:
    """The fast simulator's traces in the chip's order, and the same samples as runs."""
    _, _, net, _ = deployed(name, rule)
    wiring, states = from_graph(net)
    traces = events.simulate_batch(wiring, streams(), by_event=True, v_init=states)
    return traces, run_streams(net, streams(), duration_us=DURATION_US)


def quantities(value: Any, path: str = "") -> Iterator[tuple[str, Quantity | Counts]]:
    """Every quantity and list of counts of a profile with its dotted name."""
    if isinstance(value, Quantity | Counts):
        yield path, value
    elif isinstance(value, dict):
        for key, entry in value.items():
            yield from quantities(entry, f"{path}.{key}")
    elif hasattr(type(value), "model_fields"):
        for key in type(value).model_fields:
            yield from quantities(getattr(value, key), f"{path}.{key}")


def broken_rules(graph: Graph, profile: EventProfile) -> dict[str, Violation]:
    """Rules that a network breaks, by name; all violations say what, where, how much and what to do."""
    result = check(graph, profile)
    assert all(v.what and v.where and v.limit and v.remedy for v in result.violations)
    assert result.fits == (not result.violations) == (result.plan is not None)
    return {v.rule: v for v in result.violations}


class EventConformance:
    """Inherit, set `target`. Tests that take a `rule` run for both ways of quantizing."""

    target: ClassVar[str]

    @pytest.fixture(params=RULES)
    def rule(self, request: pytest.FixtureRequest) -> Rule:
        found: Rule = request.param
        return found

    def test_every_quantity_has_a_source_and_a_status(self) -> None:
        profile = chip(self.target)
        found = dict(quantities(profile))
        assert len(found) > 20
        for path, quantity in found.items():
            assert quantity.status in STATUS_ORDER and len(quantity.source) > 10, path
            assert isinstance(quantity, Counts) or quantity.band[0] <= quantity.value <= quantity.band[2], path
        for part in (profile.arithmetic, profile.vendor):
            assert part.status in STATUS_ORDER and len(part.source) > 10
        assert profile.disclaimer and parse(profile.model_dump(mode="json")) == profile

    def test_formats(self, rule: Rule) -> None:
        profile, _, net, _ = deployed(self.target, rule)
        a = profile.arithmetic
        assert net.target == profile.name and net.quantization["rule"] == rule
        half, top = 2 ** (a.weight_bits - 1), 2 ** (a.state_bits - 1)
        for node in net.nodes:
            if isinstance(node, Conv2d | Linear):
                assert -half <= node.weight.min() and node.weight.max() < half and node.weight.any()
            elif isinstance(node, Iaf):
                assert 1 <= node.v_th < top and node.v_min is not None and -top <= node.v_min <= 0
                assert node.state_bits == a.state_bits and node.reset == "soft" and not np.any(node.bias)

    def test_layers_are_on_cores_that_hold_them(self, rule: Rule) -> None:
        profile, lowered, net, plan = deployed(self.target, rule)
        assert broken_rules(net, profile) == broken_rules(lowered, profile) == {}
        assert place(lowered, profile) == plan and plan.n_cores == len(net.neurons) == 6
        assert [use.node for use in plan.cores] == [layer.name for layer in read_cores(net).layers]
        assert len({use.core for use in plan.cores}) == 6
        for use, layer in zip(plan.cores, read_cores(net).layers, strict=True):
            words = layer_words(layer.in_shape[0], layer.kernel, layer.out_shape, bias=layer.bias is not None)
            assert (use.kernel_words, use.neuron_words, use.bias_words) == (words.kernel, words.neuron, words.bias)
            c = profile.capacity
            limits = (c.kernel_words.values[use.core], c.neuron_words.values[use.core], c.bias_words.values[use.core])
            assert (use.kernel_words_max, use.neuron_words_max, use.bias_words_max) == limits
        assert CorePlan.from_dict(plan.to_dict()) == plan

    def test_the_vendor_and_the_strict_rules_accept_the_configuration(self, rule: Rule) -> None:
        profile, _, net, plan = deployed(self.target, rule)
        config = configuration(net, plan, profile)
        strict = frozenset(STRICT) if not _over_threshold(net) else frozenset(STRICT) - {"weight_over_threshold"}
        assert dynapcnn_rules.check(config, limits_of(profile), strict=strict) == ()
        assert set(config.cores) == {use.core for use in plan.cores}
        body = config.cores[plan.core_of("body.n")]
        joined = plan.core_of("sum.n")
        assert {(d.layer, d.pooling, d.feature_shift) for d in body.destinations} == {
            (plan.core_of("body2.n"), 1, 0), (joined, 1, 4)
        }
        assert [(d.layer, d.pooling) for d in config.cores[joined].destinations] == [(plan.core_of("hidden.n"), 2)]
        assert [core.monitor_enable for core in config.cores.values()].count(True) == 1

    def test_simulators_agree(self, rule: Rule) -> None:
        """Depth first, as the chip, and breadth first, as the vendor's simulator: spike for spike; every layer spikes."""
        _, _, net, _ = deployed(self.target, rule)
        wiring, states = from_graph(net)
        for fast, stream in zip(traced(self.target, rule)[0], streams(), strict=True):
            slow = events_reference.simulate(wiring, stream, v_init=states)
            assert first_difference(slow, fast) is None
        other = events.simulate(wiring, streams()[0], order="breadth", v_init=states)
        slow = events_reference.simulate(wiring, streams()[0], order="breadth", v_init=states)
        assert first_difference(slow, other) is None
        _, runs = traced(self.target, rule)
        for layer in read_cores(net).layers:  # silent layers are equal whatever they compute
            assert runs.n_spikes[layer.name].sum() > 0, layer.name
        assert not any(n.any() for n in runs.n_saturations.values()) and runs.n_silent == 0

    def test_one_spike_an_update_where_no_weight_is_above_the_threshold(self) -> None:
        """The default rule keeps weights at or below it, and then the chip loses no spike."""
        _, _, net, _ = deployed(self.target, "mismatch")
        assert not _over_threshold(net)
        traces, _ = traced(self.target, "mismatch")
        for neuron in net.neurons:
            assert isinstance(neuron, Iaf)
            assert all((trace.v_mem[neuron.name] < neuron.v_th).all() for trace in traces)

    def test_cost_adds_up(self, rule: Rule) -> None:
        profile, _, net, plan = deployed(self.target, rule)
        _, runs = traced(self.target, rule)
        activity = activity_of(net, runs)
        found = event_cost(activity, plan, profile, sensor=True)
        terms = [band for band in found.breakdown_j.values() if band is not None]
        assert set(found.breakdown_j) == {"synapse", "static", "sensor"} and len(terms) == 3
        for part in ("low", "nominal", "high"):
            assert getattr(found.energy_j, part) == pytest.approx(sum(getattr(b, part) for b in terms), rel=1e-12)
        for band in (*terms, found.energy_j, found.power_w, found.latency_s, found.decision_s):
            assert band is not None and 0 < band.low <= band.nominal <= band.high
        layers = {layer.name: layer for layer in found.layers if not layer.is_input}
        energies = [layer.energy_dynamic_j.nominal for layer in layers.values() if layer.energy_dynamic_j is not None]
        assert sum(energies) == pytest.approx(found.energy_dynamic_j.nominal, rel=1e-12)
        assert sum(layer.n_synops for layer in layers.values()) == pytest.approx(activity.synops, rel=1e-12)
        assert sum(core.share for core in found.cores) == pytest.approx(1, rel=1e-12)
        assert found.energy_dynamic_j.nominal == pytest.approx(activity.synops * profile.energy["synop"].si[1], rel=1e-12)
        rails = sum(profile.power[rail].si[1] for rail in profile.static_rails)
        assert found.breakdown_j["static"] is not None
        assert found.breakdown_j["static"].nominal == pytest.approx(rails * DURATION_US * 1e-6, rel=1e-12)
        assert found.decision_s is not None and found.latency_s is not None
        assert found.decision_s.nominal == pytest.approx(DURATION_US * 1e-6 + found.latency_s.nominal, rel=1e-12)
        assert found.latency_s.nominal == pytest.approx(6 * profile.time["core"].si[1], rel=1e-12), "six in a row"
        assert found.breakdown_status["synapse"] == profile.energy["synop"].status
        assert found.exact_counts and set(found.provenance) >= {"energy.synop", "time.core"}

    def test_absent_terms_are_not_available(self) -> None:
        """Without its entry in the profile a term is None and named as excluded; the other terms stay."""
        profile, _, net, plan = deployed(self.target, "mismatch")
        activity = activity_of(net, traced(self.target, "mismatch")[1])
        bare = profile.model_copy(update={"energy": {}, "time": {}})
        part, whole = event_cost(activity, plan, bare), event_cost(activity, plan, profile)
        assert part.breakdown_j["synapse"] is None and part.latency_s is None and part.decision_s is None
        assert part.breakdown_j["static"] == whole.breakdown_j["static"] and part.energy_j.nominal < whole.energy_j.nominal
        assert {"synapse", "latency"} <= {line.partition(":")[0] for line in part.excluded}
        assert all(layer.energy_dynamic_j is None for layer in part.layers if not layer.is_input)

    def test_a_limit_of_synops_flags_cores(self) -> None:
        _, _, net, plan = deployed(self.target, "mismatch")
        activity = activity_of(net, traced(self.target, "mismatch")[1])
        loads = {core.node: core for core in event_cost(activity, plan, chip(self.target), limit=1.0).cores}
        assert all(core.over_limit for core in loads.values()) and sum(core.busiest for core in loads.values()) == 1
        free = event_cost(activity, plan, chip(self.target), limit=1e12)
        assert not any(core.over_limit for core in free.cores)

    def test_files_keep_everything(self, rule: Rule) -> None:
        _, lowered, net, _ = deployed(self.target, rule)
        for graph in (lowered, net):
            assert same(graph, from_bytes(to_bytes(graph))) is None
        activity = activity_of(net, traced(self.target, rule)[1])
        assert EventActivity.from_dict(activity.to_dict()) == activity

    # limit -> a value that the network exceeds, the rule that says so
    TIGHTENED: ClassVar[list[tuple[str, Any, str]]] = [
        ("capacity.kernel_words", 16, "core_memory"),
        ("capacity.neuron_words", 32, "core_memory"),
        ("capacity.kernel_size_max", 2, "kernel_size"),
        ("capacity.strides", [1, 4], "stride"),
        ("capacity.padding_max", 0, "padding"),
        ("capacity.input_size_max", 8, "map_size"),
        ("capacity.output_size_max", 4, "map_size"),
        ("capacity.channels_max", 8, "channels"),
        ("capacity.poolings", [1, 4], "pooling"),
        ("capacity.feature_shift_max", 6, "feature_shift"),
        ("capacity.destinations_per_core", 1, "destinations"),
    ]

    # limit -> a value that the configuration exceeds, the vendor's rules that say so
    VENDOR: ClassVar[list[tuple[str, Any, set[str]]]] = [
        ("capacity.kernel_words", 16, {"kernel_memory"}),
        ("capacity.neuron_words", 32, {"neuron_memory"}),
        ("capacity.kernel_size_max", 2, {"kernel_size"}),
        ("capacity.strides", [1, 4], {"stride_x", "stride_y"}),
        ("capacity.padding_max", 0, {"padding_x", "padding_y"}),
        ("capacity.input_size_max", 8, {"input_size_x", "input_size_y"}),
        ("capacity.output_size_max", 4, {"output_size_x", "output_size_y"}),
        ("capacity.channels_max", 8, {"channels"}),
        ("capacity.poolings_accepted", [1, 4], {"pooling"}),
        ("capacity.feature_shift_max", 2, {"feature_shift", "range_top"}),
        ("capacity.destinations_per_core", 1, {"type.destinations"}),
        ("arithmetic.weight_bits", 6, {"type.range"}),
        ("arithmetic.state_bits", 6, {"type.range"}),
        ("arithmetic.byte_bits", 1, {"type.range"}),
        ("arithmetic.count_bits", 2, {"type.range"}),
    ]

    @pytest.mark.parametrize(("key", "value", "rule"), TIGHTENED, ids=[key for key, _, _ in TIGHTENED])
    def test_a_tighter_limit_breaks_its_rule_alone(self, key: str, value: Any, rule: str) -> None:
        _, _, net, _ = deployed(self.target, "mismatch")
        profile = chip(self.target, self._tightened(key, value))
        found = broken_rules(net, profile)
        assert set(found) == {rule}
        with pytest.raises(DoesNotFit) as caught:
            lower_to_events(network(), profile) if rule != "core_memory" else place(net, profile)
        assert {v.rule for v in caught.value.violations} == {rule} and caught.value.where == self.target

    @pytest.mark.parametrize(("key", "value", "rules"), VENDOR, ids=[key for key, _, _ in VENDOR])
    def test_a_tighter_limit_is_the_vendor_s_too(self, key: str, value: Any, rules: set[str]) -> None:
        """The rules of the configuration, which take their numbers from the profile as well, refuse what passed."""
        _, _, net, plan = deployed(self.target, "mismatch")
        config = configuration(net, plan, chip(self.target))
        refused = dynapcnn_rules.check(config, limits_of(chip(self.target, self._tightened(key, value))))
        assert {v.rule for v in refused} == rules

    def _tightened(self, key: str, value: Any) -> dict[str, Any]:
        """The override that sets a limit; of a list with one entry per core, every entry."""
        section, name = key.split(".")
        before = getattr(getattr(chip(self.target), section), name)
        if isinstance(before, Counts):
            return {f"{key}.values": [value] * len(before.values) if isinstance(value, int) else value}
        assert value < (before.value if isinstance(before, Quantity) else before)
        return {f"{key}.value" if isinstance(before, Quantity) else key: value}

    def test_too_few_cores(self) -> None:
        _, _, net, _ = deployed(self.target, "mismatch")
        memories = {f"capacity.{name}.values": [65536] * 4 for name in ("kernel_words", "neuron_words", "bias_words")}
        profile = chip(self.target, {"capacity.parallel_cores.values": [], **memories})
        found = broken_rules(net, profile)
        assert set(found) == {"n_cores"} and "6 layers" in found["n_cores"].what and "4 cores" in found["n_cores"].limit

    def test_biases_need_a_chip_that_has_them(self) -> None:
        """Where the slow clock adds them a bias is a warning; a chip without refuses it."""
        whole, _, net, _ = deployed(self.target, "mismatch")
        biased = replace(net, nodes=tuple(
            replace(n, bias=np.array([3])) if isinstance(n, Iaf) and n.name == "out.n" else n for n in net.nodes
        ))  # fmt: skip
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            place(biased, whole)
        assert [w.message.code for w in caught if isinstance(w.message, NeurodeployWarning)] == ["slow_clock_bias"]
        assert set(broken_rules(biased, chip(self.target, {"arithmetic.bias": "none"}))) == {"bias"}
        short = chip(self.target, {"capacity.bias_words.values": [1] * whole.capacity.n_cores})
        assert set(broken_rules(biased, short)) == {"core_memory"}

    def test_a_chip_without_shortcuts_says_so(self) -> None:
        _, _, net, _ = deployed(self.target, "mismatch")
        assert set(broken_rules(net, chip(self.target, {"arithmetic.residual": "none"}))) == {"residual"}

    @pytest.mark.parametrize(("what", "rule"), [
        ("weight", "weight_range"), ("v_th", "threshold"), ("v_min", "floor"), ("v_init", "state_range"),
        ("reset", "reset"), ("state_bits", "state_bits"),
    ])  # fmt: skip
    def test_integers_that_a_field_cannot_hold(self, what: str, rule: str) -> None:
        whole, _, net, _ = deployed(self.target, "mismatch")
        top, profile = 2 ** (whole.arithmetic.state_bits - 1), whole
        name, changes = "hidden.n", {what: {"v_th": top, "v_min": -top - 1, "v_init": np.array([top]), "reset": "hard",
                                            "state_bits": whole.arithmetic.state_bits - 1}.get(what)}  # fmt: skip
        if what == "weight":
            name, changes = "hidden", {"weight": np.full((12, 16), 2 ** (whole.arithmetic.weight_bits - 1))}
        if what == "reset":
            profile = chip(self.target, {"arithmetic.resets": ["soft"]})
        bad = replace(net, nodes=tuple(replace(n, **changes) if n.name == name else n for n in net.nodes))  # type: ignore[arg-type]
        assert set(broken_rules(bad, profile)) == {rule}


def _over_threshold(net: IntGraph) -> bool:
    return any(w.code == "weight_over_threshold" for w in check(net, chip(net.target or "")).warnings)
