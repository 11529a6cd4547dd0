"""Configurations handed to a validator that answers, dies, hangs or lies: each is a verdict or an error of its own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from neurodeploy import vendor
from neurodeploy.errors import EnvironmentMissing, UnsafeFile, VendorFailure
from neurodeploy.vendor.sinabs_check import check_rebuilt
from neurodeploy.vendor.speck_check import check_configuration
from tests.export.speck_bundles import Written, profile, uneven, write
from tests.vendor.fake_python import alive, fake, pids, wait_for

VERSIONS = {"python": "3.10.9", "numpy": "1.26.4", "samna": "0.7.1.0", "other": None}
GOOD = {"ok": True, "verdict": "accepted", "message": "", "module": "samna.speck2b", "versions": VERSIONS}
BEGINS = """
with open(os.path.join(folder, "progress.json"), "w") as file:
    json.dump({"doing": "checking", "module": "samna.speck2b", "versions": {"samna": "0.7.1.0"}}, file)
"""


def answers(status: object) -> str:
    text = status if isinstance(status, str) else json.dumps(status)
    return BEGINS + f"open(os.path.join(folder, 'status.json'), 'w').write({text!r})\n"


class Lab:
    """A bundle, and interpreters that were added and play the tools."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.diary = folder, folder / "diary"
        self.made: Written = write(uneven(), folder / "b")
        self.does("")

    def does(self, work: str, name: str = "speck", **told: Any) -> vendor.Environment:
        """What the tool does from now on."""
        pins = vendor.lock_named(name).pins
        python = fake(self.folder / name / "python", versions=dict(pins), work=work, diary=self.diary, **told)
        return vendor.add(name, python)

    def asks(self, work: str, timeout_s: float = 60, **told: Any) -> Any:
        return check_configuration(self.does(work, **told), self.made.path, profile(), timeout_s=timeout_s)

    def fails(self, work: str, code: str, what: str, timeout_s: float = 60, **told: Any) -> None:
        with pytest.raises(VendorFailure, match=what) as caught:
            self.asks(work, timeout_s, **told)
        assert (caught.value.error_code, caught.value.exit_code) == (code, 7)


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lab:
    monkeypatch.setenv("NEURODEPLOY_CACHE", str(tmp_path / "cache"))
    return Lab(tmp_path)


def test_answers(lab: Lab) -> None:
    found = lab.asks(answers(GOOD))
    assert found.accepted and (found.verdict, found.module) == ("accepted", "samna.speck2b")
    assert found.versions == {"python": "3.10.9", "numpy": "1.26.4", "samna": "0.7.1.0"}
    assert found.to_dict()["wall_s"] > 0
    found = lab.asks(answers({**GOOD, "verdict": "rejected", "message": "Layer[1] is too large"}))
    assert not found.accepted and (found.verdict, found.message) == ("rejected", "Layer[1] is too large")
    assert lab.asks(answers({**GOOD, "verdict": "type_error"})).verdict == "type_error"


@pytest.mark.parametrize("how", ["SIGSEGV", "SIGFPE", "SIGABRT"])
def test_a_validator_that_dies_is_a_verdict(how: str, lab: Lab) -> None:
    dies = f"import resource; resource.setrlimit(resource.RLIMIT_CORE, (0, 0)); os.kill(os.getpid(), signal.{how})"
    found = lab.asks(BEGINS + dies)
    assert (found.verdict, found.message) == ("crash", f"the validator was ended by signal {how}")
    assert found.module == "samna.speck2b"
    lab.fails(dies, "vendor_crashed", f"ended by signal {how}")  # before it was asked: the package does not run


def test_other_ends(lab: Lab) -> None:
    lab.fails(BEGINS + "os.kill(os.getpid(), signal.SIGKILL)", "vendor_crashed", "SIGKILL")
    lab.fails(BEGINS + "sys.exit(3)", "vendor_crashed", "exit code 3")
    lab.fails("", "vendor_garbage", "without an answer")
    lab.fails(answers({"ok": False, "error": "samna 9 has no module", "versions": {}}), "vendor_crashed", "no module")


def test_a_tool_that_hangs(lab: Lab) -> None:
    lab.fails(BEGINS + "time.sleep(300)", "vendor_timeout", "stopped after 0.5 s", 0.5, n_children=2)
    children = pids(lab.diary, "child")
    assert len(children) == 2
    wait_for(lambda: not any(alive(pid) for pid in children))


