"""Cores for layers: what fits gets a configuration that the vendor's rules accept, what does not gets every reason."""

from __future__ import annotations

import re
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from neurodeploy.errors import DoesNotFit, NeurodeployError, NeurodeployWarning, UsageError
from neurodeploy.hw.event_profile import EventProfile
from neurodeploy.hw.profile import any_target
from neurodeploy.ir.event_layers import read_cores
from neurodeploy.ir.graph import Edge, Graph, IntGraph
from neurodeploy.ir.nodes import Conv2d, Flatten, Input, Linear, SumPool2d
from neurodeploy.lower.event_cores import lower_to_events
from neurodeploy.place import dynapcnn_rules
from neurodeploy.place.core_memory import layer_words
from neurodeploy.place.core_plan import CorePlan
from neurodeploy.place.dynapcnn_config import Destination
from neurodeploy.place.dynapcnn_strict import STRICT
from neurodeploy.place.event_cores import check, configuration, input_cores, limits_of, place

import speck_nets
from event_nets import chain, changed, conv, integers, lif, linear, plain, residual


def chip(name: str = "speck2f", **overrides: Any) -> EventProfile:
    profile = any_target(name, {key.replace("__", "."): value for key, value in overrides.items()})
    assert isinstance(profile, EventProfile)
    return profile


CHIP = chip()


def limited(net: IntGraph) -> IntGraph:
    """Weights at or below the threshold 30."""
    weights = {n.name: {"weight": np.minimum(n.weight, 30)} for n in net.nodes if isinstance(n, Conv2d | Linear)}
    return changed(net, **weights)


def lowered(graph: Graph) -> Graph:
    return lower_to_events(graph, CHIP)


NET = limited(integers(lowered(residual())))


def rules(graph: Graph, profile: EventProfile = CHIP) -> dict[str, str]:
    """Rule -> text of all violations; `place` raises the same."""
    result = check(graph, profile)
    assert not result.fits and result.plan is None
    with pytest.raises(DoesNotFit) as caught:
        place(graph, profile)
    assert caught.value.violations == result.violations
    assert all(v.remedy and v.limit and v.where for v in result.violations)
    return {v.rule: str(v) for v in result.violations}


@pytest.mark.parametrize("target", ["speck2e", "speck2f", "dynapcnn"])
def test_a_residual_network_is_one_that_the_vendor_accepts(target: str) -> None:
    profile = chip(target)
    plan = place(NET, profile)
    config = configuration(NET, plan, profile)
    assert dynapcnn_rules.check(config, limits_of(profile), strict=STRICT) == ()
    core = {name: plan.core_of(name) for name in ("n1", "n2", "n3", "n4")}
    first, joined, last = config.cores[core["n1"]], config.cores[core["n3"]], config.cores[core["n4"]]
    assert first.destinations == (
        Destination(core["n2"], True, 1, 0), Destination(core["n3"], True, 1, 4)
    )
    assert joined.in_shape == (8, 8, 8) and joined.destinations == (Destination(core["n4"], True, 2, 0),)
    assert joined.weights[0, 4].tolist() == [[0, 0, 0], [0, 30, 0], [0, 0, 0]]
    assert last.kernel_size == 4 and last.out_shape == (10, 1, 1) and last.destinations == ()
    assert (last.threshold_high, last.threshold_low, last.return_to_zero, last.leak_enable) == (30, -30, False, False)
    assert [config.cores[c].monitor_enable for c in core.values()] == [False, False, False, True]
    assert input_cores(NET, plan) == (Destination(core["n1"], True, 1, 0),)
    assert CorePlan.from_dict(plan.to_dict()) == plan and plan.target == target and plan.n_cores == 4


def test_words_of_a_plan_by_hand() -> None:
    """n3: 8 channels in, 9 weights take 16 places, 4 channels out: 8 * 16 * 4; 4 maps of 8 x 8."""
    use = next(u for u in place(lowered(residual()), CHIP).cores if u.node == "n3")
    assert (use.kernel_words, use.neuron_words, use.bias_words) == (512, 256, 0)
    offered = limits_of(CHIP).cores[use.core]
    assert (use.kernel_words_max, use.neuron_words_max, use.bias_words_max) == (
        offered.kernel_words, offered.neuron_words, offered.bias_words
    )


