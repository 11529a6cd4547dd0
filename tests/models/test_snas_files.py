"""Model files of SNASNet: what is written comes back, and a file is believed only as far as it describes its network."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import neurodeploy as nd
import numpy as np
import pytest
import torch
from neurodeploy.errors import UnsafeFile, UsageError
from neurodeploy.models.autosnn import AutoSnn, MacroConfig
from neurodeploy.models.files import load_module, save
from neurodeploy.models.networks import of_width, to_graph
from neurodeploy.models.snas_cell import RELEASED, SnasConfig
from neurodeploy.models.snasnet import SnasNet

CONFIG = SnasConfig(2, (8, 9), 3, width=3, group=2, n_timesteps=4, hidden=12, linear_std=2.0, ends="spikes")
SUFFIXES = (".safetensors", ".pt")


@pytest.fixture
def net() -> SnasNet:
    torch.manual_seed(0)
    module = SnasNet(CONFIG, RELEASED["snasnet_cifar10"])
    torch.nn.init.constant_(module.output.bias, 2.0)  # the last neurons fire
    for _ in range(3):
        module(torch.rand(5, 2, 8, 9))
    module.metadata = {"data": {"name": "digits", "n_levels": 17}, "accuracy": 0.875}
    return module


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_round_trip(net: SnasNet, tmp_path: Path, suffix: str, dtype: torch.dtype) -> None:
    net = net.to(dtype)
    nd.save(net, tmp_path / f"m{suffix}")
    loaded = load_module(tmp_path / f"m{suffix}")
    assert isinstance(loaded, SnasNet) and not loaded.training
    assert (loaded.config, loaded.arch, loaded.metadata) == (net.config, net.arch, net.metadata)
    state = net.state_dict()
    assert all(torch.equal(v, state[k]) and v.dtype == state[k].dtype for k, v in loaded.state_dict().items())
    x = torch.rand(20, 2, 8, 9, dtype=dtype) * 4
    votes = loaded(x)
    assert torch.equal(votes, net.eval()(x)) and votes.sum() > 0
    votes.sum().backward()  # a loaded network trains on
    assert loaded.stem_conv.weight.grad is not None


def test_nd_load_gives_its_graph_and_the_same_bytes_each_time(net: SnasNet, tmp_path: Path) -> None:
    for name in ("a", "b"):
        nd.save(net, tmp_path / f"{name}.safetensors")
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()
    graph, wanted = nd.load(tmp_path / "a.safetensors"), to_graph(net.eval())
    assert [n.name for n in graph.nodes] == [n.name for n in wanted.nodes] and graph.edges == wanted.edges
    assert graph.metadata == wanted.metadata and graph.metadata["arch"] == list(RELEASED["snasnet_cifar10"])
    assert any(e.delay for e in graph.edges)
    through = nd.from_torch(net, (2, 8, 9))
    for a, b in zip(graph.nodes, through.nodes, strict=True):
        assert all(np.array_equal(getattr(a, f), getattr(b, f)) for f in vars(a))


def rewritten(net: SnasNet, path: Path, **changes: Any) -> Path:
    """A `.pt` of the network whose arch says something else."""
    save(net, path)
    content = torch.load(path, weights_only=True)
    content["arch"] = {**content["arch"], **changes}
    torch.save(content, path)
    return path


@pytest.mark.parametrize(("changes", "said"), [
    ({"arch": ["0303", "0030", "2002"]}, "architecture is invalid"),
    ({"arch": ["0303", "0030", "2002", 7]}, "architecture is invalid"),
    ({"arch": "snasnet_cifar10"}, "its arch is not"),
    ({"macro": {}}, "its arch is not"),
    ({"snasnet": {**CONFIG.to_dict(), "width": 4}}, "is not a tensor of shape"),
    ({"snasnet": {**CONFIG.to_dict(), "width": 2**40}}, "impossible sizes|is not a tensor of shape"),
    ({"snasnet": {**CONFIG.to_dict(), "width": "3"}}, "width: Input should be a valid integer"),
    ({"snasnet": {**CONFIG.to_dict(), "tau": float("nan")}}, "tau: "),
    ({"snasnet": {**CONFIG.to_dict(), "code": "x"}}, "code: "),
    ({"snasnet": {}}, "in_channels: Field required"),
    ({"arch": ["0003", "0000", "0000", "0000"]}, "tensors are missing or unknown"),
])
def test_a_file_that_describes_another_network_is_refused(net: SnasNet, tmp_path: Path, changes: Any, said: str) -> None:
    with pytest.raises(UnsafeFile, match=said) as caught:
        load_module(rewritten(net, tmp_path / "m.pt", **changes))
    assert caught.value.exit_code == 6 and str(tmp_path / "m.pt") in str(caught.value)


def test_metadata_under_the_networks_own_names_is_refused(net: SnasNet, tmp_path: Path) -> None:
    net.metadata = {"snasnet": 1}
    with pytest.raises(UsageError, match=r"metadata holds \['snasnet'\]"):
        save(net, tmp_path / "m.pt")
    with pytest.raises(UsageError, match="Linear cannot be saved"):
        save(torch.nn.Linear(2, 2), tmp_path / "m.pt")  # type: ignore[arg-type]


def test_the_same_network_of_another_width() -> None:
    narrow = of_width(SnasNet(CONFIG, "snasnet_cifar100"), 1)
    assert isinstance(narrow, SnasNet) and narrow.config == replace(CONFIG, width=1)
    assert isinstance(of_width(AutoSnn(MacroConfig(1, (8, 8), 3, width=4), ("skip_connect",) * 5), 2), AutoSnn)
    assert json.dumps(narrow.describe())
