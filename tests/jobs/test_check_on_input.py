"""`check --optimise` for the spikes that a stranger's network gets, and what `energy --rate` says of its length."""

from __future__ import annotations

from pathlib import Path

import neurodeploy as nd
import numpy as np
import pytest
from neurodeploy import commands
from neurodeploy.cost.counts import count
from neurodeploy.cost.model import cost
from neurodeploy.cost.windows import steps_until_settled
from neurodeploy.errors import UsageError
from neurodeploy.hw.profile import target
from neurodeploy.ir import serialize
from neurodeploy.place import Placement
from neurodeploy.quantize.passing import for_target
from neurodeploy.sim import reference

from commands import bare, run, run_json
from strangers import delayed

LOIHI1 = target("loihi1")


@pytest.fixture
def files(tmp_path: Path) -> tuple[str, str]:
    serialize.save(delayed(), tmp_path / "net.npz")
    np.savez(tmp_path / "in.npz", input=np.ones((9, 6), dtype=np.int64))
    return str(tmp_path / "net.npz"), str(tmp_path / "in.npz")


def test_the_placement_is_optimised_for_the_given_input(files: tuple[str, str]) -> None:
    model, given = files
    code, answer = run_json("check", model, "-t", "loihi1", "--optimise", "latency", "--input", given)
    assert code == 0 and answer["data"]["placement_source"] == "optimised"
    gain = answer["data"]["optimised"]
    assert gain["input"] == given and gain["after"]["latency_s"] < gain["before"]["latency_s"]
    net = for_target(delayed(), LOIHI1)
    trace = reference.simulate(net, np.ones((9, 1, 6), dtype=np.int64), steps_until_settled(net))
    assert trace.n_spikes["1.neuron"] > 0
    plan = Placement.from_dict(answer["data"]["placement"])
    alone = cost(count(trace, plan, LOIHI1.zeros), plan, LOIHI1, "single")
    assert gain["after"]["latency_s"] == alone.latency_s.nominal
    assert f"Spikes counted on {given}" in bare(run("check", model, "-t", "loihi1", "--optimise", "edp", "-i", given)[1])


def test_events_come_from_one_place_and_for_a_reason(files: tuple[str, str]) -> None:
    model, given = files
    code, answer = run_json("check", model, "-t", "loihi1", "--input", given)
    assert code == 2 and answer["errors"][0]["where"] == "--input" and "--optimise" in answer["errors"][0]["remedy"]
    code, answer = run_json("check", model, "-t", "loihi1", "--input", given, "--rate", "0.1", "--optimise", "energy")
    assert code == 2 and answer["errors"][0]["what"] == "--rate and --input at once"
    code, answer = run_json("check", model, "-t", "loihi1", "--optimise", "energy")
    assert code == 2 and "--input" in answer["errors"][0]["remedy"]


def test_an_assumed_rate_says_for_how_long(files: tuple[str, str]) -> None:
    entry = commands.energy(Path(files[0]), ["loihi1"], rate=0.1, n_timesteps=5).targets["loihi1"]
    assert (entry["n_timesteps"], entry["n_timesteps_from"]) == (5, "argument")
    assert "for 9 timesteps (as the file has it)" in bare(run("energy", files[0], "-t", "loihi1", "--rate", "0.1")[1])


def test_an_own_constant_outside_its_band(files: tuple[str, str]) -> None:
    key = "profile.energy.axon_out"
    with pytest.raises(UsageError, match=r"\.low and \.high"):
        commands.energy(Path(files[0]), ["loihi1"], rate=0.1, overrides={f"{key}.value": 999.0})
    band = {f"{key}.value": 999.0, f"{key}.low": 900.0, f"{key}.high": 1100.0}
    entry = commands.energy(Path(files[0]), ["loihi1"], rate=0.1, overrides=band).targets["loihi1"]
    sent = entry["counts"]["messages"] - entry["counts"]["messages_input"]
    assert sent > 0 and entry["breakdown_j"]["spike"]["nominal"] == pytest.approx(999e-12 * sent, rel=1e-12)


def test_input_of_another_shape_is_named_whole() -> None:
    net = delayed()
    with pytest.raises(UsageError, match=r"shape \(9, 1, 5\).*\[T, B, 6\]"):
        nd.simulate(net, np.ones((9, 1, 5), dtype=np.int64))
    assert nd.simulate(net, np.ones((9, 1, 6), dtype=np.int64), n_steps=20).n_spikes["1.neuron"] > 0