@pytest.mark.parametrize("status", [
    "{", "[]", "{}", json.dumps({**GOOD, "verdict": "fine"}), json.dumps({**GOOD, "verdict": "crash"}),
    json.dumps({**GOOD, "message": 3}), json.dumps({**GOOD, "versions": []}), json.dumps({**GOOD, "ok": 1}), " " * (2**20 + 1),
], ids=range(9))  # fmt: skip
def test_nonsense(status: str, lab: Lab) -> None:
    lab.fails(answers(status), "vendor_garbage", "answer|status that is none")


def test_a_tool_that_writes_without_end(lab: Lab) -> None:
    work = "out = open(os.path.join(folder, 'x'), 'wb')\nwhile True: out.write(bytes(10**6))"
    lab.fails(work, "vendor_garbage", "wrote too much")


def test_what_the_tool_is_given(lab: Lab) -> None:
    """The package's own scripts, data of the bundle, and the vendor's names from the profile: the bundle's are a stranger's."""
    document = json.loads((lab.made.path / "speck.json").read_text())
    document["vendor"] = {"module": "os", "configuration": "system", "validator_module": "os"}
    (lab.made.path / "speck.json").write_text(json.dumps(document))
    (lab.made.path / "run_on_speck2f.py").write_text("raise SystemExit('evil')")
    kept = lab.folder / "kept"
    lab.asks(f"import shutil; shutil.copytree(folder, {str(kept)!r})\n" + answers(GOOD))
    given = json.loads((kept / "speck.json").read_text())
    assert given["vendor"]["module"] == "speck2f"
    package = Path(vendor.__file__).parent.parent
    for script in ("vendor/samna_worker.py", "export/run_on_speck.py"):
        assert (kept / "code" / Path(script).name).read_bytes() == (package / script).read_bytes()
    (lab.made.path / "speck_arrays.npz").write_bytes(b"PK")
    with pytest.raises(UnsafeFile):
        lab.asks(answers(GOOD))


def test_no_environment(lab: Lab) -> None:
    vendor.remove("speck")
    for name in ("speck", "sinabs"):
        with pytest.raises(EnvironmentMissing, match=f"no side environment '{name}'") as caught:
            vendor.find(name)
        assert caught.value.exit_code == 5 and f"env create {name}" in caught.value.remedy


def test_another_version_of_samna_is_taken(lab: Lab) -> None:
    python = fake(lab.folder / "own" / "python", versions={"samna": "0.48.6", "numpy": "2.1.0"}, version="3.12.0")
    with pytest.warns(UserWarning, match=r"it has samna 0.48.6, not 0.7.1.0"):
        added = vendor.add("speck", python)
    assert vendor.find("speck") == added and added.versions["samna"] == "0.48.6"


# ---------------------------------------------------------------- sinabs

REBUILDS = """
import shutil
os.mkdir(os.path.join(folder, "result"))
for name in ("speck.json", "speck_arrays.npz"):
    shutil.copyfile(os.path.join(folder, name), os.path.join(folder, "result", name))
"""
STATUS = {"ok": True, "valid": True, "message": "", "versions": {"sinabs": "3.1.3"}}


def test_sinabs_makes_the_same_or_other_values(lab: Lab) -> None:
    same = check_rebuilt(lab.does(REBUILDS + answers(STATUS), "sinabs"), lab.made.path, profile())
    assert same.equal and same.versions == {"sinabs": "3.1.3"}
    change = """
path = os.path.join(folder, "result", "speck.json")
document = json.load(open(path))
for entry in document["cnn_layers"].values():
    entry["monitor_enable"] = True
    entry["threshold_high"] += 1
json.dump(document, open(path, "w"))
"""
    other = check_rebuilt(lab.does(REBUILDS + change + answers(STATUS), "sinabs"), lab.made.path, profile())
    assert other.valid and not other.equal and "threshold_high: 40 != 41" in str(other.difference)
    refused = lab.does(answers({**STATUS, "valid": False, "message": "too large"}), "sinabs")
    bad = check_rebuilt(refused, lab.made.path, profile())
    assert not bad.valid and not bad.equal and bad.to_dict()["message"] == "too large"


def test_sinabs_that_fails(lab: Lab) -> None:
    for work, code in (
        (answers(STATUS), "vendor_garbage"), (answers({"ok": True}), "vendor_garbage"), ("sys.exit(2)", "vendor_crashed"),
        (answers({"ok": False, "kind": "unsupported", "error": "merges by addition"}), "vendor_unsupported"),
    ):
        with pytest.raises(VendorFailure) as caught:
            check_rebuilt(lab.does(work, "sinabs"), lab.made.path, profile())
        assert caught.value.error_code == code
