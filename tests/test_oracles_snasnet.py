"""SNASNet against what the authors' released code computed on random weights (numbers only)."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from neurodeploy.models import snasnet
from neurodeploy.models.neurons import Lif
from neurodeploy.models.snas_cell import RELEASED_SIZES, SnasConfig, check_cell
from neurodeploy.models.snasnet import SnasNet
from neurodeploy.search.sahd import kernel, log_det, mean_kernel, score
from neurodeploy.search.snas_space import is_accepted, sanitise

import oracles

AREA = "seeds"
RELEASE_F32 = 2e-5  # the release forms K in float32; the fixtures' README gives this bound for a float64 implementation
CALL_F32 = 2e-4  # the same of a mean over many calls with large N, where only each call is float32,
SCORE_F32 = 1e-3  # and of its determinant


def kernel_cases() -> list[Any]:
    return [
        pytest.param(path, name.removesuffix("/score"), id=f"{path.stem}-{name.removesuffix('/score')}")
        for path in sorted(oracles.folder(AREA).glob("snasnet_sahd_kernel*.npz"))
        for name in oracles.npz(path) if name.endswith("/score")
    ]  # fmt: skip


def filter_cases() -> list[Any]:
    return [
        pytest.param(case, id=f"{path.stem}-{kind}-{i}")
        for path in sorted(oracles.folder(AREA).glob("snasnet_con_mat_filter*.json"))
        for kind, cases in json.loads(path.read_text(encoding="utf-8"))["cases"].items() for i, case in enumerate(cases)
    ]  # fmt: skip


def networks() -> list[Any]:
    return [pytest.param(spec, arrays, id=stem) for stem, spec, arrays in oracles.described("snasnet_small_*.json", AREA)]


def test_fixtures_are_there() -> None:
    oracles.require(kernel_cases(), "snasnet_sahd_kernel*.npz", AREA)
    oracles.require(filter_cases(), "snasnet_con_mat_filter*.json", AREA)
    oracles.require(networks(), "snasnet_small_*.json", AREA)


@pytest.mark.parametrize(("path", "case"), kernel_cases())
def test_kernels_equal_the_release(path: Any, case: str) -> None:
    data = {k.removeprefix(f"{case}/"): v for k, v in oracles.npz(path).items() if k.startswith(f"{case}/")}
    n_calls = sum(k.startswith("act_") for k in data)
    assert n_calls > 0
    found = []
    for i in range(n_calls):
        assert 0 < data[f"act_{i}"].mean() < 1
        found.append(kernel(torch.from_numpy(data[f"act_{i}"])))
        np.testing.assert_allclose(found[-1], data[f"K_layer_{i}"], rtol=0, atol=RELEASE_F32)
    np.testing.assert_allclose(np.mean(found, axis=0), data["K_mean"], rtol=0, atol=RELEASE_F32)
    assert log_det(np.mean(found, axis=0)) == pytest.approx(float(data["score"]), rel=0, abs=RELEASE_F32)


@pytest.mark.parametrize("case", filter_cases())
def test_filter_decides_as_the_release(case: dict[str, Any]) -> None:
    rows = {name: check_cell(["".join(map(str, row)) for row in case[name]]) for name in ("raw", "sanitized")}
    found = sanitise(rows["raw"])
    assert found == rows["sanitized"]
    assert is_accepted(found) is case["accepted"]


PARTS = (
    (r"stem\.0\.", "stem_conv."), (r"stem\.1\.", "stem_bn."), (r"downconv1\.0\.", "down_bn."), (r"downconv1\.2\.", "down."),
    (r"downconv1\.3\.", "down_bn2."), (r"last_act\.0\.", "last_bn."), (r"classifier\.1\.", "hidden."),
    (r"classifier\.3\.", "output."), (r"downconv1\.1$", "down_neuron"), (r"last_act\.1$", "last_neuron"),
    (r"classifier\.2$", "hidden_neuron"),
)  # fmt: skip
FORWARD, BACKWARD = ("01", "02", "12", "03", "13", "23"), ("10", "20", "30", "21", "31", "32")
EDGE = re.compile(r"(cell\d)\.cell_architecture(_back)?\.(\d)\.(\d)")


def our_name(theirs: str) -> str:
    def edge(match: re.Match[str]) -> str:
        names = BACKWARD if match[2] else FORWARD
        return f"{match[1]}.edges.{names[int(match[3])]}.{('neuron', 'conv', 'bn')[int(match[4])]}"

    for pattern, name in PARTS:
        theirs = re.sub(rf"^{pattern}", name, theirs)
    return EDGE.sub(edge, theirs)


def build(spec: dict[str, Any], data: dict[str, np.ndarray]) -> SnasNet:
    _, n_classes = data["logits_f64"].shape
    n_out, hidden = data["sd/classifier.3.weight"].shape
    stride = 2 if "tiny" in spec["dataset"].lower() else 1
    config = SnasConfig(
        data["input"].shape[1], tuple(data["input"].shape[2:]), n_classes, width=len(data["sd/stem.0.weight"]),
        group=n_out // n_classes, n_timesteps=spec["T"], hidden=hidden, pool=spec["second_avgpooling"], stem_stride=stride,
        tau=spec["tau"],
    )  # fmt: skip
    net = SnasNet(config, spec["cnt_mat"]).double()
    net.load_state_dict({our_name(k[3:]): torch.from_numpy(v) for k, v in data.items() if k.startswith("sd/")})
    return net


@pytest.mark.parametrize(("spec", "arrays"), networks())
def test_network_equals_the_release(spec: dict[str, Any], arrays: Any) -> None:
    data = oracles.npz(arrays)
    net = build(spec, data).eval()
    assert net.arch == tuple("".join(str(int(op)) for op in row) for row in data["con_mat"])
    assert sum(p.numel() for p in net.parameters()) == spec["small_params"]
    with torch.no_grad():
        x = torch.from_numpy(data["input"]).double()
        logits, spikes = net(x).sum(0), net.spikes(x)
    # Sums of up to 1e4 products in another order, in float64.
    np.testing.assert_allclose(logits, data["logits_f64"], rtol=1e-9, atol=1e-12)
    assert len(spikes) == spec["LIF_modules"] == spec["num_actfun"] / spec["T"]
    counts = {name: layer.flatten(1).sum(1).tolist() for name, layer in spikes.items()}
    assert counts == {our_name(name): sums for name, sums in spec["lif_spike_sums_per_timestep_f64"].items()}
    assert sum(sum(c) > 0 for c in counts.values()) > len(counts) / 2


@pytest.mark.parametrize(("spec", "arrays"), networks())
def test_score_equals_the_release(spec: dict[str, Any], arrays: Any) -> None:
    """Of the second batch with membranes reset, as here; without, see below."""
    data = oracles.npz(arrays)
    net = build(spec, data).train()
    first, second = (torch.from_numpy(data[f"score_batch_{i}"]).double() for i in (0, 1))
    before = {name: value.clone() for name, value in net.state_dict().items()}
    np.testing.assert_allclose(mean_kernel(net, first), data["score_K_0"], rtol=0, atol=CALL_F32)
    assert score(net, [first]) == pytest.approx(spec["scores_as_repo"][0], rel=0, abs=SCORE_F32)
    assert score(net, [second]) == pytest.approx(spec["score_batch1_with_reset"], rel=0, abs=SCORE_F32)
    assert score(net, [first, second]) == pytest.approx((score(net, [first]) + score(net, [second])) / 2)
    assert net.training and all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


@pytest.mark.parametrize(("spec", "arrays"), networks())
def test_the_second_score_of_the_release_is_ours_with_its_leak(
    spec: dict[str, Any], arrays: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The release keeps membranes from one batch to the next: put that in, and its numbers come out; nothing else differs."""
    data, kept, step = oracles.npz(arrays), dict[Lif, torch.Tensor](), snasnet._step

    def leaking(neuron: Lif, x: torch.Tensor, v: torch.Tensor | None = None) -> tuple[torch.Tensor, torch.Tensor]:
        spikes, kept[neuron] = step(neuron, x, kept.get(neuron, torch.zeros_like(x)))
        return spikes, kept[neuron]

    monkeypatch.setattr(snasnet, "_step", leaking)
    monkeypatch.setattr(Lif, "forward", lambda self, x: torch.stack([leaking(self, x_t)[0] for x_t in x]))
    net = build(spec, data)
    found = [mean_kernel(net, torch.from_numpy(data[f"score_batch_{i}"]).double()) for i in (0, 1)]
    for k, wanted, log in zip(found, ("score_K_0", "score_K_1_noreset"), spec["scores_as_repo"], strict=True):
        np.testing.assert_allclose(k, data[wanted], rtol=0, atol=CALL_F32)
        assert log_det(k) == pytest.approx(log, rel=0, abs=SCORE_F32)
    assert log_det(found[1]) != score(net, [torch.from_numpy(data["score_batch_1"]).double()])


@pytest.mark.parametrize(("spec", "arrays"), networks())
def test_real_sizes_have_the_parameters_of_the_release(spec: dict[str, Any], arrays: Any) -> None:
    name = "tiny_imagenet" if "tiny" in spec["dataset"].lower() else spec["dataset"]
    with torch.device("meta"):
        net = SnasNet(replace(RELEASED_SIZES[name], pool=spec["second_avgpooling"]), spec["cnt_mat"])
    assert sum(p.numel() for p in net.parameters()) == spec["real_size_params"]
