"""`validate --oracle lava` with tools that hang, die, lie or disagree: each has its error, and nothing is left running."""

from __future__ import annotations

import io
import json
import os
import pickle
import re
import signal
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
from neurodeploy import vendor
from neurodeploy.errors import UsageError
from neurodeploy.export import golden
from neurodeploy.ir import archive
from tests.commands import run, run_json
from tests.ir.hand_graphs import chain, inputs, residual
from tests.vendor.fake_python import alive, pids, with_lava
from tests.vendor.oracle_bundles import write

GOOD = {"ok": True, "kind": "played", "error": "", "versions": {"lava-nc": "0.10.0", "lava-dl": None}, "wall_s": [0.1, 0.1]}
# The job of a tool that answers: `answer` is copied to result.npz, `status` written after it.
ANSWERS = """
import shutil
shutil.copyfile({answer!r}, os.path.join(folder, "result.npz"))
with open(os.path.join(folder, "status.json"), "w") as file:
    file.write({status!r})
"""


class Lab:
    """A bundle, and an interpreter that was added and plays the tool."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.diary = folder, folder / "diary"
        self.bundle = write(residual(), inputs(residual(), 2), folder / "bundle")
        self.spikes = golden.load(self.bundle / "golden.npz").spikes
        self.python = with_lava(folder / "lab" / "python")
        vendor.add("loihi2", self.python)

    def answers(self, payload: bytes | None = None, status: object = GOOD, before: str = "", **told: object) -> None:
        """What the tool does from now on: its own code `before`, then result and status."""
        path = self.folder / "answer.npz"
        arrays = {f"spikes/{name}": raster.astype(np.int32) for name, raster in self.spikes.items()}
        path.write_bytes(archive.pack({}, arrays) if payload is None else payload)
        text = status if isinstance(status, str) else json.dumps(status)
        self.does(before + ANSWERS.format(answer=str(path), status=text), **told)

    def does(self, work: str, **told: object) -> None:
        with_lava(self.python, work=work, diary=self.diary, **told)

    def fails(self, code: str, what: str, *options: str) -> None:
        """The command ends with exit code 7 and this error; the rest of the verdict is complete."""
        found, answer = run_json("validate", str(self.bundle), "--oracle", "lava", *options)
        assert found == 7
        (error,) = answer["errors"]
        assert error["code"] == code
        assert re.search(what, f"{error['what']} {error['limit']}"), error
        assert (answer["data"]["agreement"], answer["data"]["oracle"]["status"]) == (1, "failed")
        assert not [p for kind in ("work", "child") for p in pids(self.diary, kind) if alive(p)]


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lab:
    monkeypatch.setenv("NEURODEPLOY_CACHE", str(tmp_path / "cache"))
    return Lab(tmp_path)


def packed(lab: Lab, **changes: np.ndarray) -> bytes:
    """A result with some layers replaced, in numpy's own container."""
    arrays = {f"spikes/{name}": changes.get(name, raster) for name, raster in lab.spikes.items()}
    out = io.BytesIO()
    np.savez(out, **arrays)  # type: ignore[arg-type]
    with zipfile.ZipFile(out, "a") as file:
        file.writestr("graph.json", "{}")
    return out.getvalue()


def test_agreement(lab: Lab) -> None:
    lab.answers(says="a library prints what it likes\n{]", n_children=1)
    code, answer = run_json("validate", str(lab.bundle), "--oracle", "lava")
    found = answer["data"]["oracle"]
    assert (code, found["name"], found["version"], found["status"]) == (0, "lava", "0.10.0", "equal")
    assert (found["n_differences"], found["n_samples"]) == (0, 2)
    assert found["n_compared"] == sum(r.size for r in lab.spikes.values())
    assert [r["file"] for r in found["routes"]] == ["graph.npz"]
    assert sum(int(r.sum()) for r in lab.spikes.values()) > 0
    assert not [p for p in pids(lab.diary, "child") if alive(p)], "what the tool started is ended"
    assert len(pids(lab.diary, "child")) == 1
    shown = run("validate", str(lab.bundle), "--oracle", "lava")[1]
    assert "lava, graph.npz" in shown and "VALID" in shown


