"""`check` on event-driven chips: the memory of each core, every reason at once, beside other targets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from neurodeploy.errors import NeurodeployWarning, UsageError
from neurodeploy.ir.nir import write_nir
from neurodeploy.jobs.check import check
from neurodeploy.jobs.export import export
from neurodeploy.models.autosnn import AutoSnn
from neurodeploy.models.files import save
from neurodeploy.models.macro import MacroConfig
from tests import event_models
from tests.event_models import EventModel
from tests.event_nets import changed, plain, residual
from tests.validate.event_bundles import re_sign

from commands import run_json


@pytest.fixture
def model(tmp_path: Path) -> EventModel:
    return event_models.write(tmp_path)


def test_memory_of_every_core(model: EventModel) -> None:
    entry = check(model.path, ["speck2f"]).targets["speck2f"]
    assert entry["fits"] and entry["n_cores"] == 2 and entry["placement_source"] == "placed" and not entry["violations"]
    found = {use["node"]: use for use in entry["utilisation"]["cores"]}
    assert entry["utilisation"]["n_cores_limit"] == 9
    # 2 x 2 kernels of 1 x 1; 2 x 4 x 4 neurons; sizes round up to powers of two. fc: 2 channels of a 4 x 4 map to 2 neurons
    assert [found["n1"][m]["used"] for m in ("kernel_words", "neuron_words", "bias_words")] == [4, 32, 0]
    assert [found["out"][m]["used"] for m in ("kernel_words", "neuron_words", "bias_words")] == [64, 2, 0]
    for use in found.values():
        assert use["kernel_words"]["share"] == use["kernel_words"]["used"] / use["kernel_words"]["limit"]
    assert {u["node"]: u["core"] for u in entry["placement"]["cores"]} == {n: use["core"] for n, use in found.items()}


def test_a_bundle_keeps_its_cores(model: EventModel, tmp_path: Path) -> None:
    export(model.path, "speck2f", out=tmp_path / "b")
    entry = check(tmp_path / "b", ["speck2f", "speck2e"]).targets
    assert entry["speck2f"]["placement_source"] == "bundle" and entry["speck2e"]["placement_source"] == "placed"
    smaller = {"profile.capacity.kernel_words.values": [16384] * 9}
    with pytest.warns(NeurodeployWarning, match="placed again"):
        again = check(tmp_path / "b", ["speck2f"], overrides=smaller).targets["speck2f"]
    assert again["placement_source"] == "placed" and again["fits"]


def test_targets_of_both_kinds(model: EventModel, tmp_path: Path) -> None:
    code, answer = run_json("check", str(model.path), "--target", "loihi2,speck2f")
    entries = answer["data"]["targets"]
    assert code == 2 and entries["speck2f"]["fits"] and "streams of events" in entries["loihi2"]["reason"]
    code, answer = run_json("check", str(model.path), "--target", "all")
    assert code == 0 and answer["data"]["targets"]["loihi2"]["reason"], "of all chips, some compute otherwise"
    leaky = event_models.write_leaky(tmp_path)
    code, answer = run_json("check", str(leaky), "--target", "loihi2,speck2f", "--suggest")
    entries = answer["data"]["targets"]
    assert code == 3 and entries["loihi2"]["fits"] and not entries["speck2f"]["fits"]
    assert {v["rule"] for v in entries["speck2f"]["violations"]} == {"input_values", "leak", "no_floor", "max_pool", "bias"}
    assert entries["speck2f"]["placement"] is None and entries["speck2f"]["suggestion"]["width"] is None


def test_every_violation_at_once(tmp_path: Path) -> None:
    broken = changed(residual(), c1={"bias": residual()["c1"].weight[:, 0, 0, 0]}, n2={"v_min": None}, n3={"v_reset": 1.0})  # type: ignore[union-attr]
    write_nir(broken, tmp_path / "broken.nir")
    code, answer = run_json("check", str(tmp_path / "broken.nir"), "--target", "speck")
    assert code == 3
    found = {(v["rule"], v["where"]) for v in answer["data"]["violations"]}
    assert found == {("bias", "c1"), ("no_floor", "n2"), ("reset", "n3")}
    write_nir(plain(10), tmp_path / "ten.nir")
    entry = check(tmp_path / "ten.nir", ["speck2f"]).targets["speck2f"]
    assert entry["n_cores"] == 10 and [v["rule"] for v in entry["violations"]] == ["n_cores"]
    assert "9 cores" in entry["violations"][0]["limit"] and "Remove 1 layer" in entry["violations"][0]["remedy"]


def test_a_placement_that_was_forged(model: EventModel, tmp_path: Path) -> None:
    """A manifest whose hashes were written anew names a core that the chip has not: neither check nor energy believes it."""
    bundle = export(model.path, "speck2f", out=tmp_path / "b").bundle
    re_sign(bundle, lambda manifest: manifest["placement"]["cores"][0].update(core=12))
    for command in ("check", "energy"):
        code, answer = run_json(command, str(bundle), "--target", "speck2f")
        assert code == 4 and "cores 0 to 8" in answer["errors"][0]["what"]


def test_the_largest_width_that_fits(tmp_path: Path) -> None:
    config = MacroConfig(
        in_channels=2, image_size=(16, 16), n_classes=10, width=40, n_timesteps=4, group=1, decay_input=False, reset="soft",
        layout=(1, None), neuron="if", pool="sum", norm="none", multi_spike=True, v_min=-1.0,
    )
    module = AutoSnn(config, ["SCB_k3"])
    module.metadata = {"encoding": "events"}
    save(module, tmp_path / "wide.safetensors")
    entry = check(tmp_path / "wide.safetensors", ["speck2f"], suggest=True).targets["speck2f"]
    width = entry["suggestion"]["width"]
    assert not entry["fits"] and 1 <= width < 40
    for again, fits in ((width, True), (width + 1, False)):
        module = AutoSnn(MacroConfig(**{**vars(config), "width": again}), ["SCB_k3"])
        module.metadata = {"encoding": "events"}
        save(module, tmp_path / "again.safetensors")
        assert check(tmp_path / "again.safetensors", ["speck2f"]).fits is fits


@pytest.mark.parametrize(
    ("asked", "what"),
    [({"optimise": "energy", "rate": 0.1}, "--optimise"), ({"overrides": {"cost.n_chips": 2}}, "cost.n_chips"),
     ({"overrides": {"place.optimise": "edp"}}, "place.optimise")],
)  # fmt: skip
def test_nothing_is_optimised(model: EventModel, asked: dict[str, Any], what: str) -> None:
    with pytest.raises(UsageError, match=what) as caught:
        check(model.path, ["speck2f"], **asked)
    assert caught.value.remedy
