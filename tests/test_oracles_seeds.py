"""Our AutoSNN against what the authors' released code computed on random weights (numbers only)."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
import torch
from neurodeploy.models.neurons import Dynamics, scan, scan_slow
from neurodeploy.models.record import record, spikes_paper

import oracles
from autosnn_release import child, images, our_name, output_name

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


@pytest.mark.parametrize(("stem", "spec", "arrays"), children())
def test_child_equals_the_release(stem: str, spec: dict[str, Any], arrays: Any) -> None:
    data = oracles.npz(arrays)
    net = child(spec, data).eval()
    assert sum(p.numel() for p in net.parameters()) == spec["params"]
    x = images(data)
    with torch.no_grad(), record(net) as recorded:
        votes = net(x)
    assert recorded["stem.neuron"].sum() > 0
    for theirs, expected in spec["outputs"].items():
        spikes = recorded[output_name(theirs, recorded)]
        assert list(spikes.shape[2:]) == expected["shape"], theirs
        assert spikes.flatten(1).sum(1).tolist() == expected["activation_sum_per_timestep_batch"], theirs
    n = votes.shape[1]
    assert float(spikes_paper(recorded).sum()) == round(float(data["spikes_per_image_f64"]) * n)
    per_block = [
        sum(float(s.sum()) for name, s in recorded.items() if f"{name}.".startswith(f"layers.{i}."))
        for i in range(len(net.layers))
    ]
    assert per_block == [round(count * n) for count in spec["block_spikes_counted_per_image"]]
    # Votes are means of ten binary values, added over T: rounding of a few additions.
    np.testing.assert_allclose(votes.sum(0).numpy(), data["logits_f64"], rtol=1e-12, atol=1e-12)
    assert float(mse(votes, data, spec)) == pytest.approx(float(data["mse_loss_f64"]), rel=1e-12)


@pytest.mark.parametrize(("stem", "spec", "arrays"), children())
def test_child_trains_as_the_release(stem: str, spec: dict[str, Any], arrays: Any) -> None:
    data = oracles.npz(arrays)
    net = child(spec, data).train()
    with record(net) as recorded:
        votes = net(images(data))
    assert recorded["stem.neuron"].sum() > 0
    assert float(spikes_paper(recorded).detach().sum()) == round(float(data["train_spikes_per_image_f64"]) * votes.shape[1])
    np.testing.assert_allclose(votes.sum(0).detach().numpy(), data["train_logits_f64"], rtol=1e-12, atol=1e-12)
    loss = mse(votes, data, spec)
    assert float(loss.detach()) == pytest.approx(float(data["train_loss_f64"]), rel=1e-12)
    loss.backward()
    gradients = {name: p.grad for name, p in net.named_parameters()}
    assert all(g is not None for g in gradients.values())
    norms = spec["train_grad_norms_f64"]
    # Where gradients cancel or vanish, as behind silent neurons, rounding remains, of the size of the others.
    least = 1e-12 * max(norms.values())
    for theirs, norm in norms.items():
        assert float(gradients[our_name(theirs)].norm()) == pytest.approx(norm, rel=RTOL, abs=least), theirs
    compared = 0
    for key, expected in data.items():
        if key.startswith("traingrad/"):
            ours = gradients[our_name(key.removeprefix("traingrad/"))].numpy()
            np.testing.assert_allclose(ours, expected, rtol=RTOL, atol=max(RTOL * np.abs(expected).max(), least), err_msg=key)
            compared += 1
    assert compared > 0


def mse(votes: torch.Tensor, data: dict[str, np.ndarray], spec: dict[str, Any]) -> torch.Tensor:
    labels = torch.nn.functional.one_hot(torch.tensor(data["labels"]), spec["num_class"]).double()
    return torch.nn.functional.mse_loss(votes.mean(0), labels)
