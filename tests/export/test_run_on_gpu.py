"""The script of bundles for GPUs, on the CPU: it compares, leaves early, measures, and says what is wrong."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from neurodeploy.early_exit.confidence import ConfidencePolicy, exit_steps
from neurodeploy.early_exit.planned import PlannedPolicy
from neurodeploy.early_exit.policy import StepPolicy
from neurodeploy.errors import UsageError
from neurodeploy.export import run_on_gpu as script
from neurodeploy.export.golden_gpu import GoldenGpu, load_gpu, save_gpu
from neurodeploy.ir.graph import Graph
from neurodeploy.ir.votes import predictions
from neurodeploy.lower.gpu import lower_to_gpu
from neurodeploy.search.recipe import ExitSettings
from neurodeploy.sim.gpu_run import run
from tests.event_nets import residual
from tests.float_networks import values
from tests.sim.test_gpu_run import late
from tests.validate.gpu_bundles import rewrite, write

KNOWN = {
    "__future__", "argparse", "hashlib", "importlib", "json", "numpy", "pathlib", "platform", "sys", "threading", "time",
    "typing",
}  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write(residual(), tmp_path / "b").path


def played(folder: Path, *options: str) -> tuple[int, dict[str, Any]]:
    out = folder.parent / "lab.json"
    code = script.main(["--bundle", str(folder), "--provider", "cpu", "--out", str(out), *options])
    return code, json.loads(out.read_text())


def test_it_stands_alone_and_is_python_3_10() -> None:
    tree = ast.parse(Path(script.__file__).read_text(encoding="utf-8"), feature_version=(3, 10))
    imported = {a.name.split(".")[0] for n in ast.walk(tree) if isinstance(n, ast.Import) for a in n.names}
    imported |= {(n.module or "").split(".")[0] for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)}
    assert imported <= KNOWN


def test_it_runs_from_its_bundle_without_neurodeploy(folder: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-c", "import runpy, sys; sys.modules['neurodeploy'] = None; sys.argv = sys.argv[1:]; "
               "runpy.run_path(sys.argv[0], run_name='__main__')", str(folder / "run_on_h200.py")]
    done = subprocess.run([*command, "--out", str(tmp_path / "lab.json")], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "equal on CPUExecutionProvider" in done.stdout
    helped = subprocess.run([*command, "--help"], capture_output=True, text=True, check=False)
    assert "--provider" in helped.stdout and "Exit codes" in helped.stdout


def test_every_form_is_equal(folder: Path) -> None:
    code, lab = played(folder)
    assert (code, lab["ok"], lab["provider"], lab["target"]) == (0, True, "CPUExecutionProvider", "h200")
    golden = json.loads((folder / "manifest.json").read_text())["golden"]
    for form in script.FORMS:
        assert lab["forms"][form]["spikes"] == golden["n_spikes"]
        assert (lab["forms"][form]["n_differences"], lab["forms"][form]["first_divergence"]) == (0, None)
    assert lab["times"] is None and lab["versions"]["onnxruntime"]


@pytest.mark.parametrize(("graph", "temperature"), [(residual(), 12.0), (late(), 0.5)], ids=["residual", "late"])
def test_early_exit_really_stops(
    graph: Graph, temperature: float, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    policy = ConfidencePolicy(0.55, temperature)
    x = values(graph, batch=12)
    folder = write(graph, tmp_path / "b", golden_inputs=x, policy=policy).path
    votes = run(lower_to_gpu(graph), x).votes
    wanted = exit_steps(votes, policy)
    assert len(set(wanted.tolist())) > 1 and wanted.max() < 5, "otherwise nothing could stop before T"
    code, lab = played(folder)
    assert code == 0
    late_by = json.loads((folder / "manifest.json").read_text())["latency"]
    ways = lab["early_exit"]["ways"]
    for way in ways.values():
        assert way["exit_steps"] == wanted.tolist() and way["n_other_exits"] == 0
        assert way["answers"] == predictions(votes)[wanted - 1, np.arange(12)].tolist()
    alone, batch, compacted = (ways[name] for name in ("one by one", "batch", "batch, compacted"))
    assert (alone["n_calls"], alone["n_calls_full"]) == (sum(wanted + late_by), 12 * (5 + late_by))
    assert batch["n_calls"] == compacted["n_calls"] == wanted.max() + late_by < batch["n_calls_full"]
    assert batch["n_rows"] == 12 * batch["n_calls"]
    assert compacted["n_rows"] == sum(wanted + late_by) < batch["n_rows"]
    assert "early exit, batch, compacted" in capsys.readouterr().out


def test_the_loop_in_the_documentation_stops(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    x = values(residual(), 6)
    write(residual(), tmp_path / "digits-gpu", golden_inputs=x)
    page = (Path(script.__file__).parents[2] / "docs" / "onnx.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL)
    monkeypatch.chdir(tmp_path)
    found: dict[str, Any] = {}
    exec(code.replace("total + votes", "total + votes; n = globals().get('n', 0) + 1"), found)
    assert found["n"] < 5
    np.testing.assert_array_equal(found["total"], run(lower_to_gpu(residual()), x).votes[: found["n"]].sum(axis=0))


def test_another_threshold_and_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write(residual(), tmp_path / "b", policy=None).path
    code, lab = played(folder)
    assert code == 0 and lab["early_exit"] is None and "--threshold gives one" in capsys.readouterr().err
    code, lab = played(folder, "--threshold", "1")
    assert lab["early_exit"]["ways"]["batch"]["exit_steps"] == [5] * 4


def changed(folder: Path, change: Any) -> None:
    graph = lower_to_gpu(residual())
    golden = load_gpu(folder / "golden.npz", graph)
    change(golden)
    save_gpu(golden, folder / "golden.npz")
    rewrite(folder)


def test_other_spikes_are_located(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def turn(golden: GoldenGpu) -> None:
        golden.near["n2"] = np.zeros((0, 5), dtype=np.int64)
        golden.spikes["n2"][2, 1, 3, 4, 5] += 1

    changed(folder, turn)
    code, lab = played(folder)
    assert code == 4 and not lab["ok"]
    first = lab["forms"]["scan"]["first_divergence"]
    assert (first["layer"], first["timestep"], first["neuron"], first["sample"]) == ("n2", 2, [3, 4, 5], 1)
    assert "FIRST DIFFERENCE" in capsys.readouterr().out


def test_spikes_at_the_threshold_are_listed(folder: Path) -> None:
    def turn(golden: GoldenGpu) -> None:
        golden.near["n2"] = np.array([[2, 1, 3, 4, 5]])
        golden.spikes["n2"][2, 1, 3, 4, 5] += 1
        golden.spikes["n3"][3, 1, 0, 0, 0] += 1  # what follows in the same sample

    changed(folder, turn)
    code, lab = played(folder)
    assert code == 0 and lab["forms"]["step"]["n_differences"] == 2
    assert [(f["layer"], f["neuron"]) for f in lab["forms"]["step"]["flips"]] == [("n2", [3, 4, 5])]


def test_other_logits_are_no_rounding(folder: Path) -> None:
    def turn(golden: GoldenGpu) -> None:
        golden.votes[2, 1, 0] += 1

    changed(folder, turn)
    code, lab = played(folder)
    assert code == 4 and 0.9 < lab["forms"]["step"]["largest_logit_difference"] < 1.1


def test_samples_and_forms_can_be_chosen(folder: Path) -> None:
    _, lab = played(folder, "--samples", "2", "--form", "unrolled", "--form", "scan")
    assert lab["n_samples"] == 2 and set(lab["forms"]) == {"unrolled", "scan"} and lab["early_exit"] is None


def test_times_of_batch_one_and_many(folder: Path) -> None:
    _, lab = played(folder, "--measure", "--batch", "6", "--seconds", "0.02")
    ways = {(t["way"], t["batch"]) for t in lab["times"]}
    assert ways == {(w, b) for w in ("step, all timesteps", "step, early exit", "unrolled", "scan") for b in (1, 6)} | {
        ("step, early exit, compacted", 6)
    }
    assert all(t["median_s"] > 0 and t["energy_j"] is None and t["n"] >= 1 for t in lab["times"])


def nvml(counts: bool) -> Any:
    """NVML with a board of 100 W that has a counter of energy, 7 J further at every look, or none."""
    mj = iter(range(7000, 10**6, 7000))

    class NvmlError(Exception):
        pass

    def energy(handle: int) -> int:
        if not counts:
            raise NvmlError
        return next(mj)

    return SimpleNamespace(
        NVMLError=NvmlError, nvmlInit=lambda: None, nvmlDeviceGetHandleByIndex=lambda i: i,
        nvmlDeviceGetName=lambda handle: "Board", nvmlDeviceGetPowerUsage=lambda handle: 100_000,
        nvmlDeviceGetTotalEnergyConsumption=energy,
    )


@pytest.mark.parametrize("counts", [True, False])
def test_energy_by_the_boards_counter_or_its_power(counts: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", nvml(counts))
    power = script.open_power(0)
    assert power is not None and power.name == "Board" and power.counts == counts
    result, joules, seconds = power.of(lambda: script.time.sleep(0.05) or "done")
    assert result == "done" and seconds >= 0.05
    assert joules == pytest.approx(7.0 if counts else 100 * seconds)


class Session:
    def __init__(self, works: bool, provider: str) -> None:
        self.providers = [provider] if works else ["CPUExecutionProvider"]

    def get_providers(self) -> list[str]:
        return self.providers


@pytest.mark.parametrize(("wanted", "works"), [("best", True), ("best", False), ("cuda", False)])
def test_devices_that_do_not_start(
    wanted: str, works: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    made: list[Any] = []

    def session(path: str, options: Any, providers: list[tuple[str, dict[str, str]]]) -> Session:
        made.append(providers[0])
        return Session(works or providers[0][0].startswith("CPU"), providers[0][0])

    fake = SimpleNamespace(
        get_available_providers=lambda: ["CUDAExecutionProvider", "CPUExecutionProvider"], InferenceSession=session,
        SessionOptions=SimpleNamespace,
    )
    monkeypatch.setitem(sys.modules, "onnxruntime", fake)  # type: ignore[arg-type]
    runtime = script.Runtime(wanted, 1, tf32=False)
    assert (runtime.provider, runtime.device, runtime.index) == ("CUDAExecutionProvider", "cuda", 1)
    if wanted == "cuda":
        with pytest.raises(script.RunnerError, match="--provider cpu does"):
            runtime.session(Path("m.onnx"))
        return
    runtime.session(Path("m.onnx"))
    assert made[0] == ("CUDAExecutionProvider", {"device_id": "1", "use_tf32": "0", "cudnn_conv_algo_search": "DEFAULT"})
    assert runtime.device == ("cuda" if works else "cpu")
    assert ("runs on the CPU" in capsys.readouterr().err) != works


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [(["--provider", "cuda"], 5, "has no CUDAExecutionProvider"), (["--bundle", "nowhere"], 2, "no such file")],
)
def test_refusals(folder: Path, options: list[str], code: int, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert script.main(["--bundle", str(folder), *options]) == code
    assert said in capsys.readouterr().err


def test_a_changed_file_is_not_run(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "model_step.onnx").write_bytes(b"x")
    assert script.main(["--bundle", str(folder)]) == 6
    assert "model_step.onnx: the file was changed" in capsys.readouterr().err


def test_steps_known_beforehand(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The script's own numpy runs the policy network, and every sample as long as it says, in batches of equal lengths too."""
    x = values(residual(), 12)
    torch.manual_seed(2)
    network = StepPolicy((3, 9, 7), 5, (4, 6), (1, 3, 5)).train()
    views = np.random.default_rng(3).random((12, 3, 9, 7)).astype(np.float32)
    network(torch.from_numpy(views))  # batch norms with statistics of their own
    with torch.no_grad():
        network.linear.weight *= 20
        network.linear.bias -= torch.from_numpy(network.logits(views).mean(axis=0))
    policy = PlannedPolicy(network, 1.0, "image", views, ExitSettings())
    wanted = policy.steps(views)
    assert len(set(wanted.tolist())) > 1
    folder = write(residual(), tmp_path / "b", golden_inputs=x, policy=policy).path
    code, lab = played(folder, "--measure", "--batch", "5", "--seconds", "0.01")
    found = lab["early_exit"]
    assert code == 0 and found["policy"] == {"steps": wanted.tolist(), "n_other": 0}
    votes = run(lower_to_gpu(residual()), x).votes
    for way in found["ways"].values():
        assert way["exit_steps"] == wanted.tolist() and way["n_other_exits"] == 0
        assert way["answers"] == predictions(votes)[wanted - 1, np.arange(12)].tolist()
    together, alone = found["ways"]["equal steps together"], found["ways"]["one by one"]
    assert together["n_calls"] == sum(set(wanted.tolist())) and together["n_rows"] == alone["n_rows"] == wanted.sum()
    tensors = script.read_tensors(folder / "policy.safetensors")
    np.testing.assert_allclose(script.network_logits(tensors, views, 2), network.logits(views), atol=1e-4)
    assert "12 of 12 decisions equal" in capsys.readouterr().out
    short = PlannedPolicy(network, 1.0, "image", views[:3], ExitSettings())
    with pytest.raises(UsageError, match="views of 3 samples"):
        write(residual(), tmp_path / "c", golden_inputs=x, policy=short)
