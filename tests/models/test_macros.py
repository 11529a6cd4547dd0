"""The paper's macros, stems and blocks against a slow implementation that shares nothing with them, and their graphs."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from neurodeploy.errors import UsageError
from neurodeploy.ir.graph import Edge
from neurodeploy.ir.reference import evaluate
from neurodeploy.models.autosnn import AutoSnn, SuperNet
from neurodeploy.models.blocks import AveragePool, Layers, ReduceSkip
from neurodeploy.models.convert import to_graph
from neurodeploy.models.files import load_module, save
from neurodeploy.models.foreign_spec import read_spec
from neurodeploy.models.macro import ALL_BLOCKS, BLOCKS, MacroConfig
from neurodeploy.models.published import ARCHITECTURES, MACROS, macro, parse_arch, published
from neurodeploy.models.record import record, spikes_paper
from tests.models.slow_autosnn import Slow
from torch import Tensor, nn

from autosnn_release import our_name

T, K = 3, 2
# (macro, stem, decay_input, blocks): every block at a stride of 1 and where macros have one of 2, with and without new channels
Case = tuple[str, str, bool, str]
CASES: list[Case] = [
    ("AutoSNN_16", "plain", True, "SRB_k7 SCB_k7 SIB_k3_e1 SIB_k5_e3 SRB_k3"),
    ("AutoSNN_16", "plain", False, "SIB_k3_e6 skip_connect SRB_k5 SIB_k5_e1 skip_connect"),
    ("AutoSNN_16", "tiny_imagenet", True, "skip_connect SRB_k5 skip_connect SIB_k3_e3 SCB_k3"),
    ("AutoSNN_16", "dvs", True, "SRB_k3 SCB_k5 skip_connect SRB_k7 skip_connect"),
    ("SNN_2", "plain", True, "SRB_k5 SRB_k5 skip_connect SRB_k3 SRB_k5"),
    ("SNN_2", "plain", False, "SRB_k5 SRB_k5 skip_connect SRB_k3 SRB_k5"),
    ("SNN_2", "tiny_imagenet", False, "SCB_k3 skip_connect SIB_k3_e1 SCB_k5 SRB_k3"),
    ("SNN_3", "plain", True, "SCB_k3 skip_connect SRB_k3 skip_connect SIB_k3_e3 SRB_k5 skip_connect SRB_k7"),
    ("SNN_3", "plain", False, "skip_connect SCB_k7 skip_connect SRB_k5 SRB_k3 SIB_k5_e6 SCB_k5 skip_connect"),
    ("SNN_3", "dvs", True, "SRB_k3 SIB_k5_e1 SCB_k3 SIB_k3_e1 SCB_k5 skip_connect SRB_k3 SCB_k7"),
    ("SNN_4", "plain", True, "SCB_k3 SRB_k3 skip_connect SRB_k5 SCB_k5"),
    ("SNN_4", "plain", False, "SRB_k5 SRB_k5 skip_connect SRB_k3 SRB_k5"),
    ("SNN_4", "dvs", False, "SCB_k3 skip_connect SRB_k3 SIB_k3_e3 SRB_k5"),
]  # fmt: skip


class Theirs(Mapping[str, Tensor]):
    """A network's parameters and statistics by the names of the release."""

    def __init__(self, net: nn.Module) -> None:
        self.own = {**dict(net.named_parameters()), **dict(net.named_buffers())}

    def __getitem__(self, name: str) -> Tensor:
        return self.own[our_name(name)]

    def __iter__(self) -> Iterator[str]:
        raise NotImplementedError

    def __len__(self) -> int:
        return len(self.own)


def lively(net: nn.Module) -> None:
    """Norms that let every layer fire, statistics and time constants that are no defaults."""
    with torch.no_grad():
        for name, p in net.named_parameters():
            if ".bn" in name:
                p.uniform_(*((0.8, 1.6) if name.endswith("weight") else (0.3, 1.3)))
            elif name.endswith(".w"):
                p.uniform_(-0.7, 0.9)
            elif name == "classifier.linear.weight":
                p.uniform_(-0.05, 0.4)
        for name, b in net.named_buffers():
            if "running" in name:
                b.uniform_(*((-0.2, 0.2) if name.endswith("mean") else (0.1, 0.6)))


