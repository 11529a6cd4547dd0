"""snntorch and spikingjelly themselves against the graphs of their modules and state_dicts: every spike of every layer."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from neurodeploy.errors import UsageError
from neurodeploy.ir.graph import Graph
from neurodeploy.ir.nodes import Lif
from neurodeploy.ir.reference import evaluate
from neurodeploy.models.files import load_model
from neurodeploy.models.from_torch import from_torch
from numpy.typing import NDArray
from torch import nn

T, B = 12, 4


def graph_of(path: Path, arch: str) -> Graph:
    found = load_model(path, arch)
    assert isinstance(found, Graph)
    return found


def inputs(seed: int, shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Multiples of 1/64, like the weights: with decays that are powers of two every sum is exact in any order."""
    return np.random.default_rng(seed).integers(-32, 96, (T, B, *shape)) / 64.0


def coarse(module: nn.Module, seed: int) -> None:
    """Weights in multiples of 1/64, float64."""
    module.double()
    rng = np.random.default_rng(seed)
    with torch.no_grad():
        for layer in module.modules():
            if isinstance(layer, nn.Conv2d | nn.Linear):
                for p in layer.parameters():
                    most = 32 if isinstance(layer, nn.Conv2d) else 64
                    p.copy_(torch.from_numpy(rng.integers(-most, most + 8, tuple(p.shape)) / 64.0))


def spikes_equal(graph: Graph, recorded: list[NDArray[Any]], x: NDArray[np.float64]) -> None:
    found = evaluate(graph, x)
    layers = [n for n in graph.nodes if isinstance(n, Lif)]
    assert len(layers) == len(recorded)
    for layer, theirs in zip(layers, recorded, strict=True):
        ours = found[layer.name]
        assert 0.02 < ours.mean() < 0.98, "the test needs spikes, and silences"
        np.testing.assert_array_equal(ours, theirs.reshape(ours.shape), err_msg=layer.name)


# ---------------------------------------------------------------------- snntorch
def leaky_net(**options: Any) -> nn.Sequential:
    snn = pytest.importorskip("snntorch")
    net = nn.Sequential(
        nn.Conv2d(2, 3, 3, padding=1), snn.Leaky(init_hidden=True, **options), nn.Flatten(), nn.Linear(3 * 16, 6),
        snn.Leaky(init_hidden=True, **{**options, "threshold": 2.0}),
    )  # fmt: skip
    coarse(net, 1)
    return net


def run_snntorch(net: nn.Sequential, x: NDArray[np.float64]) -> list[NDArray[Any]]:
    """Spikes (0 or 1) of both layers of neurons, step by step, as its users run it."""
    for layer in net:
        if type(layer).__name__ == "Leaky":
            layer.reset_mem()
    recorded: list[list[NDArray[Any]]] = [[], []]
    with torch.no_grad():
        for step in torch.from_numpy(x):
            value, which = step, 0
            for layer in net:
                value = layer(value.double())  # its spikes are float32 whatever it is given
                if type(layer).__name__ == "Leaky":
                    recorded[which].append((value != 0).double().numpy())
                    which += 1
    return [np.stack(steps) for steps in recorded]


@pytest.mark.parametrize("reset", ["subtract", "zero"])
@pytest.mark.parametrize("beta", [1.0, 0.5, 0.25])
def test_leaky_spike_for_spike(reset: str, beta: float, tmp_path: Path) -> None:
    net, x = leaky_net(beta=beta, reset_mechanism=reset), inputs(2, (2, 4, 4))
    theirs = run_snntorch(net, x)
    spikes_equal(from_torch(net, (2, 4, 4), n_timesteps=T), theirs, x)
    torch.save(net.state_dict(), tmp_path / "net.pt")
    arch = f"2x4x4 T={T} reset_delay=true inhibition=false | conv2d padding=1 | Leaky | flatten | linear | Leaky | vote 3"
    graph = graph_of(tmp_path / "net.pt", arch)
    spikes_equal(graph, theirs, x)
    assert graph.shapes[graph.output.name] == (3,)