def test_parallel_cores_come_last() -> None:
    assert [u.core for u in place(lowered(plain(4)), chip("dynapcnn")).cores] == [0, 1, 2, 3]
    assert [u.core for u in place(lowered(plain(4)), CHIP).cores] == [2, 3, 4, 5]
    assert {u.core for u in place(lowered(plain(7)), CHIP).cores} == {2, 3, 4, 5, 6, 7, 8}
    assert {u.core for u in place(lowered(plain(8)), CHIP).cores} == set(range(9)) - {0}
    assert {u.core for u in place(lowered(plain(9)), CHIP).cores} == set(range(9))


def test_ten_layers_on_nine_cores() -> None:
    found = rules(lowered(plain(10)))
    assert set(found) == {"n_cores"}
    assert re.search("the network has 10 layers of neurons. The chip has 9 cores, a layer takes one. Remove 1 layer",
                     found["n_cores"])  # fmt: skip


def test_too_many_channels_name_what_fits() -> None:
    graph = lowered(chain(
        Input("input", (2, 8, 8)), conv("c1", 2, 72), lif("n1", 72, 8, 8), conv("c2", 72, 64), lif("n2", 64, 8, 8)
    ))  # fmt: skip
    text = rules(graph)["core_memory"]
    assert re.search(r"c2 -> n2 \(72 in, 64 out, 3x3\): needs 73728 kernel words.*hold 65536 kernel words", text)
    assert "at most 64 channels in with 64 out, or at most 32 channels out with 72 in" in text


def test_a_large_map_and_layers_that_compete() -> None:
    large = lowered(chain(
        Input("input", (2, 64, 64)), conv("c1", 2, 32), lif("n1", 32, 64, 64), SumPool2d("p", (4, 4)), conv("c2", 32, 4),
        lif("n2", 4, 16, 16),
    ))  # fmt: skip
    assert "at most 16 channels out with 2 in" in rules(large)["core_memory"]
    nodes: list[Any] = [Input("input", (2, 64, 64))]
    for i in range(4):
        nodes += [conv(f"c{i}", 16 if i else 2, 16), lif(f"n{i}", 16, 64, 64)]
    assert "4 layers fit only cores 0, 1, 2" in rules(lowered(chain(*nodes)))["cores"]


def test_all_reasons_at_once() -> None:
    graph = changed(
        NET, n1={"v_th": 0}, c2={"weight": np.full((4, 4, 3, 3), 200)}, n2={"v_min": -40000}, n3={"v_init": np.array(40000)},
        n4={"bias": np.array(40000), "reset": "hard", "state_bits": 12},
    )
    found = rules(graph, chip(arithmetic__resets=["soft"], arithmetic__bias="none", capacity__neuron_words__values=[99] * 9))
    assert set(found) == {
        "threshold", "weight_range", "floor", "state_range", "bias_range", "bias", "reset", "state_bits", "core_memory",
    }
    assert "a threshold of 0. 1 to 32767" in found["threshold"]


def test_what_other_tools_may_bring() -> None:
    nodes = (Input("input", (2, 4, 4), "spikes"), *plain(3).nodes[1:])
    net = integers(replace(plain(3), nodes=nodes))
    additive = replace(net, edges=(*net.edges, Edge("n0", "c2")))
    assert "n1, n0 arrive on the same channels" in rules(additive)["additive"] or "n0, n1" in rules(additive)["additive"]
    beside = replace(net, edges=(*net.edges, Edge("n0", "n2")))
    assert "n0 before neurons" in rules(beside)["no_synapse"]
    with pytest.raises(NeurodeployError, match="n0 before neurons"):
        configuration(beside, place(net, CHIP), CHIP)
    with pytest.raises(DoesNotFit, match="same channels"):
        configuration(additive, place(net, CHIP), CHIP)


def test_warnings_stop_nothing() -> None:
    net = changed(NET, n2={"v_th": 8, "bias": np.array([2])})
    result = check(net, CHIP)
    assert {w.code for w in result.warnings} == {"weight_over_threshold", "slow_clock_bias"} and result.fits
    with pytest.warns(NeurodeployWarning):
        plan = place(net, CHIP)
    assert next(u for u in plan.cores if u.node == "n2").bias_words == 4
    core = configuration(net, plan, CHIP).cores[plan.core_of("n2")]
    assert core.leak_enable and core.biases.tolist() == [2] * 4
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        place(NET, CHIP)
    assert not caught


