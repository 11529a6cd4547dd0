"""Our LIF with SEENN's surrogates and a reset that is not detached, against what its released code computed (numbers only)."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
import torch
from neurodeploy.models.neurons import Dynamics, Lif, scan_slow
from neurodeploy.models.surrogates import slope

import oracles

AREA = "seeds"
NEURON = re.compile(r"(?P<kind>zif|dspike)_g(?P<g>[\d.]+)/spikes")
CURVE = re.compile(r"zif_surrogate_g(?P<g>[\d.]+)|dspike_surrogate_region(?P<r>[\d.]+)_temp(?P<b>[\d.]+)")


def keys(pattern: re.Pattern[str]) -> list[Any]:
    return [
        pytest.param(path, match, id=f"{path.stem}-{key}")
        for path in sorted(oracles.folder(AREA).glob("seenn_lif*.npz"))
        for key in oracles.npz(path)
        if (match := pattern.fullmatch(key))
    ]


def seenn_neuron(kind: str, g: float) -> Lif:
    triangle = kind == "zif"
    return Lif(Dynamics(
        decay_input=False, fire=">" if triangle else ">=", surrogate="triangle" if triangle else "dspike",
        surrogate_alpha=g, surrogate_width=g, detach_reset=False,
    ), tau=2.0)  # fmt: skip


def test_fixtures_are_there() -> None:
    oracles.require(keys(NEURON), "seenn_lif*.npz with neurons", AREA)
    oracles.require(keys(CURVE), "seenn_lif*.npz with surrogate curves", AREA)


@pytest.mark.parametrize(("path", "match"), keys(NEURON))
def test_spikes_and_gradients_equal_the_release(path: Any, match: re.Match[str]) -> None:
    data = oracles.npz(path)
    name = match[0].removesuffix("/spikes")
    dtype = data[f"{name}/grad_x"].dtype
    x = torch.tensor(data["x"].astype(dtype)).movedim(1, 0).requires_grad_()  # [T, B, ...]
    neuron = seenn_neuron(match["kind"], float(match["g"]))
    weights = torch.linspace(0.1, 1.0, len(x), dtype=x.dtype).view(-1, 1, 1, 1, 1)
    wanted, gradient = np.moveaxis(data[f"{name}/spikes"], 1, 0), np.moveaxis(data[f"{name}/grad_x"], 1, 0)
    # Additions in another order; where the release's spikes are float32, so are the gradients that pass through them.
    eps = float(np.finfo(wanted.dtype).eps)
    assert 0 < wanted.sum() < wanted.size
    slow = scan_slow(x, neuron.inv_tau(x.dtype), neuron.dynamics)[0]
    for spikes in (neuron(x), slow):
        assert np.array_equal(spikes.detach().numpy(), wanted)
        (found,) = torch.autograd.grad((weights * spikes).sum(), x)
        np.testing.assert_allclose(found.numpy(), gradient, rtol=0, atol=8 * eps * np.abs(gradient).max())


@pytest.mark.parametrize("path", sorted(oracles.folder(AREA).glob("seenn_lif*.npz")), ids=lambda p: p.stem)
def test_the_recurrent_triangle_neuron_sends_the_same_spikes(path: Any) -> None:
    data = oracles.npz(path)
    if "recurrent/spikes" not in data:
        pytest.skip("no stepwise recording")
    x = torch.tensor(data["x"]).movedim(1, 0)
    wanted = np.moveaxis(data["recurrent/spikes"], 1, 0)
    assert wanted.sum() > 0
    assert np.array_equal(seenn_neuron("zif", 1.0)(x).numpy(), wanted)


@pytest.mark.parametrize(("path", "match"), keys(CURVE))
def test_surrogate_curves_equal_the_release(path: Any, match: re.Match[str]) -> None:
    data = oracles.npz(path)
    u = torch.tensor(data["surrogate_u"])
    if match["g"]:
        found = slope(u, "triangle", 1.0, float(match["g"]))
    else:
        found = slope(u, "dspike", float(match["b"]), float(match["r"]))
    assert (found > 0).any()
    # A few float64 operations in another order.
    np.testing.assert_allclose(found.numpy(), data[match[0]], rtol=1e-12, atol=1e-15)
