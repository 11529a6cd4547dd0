"""Networks of other tools on Loihi: from a `.nir` or graph to a valid bundle, with every difference said."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import neurodeploy as nd
import numpy as np
import pytest
from neurodeploy.data.datasets import load as load_data
from neurodeploy.errors import DoesNotFit, NeurodeployWarning, UsageError
from neurodeploy.hw.profile import target
from neurodeploy.ir import serialize
from neurodeploy.ir.graph import Edge, Graph, IntGraph
from neurodeploy.ir.nir import write_nir
from neurodeploy.ir.nodes import CubaLif, Flatten, Input, Lif, Linear, SumPool2d, Vote
from neurodeploy.ir.reference import evaluate
from neurodeploy.jobs.check import check
from neurodeploy.jobs.compare import compare
from neurodeploy.jobs.deploy import disclaimer
from neurodeploy.jobs.energy import energy
from neurodeploy.jobs.export import export
from neurodeploy.jobs.simulate import simulate
from neurodeploy.jobs.validate import validate
from tests.event_nets import chain, changed, conv, lif, linear

from commands import run, run_json

LAYERS = ("n1", "n2", "n3")


def counted() -> Graph:
    """As sinabs has them: IF neurons that send several spikes, a floor, sum pools; takes counts of events."""
    return chain(
        Input("input", (2, 10, 10)), conv("c1", 2, 4), lif("n1", 4, 10, 10), SumPool2d("p1", (2, 2)),
        conv("c2", 4, 4, padding=(0, 0)), lif("n2", 4, 3, 3), Flatten("flat"), linear("fc", 36, 6), lif("n3", 6), T=8,
    )  # fmt: skip


def imaged() -> Graph:
    """As spikingjelly has them: leaky neurons with soft reset, pools; takes images of digits."""
    leaky = {"reset": "soft", "inv_tau": 0.5, "multi_spike": False, "v_min": None}
    mean = replace(conv("c2", 4, 4), weight=conv("c2", 4, 4).weight / 4, bias=np.full(4, 0.05))
    return chain(
        Input("input", (1, 8, 8)), conv("c1", 1, 4), lif("n1", 4, 8, 8, **leaky), SumPool2d("p1", (2, 2)), mean,
        lif("n2", 4, 4, 4, **leaky), SumPool2d("p2", (2, 2)), Flatten("flat"), linear("fc", 16, 10), lif("n3", 10, **leaky),
        Vote("vote", 10, 1), T=4,
    )  # fmt: skip


@pytest.fixture
def model(tmp_path: Path) -> Path:
    write_nir(counted(), tmp_path / "counted.nir")
    return tmp_path / "counted.nir"


def quietly(call: Callable[[], Any]) -> tuple[Any, list[str]]:
    """What a call gives, and the codes of its warnings."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = call()
    codes = [w.message.code for w in caught if isinstance(w.message, NeurodeployWarning)]
    assert len(codes) == len(caught)
    return found, codes


def test_a_network_of_counts_becomes_a_valid_bundle_that_says_what_it_is_not(model: Path, tmp_path: Path) -> None:
    result, codes = quietly(lambda: export(model, "loihi2", out=tmp_path / "out"))
    assert set(codes) == {"neuron_differs", "uncalibrated"}
    assert validate(tmp_path / "out").ok
    manifest = json.loads((tmp_path / "out/manifest.json").read_text())
    assert all(manifest["golden"]["n_spikes"][name] > 0 for name in LAYERS)
    lowering = manifest["quantization"]["lowering"]
    assert lowering["folded"] == {"c2": ["p1"]} and "counts of events" in lowering["input"]
    assert set(lowering["neurons"]) == set(LAYERS) and len(lowering["differences"]) == 3
    # The table, computed here from the file that was given, as it is.
    golden = np.load(tmp_path / "out/golden.npz")
    x = golden["x"].astype(np.int64)
    float_spikes = evaluate(counted(), x)
    net = nd.load(tmp_path / "out")
    assert isinstance(net, IntGraph)
    chip = evaluate(net, x)
    for row in result.quantization["rates"]:
        name, d = row["layer"], net.latencies[row["layer"]]
        assert row["float"] == pytest.approx(float_spikes[name].mean(), rel=1e-12)  # sums in another order
        assert row["chip"] == pytest.approx(chip[name][d : d + len(x)].mean(), rel=1e-12) and 0 < row["chip"] < row["float"]
    assert manifest["quantization"]["rates"] == result.quantization["rates"]


def test_every_command_says_it(model: Path) -> None:
    checked, codes = quietly(lambda: check(model, ["loihi2"]))
    assert codes == ["neuron_differs"] and checked.fits
    notes = checked.targets["loihi2"]["lowering"]
    asked = {"rate": 0.1, "interval_s": 0.1}
    found = quietly(lambda: energy(model, ["loihi2"], **asked))[0].targets["loihi2"]
    assert found["lowering"] == notes and "resets to zero" in found["disclaimer"] and found["energy_j"]["nominal"] > 0
    compared = quietly(lambda: compare(model, ["loihi2", "loihi1", "speck2f"], **asked))[0]
    rows = {row["target"]: row for row in compared.rows}
    assert "resets to zero" in rows["loihi2"]["disclaimer"] and rows["speck2f"]["fits"]
    assert not rows["loihi1"]["fits"] and "carry no number" in rows["loihi1"]["reason"]