def built(case: Case, side: int, width: int = 16) -> AutoSnn:
    name, stem, decay_input, blocks = case
    torch.manual_seed(5)
    config = macro(
        name, 2, (side, side), K, n_timesteps=T, stem=stem, decay_input=decay_input, bn_time="per_step", width=width
    )
    net = AutoSnn(config, blocks.split()).double()
    lively(net)
    return net


def data(case: Case, side: int) -> tuple[Tensor, Tensor]:
    """The same images for ours ([B, C, H, W] or [T, B, C, H, W]) and for the slow one ([B, T, C, H, W] the latter)."""
    generator = torch.Generator().manual_seed(6)
    if case[1] == "dvs":
        x = torch.poisson(torch.full((2, T, 2, side, side), 0.8, dtype=torch.float64), generator)
        return x.transpose(0, 1), x
    x = torch.rand(2, 2, side, side, dtype=torch.float64, generator=generator) * 2
    return x, x


def silent(case: Case) -> bool:
    """The release's neurons never fire behind a mean."""
    return case[0] in ("SNN_2", "SNN_4") and case[2]


@pytest.mark.parametrize("train", [False, True], ids=["eval", "train"])
@pytest.mark.parametrize("case", CASES, ids=lambda c: f"{c[0]}-{c[1]}-{'' if c[2] else 'un'}decayed")
def test_macros_equal_a_slow_implementation(case: Case, train: bool) -> None:
    name, stem, decay_input, blocks = case
    side = 32 if stem == "dvs" else 16
    net = built(case, side).train(train)
    ours, theirs = data(case, side)
    with record(net) as recorded:
        votes = net(ours)
    slow = Slow(name, blocks.split(), stem, Theirs(net), decay_input=decay_input, train=train)
    slow.run(theirs, T)
    for theirs_name, per_step in slow.per_layer.items():
        path = our_name(f"{theirs_name}.").removesuffix(".").replace("pool_", "stem.extra.pool")
        path = path if path.startswith(("stem", "layers", "classifier")) else f"stem.{path}"
        assert recorded[path].detach().flatten(1).sum(1).tolist() == per_step, path
        assert sum(per_step) > 0 or silent(case), path
    assert len(slow.per_layer) == len(recorded)
    assert float(spikes_paper(recorded).detach().mean()) == float(slow.spikes)
    torch.testing.assert_close(votes.sum(0), slow.logits, rtol=1e-12, atol=0)  # means of ten, added in another order
    assert votes.detach().sum() > 0 or silent(case)

    weights = torch.linspace(-1, 1, K, dtype=torch.float64)
    parameters = list(net.parameters())
    mine = torch.autograd.grad((votes.sum(0) * weights).sum(), parameters)
    wanted = torch.autograd.grad((slow.logits * weights).sum(), parameters)
    largest = max(float(g.abs().max()) for g in wanted)
    assert largest > 0
    for (path, _), a, b in zip(net.named_parameters(), mine, wanted, strict=True):
        # additions in another order; where gradients cancel or vanish, rounding of the size of the others remains
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-12 * largest, msg=path)


@pytest.mark.parametrize("odd", [0, 3], ids=["even", "odd"])
@pytest.mark.parametrize("case", CASES, ids=lambda c: f"{c[0]}-{c[1]}-{'' if c[2] else 'un'}decayed")
def test_graphs_equal_macros_and_survive_files(case: Case, odd: int, tmp_path: Any) -> None:
    side = (32 if case[1] == "dvs" else 16) + odd
    net = built(case, side, width=6).eval()
    x, _ = data(case, side)
    with torch.no_grad(), record(net) as recorded:
        votes = net(x)
    graph = to_graph(net)
    values = evaluate(graph, (x if x.ndim == 5 else x.expand(T, *x.shape)).numpy())
    assert {n.name for n in graph.neurons} <= recorded.keys() <= set(graph.by_name)
    for name, spikes in recorded.items():
        assert spikes.any() or silent(case), name
        assert np.array_equal(values[name], spikes.numpy()), name
    np.testing.assert_allclose(values["vote"], votes.numpy(), rtol=1e-15)
    for suffix in (".safetensors", ".pt"):
        save(net, tmp_path / f"net{suffix}")
        again = load_module(tmp_path / f"net{suffix}")
        assert (again.config, again.arch) == (net.config, net.arch)
        assert torch.equal(again(x), votes)


