"""Our AutoSNN against what the authors' released code computed on random weights (numbers only)."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
import torch
from neurodeploy.models.autosnn import AutoSnn, MacroConfig
from neurodeploy.models.neurons import Dynamics, scan, scan_slow
from neurodeploy.models.record import record, spikes_paper

import oracles

AREA = "seeds"
# Sums of up to 1e5 products in another order: float64 rounding grows to about 1e5 * 1e-16.
RTOL = 1e-9

PLIF_KEY = re.compile(r"(?P<tau>tau[\d.]+)(_(?P<precision>f32|f64))?_spikes")


def plif_cases() -> list[Any]:
    """(file, prefix, decay_input) of every float64 PLIF recording."""
    cases = []
    for path in sorted(oracles.folder(AREA).glob("autosnn_plif*.npz")):
        for key in oracles.npz(path):
            match = PLIF_KEY.fullmatch(key)
            if match and match["precision"] != "f32":
                prefix = key.removesuffix("spikes")
                cases.append(pytest.param(path, prefix, "undecayed" not in path.stem, id=f"{path.stem}-{prefix}"))
    return cases


def children() -> list[Any]:
    return [pytest.param(*found, id=found[0]) for found in oracles.described("*_child.json", AREA)]


def test_fixtures_are_there() -> None:
    oracles.require(plif_cases(), "autosnn_plif*.npz", AREA)
    oracles.require(children(), "*_child.json", AREA)


@pytest.mark.parametrize(("path", "prefix", "decay_input"), plif_cases())
def test_plif_equals_the_release(path: Any, prefix: str, decay_input: bool) -> None:
    data = {k.removeprefix(prefix): v for k, v in oracles.npz(path).items() if k.startswith(prefix)}
    tau = float(re.search(r"tau([\d.]+)", prefix)[1])
    w_value = data["w"] if "w" in data else np.float32(-np.log(tau - 1))
    x = torch.tensor(data["x"], requires_grad=True)
    w = torch.tensor(float(w_value), dtype=torch.float64, requires_grad=True)
    dynamics = Dynamics(decay_input=decay_input)

    slow, v_pre, v_post = scan_slow(x, w.sigmoid(), dynamics)
    assert data["spikes"].sum() > 0
    assert np.array_equal(slow.detach().numpy(), data["spikes"])
    assert np.array_equal(v_pre.detach().numpy(), data["v_pre"])
    assert np.array_equal(v_post.detach().numpy(), data["v_post"])

    spikes = scan(x, w.sigmoid(), dynamics)
    assert np.array_equal(spikes.detach().numpy(), data["spikes"])
    weights = torch.linspace(0.1, 1.2, 12, dtype=torch.float64).view(12, 1, 1)
    (weights * spikes).sum().backward()
    assert x.grad is not None and w.grad is not None
    # Same real-valued function, additions in another order.
    np.testing.assert_allclose(x.grad.numpy(), data["grad_x"], rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(w.grad.numpy(), data["grad_w"], rtol=1e-12, atol=1e-14)


def missing(spec: dict[str, Any]) -> str:
    """What of this network is not built here; empty where all is."""
    if not re.fullmatch(r"AutoSNN_\d+", spec["macro"]):
        return f"macro {spec['macro']} (pools other than max pools, strides)"
    if spec["dataset"] == "Tiny-ImageNet-200" or "DVS" in spec["dataset"]:
        return f"the extra stem of {spec['dataset']}"
    unknown = {b for b in spec["arch"] if b != "max_pool_k2"} - {"skip_connect", "SCB_k3", "SCB_k5", "SRB_k3", "SRB_k5"}
    return f"blocks {sorted(unknown)}" if unknown else ""


def our_name(theirs: str) -> str:
    for pattern, name in (
        (r"conv_stem\.0\.", "stem.conv."), (r"conv_stem\.1\.", "stem.bn."), (r"spike_neuron_stem\.", "stem.neuron."),
        (r"fc\.1\.", "classifier.linear."), (r"fc\.2\.", "classifier.neuron."),
        (r"spike_neuron_([12])\.", r"neuron\1."), (r"spike_neuron\.", "neuron."),
        (r"downsample\.0\.", "shortcut.conv."), (r"downsample\.1\.", "shortcut.bn."),
    ):  # fmt: skip
        theirs = re.sub(pattern, name, theirs)
    return theirs


def build(spec: dict[str, Any], data: dict[str, np.ndarray], bn_time: str = "per_step") -> AutoSnn:
    config = MacroConfig(
        in_channels=data["input"].shape[1], image_size=tuple(data["input"].shape[2:]), n_classes=spec["num_class"],
        width=int(spec["macro"].partition("_")[2]), n_timesteps=spec["T"], bn_time=bn_time,
    )  # fmt: skip
    net = AutoSnn(config, [b for b in spec["arch"] if b != "max_pool_k2"]).double()
    state = {our_name(k.removeprefix("sd/")): torch.tensor(v) for k, v in data.items() if k.startswith("sd/")}
    net.load_state_dict(state)
    return net


def output_name(theirs: str, recorded: dict[str, torch.Tensor]) -> str:
    """Our name of one of the json's outputs; an identity skip puts out what the layer before it did."""
    if not theirs.startswith("block_"):
        return {"stem_neuron": "stem.neuron", "fc_neuron": "classifier.neuron"}[theirs]
    i = int(theirs.split("_")[1])
    while i >= 0:
        for name in (f"layers.{i}", f"layers.{i}.neuron2", f"layers.{i}.neuron"):
            if name in recorded:
                return name
        i -= 1
    return "stem.neuron"