def test_it_can_be_refused(model: Path) -> None:
    exact = {"neurons": "exact"}
    found, codes = quietly(lambda: check(model, ["loihi2"], overrides=exact))
    assert not codes and {v.rule for v in found.violations} == {"neuron_kind", "reset_kind"}
    with pytest.raises(DoesNotFit, match="several spikes"):
        export(model, "loihi2", overrides=exact)


def test_samples_of_another_length_restart_their_neurons_as_often(model: Path, tmp_path: Path) -> None:
    x = np.minimum(np.random.default_rng(2).poisson(0.2, (20, 3, 2, 10, 10)), 7)
    np.savez(tmp_path / "in.npz", input=x)
    quietly(lambda: export(model, "loihi2", out=tmp_path / "given", given=tmp_path / "in.npz"))
    net = nd.load(tmp_path / "given")
    assert net.n_timesteps == 20 and all(isinstance(n, CubaLif) and n.reset_interval == 20 for n in net.neurons)
    once = replace(net, nodes=tuple(replace(n, reset_interval=None) if isinstance(n, CubaLif) else n for n in net.nodes))
    found = simulate(tmp_path / "given", tmp_path / "in.npz", tmp_path / "trace.npz")
    assert found.spikes_per_layer["n3"] > 0
    recorded, wanted = np.load(tmp_path / "trace.npz"), evaluate(once, x)
    assert all(np.array_equal(recorded[f"spikes/{name}"], wanted[name]) for name in LAYERS)


def test_images_do_not_enter_a_network_of_counts(tmp_path: Path) -> None:
    graph = replace(imaged(), nodes=tuple(replace(n, multi_spike=True) if isinstance(n, Lif) else n for n in imaged().nodes))
    serialize.save(graph, tmp_path / "counts.npz")
    with pytest.raises(UsageError, match="images for a network that takes counts"):
        quietly(lambda: export(tmp_path / "counts.npz", "loihi2", out=tmp_path / "out", data="digits"))
    told = {"input.kind": "graded"}
    found, _ = quietly(lambda: check(tmp_path / "counts.npz", ["loihi2"], overrides=told))
    assert found.fits and found.targets["loihi2"]["lowering"]["input"].startswith("values 0 to 1 in 32 levels")


@pytest.mark.parametrize("floor", [None, -1.0])  # hard reset and a floor: what training has no formula for
def test_data_show_what_the_other_neurons_cost(tmp_path: Path, floor: float | None) -> None:
    fields: dict[str, Any] = {} if floor is None else {"v_min": floor, "reset": "hard"}
    graph = replace(changed(imaged(), **dict.fromkeys(LAYERS, fields)), metadata={"data": {"n_levels": 17}})
    serialize.save(graph, tmp_path / "imaged.npz")
    out, told = tmp_path / "out", {"quantize.qat_epochs": 0}
    result, codes = quietly(lambda: export(tmp_path / "imaged.npz", "loihi2", out=out, data="digits", overrides=told))
    assert set(codes) == {"neuron_differs"} and result.accuracy is not None
    x, y = load_data("digits").split("test")
    votes = evaluate(graph, np.repeat(x[np.newaxis].astype(np.float64), graph.n_timesteps, axis=0))["vote"].sum(0)
    assert result.accuracy["as_trained"] == (votes.argmax(1) == y).mean()  # sixteenths are exact
    assert all(row["float"] > 0 and row["chip"] > 0 for row in result.quantization["rates"])
    measured = quietly(lambda: energy(tmp_path / "imaged.npz", ["loihi2"], data="digits", overrides=told))[0].targets["loihi2"]
    assert measured["accuracy"]["as_trained"] == result.accuracy["as_trained"]
    compared = quietly(lambda: compare(tmp_path / "imaged.npz", ["loihi2"], data="digits", overrides=told))[0]
    assert compared.rows[0]["accuracy"]["float"] == result.accuracy["as_trained"]
    assert floor is not None or result.accuracy["as_trained"] != result.accuracy["float"]


def test_what_a_person_sees(model: Path, tmp_path: Path) -> None:
    code, text = run("export", str(model), "--target", "loihi2", "--out", str(tmp_path / "out"))
    shown = " ".join(text.split())
    assert code == 0 and "c2 one synapse, with p1" in shown and "Spikes per neuron and timestep" in shown
    assert "resets to zero, where the network subtracts the threshold (n1, n2, n3)" in shown
    code, answer = run_json("check", str(model), "--target", "loihi1")
    assert code == 2 and answer["errors"][0]["code"] == "other_arithmetic" and "input_bits=1" in answer["errors"][0]["remedy"]
    code, answer = run_json("check", str(model), "--target", "loihi1", "--set", "input.input_bits=1")
    assert code == 0 and answer["data"]["fits"]


def test_a_network_that_was_fine_tuned_says_so() -> None:
    """What is called the network before quantization is then no longer the one that was given."""
    chip = target("loihi2")
    net = IntGraph((Input("x", (2,), kind="spikes"), Linear("fc", np.ones((1, 2), dtype=np.int64)), CubaLif("n", (1,))),
                   (Edge("x", "fc", 1), Edge("fc", "n")), 2)  # fmt: skip
    assert disclaimer(net, chip) == chip.disclaimer
    tuned = disclaimer(replace(net, quantization={"fine_tuned": True}), chip)
    assert tuned is not None and "fine-tuned on the chip's integers" in tuned and "quantize.qat_epochs=0" in tuned
