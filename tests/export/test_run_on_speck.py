"""The loader script of a bundle with a stand-in for the vendor's package; the real one is asked in the side environment."""

from __future__ import annotations

import ast
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from neurodeploy.export import speck
from neurodeploy.export.speck_document import read_document
from tests.event_nets import residual
from tests.export.fake_samna import play
from tests.export.speck_bundles import Written, classifier, uneven, write

SCRIPT = Path(speck.__file__).with_name("run_on_speck.py")


def answers(made: Written, stride: int = 1) -> list[list[list[int]]]:
    """What a perfect chip sends: the golden output spikes, and one of another core."""
    layer = read_document(made.path)[0]["output"]["layer"]
    core = made.plan.core_of(layer)
    return [
        [[t + 10_000, core, stride * c, y, x] for t, c, y, x in table.tolist()] + [[5, (core + 1) % 9, 0, 0, 0]]
        for table in made.golden.spikes[layer]
    ]


def test_it_stands_alone_and_is_python_3_8() -> None:
    tree = ast.parse(SCRIPT.read_text(encoding="utf-8"), feature_version=(3, 8))
    imported = {a.name.split(".")[0] for n in ast.walk(tree) if isinstance(n, ast.Import) for a in n.names}
    imported |= {(n.module or "").split(".")[0] for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)}
    assert imported <= {
        "__future__", "argparse", "hashlib", "importlib", "json", "numpy", "pathlib", "platform", "sys", "time", "typing",
    }  # fmt: skip
    calls = [n for n in ast.walk(tree) if isinstance(n, ast.Call) and isinstance(n.func, ast.Name) and n.func.id == "zip"]
    assert not [c for c in calls if c.keywords], "zip(strict=) came with Python 3.10"


def test_it_writes_every_field(tmp_path: Path) -> None:
    made = write(uneven(), tmp_path / "b")
    code, out, _, diary = play(made.path, kill_bits=True)
    assert code == 0 and out.startswith("accepted by samna.speck2f")
    document, arrays = read_document(made.path)
    cores = diary["configuration"]["cnn_layers"]
    for number, entry in document["cnn_layers"].items():
        found = cores[int(number)]
        assert found["dimensions"] == entry["dimensions"]
        for field, kill in (("weights", "weights_kill_bit"), ("biases", "biases_kill_bit"),
                            ("neurons_initial_value", "neurons_value_kill_bit")):
            np.testing.assert_array_equal(found[field], arrays[entry[field]])
            assert np.shape(found[kill]) == np.shape(found[field]) and not np.any(found[kill])
        for field in ("threshold_high", "threshold_low", "return_to_zero", "leak_enable", "monitor_enable"):
            assert found[field] == entry[field]
        assert found["destinations"][: len(entry["destinations"])] == entry["destinations"]
    used = {int(number) for number in document["cnn_layers"]}
    assert all(not cores[k]["weights"] for k in set(range(9)) - used), "others stay untouched"
    assert diary["configuration"]["dvs_layer"]["pass_sensor_events"] is False
    assert "weights_kill_bit" not in play(made.path)[3]["configuration"]["cnn_layers"][0], "chips of today have none"


def test_a_rejected_configuration(tmp_path: Path) -> None:
    made = write(uneven(), tmp_path / "b")
    code, out, _, _ = play(made.path, accepts=False, message="Layer[1] is too large")
    assert (code, out) == (4, "rejected by samna.speck2f: Layer[1] is too large\n")