def test_the_late_reset_is_not_the_usual_one() -> None:
    """The test above can fail: with the plain soft reset of a Lif other spikes come out."""
    net, x = leaky_net(beta=0.5), inputs(2, (2, 4, 4))
    graph = from_torch(net, (2, 4, 4))
    lif = next(n for n in graph.nodes if isinstance(n, Lif))
    assert (lif.v_th, lif.v_reset, lif.fire, lif.inv_tau) == (2.0, 1.0, ">", 0.5)
    usual = Graph(tuple(
        Lif(n.name, n.shape, inv_tau=n.inv_tau, v_th=n.v_th - n.v_reset, fire=">", reset="soft") if isinstance(n, Lif) else n
        for n in graph.nodes
    ), graph.edges, T)  # fmt: skip
    assert (evaluate(usual, x)[lif.name] != run_snntorch(net, x)[0].reshape(T, B, 3, 4, 4)).any()


def test_leaky_by_hand() -> None:
    """beta 1/2, threshold 1, current 3/2 once, then nothing. mem: 1.5 fires; then 0.75 - 1 = -0.25; then -0.125."""
    snn = pytest.importorskip("snntorch")
    net = nn.Sequential(nn.Linear(1, 1, bias=False), snn.Leaky(beta=0.5, init_hidden=True)).double()
    with torch.no_grad():
        net[0].weight.fill_(1.0)
    x = np.array([1.5, 0, 1.25, 1.25, 0]).reshape(5, 1, 1)
    # mem: 1.5 s; 0.75 - 1 = -0.25; -0.125 + 1.25 = 1.125 s; 0.5625 + 1.25 - 1 = 0.8125; 0.40625
    assert evaluate(from_torch(net, (1,)), x)["1"].ravel().tolist() == [1, 0, 1, 0, 0]


def test_random_betas_within_rounding() -> None:
    """Decays that are no powers of two: the same spikes in float64, whose sums differ in the last bit only."""
    for seed in range(6):
        net, x = leaky_net(beta=0.6 + 0.07 * seed, threshold=0.9), inputs(seed, (2, 4, 4))
        spikes_equal(from_torch(net, (2, 4, 4)), run_snntorch(net, x), x)


def test_immediate_reset_to_zero_and_graded_spikes() -> None:
    net, x = leaky_net(beta=0.5, reset_mechanism="zero", reset_delay=False, graded_spikes_factor=0.5), inputs(3, (2, 4, 4))
    graph = from_torch(net, (2, 4, 4))
    spikes_equal(graph, run_snntorch(net, x), x)


@pytest.mark.parametrize(
    ("options", "reason"),
    [({"reset_delay": False}, "fires one threshold later"), ({"inhibition": True}, "largest membrane"),
     ({"reset_mechanism": "none"}, "neurons here reset"), ({"beta": 0.0}, "beta is 0"),
     ({"beta": torch.tensor([0.5, 0.6])}, "2 different"), ({"state_quant": lambda v: v}, "rounded")],
)  # fmt: skip
def test_what_no_neuron_here_does_is_refused_with_the_reason(options: dict[str, Any], reason: str) -> None:
    snn = pytest.importorskip("snntorch")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # inhibition warns of itself
        leaky = snn.Leaky(**{"beta": 0.5, "init_hidden": True, **options})
    net = nn.Sequential(nn.Linear(2, 2), leaky)
    with pytest.raises(UsageError, match=reason) as caught:
        from_torch(net, (2,))
    assert caught.value.where.endswith(": 1") and caught.value.remedy


def test_the_refused_reset_really_differs() -> None:
    """Large inputs leave the membrane above the threshold after a reset: there `reset_delay=False` fires less."""
    snn = pytest.importorskip("snntorch")
    late = snn.Leaky(beta=1.0, init_hidden=True, reset_delay=False)
    spikes = [float(late(torch.tensor([[x]]))) for x in (2.75, 0.0, 0.0)]
    # v 2.75 s -> 1.75; compared is 1.75 - 1 = 0.75: no spike, though 1.75 > 1; then v is 1.75 still
    assert spikes == [1, 0, 0]