def test_every_block_stands_in_a_case() -> None:
    assert {block for case in CASES for block in case[3].split()} == set(ALL_BLOCKS)


@pytest.mark.parametrize(("name", "stem", "n_features", "n_parameters"), [
    ("AutoSNN_16", "plain", 64 * 4 * 4, 417_626), ("AutoSNN_32", "plain", 128 * 4 * 4, 1_462_954),
    ("AutoSNN_64", "plain", 256 * 4 * 4, 5_436_746), ("AutoSNN_128", "plain", 512 * 4 * 4, 20_916_874),
    # without the 960 further pixels of the last map; and one w more
    ("SNN_2", "plain", 64, 417_626 - 960 * 100 + 1), ("SNN_4", "plain", 64 * 4 * 4, 417_626 + 3),
    # one 3x3 convolution of 16 to 16 channels, its norm and its w
    ("AutoSNN_16", "tiny_imagenet", 64 * 2 * 2, 417_626 - 768 * 100 + 16 * 16 * 9 + 32 + 1),
    ("AutoSNN_16", "dvs", 64, 417_626 - 960 * 100 + 16 * 16 * 9 + 32 + 1),
])
def test_parameters(name: str, stem: str, n_features: int, n_parameters: int) -> None:
    config = macro(name, 3, (32, 32), 10, stem=stem)
    with torch.device("meta"):
        net = AutoSnn(config, published("AutoSNN"))
    assert config.n_features == n_features
    assert sum(p.numel() for p in net.parameters()) == n_parameters


def test_the_sizes_of_snn_3() -> None:
    config = macro("SNN_3", 3, (32, 32), 10)
    assert [(p.c_in, p.c_out, p.stride) for p in config.positions] == [
        (16, 16, 1), (16, 32, 2), (32, 32, 1), (32, 32, 1), (32, 64, 2), (64, 64, 1), (64, 64, 1), (64, 128, 2)
    ]  # fmt: skip
    assert (config.n_positions, config.n_pools, config.n_features) == (8, 0, 128 * 4 * 4)
    assert macro("SNN_3", 3, (33, 9), 10).n_features == 128 * 5 * 2  # strides round up
    assert macro("SNN_3", 1, (1, 1), 10).n_features == 128
    assert macro("AutoSNN_16", 3, (33, 9), 10).n_features == 64 * 4 * 1  # pools round down
    assert MacroConfig(1, (3, 3), 2, layout=(1, 1, None), strides=(2, 1, 1)).n_features == 16


def test_a_mean_by_hand() -> None:
    """k = 1/2. Where two of four pixels fire, 0.5 arrives: without decay of the input v = 0.5, 0.75, 0.875, never 1."""
    layers = Layers(MacroConfig(1, (8, 8), 2, decay_input=False))
    pool = AveragePool(2, layers).double()
    x = torch.zeros(5, 1, 1, 2, 4, dtype=torch.float64)
    x[:, 0, 0, 0, :2] = 1  # the left window: two of four
    x[:, 0, 0, :, 2:] = 1  # the right one: all
    x[3, 0, 0, :, :2] = 1  # step 3, left: v = 0.875 / 2 + 1 fires; then 0.5 again from 0
    assert pool(x)[:, 0, 0, 0].tolist() == [[0, 1], [0, 1], [0, 1], [1, 1], [0, 1]]
    decayed = AveragePool(None, Layers(MacroConfig(1, (8, 8), 2))).double()
    assert decayed(torch.ones(8, 1, 1, 2, 4, dtype=torch.float64)).sum() == 0  # 1 - 2^-t
    assert decayed(torch.ones(8, 1, 1, 2, 4, dtype=torch.float64)).shape == (8, 1, 1, 1, 1)