@pytest.mark.parametrize(("stem", "spec", "arrays"), children())
def test_child_equals_the_release(stem: str, spec: dict[str, Any], arrays: Any) -> None:
    if missing(spec):
        pytest.skip(f"{stem}: {missing(spec)} not built yet")
    data = oracles.npz(arrays)
    net = build(spec, data).eval()
    assert sum(p.numel() for p in net.parameters()) == spec["params"]
    images = torch.tensor(data["input"], dtype=torch.float64)
    with torch.no_grad(), record(net) as recorded:
        votes = net(images)
    assert recorded["stem.neuron"].sum() > 0
    for theirs, expected in spec["outputs"].items():
        spikes = recorded[output_name(theirs, recorded)]
        assert list(spikes.shape[2:]) == expected["shape"], theirs
        assert spikes.flatten(1).sum(1).tolist() == expected["activation_sum_per_timestep_batch"], theirs
    assert float(spikes_paper(recorded).mean()) == pytest.approx(float(data["spikes_per_image_f64"]), rel=1e-12)
    per_block = [
        sum(float(s.sum()) for n, s in recorded.items() if f"{n}.".startswith(f"layers.{i}.")) / len(images)
        for i in range(len(spec["arch"]))
    ]
    np.testing.assert_allclose(per_block, spec["block_spikes_counted_per_image"], rtol=1e-12)
    # Votes are means of ten binary values, added over T: rounding of a few additions.
    np.testing.assert_allclose(votes.sum(0).numpy(), data["logits_f64"], rtol=1e-12, atol=1e-12)
    labels = torch.nn.functional.one_hot(torch.tensor(data["labels"]), spec["num_class"]).double()
    loss = torch.nn.functional.mse_loss(votes.mean(0), labels)
    assert float(loss) == pytest.approx(float(data["mse_loss_f64"]), rel=1e-12)


@pytest.mark.parametrize(("stem", "spec", "arrays"), children())
def test_child_trains_as_the_release(stem: str, spec: dict[str, Any], arrays: Any) -> None:
    if missing(spec):
        pytest.skip(f"{stem}: {missing(spec)} not built yet")
    data = oracles.npz(arrays)
    net = build(spec, data).train()
    labels = torch.nn.functional.one_hot(torch.tensor(data["labels"]), spec["num_class"]).double()
    with record(net) as recorded:
        votes = net(torch.tensor(data["input"], dtype=torch.float64))
    assert float(spikes_paper(recorded).mean().detach()) == pytest.approx(float(data["train_spikes_per_image_f64"]), rel=1e-12)
    np.testing.assert_allclose(votes.sum(0).detach().numpy(), data["train_logits_f64"], rtol=1e-12, atol=1e-12)
    loss = torch.nn.functional.mse_loss(votes.mean(0), labels)
    assert float(loss.detach()) == pytest.approx(float(data["train_loss_f64"]), rel=1e-12)
    loss.backward()
    gradients = {name: p.grad for name, p in net.named_parameters()}
    assert all(g is not None for g in gradients.values())
    for theirs, norm in spec["train_grad_norms_f64"].items():
        assert float(gradients[our_name(theirs)].norm()) == pytest.approx(norm, rel=RTOL, abs=1e-13), theirs
    compared = 0
    for key, expected in data.items():
        if key.startswith("traingrad/"):
            ours = gradients[our_name(key.removeprefix("traingrad/"))].numpy()
            np.testing.assert_allclose(ours, expected, rtol=RTOL, atol=RTOL * max(np.abs(expected).max(), 1e-4), err_msg=key)
            compared += 1
    assert compared > 0
