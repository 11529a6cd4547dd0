"""State_dicts and `--arch`: the network that comes out equals the torch module; what does not fit is named."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from neurodeploy.errors import UnsafeFile, UsageError
from neurodeploy.ir.graph import Graph
from neurodeploy.ir.nodes import BatchNorm, Conv2d, Lif, Linear, Vote
from neurodeploy.ir.reference import evaluate
from neurodeploy.models.autosnn import AutoSnn
from neurodeploy.models.convert import to_graph
from neurodeploy.models.files import load_model, save
from neurodeploy.models.foreign_spec import read_spec
from neurodeploy.models.foreign_state import read_state
from neurodeploy.models.macro import MacroConfig
from torch import nn

ANN = "2x8x8 T=1 | Conv2d stride=2 padding=1 | BatchNorm2d | ReLU | conv2d padding=2x1 dilation=2x1 groups=2 | relu | " \
      "avgpool 2 | flatten | dropout 0.5 | linear | bn | relu | linear | vote 5"
SPIKING = "1x8x8 T=8 v_th=0.5 fire=> reset=soft | conv2d padding=1 | {} | sumpool 2 | flatten | linear | " \
          "if v_th=2 reset=hard v_reset=0 | vote 2"


def ann() -> nn.Sequential:
    torch.manual_seed(1)
    net = nn.Sequential(
        nn.Conv2d(2, 6, 3, stride=2, padding=1), nn.BatchNorm2d(6), nn.ReLU(),
        nn.Conv2d(6, 4, 3, padding=(2, 1), dilation=(2, 1), groups=2, bias=False), nn.ReLU(), nn.AvgPool2d(2), nn.Flatten(),
        nn.Dropout(0.5), nn.Linear(16, 7), nn.BatchNorm1d(7), nn.ReLU(), nn.Linear(7, 5),
    ).double()
    for _ in range(3):  # running statistics that are not those of the start
        net(torch.randn(16, 2, 8, 8, dtype=torch.float64))
    return net.eval()


def spiking(neuron: str) -> dict[str, torch.Tensor]:
    torch.manual_seed(2)
    state = {"conv.weight": torch.randn(3, 1, 3, 3), "fc.weight": torch.randn(4, 48), "fc.bias": torch.randn(4)}
    return {**state, "act.w": torch.tensor(0.0)} if neuron == "plif" else state


def graph_of(path: Path, arch: str) -> Graph:
    found = load_model(path, arch)
    assert isinstance(found, Graph)
    return found


@pytest.mark.parametrize("suffix", [".pt", ".pth", ".safetensors"])
def test_the_graph_computes_what_the_module_computes(tmp_path: Path, suffix: str) -> None:
    net, path = ann(), tmp_path / f"net{suffix}"
    if suffix == ".safetensors":
        safetensors.torch.save_file(net.state_dict(), path)
    else:
        torch.save(net.state_dict(), path)
    graph = graph_of(path, ANN)
    x = np.random.default_rng(3).normal(size=(1, 5, 2, 8, 8))
    with torch.no_grad():
        wanted = net(torch.from_numpy(x[0])).numpy()
    found = evaluate(graph, x)[graph.output.name][0]
    assert np.abs(wanted).max() > 0.1
    np.testing.assert_allclose(found, wanted, rtol=1e-9, atol=1e-12)  # sums in another order, float64
    assert [n.name for n in graph.nodes if isinstance(n, Conv2d)] == ["0", "3"]


@pytest.mark.parametrize(
    ("neuron", "inv_tau", "decay_input"),
    [("if", 0.0, False), ("lif tau=4 decay_input=false", 0.25, False), ("lif beta=0.9 decay_input=true", 0.1, True),
     ("plif decay_input=true", 0.5, True)],
)  # fmt: skip
def test_conventions_of_neurons_are_stated_and_kept(tmp_path: Path, neuron: str, inv_tau: float, decay_input: bool) -> None:
    torch.save(spiking(neuron.split()[0]), tmp_path / "net.pt")
    graph = graph_of(tmp_path / "net.pt", SPIKING.format(neuron))
    first, second = (n for n in graph.nodes if isinstance(n, Lif))
    assert (first.v_th, first.fire, first.reset, first.decay_input) == (0.5, ">", "soft", decay_input)
    assert first.inv_tau == pytest.approx(inv_tau)
    assert (second.v_th, second.fire, second.reset, second.v_reset, second.inv_tau) == (2.0, ">", "hard", 0.0, 0.0)
    assert isinstance(graph.output, Vote) and (graph.output.n_classes, graph.output.group) == (2, 2)
    spikes = evaluate(graph, np.random.default_rng(0).random((8, 2, 1, 8, 8)))
    assert 0 < spikes[first.name].mean() < 1 and 0 < spikes[second.name].mean() < 1


def test_what_is_missing_is_said_of_all_layers_at_once(tmp_path: Path) -> None:
    torch.save(spiking("if"), tmp_path / "net.pt")
    with pytest.raises(UsageError) as caught:
        load_model(tmp_path / "net.pt",
                   "1x8x8 T=8 | conv2d padding=1 | if v_th=1 | maxpool | flatten | linear | lif reset=hard | vote")
    said = caught.value.limit
    assert "layer 2: `if v_th=1 fire=? reset=?`" in said and "layer 3: `maxpool ?`" in said
    assert "layer 6: `lif reset=hard v_th=? fire=? decay_input=? v_reset=? tau=?`" in said and "layer 7: `vote ?`" in said


@pytest.mark.parametrize(
    ("arch", "words"),
    [
        ("1x8x8 T=8", "no architecture"), ("1x8x8 | flatten", "timesteps is missing"), ("1x8x8 T=0 | flatten", "T is 0"),
        ("1x8x8 T=1 encoding=morse | flatten", "encoding is 'morse'"),
        ("8y8 T=1 | flatten", "shape '8y8'"), ("1x8x8 T=1 size=3 | flatten", "unknown size"),
        ("1x8x8 T=1 | convolve", "unknown kind of layer 'convolve'"), ("1x8x8 T=1 | conv2d pad=1", "unknown pad"),
        ("1x8x8 T=1 | conv2d padding = 1", "key=value"), ("1x8x8 T=1 | ?", "`?` is left"),
        ("1x8x8 T=1 | maxpool 2 3", "without names"),
        ("1x8x8 T=1 | flatten from=fc", "takes no weights"), ("1x8x8 T=1 | if v_th=big fire=> reset=soft", "v_th is 'big'"),
        ("1x8x8 T=1 | If v_th=1 fire== reset=soft", "fire is '='"),
        ("1x8x8 T=1 | if v_th=NaN fire=> reset=soft", "v_th is nan"),
        ("1x8x8 T=1 | conv2d padding=1 | flatten | linear", "expects 48 inputs"),
        ("1x8x8 T=1 | conv2d groups=2", "2 groups of 3"),
        ("2x8x8 T=1 | conv2d", "expects 1 input channels"), ("1x2x2 T=1 | conv2d", "does not fit the input map"),
        ("1x8x8 T=1 | linear", "a map"), ("1x8x8 T=1 | conv2d | maxpool 2 stride=1", "Stride = kernel"),
        ("1x8x8 T=1 | conv2d padding=1 | conv2d", "no module is left"),
        ("1x8x8 T=1 | conv2d padding=1", "belong to no layer: fc"),
        ("1x8x8 T=1 | conv2d from=fc", "no module 'fc' of this kind"),
        ("1x8x8 T=1 | conv2d from=conv | conv2d from=conv", "no module"),
        ("1x8x8 T=1 | conv2d padding=1 | sumpool 2 | flatten | linear | vote 3", "3 classes"),
        ("nowhere.toml", "no such file"), ("", "no architecture"), ("| |", "no architecture"),
    ],
)  # fmt: skip
def test_specs_that_are_wrong(tmp_path: Path, arch: str, words: str) -> None:
    torch.save(spiking("if"), tmp_path / "net.pt")
    with pytest.raises(UsageError) as caught:
        load_model(tmp_path / "net.pt", arch)
    assert words in str(caught.value) and "--arch" in caught.value.where


def test_random_texts_are_refused_as_usage(tmp_path: Path) -> None:
    torch.save(spiking("if"), tmp_path / "net.pt")
    rng = np.random.default_rng(0)
    words = ["1x8x8", "T=1", "|", "conv2d", "padding=1", "if", "v_th=1", "fire=>", "=", "?", "vote", "3", "from=", "stride=1e9",
             "padding=-1", "groups=0", "lif", "tau=0", "reset=hard", "v_reset=5", "maxpool", "99999", "leaky", "\x00",
             "autosnn"]
    refused = 0
    for _ in range(500):
        text = " ".join(rng.choice(words, int(rng.integers(1, 14))))
        try:
            load_model(tmp_path / "net.pt", text)
        except UsageError as error:
            refused += bool(error.what)
    assert refused == 500


def test_a_toml_file_says_the_same(tmp_path: Path) -> None:
    torch.save(spiking("if"), tmp_path / "net.pt")
    (tmp_path / "arch.toml").write_text(
        'input = "1x8x8"\ntimesteps = 8\ndata = "digits"\nneurons = {v_th = 0.5, fire = ">", reset = "soft"}\n'
        'layers = ["conv2d padding=1", "if", "sumpool 2", "flatten", "linear", "if v_th=2 reset=hard v_reset=0", "vote 2"]\n'
    )
    one = graph_of(tmp_path / "net.pt", str(tmp_path / "arch.toml"))
    other = graph_of(tmp_path / "net.pt", SPIKING.format("if"))
    assert one.metadata["data"] == {"name": "digits"} and "data" not in other.metadata
    x = np.random.default_rng(0).random((8, 2, 1, 8, 8))
    for name, value in evaluate(one, x).items():
        np.testing.assert_array_equal(value, evaluate(other, x)[name])


@pytest.mark.parametrize(
    "text", ["layers = 3", "input = [1, 8, 8]", "= 3", 'input="1x8x8"\ntimesteps=1\nlayers=[["conv2d"]]', "x = " * 9]
)
def test_toml_files_that_are_wrong(tmp_path: Path, text: str) -> None:
    torch.save(spiking("if"), tmp_path / "net.pt")
    (tmp_path / "arch.toml").write_text(text)
    with pytest.raises(UsageError, match=r"arch\.toml"):
        load_model(tmp_path / "net.pt", str(tmp_path / "arch.toml"))


def test_modules_are_named_where_their_order_is_not_known(tmp_path: Path) -> None:
    """A .safetensors sorts its names: `head` comes before `middle`. Their shapes are alike, so nothing else would notice."""
    state = {f"{name}.weight": torch.full((3, 3), float(i)) for i, name in enumerate(("middle", "head"), start=1)}
    safetensors.torch.save_file(state, tmp_path / "net.safetensors")
    torch.save(state, tmp_path / "net.pt")
    with pytest.raises(UsageError, match="the order of head, middle is not known") as caught:
        load_model(tmp_path / "net.safetensors", "3 T=1 | linear | linear")
    assert "from=NAME" in caught.value.remedy
    named = graph_of(tmp_path / "net.safetensors", "3 T=1 | linear from=middle | relu | linear from=head | vote 3")
    ordered = graph_of(tmp_path / "net.pt", "3 T=1 | linear | relu | linear | vote 3")
    for graph in (named, ordered):
        assert [float(n.weight[0, 0]) for n in graph.nodes if isinstance(n, Linear)] == [1.0, 2.0]


def test_numbers_in_names_are_an_order(tmp_path: Path) -> None:
    state = {f"fc{i}.weight": torch.full((2, 2), float(i)) for i in (2, 10, 1)}
    safetensors.torch.save_file(state, tmp_path / "net.safetensors")
    graph = graph_of(tmp_path / "net.safetensors", "2 T=1 | linear | linear | linear")
    assert [n.name for n in graph.nodes if isinstance(n, Linear)] == ["fc1", "fc2", "fc10"]


def test_precisions_and_views(tmp_path: Path) -> None:
    wide = torch.arange(24.0).reshape(4, 6)
    for dtype in (torch.float32, torch.float64, torch.float16, torch.bfloat16):
        state: dict[str, torch.Tensor] = {"a.weight": wide.to(dtype).T, "b.weight": wide.to(dtype)[:, 1:3].contiguous().T}
        torch.save(state, tmp_path / "net.pt")
        found = read_state(tmp_path / "net.pt").tensors
        for name, tensor in state.items():
            np.testing.assert_array_equal(found[name], tensor.double().numpy())
        safetensors.torch.save_file({k: v.contiguous() for k, v in state.items()}, tmp_path / "net.safetensors")
        for name, value in read_state(tmp_path / "net.safetensors").tensors.items():
            np.testing.assert_array_equal(value, state[name].double().numpy())
    torch.save({"a.weight": wide[1:, ::2]}, tmp_path / "net.pt")
    np.testing.assert_array_equal(read_state(tmp_path / "net.pt").tensors["a.weight"], wide[1:, ::2].numpy())


@pytest.mark.parametrize("key", ["net", "state_dict", "model"])
def test_checkpoints_hold_one_state_dict_among_other_things(tmp_path: Path, key: str) -> None:
    others = {"epoch": 3, "arch": "vgg", "optimizer": torch.optim.Adam(nn.Linear(2, 2).parameters()).state_dict()}
    torch.save({key: spiking("if"), **others}, tmp_path / "c.pt")
    assert list(read_state(tmp_path / "c.pt").tensors) == list(spiking("if"))
    torch.save({key: spiking("if"), "ema": spiking("if")}, tmp_path / "two.pt")
    with pytest.raises(UsageError, match="several state_dicts"):
        read_state(tmp_path / "two.pt")


def test_not_finite_weights(tmp_path: Path) -> None:
    torch.save({"fc.weight": torch.tensor([[1.0, float("nan")]])}, tmp_path / "net.pt")
    with pytest.raises(UsageError, match="not finite"):
        load_model(tmp_path / "net.pt", "2 T=1 | linear | vote 1")


@pytest.mark.parametrize("where", ["conv2d", "relu", "maxpool 2"])
def test_the_factor_of_an_average_pool_goes_past_what_keeps_it(tmp_path: Path, where: str) -> None:
    torch.manual_seed(5)
    conv = nn.Conv2d(1, 2, 3).double()
    torch.save({f"0.{k}": v for k, v in conv.state_dict().items()}, tmp_path / "state.pt")
    between = {"conv2d": "", "relu": "relu | ", "maxpool 2": "maxpool 2 | "}[where]
    # conv, average pool, (what keeps it), neurons: the factor belongs into the convolution
    graph = graph_of(tmp_path / "state.pt", f"1x10x10 T=3 v_th=0.2 fire=>= reset=soft | conv2d | avgpool 2 | {between}if")
    x = np.random.default_rng(1).random((3, 4, 1, 10, 10)) * 3
    layers: list[nn.Module] = [conv, nn.AvgPool2d(2)]
    layers += {"conv2d": [], "relu": [nn.ReLU()], "maxpool 2": [nn.MaxPool2d(2)]}[where]
    current = evaluate(graph, x)
    last = next(n for n in graph.nodes if isinstance(n, Lif))
    source = graph.incoming(last.name)[0].src
    with torch.no_grad():
        wanted = nn.Sequential(*layers)(torch.from_numpy(x.reshape(12, 1, 10, 10))).numpy()
    np.testing.assert_allclose(current[source].reshape(wanted.shape), wanted, rtol=1e-9)
    assert current[last.name].any()


def test_average_pools_in_a_row_batch_norms_and_the_end(tmp_path: Path) -> None:
    torch.manual_seed(6)
    net = nn.Sequential(
        nn.AvgPool2d(2), nn.AvgPool2d(2), nn.BatchNorm2d(2), nn.Conv2d(2, 3, 2), nn.AvgPool2d(2), nn.Flatten()
    ).double()
    net(torch.randn(8, 2, 24, 24, dtype=torch.float64) * 3)
    net.eval()
    torch.save(net.state_dict(), tmp_path / "net.pt")
    graph = graph_of(tmp_path / "net.pt", "2x24x24 T=1 | avgpool 2 | avgpool 2 | batchnorm | conv2d | avgpool 2 | flatten")
    x = np.random.default_rng(2).normal(size=(1, 3, 2, 24, 24))
    with torch.no_grad():
        wanted = net(torch.from_numpy(x[0])).numpy()
    np.testing.assert_allclose(evaluate(graph, x)[graph.output.name][0], wanted, rtol=1e-9, atol=1e-12)
    assert any(isinstance(n, BatchNorm) for n in graph.nodes)


# ---------------------------------------------------------------------- our own architectures
MACRO = {"in_channels": 1, "image_size": [8, 8], "n_classes": 3, "width": 2, "n_timesteps": 2, "group": 2}
BLOCKS = ["skip_connect", "SCB_k3", "skip_connect", "SRB_k3", "skip_connect"]


@pytest.mark.parametrize("form", ["text", "toml", "json"])
@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_a_bare_autosnn(tmp_path: Path, form: str, suffix: str) -> None:
    torch.manual_seed(3)
    module = AutoSnn(MacroConfig.from_dict(MACRO), BLOCKS).eval()
    path = tmp_path / f"net{suffix}"
    if suffix == ".pt":
        torch.save(module.state_dict(), path)
    else:
        safetensors.torch.save_file(module.state_dict(), path)
    arch = "autosnn skip,SCB_k3,skip,SRB_k3,skip data=digits " + " ".join(f"{k}={v}" for k, v in MACRO.items())
    arch = arch.replace("[8, 8]", "8x8")
    if form == "json":
        (tmp_path / "a.json").write_text(json.dumps({"macro": MACRO, "arch": BLOCKS, "data": "digits"}))
    elif form == "toml":
        macro = "\n".join(f"{key} = {value}" for key, value in MACRO.items())
        (tmp_path / "a.toml").write_text(f'arch = "skip,SCB_k3,skip,SRB_k3,skip"\ndata = "digits"\n[macro]\n{macro}\n')
    found = load_model(path, arch if form == "text" else str(tmp_path / f"a.{form}"))
    assert isinstance(found, AutoSnn) and found.metadata == {"data": {"name": "digits"}}
    x = np.random.default_rng(0).random((2, 3, 1, 8, 8))
    for mine, theirs in zip(evaluate(to_graph(found), x).values(), evaluate(to_graph(module), x).values(), strict=True):
        np.testing.assert_array_equal(mine, theirs)


def test_a_bare_autosnn_is_told_from_others(tmp_path: Path) -> None:
    torch.save(AutoSnn(MacroConfig.from_dict(MACRO), BLOCKS).state_dict(), tmp_path / "net.pt")
    with pytest.raises(UsageError) as caught:
        load_model(tmp_path / "net.pt")
    assert "autosnn ?,?,... in_channels=1 width=2" in caught.value.remedy and "spikingjelly" not in str(caught.value)


def test_an_autosnn_of_other_sizes_is_refused(tmp_path: Path) -> None:
    torch.save(AutoSnn(MacroConfig.from_dict(MACRO), BLOCKS).state_dict(), tmp_path / "net.pt")
    for arch in ("autosnn skip,skip,skip,skip,skip in_channels=1 image_size=8x8 n_classes=3 width=2 group=2",
                 "autosnn skip,SCB_k3,skip,SRB_k3,skip in_channels=1 image_size=8x8 n_classes=3 width=4 group=2",
                 "autosnn skip,SCB_k3 in_channels=1 image_size=8x8 n_classes=3", "autosnn skip in_channels=one", "autosnn"):
        with pytest.raises(UsageError):
            load_model(tmp_path / "net.pt", arch)


def test_a_file_with_its_own_architecture_takes_no_other(tmp_path: Path) -> None:
    save(AutoSnn(MacroConfig.from_dict(MACRO), BLOCKS), tmp_path / "own.pt")
    save(AutoSnn(MacroConfig.from_dict(MACRO), BLOCKS), tmp_path / "own.safetensors")
    for name, arch in itertools.product(("own.pt", "own.safetensors"), (None, "4 T=1 | linear")):
        if arch is None:
            assert isinstance(load_model(tmp_path / name), AutoSnn)
        else:
            with pytest.raises(UsageError, match="its own architecture"):
                load_model(tmp_path / name, arch)


def test_modules_of_unknown_kinds_are_named(tmp_path: Path) -> None:
    torch.save({**spiking("if"), "norm.weight": torch.zeros(3), "norm.bias": torch.zeros(3)}, tmp_path / "net.pt")
    with pytest.raises(UsageError) as caught:
        load_model(tmp_path / "net.pt")
    assert "? (norm: weight, bias)" in caught.value.remedy
    with pytest.raises(UsageError, match="norm"):
        load_model(tmp_path / "net.pt", SPIKING.format("if"))


def test_a_spec_is_read_without_a_file() -> None:
    spec = read_spec("1x8x8 T=4 data=digits encoding=rate v_th=1 | conv2d from=a padding=1x2 | vote 3")
    assert (spec.input_shape, spec.n_timesteps) == ((1, 8, 8), 4)
    assert spec.metadata == {"data": {"name": "digits"}, "encoding": "rate"}
    assert (spec.items[0].source, spec.items[0].keys["padding"], spec.items[1].keys["value"]) == ("a", [1, 2], 3)


def test_pickled_modules_stay_refused(tmp_path: Path) -> None:
    torch.save(ann(), tmp_path / "net.pt")
    for arch in (None, ANN):
        with pytest.raises(UnsafeFile, match=r"Sequential called.*nothing in it was executed.*state_dict"):
            load_model(tmp_path / "net.pt", arch)


def skeleton_of(state: dict[str, Any], tmp_path: Path) -> str:
    torch.save(state, tmp_path / "s.pt")
    with pytest.raises(UsageError) as caught:
        load_model(tmp_path / "s.pt")
    return caught.value.remedy


def test_the_proposed_spec_needs_only_its_question_marks_filled(tmp_path: Path) -> None:
    proposed = skeleton_of(ann().state_dict(), tmp_path)
    assert "--arch '2x?x? T=? | conv2d padding=? | batchnorm | ? | conv2d padding=? | ? | ? | maxpool ?to2x2 | flatten |" \
        in proposed
    assert proposed.endswith("batchnorm | ? | linear | ? | vote 5'")
