"""Blocks of somebody else's: as graphs, in networks and supernets, in files, and what is refused."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import neurodeploy as nd
import numpy as np
import pytest
import torch
from neurodeploy.errors import UnsafeFile, UsageError
from neurodeploy.ir.nodes import SumPool2d
from neurodeploy.ir.reference import evaluate
from neurodeploy.models.autosnn import AutoSnn, SuperNet
from neurodeploy.models.convert import Builder, to_graph
from neurodeploy.models.files import load_module, save
from neurodeploy.models.macro import BLOCKS, OWN_BLOCKS, MacroConfig, check_arch
from neurodeploy.models.own_blocks import check_blocks, own_parameters
from neurodeploy.models.record import record
from torch import Tensor, nn

CONFIG = MacroConfig(1, (8, 8), 3, width=4, n_timesteps=4, group=2)
ON_EVENTS = MacroConfig(
    2, (8, 8), 3, width=4, n_timesteps=4, group=1, layout=(1, 2, None), neuron="if", reset="soft", pool="sum",
    decay_input=False, norm="weights", multi_spike=True, v_min=-4.0, w_max=1.0, gain=2.0,
)


class Wide(nn.Module):
    """A convolution and a depthwise one, with a shortcut where channels allow it: all that a builder offers."""

    def __init__(self, c_in: int, c_out: int, layers: Any) -> None:
        super().__init__()
        self.conv, self.bn, self.neuron = layers.conv(c_in, c_out, 3), layers.norm(c_out), layers.neuron()
        self.mix, self.bn2, self.neuron2 = layers.conv(c_out, c_out, 3, groups=c_out), layers.norm(c_out), layers.neuron()
        self.residual = c_in == c_out

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn2(self.mix(self.neuron(self.bn(self.conv(x)))))
        out: Tensor = self.neuron2(y + x if self.residual else y)
        return out

    def to_graph(self, graph: Builder, name: str, source: str) -> str:
        at = graph.bn(f"{name}.bn", self.bn, graph.conv(f"{name}.conv", self.conv, source))
        at = graph.neuron(f"{name}.neuron", self.neuron, at)
        at = graph.bn(f"{name}.bn2", self.bn2, graph.conv(f"{name}.mix", self.mix, at))
        return graph.neuron(f"{name}.neuron2", self.neuron2, *([at, source] if self.residual else [at]))


@pytest.fixture(autouse=True)
def registered(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(OWN_BLOCKS, "_registered", {})
    nd.register_block("bn")(Wide)  # a name that layers have too
    yield


def lively(network: nn.Module) -> None:
    """Every layer fires, as training would have it."""
    for part in network.modules():
        if isinstance(part, nn.BatchNorm2d):
            nn.init.uniform_(part.bias, 0.5, 2.5)


ARCH = ("bn", "SRB_k3", "bn", "bn", "skip_connect")


def test_a_network_with_it_is_its_graph() -> None:
    torch.manual_seed(0)
    network = AutoSnn(CONFIG, ARCH)
    lively(network)
    network(torch.rand(16, 1, 8, 8))  # moves the running statistics
    network = network.double().eval()
    x = torch.rand(5, 1, 8, 8, dtype=torch.float64)
    with torch.inference_mode(), record(network) as recorded:
        votes = network(x).numpy()
    graph = to_graph(network)
    found = evaluate(graph, np.repeat(x.numpy()[None], 4, axis=0))
    assert np.array_equal(found["vote"], votes)
    for name, spikes in recorded.items():
        assert np.array_equal(found[name], spikes.numpy()), name
        assert spikes.any() or name == "classifier.neuron", name
    assert {"layers.0.neuron", "layers.0.neuron2"} <= recorded.keys()
    assert graph.metadata["arch"] == list(ARCH)


@pytest.mark.parametrize("config", [CONFIG, ON_EVENTS], ids=["timesteps", "events"])
def test_a_supernet_holds_it_and_its_child_is_the_same_network(config: MacroConfig) -> None:
    supernet = SuperNet(config, ("skip_connect", "bn")).eval()
    lively(supernet)
    n = config.n_positions
    arch = ("bn", *["skip_connect"] * (n - 2), "bn")
    x = torch.rand(4, config.in_channels, 8, 8)
    with torch.inference_mode():
        with record(supernet) as whole:
            votes = supernet(x, arch)
        child = supernet.child(arch)
        with record(child) as alone:
            assert torch.equal(child(x), votes)
        assert whole.keys() == alone.keys(), "a path through the supernet is named like its child"
    assert all(spikes.any() for name, spikes in whole.items() if "neuron2" in name) and "layers.0.neuron2" in whole
    with pytest.raises(UsageError, match=r"'SRB_k3' is not in this network's list.*skip_connect, bn"):
        supernet(x, ("SRB_k3", *arch[1:]))
    with pytest.raises(UsageError, match="not in this network's list"):
        supernet.child(("SRB_k3", *arch[1:]))


def test_without_own_blocks_nothing_changes() -> None:
    torch.manual_seed(1)
    plain = SuperNet(CONFIG)
    torch.manual_seed(1)
    assert plain.state_dict().keys() == SuperNet(CONFIG, BLOCKS).state_dict().keys()
    assert own_parameters(plain, plain.blocks) == {}
    assert own_parameters(AutoSnn(CONFIG, ARCH), ARCH)["parameters"]["layers.0.mix.weight"] == [4, 1, 3, 3]


@pytest.mark.parametrize("suffix", [".safetensors", ".pt"])
def test_files_name_it_and_nothing_else(tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    network = AutoSnn(CONFIG, ARCH).eval()
    path = tmp_path / f"model{suffix}"
    save(network, path)
    again = load_module(path)
    assert again.arch == ARCH and all(torch.equal(a, b) for a, b in zip(network.parameters(), again.parameters(), strict=True))
    assert b"test_own_blocks" not in path.read_bytes() and b"Wide" not in path.read_bytes()
    monkeypatch.setattr(OWN_BLOCKS, "_registered", {})
    with pytest.raises(UnsafeFile, match=r"unknown block 'bn'.*neurodeploy\.blocks.*nd\.register_block") as caught:
        load_module(path)
    assert caught.value.where == str(path) and caught.value.exit_code == 6

    @nd.register_block("bn")
    class Other(Wide):
        def __init__(self, c_in: int, c_out: int, layers: Any) -> None:
            super().__init__(c_in, c_out, layers)
            self.more = layers.conv(c_out, c_out, 1)

    with pytest.raises(UnsafeFile, match=r"missing or unknown.*more"):
        load_module(path)


def test_good_blocks_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    state = torch.get_rng_state()
    for config in (CONFIG, ON_EVENTS):
        check_blocks(["bn", "SRB_k3", "bn"], config)
    assert torch.equal(torch.get_rng_state(), state), "training draws the same numbers"
    with pytest.raises(UsageError, match=r"no block 'other'.*Registered: bn"):
        check_blocks(["other"], CONFIG)
    with pytest.raises(UsageError, match=r"unknown block 'other'.*skip_connect.*bn"):
        check_arch(("other",) * 5)


class NoNorm(Wide):
    def to_graph(self, graph: Builder, name: str, source: str) -> str:
        at = graph.neuron(f"{name}.neuron", self.neuron, graph.conv(f"{name}.conv", self.conv, source))
        at = graph.bn(f"{name}.bn2", self.bn2, graph.conv(f"{name}.mix", self.mix, at))
        return graph.neuron(f"{name}.neuron2", self.neuron2, *([at, source] if self.residual else [at]))


class OtherName(Wide):
    def to_graph(self, graph: Builder, name: str, source: str) -> str:
        return super().to_graph(graph, f"{name}.mine", source)


class NoNode(Wide):
    def to_graph(self, graph: Builder, name: str, source: str) -> str:
        super().to_graph(graph, name, source)
        return name


class Raises(Wide):
    def to_graph(self, graph: Builder, name: str, source: str) -> str:
        raise RuntimeError("not today")


class Shrinks(Wide):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x)[..., 1:]


class ForwardRaises(Wide):
    def forward(self, x: Tensor) -> Tensor:
        raise RuntimeError("no way forward")


class Takes(Wide):
    def __init__(self) -> None: ...


class Plain(Wide):
    def __init__(self, c_in: int, c_out: int, layers: Any) -> None:
        super().__init__(c_in, c_out, layers)
        self.bn = nn.Identity()
        self.bn2 = nn.BatchNorm3d(c_out)


class Pooled(Wide):
    def to_graph(self, graph: Builder, name: str, source: str) -> str:
        return graph.add(SumPool2d(f"{name}.pool", (2, 2)), super().to_graph(graph, name, source))


@pytest.mark.parametrize(("block", "message"), [
    (NoNorm, r"differ at block\.neuron.*in the same order as forward"), (Raises, "to_graph at block: raised RuntimeError: not"),
    (OtherName, r"names its neurons \['block\.mine\.neuron'.*f'\{name\}\.<attribute>'"), (NoNode, "'block', which is no node"),
    (Shrinks, r"gives \[4, 2, 4, 6, 5\] for \[4, 2, 4, 6, 6\].*Keep height and width"), (Pooled, "differ"),
    (ForwardRaises, "4 to 4 channels, forward: raised RuntimeError: no way"), (Takes, "4 to 4 channels: raised TypeError"),
    (Plain, "forward: raised ValueError|RuntimeError|is a BatchNorm3d"),
])
def test_blocks_that_are_refused_before_anything_is_trained(block: type[nn.Module], message: str) -> None:
    nd.register_block("bad")(block)
    with pytest.raises(UsageError, match=message):
        check_blocks(["SRB_k3", "bad"], CONFIG)


@pytest.mark.parametrize(("thing", "name", "message"), [
    (nn.Linear, "line", "a method to_graph"), (lambda *a: None, "function", "a class of torch modules"),
    (Wide, "SRB_k3", "cannot name a block"), (Wide, "skip", "cannot name a block"), (Wide, "a-b", "without -"),
    (Wide, "forward", "cannot name a block"), (Wide, "training", "cannot name a block"),
])
def test_names_and_things_that_are_no_blocks(thing: Any, name: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        nd.register_block(name)(thing)
