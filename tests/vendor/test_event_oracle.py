"""`validate --oracle samna` and `--oracle sinabs`: what the tools say becomes a verdict, what they do wrong an error.

Stand-ins answer, die and hang; the tools themselves are asked where their environments are there.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from neurodeploy import vendor
from neurodeploy.errors import EnvironmentMissing, NeurodeployError
from neurodeploy.export.speck_document import read_document, write_document
from tests.commands import bare, run, run_json
from tests.event_nets import residual
from tests.export import hand_bundles
from tests.export.speck_bundles import classifier
from tests.ir.hand_graphs import chain
from tests.validate.event_bundles import exported, re_sign
from tests.vendor.fake_python import alive, fake, pids

VERSIONS = {"python": "3.10.9", "numpy": "1.26.4", "samna": "0.7.1.0"}
GOOD = {"ok": True, "verdict": "accepted", "message": "", "module": "samna.speck2b", "versions": VERSIONS}
BEGINS = """
with open(os.path.join(folder, "progress.json"), "w") as file:
    json.dump({"doing": "checking", "module": "samna.speck2b", "versions": {"samna": "0.7.1.0"}}, file)
"""


def answers(status: Any) -> str:
    return BEGINS + f"open(os.path.join(folder, 'status.json'), 'w').write({json.dumps(status)!r})\n"


class Lab:
    """A bundle, and interpreters that were added and play the tools."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.diary = folder, folder / "diary"
        self.bundle = exported(classifier(), folder / "b")

    def does(self, work: str, name: str = "speck") -> None:
        python = fake(self.folder / name / "python", versions=dict(vendor.lock_named(name).pins), work=work, diary=self.diary)
        vendor.add(name, python)

    def asks(self, tool: str = "samna", *options: str) -> tuple[int, dict[str, Any]]:
        return run_json("validate", str(self.bundle), "--oracle", tool, *options)


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lab:
    monkeypatch.setenv("NEURODEPLOY_CACHE", str(tmp_path / "cache"))
    return Lab(tmp_path)


def test_a_configuration_that_is_accepted(lab: Lab) -> None:
    lab.does(answers(GOOD))
    code, answer = lab.asks()
    found = answer["data"]["oracle"]
    assert (code, found["name"], found["version"], found["status"]) == (0, "samna", "0.7.1.0", "accepted")
    assert (found["message"], found["module"], found["predicted"]) == ("", "samna.speck2b", "accepted")
    assert found["environment"]["name"] == "speck" and found["versions"] == VERSIONS and found["wall_s"] > 0
    assert json.loads((lab.bundle / "verdict.json").read_text()) == answer["data"]
    shown = bare(run("validate", str(lab.bundle), "--oracle", "samna")[1])
    assert "samna, speck.json ok the validator of samna.speck2b accepts the configuration" in shown and "VALID" in shown


@pytest.mark.parametrize(("said", "text"), [("rejected", "rejects"), ("type_error", "has no field for")])
def test_a_refusal_quotes_the_validator(said: str, text: str, lab: Lab) -> None:
    lab.does(answers({**GOOD, "verdict": said, "message": "Layer[1] is too large\n"}))
    code, answer = lab.asks()
    (error,) = answer["errors"]
    assert (code, error["code"], answer["data"]["oracle"]["status"]) == (4, f"oracle_{said}", said)
    assert error["what"] == f"the validator of samna.speck2b {text} the configuration: Layer[1] is too large"
    assert error["limit"] == "The rules known here say: accepted"
    assert answer["data"]["agreement"] == 1, "our own simulators agree"
    assert [c["name"] for c in answer["data"]["checks"] if not c["ok"]] == ["samna, speck.json"]


def test_a_validator_that_dies_is_a_verdict(lab: Lab) -> None:
    dies = "import resource; resource.setrlimit(resource.RLIMIT_CORE, (0, 0)); os.kill(os.getpid(), signal.SIGSEGV)"
    lab.does(BEGINS + dies)
    code, answer = lab.asks()
    assert (code, answer["errors"][0]["code"], answer["data"]["oracle"]["status"]) == (4, "oracle_crash", "crash")
    assert "dies of the configuration" in answer["errors"][0]["what"] and "SIGSEGV" in answer["errors"][0]["what"]


@pytest.mark.parametrize(
    ("work", "code", "options"),
    [(BEGINS + "time.sleep(300)", "vendor_timeout", ("--oracle-timeout", "0.5")), ("", "vendor_garbage", ()),
     (answers({**GOOD, "verdict": "fine"}), "vendor_garbage", ()), (BEGINS + "sys.exit(3)", "vendor_crashed", ())],
    ids=["hangs", "silent", "nonsense", "exits"],
)
@pytest.mark.parametrize("tool", ["samna", "sinabs"])
def test_a_tool_that_fails(work: str, code: str, options: tuple[str, ...], tool: str, lab: Lab) -> None:
    lab.does(work, {"samna": "speck", "sinabs": "sinabs"}[tool])
    found, answer = lab.asks(tool, *options)
    assert (found, answer["errors"][0]["code"]) == (7, code)
    assert answer["data"]["oracle"]["status"] == "failed" and answer["data"]["agreement"] == 1
    assert not [pid for pid in pids(lab.diary, "work") if alive(pid)]