@pytest.mark.parametrize("kind", ["uneven", "residual", "padded"])
def test_a_board_that_does_as_expected(kind: str, tmp_path: Path) -> None:
    graph = {"uneven": uneven, "residual": residual, "padded": classifier}[kind]()
    made = write(graph, tmp_path / "b", padded=kind == "padded")
    stride = 4 if kind == "padded" else 1
    lab = tmp_path / "lab.json"
    code, out, err, diary = play(made.path, "--chip", "--samples", "2", "--out", str(lab), answers=answers(made, stride))
    assert code == 0, err
    assert out.endswith("2 of 2 answers as expected (Speck2fDevKit)\n")
    result = json.loads(lab.read_text())
    document, _ = read_document(made.path)
    layer = document["output"]["layer"]
    for k, sample in enumerate(result["samples"]):
        golden = made.golden.spikes[layer][k]
        assert sample["equal"] and sample["counts"] == sample["expected_counts"] and sum(sample["counts"]) == len(golden) > 0
        assert [[t, c // stride, y, x] for t, c, y, x in sample["output"]] == golden.tolist(), "times are the sample's own"
    assert result["rail_power"] == pytest.approx({"io": 1e-4, "ram": 2e-4, "logic": 3e-4, "vddd": 4e-4, "vdda": 5e-4})
    assert (result["target"], result["ok"], diary["power"]) == ("speck2f", True, [100.0, "stop"])
    # States are written between samples, all words of the cores in use, and events go to every core that the input feeds.
    assert {int(core): n // 2 for core, n in diary["zeroed"].items()} == {u.core: u.neuron_words_max for u in made.plan.cores}
    ways = document["input"]["destinations"]
    assert [len(written) for written in diary["written"]] == [len(ways) * len(made.golden.events[k]) for k in (0, 1)]
    t, c, y, x = made.golden.events[0][0].tolist()
    assert diary["written"][0][0] == [t + 10_000, ways[0]["layer"], c + ways[0]["feature_shift"], y, x]


def test_other_answers(tmp_path: Path) -> None:
    made = write(classifier(), tmp_path / "b")
    silent: list[Any] = [[], [], []]
    code, out, err, _ = play(made.path, "--chip", "--out", str(tmp_path / "lab.json"), answers=silent)
    result = json.loads((tmp_path / "lab.json").read_text())
    expected = [s["expected_answer"] for s in result["samples"]]
    assert any(expected), "class 0 is what silence answers"
    assert code == 4 and not result["ok"] and "OTHER answer, 0 spikes" in err
    assert f"{expected.count(0)} of 3 answers" in out


def test_the_readout_block(tmp_path: Path) -> None:
    made = write(classifier(), tmp_path / "b", padded=True)
    binary = tmp_path / "model.bin"
    options = ("--flash", str(binary), "--readout-window", "32", "--readout-threshold", "5")
    code, out, _, diary = play(made.path, *options, flash=True)
    assert code == 0 and binary.read_bytes() == bytes([1, 2, 255, 24]) and "4 bytes" in out
    readout = diary["configuration"]["readout"]
    assert (readout["enable"], readout["threshold"], readout["low_pass_filter32_not16"]) == (True, 5, True)
    assert not readout["low_pass_filter_disable"]
    last = diary["configuration"]["cnn_layers"][made.plan.core_of("n3")]
    assert last["destinations"][0] == {"layer": 12, "enable": True, "pooling": 1, "feature_shift": 0}
    plain = write(classifier(), tmp_path / "p")
    assert play(plain.path, "--flash", str(binary), flash=True)[0] == 0
    assert binary.read_bytes() == bytes([1, 2, 255, 0]), "no readout block, no pins"


@pytest.mark.parametrize(("told", "code", "what"), [
    ({"boards": []}, 5, "no board 0 with a speck2f is connected (boards: none)"),
    ({"boards": ["Davis 346"]}, 5, "(boards: Davis 346)"),
    ({"held": True}, 5, "cannot be opened"),
])  # fmt: skip
def test_boards_that_are_not_there(told: dict[str, Any], code: int, what: str, tmp_path: Path) -> None:
    made = write(uneven(), tmp_path / "b")
    found = play(made.path, "--chip", **told)
    assert found[0] == code and what in found[2]


def test_without_the_package_or_its_parts(tmp_path: Path) -> None:
    made = write(uneven(), tmp_path / "b")
    code, _, err, _ = play(made.path, "--flash", str(tmp_path / "x"))
    assert code == 5 and "cannot make a flash binary" in err
    other = write(uneven(), tmp_path / "d", "dynapcnn")
    code, _, err, _ = play(other.path)
    assert code == 5 and "no module dynapcnn" in err
    (made.path / "speck.json").write_text((made.path / "speck.json").read_text() + " ")
    code, _, err, _ = play(made.path)
    assert code == 6 and "speck.json: the file was changed" in err
    (made.path / "manifest.json").unlink()
    assert play(made.path)[0] == 2