# ---------------------------------------------------------------------- spikingjelly
def jelly() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip("spikingjelly.activation_based.neuron")


def run_jelly(net: nn.Sequential, x: NDArray[np.float64]) -> list[NDArray[Any]]:
    neurons = [layer for layer in net if hasattr(layer, "v_threshold")]
    recorded: list[list[NDArray[Any]]] = [[] for _ in neurons]
    for neuron in neurons:
        neuron.reset()
    net.eval()
    with torch.no_grad():
        for step in torch.from_numpy(x):
            value = step
            for layer in net:
                value = layer(value)
                for place, neuron in zip(recorded, neurons, strict=True):
                    if layer is neuron:
                        place.append(value.numpy())
    return [np.stack(steps) for steps in recorded]


@pytest.mark.parametrize("v_reset", [0.0, None, -0.5])
@pytest.mark.parametrize("kind", ["IFNode", "LIFNode", "LIFNode_raw", "ParametricLIFNode", "ParametricLIFNode_raw"])
def test_spikingjelly_spike_for_spike(kind: str, v_reset: float | None, tmp_path: Path) -> None:
    neuron = jelly()
    name, _, raw = kind.partition("_")
    options: dict[str, Any] = {"v_reset": v_reset, "v_threshold": 0.5}
    if name != "IFNode":
        options["decay_input"] = not raw
        options["tau" if name == "LIFNode" else "init_tau"] = 2.0

    def layer() -> nn.Module:
        made: nn.Module = getattr(neuron, name)(**options)
        return made

    net = nn.Sequential(nn.Conv2d(2, 3, 3, padding=1), layer(), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(12, 6), layer())
    coarse(net, 4)
    x = inputs(5, (2, 4, 4))
    theirs = run_jelly(net, x)
    spikes_equal(from_torch(net, (2, 4, 4)), theirs, x)
    torch.save({"net": net.state_dict(), "epoch": 3}, tmp_path / "net.pth")
    said = "" if name == "IFNode" else f" decay_input={str(not raw).lower()}" + (" tau=2" if name == "LIFNode" else "")
    arch = (f"2x4x4 T={T} v_threshold=0.5 v_reset={'none' if v_reset is None else v_reset}{said} | conv2d padding=1 | {name} | "
            f"avgpool 2 | flatten | linear | {name}")
    spikes_equal(graph_of(tmp_path / "net.pth", arch), theirs, x)


def test_a_learned_time_constant_is_read() -> None:
    neuron = jelly()
    node = neuron.ParametricLIFNode(init_tau=3.0, v_threshold=0.25)
    net = nn.Sequential(nn.Linear(3, 4), node)
    coarse(net, 6)
    graph, x = from_torch(net, (3,)), inputs(7, (3,))
    lif = next(n for n in graph.nodes if isinstance(n, Lif))
    assert lif.inv_tau == pytest.approx(1 / 3, rel=1e-6)  # w is float32 until `double()`
    spikes_equal(graph, run_jelly(net, x), x)


def test_other_neurons_are_named() -> None:
    neuron = jelly()
    with pytest.raises(UsageError, match="KLIFNode is no layer that is known"):
        from_torch(nn.Sequential(nn.Linear(2, 2), neuron.KLIFNode()), (2,))


def test_a_class_of_the_same_name_is_not_taken_for_the_tool() -> None:
    class IFNode(nn.Module):
        v_threshold, v_reset = 1.0, None

    with pytest.raises(UsageError, match="IFNode is no layer that is known"):
        from_torch(nn.Sequential(nn.Linear(2, 2), IFNode()), (2,))


