"""The paper's macros on targets: every spike as in the network, or the reason why not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import neurodeploy as nd
import numpy as np
import pytest
import torch
from neurodeploy.data.chip_input import chip_input
from neurodeploy.data.datasets import load
from neurodeploy.errors import DoesNotFit, UsageError
from neurodeploy.hw.event_profile import EventProfile
from neurodeploy.hw.profile import any_target, target
from neurodeploy.ir.nodes import Conv2d
from neurodeploy.ir.reference import evaluate
from neurodeploy.jobs.train import train
from neurodeploy.jobs.training import macro_of
from neurodeploy.lower import lower
from neurodeploy.lower.event_cores import lower_to_events
from neurodeploy.lower.gpu import lower_to_gpu
from neurodeploy.models.autosnn import AutoSnn
from neurodeploy.models.convert import to_graph
from neurodeploy.models.macro import OWN_BLOCKS, MacroConfig
from neurodeploy.models.own_blocks import check_blocks
from neurodeploy.models.published import MACROS
from neurodeploy.place.event_cores import check as check_cores
from neurodeploy.search.recipe import read
from neurodeploy.sim import clocked, reference
from neurodeploy.sim.trace import first_difference
from tests.models.test_macros import CASES, Case, T, built, data
from tests.models.test_own_blocks import Wide

STILL = [case for case in CASES if case[1] != "dvs" and not (case[0] in ("SNN_2", "SNN_4") and case[2])]
IDS = [f"{c[0]}-{c[1]}-{'' if c[2] else 'un'}decayed" for c in STILL]
SPECK = any_target("speck2f")
assert isinstance(SPECK, EventProfile)
DIGITS = {"network.width": 2, "network.n_timesteps": 2, "train.epochs": 1}


@pytest.mark.parametrize("case", STILL, ids=IDS)
@pytest.mark.parametrize("side", [16, 17])
def test_every_layer_spikes_as_before(case: Case, side: int) -> None:
    graph = to_graph(built(case, side, width=6).eval())
    x = (data(case, side)[0] * 8).round().numpy() / 16
    wanted = evaluate(graph, np.broadcast_to(x, (T, *x.shape)))
    on_gpu = evaluate(lower_to_gpu(graph), np.broadcast_to(x, (T, *x.shape)))
    lowered = lower(graph, target("loihi2"), "graded", n_levels=17)
    found = evaluate(lowered, chip_input(lowered, x))
    for neuron in graph.neurons:
        d = lowered.latencies[neuron.name]
        assert wanted[neuron.name].any(), neuron.name
        assert np.array_equal(on_gpu[neuron.name], wanted[neuron.name]), neuron.name
        assert np.array_equal(found[neuron.name][d : d + T], wanted[neuron.name]), neuron.name
    assert not any(name.endswith(".sum") for name in lowered.by_name), "a mean is one synapse"


@pytest.mark.parametrize("case", [STILL[i] for i in (2, 4, 6, 7)], ids=[IDS[i] for i in (2, 4, 6, 7)])
def test_integers_of_a_macro_are_placed_and_run(case: Case) -> None:
    graph = to_graph(built(case, 16, width=6).eval())
    x = (data(case, 16)[0] * 8).round().numpy() / 16
    chip = target("loihi2")
    net = nd.quantize(nd.lower(graph, chip), chip, calibration=x)
    messages = chip_input(net, x)
    slow = reference.simulate(net, messages, record_state=True)
    assert first_difference(slow, clocked.simulate(net, messages, record_state=True)) is None
    assert all(slow.n_spikes[n.name] > 0 for n in graph.neurons if n.name != "classifier.neuron")
    assert nd.place(net, chip).n_cores >= len(graph.neurons)


def on_events(arch: tuple[str, ...], **fields: Any) -> AutoSnn:
    torch.manual_seed(0)
    sizes = {"layout": (1, 2), "strides": (1, 2), "pool": "sum", **fields}
    config = MacroConfig(2, (8, 8), 2, width=4, n_timesteps=2, group=1, neuron="if", reset="soft", decay_input=False,
                         norm="weights", multi_spike=True, v_min=-1.0, **sizes)
    return AutoSnn(config, arch)


@pytest.mark.parametrize("arch", [("skip_connect", "skip_connect"), ("SRB_k3", "SCB_k5"), ("SIB_k3_e1", "SIB_k3_e1")], ids=str)
@pytest.mark.parametrize("stem", ["plain", "dvs"])
def test_strides_and_stems_fit_an_event_driven_chip(arch: tuple[str, ...], stem: str) -> None:
    lowered = lower_to_events(to_graph(on_events(arch, stem=stem)), SPECK)
    assert check_cores(lowered, SPECK).violations == ()
    assert any(isinstance(n, Conv2d) and n.stride == (2, 2) for n in lowered.nodes)


@pytest.mark.parametrize(("network", "rule"), [
    (lambda: on_events(("SCB_k3", "SRB_k3")), "strides"),
    (lambda: on_events(("SCB_k3",), layout=(1, None), strides=(), pool="average"), "dilation_groups"),
    (lambda: on_events(("SCB_k3", "SCB_k3"), global_pool=True), "dilation_groups"),
])  # fmt: skip
def test_what_an_event_driven_chip_has_not(network: Any, rule: str) -> None:
    with pytest.raises(DoesNotFit) as refused:
        lower_to_events(to_graph(network()), SPECK)
    assert rule in {violation.rule for violation in refused.value.violations}


def test_recipes_name_macros_by_their_fields() -> None:
    images = load("digits")
    plain = read("digits")
    assert not plain.to_dict()["network"].keys() & {"strides", "stem", "global_pool"}
    for name, fields in MACROS.items():
        given = {"layout": tuple(w or 0 for w in fields["layout"])} if "layout" in fields else {}
        recipe = read("digits", {f"network.{key}": value for key, value in {**fields, **given}.items()})
        found = macro_of(recipe, images)
        assert all(getattr(found, key) == value for key, value in fields.items()), name
    with pytest.raises(UsageError, match=r"silent: set network\.decay_input = false"):
        read("digits", {"network.pool": "average", "network.decay_input": True})
    with pytest.raises(UsageError, match=r"network\.stem"):
        read("digits", {"network.stem": "imagenet"})
    with pytest.raises(UsageError, match="strides are"):
        macro_of(read("digits", {"network.strides": [1, 2]}), images)


def test_a_published_architecture_is_trained_by_its_name(tmp_path: Path) -> None:
    fields = {**DIGITS, "network.pool": "average", "network.global_pool": True}
    found = train("digits", "AutoSNN_lambda_-0.16", out=tmp_path / "run", overrides=fields)
    graph = nd.load(found.model)
    assert graph.metadata["arch"] == ["SRB_k5", "SRB_k5", "skip_connect", "SRB_k5", "SRB_k5"]
    assert graph.metadata["macro"]["pool"] == "average" and "classifier.pool.neuron" in graph.by_name
    with pytest.raises(UsageError, match=r"no architecture 'AutoSNN_16'.*AutoSNN_lambda_-0\.16"):
        train("digits", "AutoSNN_16", overrides=DIGITS)


def test_registered_blocks_stay_at_a_stride_of_1(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(OWN_BLOCKS, "_registered", {})
    nd.register_block("wide")(Wide)
    config = MacroConfig(1, (8, 8), 2, width=2, n_timesteps=2, layout=(1, 2), strides=(1, 2))
    with pytest.raises(UsageError, match=r"block 'wide' at a position of stride 2"):
        check_blocks(["SRB_k3", "wide"], config)
    AutoSnn(config, ("wide", "SIB_k3_e1"))
    with pytest.raises(UsageError, match="SIB_k3_e1"):
        nd.register_block("SIB_k3_e1")(Wide)