def test_both_files_of_a_chain_are_played(lab: Lab) -> None:
    lab.bundle = write(chain(), inputs(chain(), 2), lab.folder / "chain")
    lab.spikes = golden.load(lab.bundle / "golden.npz").spikes
    jobs_file = str(lab.folder / "jobs")
    lab.answers(before=f"open({jobs_file!r}, 'a').write(open(os.path.join(folder, 'job.json')).read() + chr(10))\n")
    code, answer = run_json("validate", str(lab.bundle), "--oracle", "lava")
    assert (code, [r["file"] for r in answer["data"]["oracle"]["routes"]]) == (0, ["graph.npz", "network.net"])
    jobs = [json.loads(line) for line in (lab.folder / "jobs").read_text().splitlines()]
    assert [job["net_kwargs"] is None for job in jobs] == [True, False]
    assert jobs[1]["net_kwargs"]["input_message_bits"] == 0


def test_a_disagreement_names_the_first_spike(lab: Lab) -> None:
    turned = lab.spikes["b"].copy()
    turned[3, 1, 2, 0, 1] ^= 1
    late = lab.spikes["a"].copy()
    late[4, 0, 0, 0, 0] ^= 1
    lab.answers(packed(lab, a=late, b=turned))
    code, answer = run_json("validate", str(lab.bundle), "--oracle", "lava")
    first = {"layer": "b", "timestep": 3, "neuron": [2, 0, 1], "sample": 1}
    assert code == 4
    assert answer["errors"][0]["code"] == "oracle_mismatch"
    assert answer["data"]["first_divergence"].items() >= first.items()
    assert answer["data"]["first_divergence"]["expected"] == 1 - answer["data"]["first_divergence"]["got"]
    assert (answer["data"]["oracle"]["status"], answer["data"]["oracle"]["n_differences"]) == ("differs", 2)
    assert answer["data"]["agreement"] == 1, "our own simulators agree"


@pytest.mark.parametrize(
    ("work", "code", "what"),
    [("os._exit(3)", "vendor_crashed", "ended with exit code 3"),
     ("os._exit(0)", "vendor_garbage", "without an answer"),
     ("os.kill(os.getpid(), signal.SIGKILL)", "vendor_crashed", "SIGKILL"),
     ("os.kill(os.getpid(), signal.SIGSEGV)", "vendor_crashed", "SIGSEGV"),
     ("raise RuntimeError('no core file')", "vendor_crashed", "exit code 1.*RuntimeError: no core file"),
     ("sys.stderr.write('x' * 10**8); time.sleep(60)", "vendor_garbage", "wrote too much"),
     ("open(os.path.join(folder, 'big'), 'wb').truncate(10**10); time.sleep(60)", "vendor_garbage", "wrote too much"),
     ("open(os.path.join(folder, 'status.json'), 'w').write('[]')", "vendor_garbage", "a status that is none"),
     ("open(os.path.join(folder, 'status.json'), 'w').write('[' * 10**5)", "vendor_garbage", "a status that is none"),
     ("open(os.path.join(folder, 'status.json'), 'w').write('{' + ' ' * 10**7)", "vendor_garbage", "a status that is none"),
     ("os.symlink('/etc/passwd', os.path.join(folder, 'status.json'))", "vendor_garbage", "without an answer")],
)
def test_a_tool_that_dies_or_talks_nonsense(work: str, code: str, what: str, lab: Lab) -> None:
    lab.does(work, n_children=1)
    lab.fails(code, what)


def test_a_tool_that_hangs(lab: Lab) -> None:
    lab.does("time.sleep(300)", n_children=2)
    lab.fails("vendor_timeout", r"stopped after 0\.5 s", "--oracle-timeout", "0.5")
    assert len(pids(lab.diary, "child")) == 2