# ---------------------------------------------------------------------- what the files lack is asked for
def test_an_snntorch_state_dict_is_recognised_and_asked_for_what_it_lacks(tmp_path: Path) -> None:
    torch.save(leaky_net(beta=0.5).state_dict(), tmp_path / "net.pt")
    with pytest.raises(UsageError) as caught:
        load_model(tmp_path / "net.pt")
    error = caught.value
    assert error.error_code == "missing_arch" and "snntorch" in error.limit and "reset_delay" in error.limit
    assert "0.weight [3, 2, 3, 3]" in error.limit and "1.beta []" in error.limit
    assert "2x?x? T=? | conv2d padding=? | Leaky reset_delay=? inhibition=? |" in error.remedy and "vote 6" in error.remedy
    with pytest.raises(UsageError) as caught:
        load_model(tmp_path / "net.pt",
                   "2x4x4 T=4 | conv2d padding=1 | Leaky | flatten | linear | Leaky reset_delay=true | vote 6")
    said = str(caught.value)
    assert "snntorch" in said and "layer 2: `Leaky reset_delay=? inhibition=?`" in said
    assert "layer 5: `Leaky reset_delay=true inhibition=?`" in said


@pytest.mark.parametrize(("kind", "options"), [
    ("Synaptic", {"alpha": 0.5, "beta": 0.5}), ("Lapicque", {"beta": 0.5}), ("Alpha", {"alpha": 0.6, "beta": 0.5}),
    ("RLeaky", {"beta": 0.5, "linear_features": 2}), ("RLeaky", {"beta": 0.5, "all_to_all": False}),
])  # fmt: skip
def test_other_neurons_of_snntorch_are_not_taken_for_leaky_ones(kind: str, options: dict[str, Any], tmp_path: Path) -> None:
    snn = pytest.importorskip("snntorch")
    net = nn.Sequential(nn.Linear(2, 2), getattr(snn, kind)(init_hidden=True, **options))
    torch.save(net.state_dict(), tmp_path / "net.pt")
    with pytest.raises(UsageError) as caught:
        load_model(tmp_path / "net.pt")
    assert "1: no Leaky; snntorch's other neurons" in caught.value.limit and "Leaky reset" not in caught.value.remedy
    with pytest.raises(UsageError, match="no module is left for it"):
        load_model(tmp_path / "net.pt", "2 T=1 | linear | Leaky reset_delay=true inhibition=false")
    with pytest.raises(UsageError, match="not read"):
        load_model(tmp_path / "net.pt", "2 T=1 | linear")


def test_what_the_file_holds_and_what_is_said_must_agree(tmp_path: Path) -> None:
    torch.save(leaky_net(beta=0.5).float().state_dict(), tmp_path / "net.pt")
    arch = "2x4x4 T=4 reset_delay=true inhibition=false | conv2d padding=1 | Leaky {} | flatten | linear | Leaky | vote 6"
    for said in ("beta=0.5 threshold=1 reset_mechanism=subtract graded_spikes_factor=1", "beta=0.50000001"):
        load_model(tmp_path / "net.pt", arch.format(said))
    for said in ("beta=0.6", "threshold=2", "reset_mechanism=zero", "graded_spikes_factor=2"):
        with pytest.raises(UsageError, match=r"but the file holds 1\."):
            load_model(tmp_path / "net.pt", arch.format(said))
    with pytest.raises(UsageError, match="fires one threshold later"):
        load_model(tmp_path / "net.pt", arch.replace("reset_delay=true", "reset_delay=false").format(""))


def test_a_spikingjelly_state_dict_is_recognised_and_asked_for_what_it_lacks(tmp_path: Path) -> None:
    neuron = jelly()
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), neuron.ParametricLIFNode(), nn.MaxPool2d(2), nn.Flatten(),
                        nn.Linear(18, 4), neuron.IFNode())
    torch.save(net.state_dict(), tmp_path / "net.pt")
    with pytest.raises(UsageError) as caught:
        load_model(tmp_path / "net.pt")
    error = caught.value
    assert "spikingjelly" in error.limit and "v_threshold" in error.limit and "no tensors at all" in error.limit
    skeleton = "1x?x? T=? | conv2d padding=? | batchnorm | ParametricLIFNode decay_input=? v_threshold=? v_reset=? | maxpool ?"
    assert skeleton in error.remedy and "flatten | linear | ? | vote 4" in error.remedy