def test_configuration_options_and_misuse() -> None:
    plan = place(NET, CHIP)
    config = configuration(NET, plan, CHIP, monitored=["n1", "n3"])
    assert sorted(c for c, layer in config.cores.items() if layer.monitor_enable) == sorted(map(plan.core_of, ("n1", "n3")))
    with pytest.raises(UsageError, match="no layer pool to monitor"):
        configuration(NET, plan, CHIP, monitored=["pool"])
    with pytest.raises(UsageError, match="a placement on speck2f"):
        configuration(NET, plan, chip("dynapcnn"))
    with pytest.raises(NeurodeployError, match="no core for it"):
        configuration(NET, replace(plan, cores=plan.cores[:-1]), CHIP)
    no_floor = changed(NET, n4={"v_min": None, "reset": "hard", "v_init": np.full((10,), 3)})
    last = configuration(no_floor, plan, CHIP).cores[plan.core_of("n4")]
    assert last.threshold_low == -(2**15) and last.return_to_zero and last.initial_state.tolist() == [[[3]]] * 10


def test_odd_maps_and_pools_of_integer_networks() -> None:
    graph = chain(
        Input("input", (2, 9, 9), "graded", 255), conv("c1", 2, 4), lif("n1", 4, 9, 9), SumPool2d("p", (2, 3)), Flatten("f"),
        linear("fc", 48, 3), lif("n2", 3),
    )  # fmt: skip
    found = rules(integers(graph))
    assert set(found) == {"odd_map", "pooling", "pooling_square", "kernel_square"}
    assert "n1 -> n2: pools a map of 9x9 by 2x3" in found["odd_map"] and "divisible by 2x3" in found["odd_map"]


def test_a_pool_at_the_input_is_the_sensor_s() -> None:
    graph = chain(Input("input", (2, 64, 64)), SumPool2d("p", (4, 2)), conv("c1", 2, 4), lif("n1", 4, 16, 32))
    net = integers(lowered(graph))
    plan = check(net, CHIP).plan
    assert plan is not None and input_cores(net, plan)[0].pooling == 4
    large = chain(Input("i", (2, 256, 256), "spikes"), SumPool2d("p", (4, 4)), conv("c", 2, 1), lif("n", 1, 64, 64))
    assert "sensor_size" in rules(large)


@pytest.mark.parametrize("path", speck_nets.paths(), ids=lambda path: path.stem)
@pytest.mark.filterwarnings("ignore::neurodeploy.errors.NeurodeployWarning")
def test_networks_recorded_from_sinabs(path: Path) -> None:
    """Words as sinabs counts them; what it adds up or pools unevenly is refused, lowering repairs the sums."""
    case = speck_nets.load(path)
    net = speck_nets.network(case, "int")
    assert isinstance(net, IntGraph)
    for layer, core in zip(case.layers("int"), read_cores(net).layers, strict=True):
        wanted = layer["memory_words"]
        words = layer_words(core.in_shape[0], core.kernel, core.out_shape, bias=core.bias is not None)
        assert (words.kernel, words.neuron) == (wanted["kernel"], wanted["neuron"])
        assert words.bias in (wanted["bias"], 0)
    layers = case.layers("int")
    pools = [(layer["neuron_shape"][1:], pool, to) for layer in layers
             for pool, to in zip(layer["pool_per_destination"], layer["destinations"], strict=True)]  # fmt: skip
    odd = any(n % p for sizes, pool, to in pools if to >= 0 for n, p in zip(sizes, pool, strict=True))
    expected = {"additive"} if speck_nets.merges(case, "int") else {"odd_map"} if odd else set()
    result = check(net, CHIP)
    assert {v.rule for v in result.violations} == expected
    if result.plan is not None:
        configuration(net, result.plan, CHIP)
    if not odd and not case.meta["family"].startswith("min_v_none"):
        trained = lower_to_events(speck_nets.network(case, "float"), CHIP, allow_bias=True)
        assert place(trained, CHIP).n_cores == len(case.layers("int"))