def test_a_reduction_by_hand() -> None:
    """Channel 0 reads pixels (0,0) (0,2) (2,0) (2,2), channel 1 those one down and right, zeros behind the end of 3 x 3."""
    skip = ReduceSkip(1, 2, Layers(MacroConfig(1, (8, 8), 2, norm="none", neuron="if", decay_input=False))).double()
    nn.init.constant_(skip.conv1.weight, 1.0)
    nn.init.constant_(skip.conv2.weight, 2.0)
    x = torch.zeros(1, 1, 1, 4, 4, dtype=torch.float64)
    x[0, 0, 0, 0, 2] = x[0, 0, 0, 3, 3] = 1
    assert skip(x)[0, 0].tolist() == [[[0, 1], [0, 0]], [[0, 0], [0, 1]]]
    x = x[..., :3, :3].clone()
    x[0, 0, 0, 2, 0] = x[0, 0, 0, 1, 1] = 1
    assert skip(x)[0, 0].tolist() == [[[0, 1], [1, 0]], [[1, 0], [0, 0]]]
    odd = MacroConfig(1, (5, 6), 2, layout=(1,), strides=(2,), width=3, n_timesteps=3)
    net = AutoSnn(odd, ["skip_connect"]).double().eval()
    lively(net)
    nn.init.constant_(net.layers[0].bn.bias, 1.5)
    x = torch.rand(2, 1, 5, 6, dtype=torch.float64)
    assert [len(conv.weight) for conv in (net.layers[0].conv1, net.layers[0].conv2)] == [2, 1]
    with torch.no_grad(), record(net) as recorded:
        net(x)
    wanted = evaluate(to_graph(net), x.expand(3, *x.shape).numpy())["layers.0.neuron"]
    assert wanted.any(axis=(0, 1, 3, 4)).all() and np.array_equal(recorded["layers.0.neuron"].numpy(), wanted)
    with pytest.raises(UsageError, match="one channel in two halves"):
        AutoSnn(replace(odd, width=1), ["skip_connect"])


def test_a_bottleneck_adds_before_its_last_neurons() -> None:
    config = MacroConfig(1, (8, 8), 2, width=4, layout=(1, 2, 2), strides=(1, 1, 2))
    net = AutoSnn(config, ("SIB_k5_e3", "SIB_k3_e6", "SIB_k3_e1"))
    graph = to_graph(net)
    assert graph.incoming("layers.0.neuron3") == (
        Edge("layers.0.bn3", "layers.0.neuron3"), Edge("stem.neuron", "layers.0.neuron3")
    )  # fmt: skip
    assert [e.src for e in graph.incoming("layers.1.neuron3")] == ["layers.1.bn3", "layers.1.shortcut.bn"]
    assert [e.src for e in graph.incoming("layers.2.neuron3")] == ["layers.2.bn3"]  # none at a stride of 2
    assert net.layers[0].conv2.weight.shape == (12, 12, 5, 5)
    assert net.layers[1].conv2.weight.shape == (24, 24, 3, 3)  # e times the channels that come in
    assert graph.shapes["layers.2.neuron2"] == (8, 4, 4)


def test_supernets_take_every_block_at_a_stride() -> None:
    torch.manual_seed(0)
    config = macro("SNN_3", 1, (8, 8), K, n_timesteps=2, width=2)
    net = SuperNet(config, ALL_BLOCKS).eval()
    lively(net)
    x = torch.rand(3, 1, 8, 8)
    for block in ALL_BLOCKS:
        arch = published(f"all_{block}", 8)
        with torch.no_grad(), record(net) as whole:
            votes = net(x, arch)
        child = net.child(arch)
        with torch.no_grad(), record(child) as alone:
            assert torch.equal(child(x), votes)
        assert whole.keys() >= alone.keys() and all(torch.equal(whole[name], alone[name]) for name in alone)


