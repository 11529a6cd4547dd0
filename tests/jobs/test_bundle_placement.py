"""A bundle that is opened again keeps the placement that it was exported with, and says so."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from neurodeploy import commands
from neurodeploy.errors import NeurodeployWarning, UnsafeFile, UsageError
from neurodeploy.export.bundle import MANIFEST, write_manifest
from neurodeploy.export.golden import random_inputs
from neurodeploy.hw.profile import target
from neurodeploy.ir import serialize
from neurodeploy.ir.graph import IntGraph
from neurodeploy.jobs import check as job
from neurodeploy.jobs.opened import Opened
from neurodeploy.pipeline import export, optimise_placement, place
from neurodeploy.place import Placement
from neurodeploy.quantize.passing import for_target

from commands import bare, run, run_json
from strangers import plain

LOIHI1 = target("loihi1")


@pytest.fixture(scope="module")
def optimised(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Placement]:
    """A bundle whose placement is not the one that `place` makes."""
    net: IntGraph = for_target(plain(), LOIHI1)
    plan = optimise_placement(net, LOIHI1, "latency", 0.4).plan
    assert plan != place(net, LOIHI1) and plan.n_cores > place(net, LOIHI1).n_cores
    out = tmp_path_factory.mktemp("bundle") / "optimised"
    export(net, plan, LOIHI1, out, golden_inputs=random_inputs(net, seed=0))
    return out, plan


def forged(bundle: Path, out: Path, **fields: Any) -> Path:
    """A copy whose manifest says something else, with a sha256 that is right: whoever can count a sum can do that."""
    shutil.copytree(bundle, out)
    manifest = json.loads((out / MANIFEST).read_text())
    manifest.pop("sha256")
    (out / MANIFEST).unlink()
    write_manifest(out, {**manifest, **fields})
    return out


def test_check_energy_and_export_use_the_placement_of_the_bundle(
    optimised: tuple[Path, Placement], tmp_path: Path
) -> None:
    path, plan = optimised
    found = commands.check(path, ["loihi1"]).targets["loihi1"]
    assert found["placement"] == plan.to_dict() and found["placement_source"] == "bundle"
    assert found["n_cores"] == found["utilisation"]["n_cores"] == plan.n_cores
    np.savez(tmp_path / "in.npz", input=np.ones((9, 6), dtype=np.int64))
    for events in ({"given": tmp_path / "in.npz"}, {"rate": 0.4}):
        entry = commands.energy(path, ["loihi1"], **events).targets["loihi1"]  # type: ignore[arg-type]
        assert entry["n_cores"] == len(entry["cores"]) == plan.n_cores and entry["placement_source"] == "bundle"
        assert [(c["chip"], c["x"], c["y"]) for c in entry["cores"]] == [(c.chip, c.x, c.y) for c in plan.cores]
    again = commands.export(path, "loihi1", out=tmp_path / "again")
    assert again.placement == plan.to_dict() and again.placement_source == "bundle"
    assert json.loads((tmp_path / "again" / MANIFEST).read_text())["placement"] == plan.to_dict()


def test_people_are_told(optimised: tuple[Path, Placement]) -> None:
    path, _ = optimised
    assert "The placement is the one that the bundle was exported with." in bare(run("check", str(path), "-t", "loihi1")[1])
    shown = bare(run("energy", str(path), "-t", "loihi1", "--rate", "0.1")[1])
    assert "placement the one that the bundle was exported with" in shown
    assert "made now, as few cores" in bare(run("energy", str(path), "-t", "loihi2", "--rate", "0.1")[1])


@pytest.mark.parametrize("change", [{"cost.n_chips": 1}, {"place.budget": 7}])
def test_other_targets_and_settings_place_again(optimised: tuple[Path, Placement], change: dict[str, Any]) -> None:
    path, plan = optimised
    assert commands.check(path, ["loihi2"]).targets["loihi2"]["placement_source"] == "placed"
    found = commands.check(path, ["loihi1"], overrides=change).targets["loihi1"]
    assert found["placement_source"] == "placed" and found["n_cores"] < plan.n_cores
    found = commands.check(path, ["loihi1"], overrides={"profile.energy.hop_ew.value": 3.1}).targets["loihi1"]
    assert found["placement_source"] == "bundle"


def test_a_limit_that_the_placement_breaks_now_places_again_with_a_warning(
    optimised: tuple[Path, Placement]
) -> None:
    path, plan = optimised
    most = max(core.n_neurons for core in plan.cores)
    with pytest.warns(NeurodeployWarning, match="placed again") as caught:
        found = commands.check(path, ["loihi1"], overrides={"profile.capacity.neurons_per_core.value": most - 1}).targets
    assert found["loihi1"]["placement_source"] == "placed" and len(caught) == 1
    assert max(core["n_neurons"] for core in found["loihi1"]["placement"]["cores"]) < most


def test_a_placement_of_several_chips_is_kept_without_saying_so(tmp_path: Path) -> None:
    net = for_target(plain(), LOIHI1)
    small = target("loihi1", {"capacity.cores_per_chip.value": 1})
    plan = place(net, small, 2)
    assert plan.n_chips == 2
    export(net, plan, small, tmp_path / "two", golden_inputs=random_inputs(net, seed=0))
    overrides = {"profile.capacity.cores_per_chip.value": 1}
    found = commands.check(tmp_path / "two", ["loihi1"], overrides=overrides).targets["loihi1"]
    assert found["fits"] and found["placement"]["n_chips"] == 2 and found["placement_source"] == "bundle"


def test_a_placement_of_another_network_is_refused(optimised: tuple[Path, Placement], tmp_path: Path) -> None:
    plan = optimised[1].to_dict()
    shapes = [["x" if n == "0.neuron" else n, shape] for n, shape in plan["shapes"]]
    cores = [{**c, "node": "x" if c["node"] == "0.neuron" else c["node"]} for c in plan["cores"]]
    stranger = forged(optimised[0], tmp_path / "stranger", placement={**plan, "shapes": shapes, "cores": cores})
    code, answer = run_json("check", str(stranger), "--target", "loihi1")
    assert code == 6 and "not one of its network" in answer["errors"][0]["what"]
    with pytest.raises(UnsafeFile, match="placement"):
        commands.energy(stranger, ["loihi1"], rate=0.1)


@pytest.mark.parametrize(("fields", "said"), [
    ({"data": "digits"}, "data is no table"), ({"data": [1]}, "data is no table"),
    ({"data": {"name": 5}}, "data.name is no text"),
    ({"accuracy": "high"}, "accuracy is no table"), ({"accuracy": {"float": "high"}}, "accuracy.float is no number"),
    ({"early_exit": 3}, "early_exit is no table"), ({"netx": "x"}, "netx is no table"),
])  # fmt: skip
def test_a_manifest_of_other_kinds_is_refused(
    optimised: tuple[Path, Placement], tmp_path: Path, fields: dict[str, Any], said: str
) -> None:
    stranger = str(forged(optimised[0], tmp_path / "stranger", **fields))
    for command in (("check", stranger, "-t", "loihi1"), ("energy", stranger, "-t", "loihi1", "--rate", "0.1"),
                    ("validate", stranger)):
        code, answer = run_json(*command)
        assert code == 6 and answer["errors"][0]["what"] == said


def test_a_graph_that_names_no_dataset_by_name(tmp_path: Path) -> None:
    serialize.save(replace(plain(), metadata={"data": {"name": [1]}}), tmp_path / "g.npz")
    code, answer = run_json("check", str(tmp_path / "g.npz"), "-t", "loihi1")
    assert code == 6 and "no name" in answer["errors"][0]["what"]


def test_check_goes_on_after_a_target_that_the_network_cannot_be_brought_onto(
    optimised: tuple[Path, Placement], monkeypatch: pytest.MonkeyPatch
) -> None:
    lowered = Opened.lowered

    def refusing(self: Opened, profile: Any, settings: Any) -> Any:
        if profile.name == "loihi1":
            raise UsageError("an integer network of CubaLif neurons", where="0.neuron", code="other_arithmetic")
        return lowered(self, profile, settings)

    monkeypatch.setattr(job.Opened, "lowered", refusing)
    path, _ = optimised
    code, answer = run_json("check", str(path), "--target", "loihi1,loihi2")
    assert code == 2 and answer["errors"][0]["code"] == "other_arithmetic" and not answer["data"]["fits"]
    refused, fitting = (answer["data"]["targets"][name] for name in ("loihi1", "loihi2"))
    assert not refused["fits"] and "CubaLif" in refused["reason"] and refused["placement"] is None
    assert fitting["fits"] and fitting["n_cores"] == len(fitting["placement"]["cores"]) > 0
    shown = bare(run("check", str(path), "--target", "loihi1,loihi2")[1])
    assert "cannot be brought onto it: 0.neuron: an integer network of CubaLif neurons" in shown and "loihi2 fits" in shown
    one = "profile.capacity.cores_per_chip.value=1"
    code, answer = run_json("check", str(path), "--target", "loihi1,loihi2", "--set", one)
    assert code == 3 and [e["code"] for e in answer["errors"]] == ["does_not_fit", "other_arithmetic"]
    code, answer = run_json("check", str(path), "--target", "loihi1")
    assert code == 2 and answer["data"] == {}