def rebuilding(made: Path, **status: Any) -> str:
    """sinabs' worker, whose result is a copy of a folder's configuration."""
    good = {"ok": True, "valid": True, "message": "", "versions": {"sinabs": "3.1.3"}, **status}
    return f"""
import shutil
os.mkdir(os.path.join(folder, "result"))
for name in ("speck.json", "speck_arrays.npz"):
    shutil.copyfile(os.path.join({str(made)!r}, name), os.path.join(folder, "result", name))
open(os.path.join(folder, "status.json"), "w").write({json.dumps(good)!r})
"""


def test_sinabs_makes_the_same_integers_or_others(lab: Lab, tmp_path: Path) -> None:
    lab.does(rebuilding(lab.bundle), "sinabs")
    code, answer = lab.asks("sinabs")
    found = answer["data"]["oracle"]
    assert (code, found["status"], found["difference"], found["version"]) == (0, "equal", None, "3.1.3")
    assert "3 cores, 528 weights" in answer["data"]["checks"][-1]["what"]
    document, arrays = read_document(lab.bundle)
    document["cnn_layers"]["2"]["threshold_low"] = -7
    other = tmp_path / "other"
    other.mkdir()
    write_document(other, document, arrays)
    lab.does(rebuilding(other), "sinabs")
    code, answer = lab.asks("sinabs")
    assert (code, answer["errors"][0]["code"], answer["data"]["oracle"]["status"]) == (4, "oracle_mismatch", "differs")
    assert "core 2.threshold_low: -40 != -7" in answer["errors"][0]["what"]
    lab.does(rebuilding(other, valid=False, message="too large"), "sinabs")
    code, answer = lab.asks("sinabs")
    assert (code, answer["errors"][0]["code"], answer["data"]["oracle"]["status"]) == (4, "oracle_rejected", "rejected")


def test_tools_that_cannot_be_asked_are_refused_before_the_work(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def work(*args: Any, **kwargs: Any) -> None:
        raise AssertionError("the bundle was validated first")

    monkeypatch.setattr("neurodeploy.jobs.validate.validate_events", work)
    monkeypatch.setattr("neurodeploy.jobs.validate.validate_bundle", work)
    loihi = hand_bundles.write(chain(), tmp_path / "loihi").path
    joined = exported(residual(), tmp_path / "joined")
    for bundle, tool, code, what in (
        (lab.bundle, "lava", 2, "lava does not compute neurons of speck2f"), (loihi, "samna", 2, "samna does not compute"),
        (loihi, "sinabs", 2, "sinabs does not compute"), (lab.bundle, "nengo", 2, "no vendor tool 'nengo'"),
        (joined, "sinabs", 2, "sinabs cannot rebuild this network: core 2 feeds 2 cores"),
        (lab.bundle, "samna", 5, "no side environment 'speck'"), (joined, "samna", 5, "no side environment 'speck'"),
        (lab.bundle, "sinabs", 5, "no side environment 'sinabs'"), (loihi, "lava", 5, "no side environment 'loihi2'"),
    ):
        found, answer = run_json("validate", str(bundle), "--oracle", tool)
        assert (found, what in answer["errors"][0]["what"]) == (code, True), answer["errors"]
    assert run_json("validate", str(lab.bundle), "--oracle", "samna", "--oracle-timeout", "0")[0] == 2


def absent(name: str) -> str | None:
    """Why a tool cannot be asked here, None where it can."""
    try:
        vendor.find(name)
    except NeurodeployError as error:
        assert isinstance(error, EnvironmentMissing)
        return f"{error.what}. {error.remedy}"
    return None


@pytest.mark.skipif(absent("speck") is not None, reason=str(absent("speck")))
def test_the_real_validator(tmp_path: Path) -> None:
    for name, graph, padded in (("a", classifier(), False), ("b", classifier(), True), ("c", residual(), False)):
        code, answer = run_json("validate", str(exported(graph, tmp_path / name, padded=padded)), "--oracle", "samna")
        found = answer["data"]["oracle"]
        assert (code, found["status"], found["module"], found["version"]) == (0, "accepted", "samna.speck2b", "0.7.1.0")
    document, arrays = read_document(tmp_path / "a")
    document["cnn_layers"]["2"]["destinations"][0]["pooling"] = 3
    write_document(tmp_path / "a", document, arrays)
    re_sign(tmp_path / "a")
    code, answer = run_json("validate", str(tmp_path / "a"), "--oracle", "samna")
    found, last = answer["data"]["oracle"], answer["errors"][-1]
    assert code in (3, 4) and (found["status"], found["predicted"], last["code"]) == ("rejected", "rejected", "oracle_rejected")
    assert found["message"].strip() and found["message"].strip() in last["what"]


@pytest.mark.skipif(absent("sinabs") is not None, reason=str(absent("sinabs")))
def test_the_real_sinabs(tmp_path: Path) -> None:
    code, answer = run_json("validate", str(exported(classifier(), tmp_path / "a")), "--oracle", "sinabs")
    found = answer["data"]["oracle"]
    assert (code, found["status"], found["version"]) == (0, "equal", "3.1.3"), answer["errors"]
