"""Every command and every arrow on networks that came from elsewhere: lava-dl's `.net`, recurrent and delayed graphs."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import neurodeploy as nd
import numpy as np
import pytest
from neurodeploy.cost.counts import count
from neurodeploy.cost.model import cost
from neurodeploy.cost.windows import steps_until_settled
from neurodeploy.errors import NeurodeployWarning, UsageError
from neurodeploy.hw.profile import target
from neurodeploy.ir import serialize
from neurodeploy.ir.graph import IntGraph
from neurodeploy.ir.nodes import CubaLif
from neurodeploy.place import place
from neurodeploy.sim import reference

import oracles
import strangers
from commands import run, run_json

NETS = sorted(p for p in (oracles.GOLDEN / "loihi").glob("netx_*.npz") if p.with_suffix(".net").exists())
ENERGY = {
    "fits", "n_cores", "energy_j", "breakdown_j", "latency_s", "edp_js", "counts", "layers", "cores", "early_exit", "status",
    "excluded", "provenance", "latency_steps_s", "exact_counts", "limiting", "schedule",
}  # fmt: skip


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def recorded(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """(arrays, meta) of a run of lava-dl's netx; its input is left in `in.npz`, in Lava's order."""
    arrays = oracles.npz(path)
    np.savez("in.npz", input=arrays["input_bias"] if "input_bias" in arrays else arrays["input"])
    return arrays, json.loads(str(arrays["meta"]))


def done(*args: str | Path, code: int = 0) -> dict[str, Any]:
    """The data of a command that ends with `code`."""
    found, answer = run_json(*map(str, args))
    assert found == code, answer["errors"]
    return dict(answer["data"])


def ran_as_recorded(arrays: dict[str, Any], out: str, state: bool = True) -> None:
    with np.load(out) as found:
        names = {key: f"{kind}/{int(key[1 : key.index('_')])}.neuron" for key, kind in (
            (key, {"s": "spikes", "u": "i_syn", "v": "v_mem"}[key.rpartition("_")[2]])
            for key in arrays if key[0] == "L" and (state or key.endswith("_s"))
        )}  # fmt: skip
        assert set(names.values()) == set(found.files)
        for key, name in names.items():
            assert np.array_equal(found[name][..., : arrays[key].shape[-1]], arrays[key]), key
        assert sum(int(found[name].sum()) for name in names.values() if name.startswith("spikes")) > 0


def test_recorded_networks_are_there() -> None:
    assert {"netx_n01", "netx_n02"} <= {p.stem for p in NETS}


@pytest.mark.parametrize("path", NETS, ids=lambda p: p.stem)
@pytest.mark.parametrize("simulator", [(), ("--reference",)], ids=["fast", "reference"])
def test_simulate_gives_what_lava_recorded(path: Path, simulator: tuple[str, ...]) -> None:
    arrays, meta = recorded(path)
    steps = ("--timesteps", str(meta["T"]))
    command = ("simulate", path.with_suffix(".net"), "--input", "in.npz", "--layout", "lava", "--out", "out.npz", *simulator)
    data = done(*command, "--states", *steps)
    ran_as_recorded(arrays, "out.npz")
    blocks = [int(np.count_nonzero(arrays[f"L{k}_s"])) for k in range(len(meta["blocks"]))]
    assert list(data["spikes_per_layer"].values()) == blocks and data["n_timesteps"] == meta["T"]


@pytest.mark.parametrize("path", NETS, ids=lambda p: p.stem)
@pytest.mark.parametrize("name", ["loihi1", "loihi2"])
def test_from_a_net_to_a_bundle(path: Path, name: str) -> None:
    arrays, meta = recorded(path)
    net, given = path.with_suffix(".net"), ("--input", "in.npz", "--layout", "lava")
    checked = done("check", net, "--target", name)
    assert checked["fits"] and checked["n_cores"] == len(checked["placement"]["cores"]) > 0
    costs = done("energy", net, "--target", name, *given)["targets"][name]
    assert set(costs) >= ENERGY and costs["exact_counts"] and costs["accuracy"] is None and costs["schedule"] == "single"
    assert costs["counts"]["spikes"] > 0 and sum(core["busiest"] for core in costs["cores"]) == 1
    assert costs["input"]["n_timesteps"] == meta["T"] and len(costs["latency_steps_s"]) == costs["input"]["n_chip_timesteps"]
    assert [layer["name"] for layer in costs["layers"] if not layer["is_input"]] == [
        f"{k}.neuron" for k in range(len(meta["blocks"]))
    ]
    exported = done("export", net, "--target", name, "--out", "bundle", *given)
    assert exported["accuracy"] is None and exported["quantization"]["as_given"]
    assert [e["layer"] for e in exported["quantization"]["layers"]] == [f"{k}.neuron" for k in range(len(meta["blocks"]))]
    manifest = json.loads(Path("bundle/manifest.json").read_text())
    assert manifest["target"] == name and manifest["netx"]["file"] == "network.net" and manifest["netx"]["kwargs"] is not None
    assert (manifest["nir"]["file"] is None) is bool(manifest["nir"]["reason"])
    verdict = done("validate", "bundle")
    assert verdict["ok"] and verdict["agreement"] == 1 and verdict["n_spikes"] > 0 and all(c["ok"] for c in verdict["checks"])
    assert verdict["accuracy"] == {"float": None, "quantized": None, "simulator": None} and verdict["early_exit"] is None
    assert run("validate", "bundle")[0] == 0
    # Both artifacts are the network; a `.net` alone does not say how long a sample is.
    done("simulate", "bundle", "--out", "out.npz", *given)
    ran_as_recorded(arrays, "out.npz", state=False)
    done("simulate", "bundle/network.net", "--out", "out.npz", "--timesteps", str(meta["T"]), *given)
    ran_as_recorded(arrays, "out.npz", state=False)
    again = done("export", "bundle", "--target", name, "--out", "again", "--input", "bundle/golden.npz")
    assert again["placement"] == exported["placement"]
    assert Path("again/graph.npz").read_bytes() == Path("bundle/graph.npz").read_bytes()


@pytest.mark.parametrize("path", NETS, ids=lambda p: p.stem)
def test_without_input_a_rate_is_assumed_and_golden_input_is_drawn(path: Path) -> None:
    net = path.with_suffix(".net")
    targets = done("energy", net, "--target", "all", "--rate", "0.1", "--timesteps", "20")["targets"]
    costs = {name: entry for name, entry in targets.items() if entry["fits"]}
    assert {name for name, entry in costs.items() if "boundary" not in entry} == {"loihi1", "loihi2"}
    assert costs["h200"]["n_timesteps"] == 20 and costs["h200"]["energy_j"]["nominal"] > 0  # a dense pass of the same layers
    assert all("arithmetic of another chip" in targets[name]["reason"] for name in set(targets) - set(costs))
    for entry in (costs["loihi1"], costs["loihi2"]):
        assert entry["status"] == "assumed" and not entry["exact_counts"] and set(entry) >= ENERGY
        assert {s for s in entry["breakdown_status"].values() if s} == {"assumed"}
    for out in ("one", "other"):
        done("export", net, "--target", "loihi2", "--out", out, "--timesteps", "20")
    assert Path("one/golden.npz").read_bytes() == Path("other/golden.npz").read_bytes()
    assert done("validate", "one")["n_spikes"] > 0
    code, answer = run_json("energy", str(net), "--target", "loihi2")
    assert code == 2 and answer["errors"][0]["code"] == "missing_data"
    assert "--input" in answer["errors"][0]["remedy"] and "--rate" in answer["errors"][0]["remedy"]


@pytest.mark.parametrize("name", sorted(strangers.NETWORKS))
def test_every_command_on_every_kind_of_network(name: str, tmp_path: Path) -> None:
    net, given, x = strangers.write(name, tmp_path)
    graph = strangers.NETWORKS[name]()
    assert done("check", net, "--target", "loihi2")["fits"]
    costs = done("energy", net, "--target", "loihi2", "--input", given)["targets"]["loihi2"]
    trace = reference.simulate(graph, x, graph.n_chip_steps)
    profile, layers = target("loihi2"), [n.name for n in graph.neurons]
    settled = reference.simulate(graph, x, steps_until_settled(graph))
    wanted = cost(count(settled, place(graph, profile)), place(graph, profile), profile, costs["schedule"])
    assert costs["energy_j"] == wanted.energy_j.to_dict() and costs["counts"] == wanted.counts
    assert costs["exact_counts"] and costs["counts"]["spikes"] > 0
    assert costs["schedule"] == ("pipelined" if name == "biased" else "single")
    alone = name in ("recurrent", "unbalanced", "delayed")
    assert set(costs["schedules"]) == ({"single"} if alone else {"single", "pipelined"})
    done("export", net, "--target", "loihi2", "--input", given, "--out", "bundle")
    verdict = done("validate", "bundle", "--trace")
    assert verdict["ok"] and set(verdict["trace"]) == set(layers)
    golden = {layer: sum(verdict["trace"][layer]["expected"]) for layer in layers}
    assert golden == {layer: trace.n_spikes[layer] for layer in layers} and min(golden.values()) > 0
    manifest = json.loads(Path("bundle/manifest.json").read_text())
    assert (manifest["netx"]["file"] is None) is bool(manifest["netx"]["reason"])
    assert (Path("bundle/network.net").exists(), Path("bundle/model.nir").exists()) == (
        manifest["netx"]["file"] is not None, manifest["nir"]["file"] is not None
    )
    done("export", net, "--target", "loihi2", "--out", "drawn")
    assert done("validate", "drawn")["n_spikes"] > 0
    for verb in ("energy", "export"):
        shown = run(verb, str(net), "--target", "loihi2", "--input", str(given), *(("--out", "shown") * (verb == "export")))
        assert shown[0] == 0 and layers[-1] in shown[1]


def test_a_pipeline_is_refused_where_it_has_no_meaning(tmp_path: Path) -> None:
    for name, reason in (("recurrent", "recurrent"), ("unbalanced", "differ in length"), ("delayed", "delays")):
        net, given, _ = strangers.write(name, tmp_path)
        for events in (("--input", str(given)), ("--rate", "0.1")):
            code, answer = run_json("energy", str(net), "--target", "loihi2", "--schedule", "pipelined", *events)
            assert code == 2 and answer["errors"][0]["code"] == "no_pipeline" and reason in answer["errors"][0]["what"]


def test_one_target_that_fails_does_not_hide_the_others(tmp_path: Path) -> None:
    """Graded messages: loihi2 sends them, loihi1 does not."""
    net, given, _ = strangers.write("sigma_delta", tmp_path)
    code, answer = run_json("energy", str(net), "--target", "loihi1,loihi2", "--input", str(given))
    assert code == 3 and {e["code"] for e in answer["errors"]} == {"does_not_fit"}
    entries = answer["data"]["targets"]
    assert not entries["loihi1"]["fits"] and entries["loihi1"]["violations"] and entries["loihi1"]["energy_j"] is None
    assert set(entries["loihi1"]) >= ENERGY - {"latency_steps_s", "exact_counts", "limiting", "schedule"}
    assert entries["loihi2"]["fits"] and entries["loihi2"]["energy_j"]["nominal"] > 0 and answer["data"]["proxies"]
    code, answer = run_json("check", str(net), "--target", "loihi1,loihi2")
    assert code == 3 and not answer["data"]["targets"]["loihi1"]["fits"] and answer["data"]["targets"]["loihi2"]["placement"]
    # A rate says nothing about sigma-delta neurons on any target, but what does not fit is still said.
    code, answer = run_json("energy", str(net), "--target", "loihi1,loihi2", "--rate", "0.1")
    assert code == 3 and "Delta" in answer["data"]["targets"]["loihi2"]["reason"]
    code, answer = run_json("energy", str(net), "--target", "loihi2", "--rate", "0.1")
    assert code == 2 and answer["errors"][0]["code"] == "no_rate"


def test_labels_are_refused_without_a_read_out(tmp_path: Path) -> None:
    net, given, _ = strangers.write("plain", tmp_path)
    done("export", net, "--target", "loihi2", "--input", given, "--out", "bundle")
    for command in (("energy", net, "--target", "loihi2"), ("export", net, "--target", "loihi2"), ("validate", "bundle")):
        code, answer = run_json(*map(str, command), "--data", "digits")
        assert code == 2 and answer["errors"][0]["code"] == "no_classes" and answer["errors"][0]["remedy"]


def test_a_silent_bundle_is_told(tmp_path: Path) -> None:
    graph = strangers.plain()
    nodes = tuple(replace(n, v_th=131071) if isinstance(n, CubaLif) else n for n in graph.nodes)
    serialize.save(replace(graph, nodes=nodes), tmp_path / "mute.npz")
    code, answer = run_json("export", "mute.npz", "--target", "loihi2", "--out", "bundle")
    assert code == 0 and [w["code"] for w in answer["warnings"]] == ["silent_golden"]
    code, answer = run_json("validate", "bundle")
    assert code == 4 and "no spike" in answer["errors"][0]["what"]


@pytest.mark.parametrize("missing", ["model.nir", "network.net"])
def test_a_file_that_the_manifest_promises_is_missed(missing: str, tmp_path: Path) -> None:
    net, given, _ = strangers.write("plain", tmp_path)
    done("export", net, "--target", "loihi2", "--input", given, "--out", "bundle")
    assert Path("bundle", missing).exists()
    Path("bundle", missing).unlink()
    assert run_json("validate", "bundle")[0] == 6


def test_a_given_bundle_is_not_written_beside_itself(tmp_path: Path) -> None:
    net, given, _ = strangers.write("recurrent", tmp_path)
    done("export", net, "--target", "loihi2", "--input", given, "--out", "bundle")
    shutil.copytree("bundle", "moved")
    done("simulate", "moved", "--input", "moved/golden.npz", "--out", "out.npz", "--target", "loihi1")
    with np.load("out.npz") as found, np.load("moved/golden.npz") as golden:
        assert all(np.array_equal(found[name], golden[name]) for name in found.files) and found["spikes/1.neuron"].any()


def test_the_arrows_of_the_contract() -> None:
    """Section 3 of the contract, on a `.net`."""
    path = next(p for p in NETS if p.stem == "netx_n02")
    arrays, meta = recorded(path)
    graph = nd.load(path.with_suffix(".net"))
    assert isinstance(graph, IntGraph) and graph.target == "" and graph.n_timesteps == meta["T"]
    x = arrays["input"].T[:, np.newaxis].astype(np.int64).reshape(meta["T"], 1, *graph.inputs[0].shape)
    for name in ("loihi1", "loihi2"):
        profile = nd.target(name)
        net = nd.quantize(graph, profile, calibration=x)
        assert net is graph
        plan = nd.place(net, profile)
        trace = nd.simulate(net, x, plan)
        assert np.array_equal(trace.spikes["2.neuron"][: meta["T"], 0].T, arrays["L2_s"]) and trace.spikes["2.neuron"].any()
        floats = nd.simulate(net, x.astype(np.float32), plan, record_state=True, v_readout="loihi2")
        assert np.array_equal(floats.spikes["2.neuron"], trace.spikes["2.neuron"])
        found = nd.cost(trace, plan, profile)
        assert found.schedule == "single" and found.energy_j.low <= found.energy_j.nominal <= found.energy_j.high
        assert found.exact_counts and found.counts["spikes"] == sum(v for k, v in trace.n_spikes.items() if k != "input")
        with pytest.raises(UsageError, match="new sample every"):
            nd.cost(trace, plan, profile, schedule="pipelined")
        bundle = nd.export(net, plan, profile, out=f"exports/{name}", golden_inputs=x)
        verdict = nd.validate(bundle)
        assert verdict.ok and verdict.target == name and verdict.n_spikes == sum(
            v for k, v in trace.n_spikes.items() if k != "input"
        )
        assert nd.validate(nd.export(net, plan, profile, out=f"exports/{name}-drawn")).ok


def test_images_are_coded_by_the_files_own_transform() -> None:
    """`bias = 2 w x - w + b` of x in 0..1, which lava-dl's tutorials compute by hand."""
    path = next(p for p in NETS if p.stem == "netx_n01")
    net = nd.load(path.with_suffix(".net"))
    assert isinstance(net, IntGraph)
    images = np.random.default_rng(0).random((3, *net.inputs[0].shape))
    by_hand = np.rint(2 * 36 * images - 36 + 34).astype(np.int64)
    one = nd.simulate(net, images)
    other = nd.simulate(net, np.repeat(by_hand[np.newaxis], net.n_timesteps, axis=0))
    assert all(np.array_equal(one.spikes[n.name], other.spikes[n.name]) for n in net.neurons)
    assert one.spikes["3.neuron"].any()
    np.savez("images.npz", images)
    done("simulate", path.with_suffix(".net"), "--input", "images.npz", "--layout", "images", "--out", "out.npz")
    with np.load("out.npz") as found:
        assert all(np.array_equal(found[f"spikes/{n.name}"], one.spikes[n.name]) for n in net.neurons)


def test_what_python_refuses() -> None:
    graph = strangers.plain()
    with pytest.raises(UsageError, match="real numbers"):
        nd.simulate(graph, np.full((9, 1, 6), 0.5))
    with pytest.raises(UsageError, match="another network"):
        nd.simulate(graph, strangers.given(graph), nd.place(strangers.recurrent(), "loihi2"))
    with pytest.warns(NeurodeployWarning, match="starts from zero"):
        nd.cost(nd.simulate(graph, strangers.given(graph)), nd.place(graph, "loihi2"), "loihi2", schedule="pipelined")