def test_names_of_the_paper() -> None:
    assert published("AutoSNN") == ("SRB_k5", "SRB_k5", "skip_connect", "SRB_k3", "SRB_k5")
    assert published("AutoSNN_lambda_-0.24")[0] == "skip_connect"
    assert parse_arch("AutoSNN_lambda_0") == ("SRB_k5", "SRB_k5", "SRB_k5", "SCB_k5", "SRB_k5")
    assert published("all_skip", 8) == ("skip_connect",) * 8 and parse_arch("all_SIB_k3_e6", 2) == ("SIB_k3_e6",) * 2
    assert parse_arch("skip, SCB_k7", 2) == ("skip_connect", "SCB_k7")
    assert all(set(arch) <= set(BLOCKS) for arch in ARCHITECTURES.values())
    spec = read_spec("autosnn AutoSNN in_channels=3 image_size=32x32 n_classes=10").autosnn
    assert spec is not None and spec["arch"] == list(published("AutoSNN"))
    assert macro("AutoSNN_16", 3, (32, 32), 10) == MacroConfig(3, (32, 32), 10)
    for name in MACROS:
        config = macro(name, 3, (32, 32), 10)
        assert MacroConfig.from_dict(config.to_dict()) == config
    assert macro("SNN_3", 3, (32, 32), 10, width=8).positions[-1].c_out == 64


@pytest.mark.parametrize(("make", "message"), [
    (lambda: published("AutoSNN_lambda_1"), r"no architecture .*AutoSNN_lambda_-0\.16.*all_BLOCK"),
    (lambda: published("AutoSNN", 8), "5 blocks.*8 positions"),
    (lambda: parse_arch("AutoSNN", 1), "unknown block 'AutoSNN'"),
    (lambda: parse_arch("AutoSNN_lambda_1"), "no architecture 'AutoSNN_lambda_1'"),
    (lambda: parse_arch("all_SRB_k9"), "unknown block 'SRB_k9'.*SIB_k5_e6"),
    (lambda: macro("SNN_5", 3, (32, 32), 10), "no macro 'SNN_5'.*SNN_4"),
    (lambda: macro("SNN_4", 3, (32, 32), 10, stem="imagenet"), "stem is 'imagenet'.*'tiny_imagenet'"),
    (lambda: macro("SNN_4", 3, (32, 32), 10, pool="mean"), "pool is 'mean'.*'average'"),
    (lambda: macro("AutoSNN_16", 2, (31, 64), 10, stem="dvs"), "31 x 64 pixels vanish in 5 pools.*32 x 32"),
    (lambda: macro("SNN_3", 2, (3, 8), 10, stem="dvs"), "3 x 8 pixels vanish in 2 pools.*4 x 4"),
    (lambda: MacroConfig(1, (2, 9), 2, layout=(1, 1, None), strides=(2, 1, 1)), "2 x 9 .* in 1 pools.*3 x 3"),
    (lambda: MacroConfig(1, (8, 8), 2, strides=(1, 1)), r"strides are \[1, 1\]"),
    (lambda: MacroConfig(1, (8, 8), 2, layout=(1, None), strides=(1, 2)), r"strides are \[1, 2\].*1 for a pool"),
    (lambda: MacroConfig(1, (8, 8), 2, layout=(1,), strides=(3,)), r"strides are \[3\]"),
])  # fmt: skip
def test_refusals(make: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        make()
    assert caught.value.remedy


def test_what_is_written_of_older_networks_stays() -> None:
    plain = macro("AutoSNN_16", 1, (8, 8), 10).to_dict()
    assert not plain.keys() & {"strides", "stem", "global_pool", "layout"} and math.isclose(plain["tau0"], 2)
    assert macro("SNN_3", 1, (8, 8), 10).to_dict()["strides"] == [1, 2, 1, 1, 2, 1, 1, 2]
