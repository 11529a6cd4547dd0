"""A lowered graph in torch, in model time, against the graph's definition."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from neurodeploy.data.chip_input import chip_input
from neurodeploy.errors import NeurodeployError
from neurodeploy.hw.profile import target
from neurodeploy.ir.graph import Edge, Graph
from neurodeploy.ir.nodes import Conv2d, Input, Lif, Linear, Vote
from neurodeploy.ir.reference import evaluate
from neurodeploy.lower import lower
from neurodeploy.models.from_graph import TorchGraph

from deployable import ARCHS, autosnn, images

CHIP = target("loihi2")


@pytest.mark.parametrize(("arch", "decay_input", "kind"), [(0, True, "graded"), (1, False, "bias"), (0, False, "rate")])
def test_every_node_puts_out_what_the_definition_does_in_model_time(arch: int, decay_input: bool, kind: Any) -> None:
    lowered = lower(autosnn(ARCHS[arch], decay_input), CHIP, kind, n_levels=17)
    x = chip_input(lowered, images(5))
    wanted = evaluate(lowered, x)
    with torch.no_grad():
        found = TorchGraph(lowered, torch.float64)(torch.from_numpy(x))
    for node in lowered.nodes:
        d = lowered.latencies[node.name]
        mine, theirs = found[node.name].numpy(), wanted[node.name][d : d + lowered.n_timesteps]
        if node.is_neuron:
            assert theirs.sum() > 0 and np.array_equal(mine, theirs), node.name
        else:  # sums of up to a few hundred products in another order
            np.testing.assert_allclose(mine, theirs, rtol=0, atol=1e-12, err_msg=node.name)


def test_gradients_reach_every_weight_that_is_not_frozen() -> None:
    lowered = lower(autosnn(ARCHS[0], False), CHIP, "graded", n_levels=17)
    module = TorchGraph(lowered)
    frozen = {n.name for n in lowered.nodes if n.name.endswith((".or", ".synapse"))}
    module.freeze(frozen)
    module(torch.from_numpy(chip_input(lowered, images(4))).float())["vote"].square().sum().backward()
    names = {n.name.replace(".", "/") for n in lowered.nodes if isinstance(n, Conv2d | Linear)}
    assert set(module.weights.keys()) == names and len(frozen) == 5
    for name, weight in module.weights.items():
        if name.replace("/", ".") in frozen:
            assert weight.grad is None
        else:
            assert weight.grad is not None and weight.grad.abs().sum() > 0, name
    assert all(b.grad is not None for b in module.biases.values())


def test_transforms_act_on_the_way_in() -> None:
    lowered = lower(autosnn(ARCHS[0], False), CHIP, "graded", n_levels=17)
    module = TorchGraph(lowered)
    module.on_weight = lambda name, w: w * 0 if name == "stem.conv" else w
    module.on_bias = lambda name, b: b * 0 - 1 if name == "stem.conv" else b
    weight, bias = module.parameters_of("stem.conv")
    assert bias is not None and not weight.any() and (bias == -1).all()
    with torch.no_grad():
        found = module(torch.from_numpy(chip_input(lowered, images(2))))
    assert not found["stem.neuron"].any()
    assert module.parameters_of("classifier.linear")[1] is None


def test_what_is_not_lowered_or_not_balanced_is_refused() -> None:
    graph = autosnn(ARCHS[0], False)
    with pytest.raises(NeurodeployError, match=r"stem\.bn: BatchNorm is not lowered"):
        TorchGraph(graph)(torch.zeros(3, 1, 1, 8, 8))
    nodes = (Input("x", (2,)), Linear("a", weight=np.eye(2)), Lif("n", shape=(2,)), Vote("vote", 2, 1))
    skewed = Graph(nodes, (Edge("x", "a", 1), Edge("a", "n"), Edge("x", "n"), Edge("n", "vote")), 2)
    with pytest.raises(NeurodeployError, match="paths of different latency"):
        TorchGraph(skewed)