def test_a_result_that_is_none(lab: Lab) -> None:
    lab.does(f"open(os.path.join(folder, 'status.json'), 'w').write({json.dumps(GOOD)!r})")
    lab.fails("vendor_garbage", "cannot be read")
    floats = {name: raster.astype(np.float64) for name, raster in lab.spikes.items()}
    floats["a"][0] = np.nan
    compressed = io.BytesIO()
    with zipfile.ZipFile(compressed, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("graph.json", "{}")
        file.writestr("spikes/a.npy", bytes(10**7))
    objects = io.BytesIO()
    np.savez(objects, a=np.array([print], dtype=object), allow_pickle=True)
    for payload, what in (
        (b"", "cannot be read"), (b"PK nonsense", "cannot be read"), (packed(lab)[:-40], "cannot be read"),
        (pickle.dumps(lab.spikes), "cannot be read"), (compressed.getvalue(), "cannot be read.*compressed"),
        (objects.getvalue(), "cannot be read"),
        (archive.pack({}, {"spikes/a": np.zeros(3, dtype=np.int32)}), "recorded other layers: spikes/"),
        (packed(lab, a=lab.spikes["a"][:, :1]), "recorded spikes/a as int64"),
        (packed(lab, a=lab.spikes["a"][:-1]), "recorded spikes/a as int64"),
        (packed(lab, **floats), "recorded spikes/a as float64"),
    ):
        lab.answers(payload)
        lab.fails("vendor_garbage", what)


def test_a_result_without_end(lab: Lab) -> None:
    lab.does("out = open(os.path.join(folder, 'result.npz'), 'wb')\nwhile True: out.write(bytes(10**6))")
    lab.fails("vendor_garbage", "wrote too much")


def test_a_network_the_tool_has_no_process_for(lab: Lab) -> None:
    lab.answers(status={**GOOD, "ok": False, "kind": "unsupported", "error": "pool: no such process"})
    lab.fails("vendor_unsupported", "cannot run this network: pool: no such process")
    lab.answers(status={**GOOD, "ok": False, "kind": "crashed", "error": "ValueError: odd"})
    lab.fails("vendor_crashed", "failed: ValueError: odd")


def test_no_environment(lab: Lab) -> None:
    vendor.remove("loihi2")
    code, answer = run_json("validate", str(lab.bundle), "--oracle", "lava")
    assert (code, answer["errors"][0]["code"]) == (5, "environment_missing")
    assert "`neurodeploy env create loihi2`" in answer["errors"][0]["remedy"]
    code, answer = run_json("validate", str(lab.bundle), "--oracle", "nengo")
    assert code == 2 and "lava" in answer["errors"][0]["limit"]
    with pytest.raises(UsageError, match="there is no side environment"):
        vendor.remove("loihi2")


def test_a_tool_that_knows_other_neurons(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    other = vendor.lock_named("loihi2").model_copy(update={"neurons": ("izhikevich",)})
    monkeypatch.setattr("neurodeploy.jobs.oracle.lock_of_tool", lambda tool: other)
    code, answer = run_json("validate", str(lab.bundle), "--oracle", "lava")
    assert (code, answer["errors"][0]["limit"]) == (2, "It knows izhikevich, the target has cuba_lif")


@pytest.mark.parametrize("limit", ["0", "-1", "nan"])
def test_a_time_limit_of_nothing(limit: str, lab: Lab) -> None:
    assert run_json("validate", str(lab.bundle), "--oracle", "lava", "--oracle-timeout", limit)[0] == 2


def test_code_in_a_bundle_is_not_run(lab: Lab) -> None:
    """The script of a bundle may be anything that its own manifest vouches for."""
    seen = lab.folder / "scripts"
    lab.answers(before=f"open({str(seen)!r}, 'w').write(open(os.path.join(folder, 'code', 'run_on_loihi2.py')).read())\n")
    assert run_json("validate", str(lab.bundle), "--oracle", "lava")[0] == 0
    from neurodeploy.export import bundle as format_of_bundles

    script = lab.bundle / "run_on_loihi2.py"
    mine = script.read_text()
    assert seen.read_text() == mine
    script.write_text("raise SystemExit('evil')")
    manifest = json.loads((lab.bundle / "manifest.json").read_text())
    (lab.bundle / "manifest.json").unlink()
    format_of_bundles.write_manifest(lab.bundle, {k: v for k, v in manifest.items() if k not in ("files", "sha256")})
    assert run_json("validate", str(lab.bundle), "--oracle", "lava")[0] == 0
    assert seen.read_text() == mine


def test_a_temporary_folder_with_a_long_name(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """Names of sockets have at most 107 characters, and Lava's lie in the temporary folder."""
    long = lab.folder / ("long" * 20)
    long.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(long))
    lab.answers(before=f"open({str(lab.folder / 'where')!r}, 'w').write(os.environ['TMPDIR'])\n")
    assert run_json("validate", str(lab.bundle), "--oracle", "lava")[0] == 0
    where = (lab.folder / "where").read_text()
    assert len(where) + len("/pymp-xxxxxxxx/listener-xxxxxxxx") < 107
    assert not Path(where).parent.exists()


def test_ctrl_c(lab: Lab) -> None:
    lab.does("time.sleep(300)", n_children=1)
    command = [sys.executable, "-m", "neurodeploy", "validate", str(lab.bundle), "--oracle", "lava", "--json"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)
    deadline = time.monotonic() + 60
    while not pids(lab.diary, "child"):
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGINT)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    assert json.loads(out)["errors"][0]["code"] == "interrupted"
    assert not [p for kind in ("work", "child") for p in pids(lab.diary, kind) if alive(p)]
