"""Hostile model files: exit code 6, nothing executed, at once and in little memory, measured on the command itself."""

from __future__ import annotations

import io
import json
import resource
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from neurodeploy.data.datasets import load as load_data
from neurodeploy.data.one_array import read_array
from neurodeploy.errors import NeurodeployError, UnsafeFile, UsageError
from neurodeploy.models.files import load_model
from neurodeploy.models.foreign_gate import check_model_file

import hostile_files
from commands import run_json

MAX_SECONDS = 2.0  # of the process; the processor's time too, so that a busy machine does not decide
MAX_BYTES = 500 * 2**20
FILES = hostile_files.files()


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty working folder, where the mark of executed code would be seen."""
    monkeypatch.chdir(tmp_path)


# Started from a small process: the peak of a child counts that of the process it was forked from, and pytest's grows.
_MEASURE = """
import json, os, subprocess, sys
child = subprocess.Popen(sys.argv[1:], stdout=subprocess.DEVNULL)
_, status, used = os.wait4(child.pid, 0)
print(json.dumps([os.waitstatus_to_exitcode(status), used.ru_utime + used.ru_stime, used.ru_maxrss * 1024]))
"""


def measured(*args: str) -> tuple[int, str, float, int]:
    """(exit code, stderr, seconds of processor time, bytes at the peak) of the command in a process of its own."""
    command = [sys.executable, "-S", "-c", _MEASURE, sys.executable, "-m", "neurodeploy", *args]
    found = subprocess.run(command, capture_output=True, text=True, check=True)
    code, seconds, peak = json.loads(found.stdout)
    return code, found.stderr, seconds, peak


@pytest.mark.parametrize("name", FILES)
def test_a_hostile_file_costs_nothing(name: str) -> None:
    Path(name).write_bytes(FILES[name])
    before = sorted(Path.cwd().iterdir())
    code, said, seconds, peak = measured("check", name, "--target", "loihi2")
    assert code == 6, said
    assert said.startswith("Error: ") and said.count("Error: ") == 1 and name in said
    assert seconds < MAX_SECONDS and peak < MAX_BYTES, (seconds, peak)
    assert sorted(Path.cwd().iterdir()) == before


def test_the_measure_can_fail() -> None:
    """A file that passes the headers costs what importing torch and reading it costs: the accounting sees that."""
    torch.save({"w": torch.zeros(2)}, "fine.pt")
    code, said, seconds, peak = measured("check", "fine.pt", "--target", "loihi2")
    assert code == 2 and "--arch" in said
    assert seconds > 0.3 and peak > 100 * 2**20


@pytest.mark.parametrize("name", FILES)
def test_the_library_refuses_it(name: str) -> None:
    Path(name).write_bytes(FILES[name])
    with pytest.raises(UnsafeFile) as caught:
        check_model_file(name)
    assert name in caught.value.where and caught.value.what and (caught.value.limit or caught.value.remedy)
    if Path(name).suffix in (".pt", ".pth", ".safetensors"):
        with pytest.raises(UnsafeFile):
            load_model(name, "4 T=1 | linear | vote 2")
    assert not Path(hostile_files.EXECUTED).exists()


@pytest.mark.parametrize("name", ["evil.pt", "two_gigabytes.safetensors", "objects.npz", "two_gigabytes.nir", "model.onnx"])
def test_every_command_refuses_it(name: str) -> None:
    Path(name).write_bytes(FILES[name])
    for command in (
        ("energy", name, "--target", "loihi2"), ("export", name, "--target", "loihi2"), ("compare", name, "--target", "all"),
        ("simulate", name, "--input", name, "--out", "out.npz"), ("convert", name, "--timesteps", "4"),
    ):
        code, answer = run_json(*command, "--arch", "4 T=1 | linear | vote 2")
        assert code == 6 and name in answer["errors"][0]["where"], (command, answer["errors"])
    assert sorted(p.name for p in Path.cwd().iterdir()) == [name]


@pytest.mark.parametrize(
    ("name", "ways"),
    [("evil.pt", "getattr called"), ("evil.pt", "state_dict"), ("evil_legacy.pt", "getattr called"),
     ("script.pt", "state_dict"), ("model.onnx", ".nir"), ("renamed.nir", "Rename"), ("two_gigabytes.pt", "16 bytes"),
     ("bomb.pt", "52428800"),
     ("two_gigabytes.safetensors", "describes"), ("objects.npz", "nothing in it was executed")],
)  # fmt: skip
def test_the_refusal_says_what_it_saw_and_the_way_out(name: str, ways: str) -> None:
    Path(name).write_bytes(FILES[name])
    with pytest.raises(UnsafeFile) as caught:
        check_model_file(name)
    assert ways in str(caught.value)


def test_names_in_a_file_do_not_steer_the_terminal() -> None:
    torch.save({"\x1b[2Jw\r.weight": torch.zeros(2, 2)}, "names.pt")
    with pytest.raises(UsageError) as caught:
        load_model("names.pt")
    assert "\x1b" not in str(caught.value) and "?[2Jw?.weight [2, 2]" in caught.value.limit
    Path("call.pt").write_bytes(hostile_files.torch_zip(b"\x80\x02c\x1b[31mos\nsystem" + b"m" * 9999 + b"\n.", {}))
    with pytest.raises(UnsafeFile) as refused:
        check_model_file("call.pt")
    assert "\x1b" not in str(refused.value) and "?[31mos.system" in str(refused.value) and len(str(refused.value)) < 800


def test_old_torch_files_of_weights_alone_get_another_way_out() -> None:
    torch.save({"w": torch.zeros(2)}, "old.pt", _use_new_zipfile_serialization=False)
    with pytest.raises(UnsafeFile) as caught:
        check_model_file("old.pt")
    assert "1.6" in caught.value.what and "weights_only=True" in caught.value.remedy


@pytest.mark.parametrize("opcodes", [b"}", b"(", b")\x85", b"]", b"N", b"K\x01", b"ccollections\nOrderedDict\n)R"])
def test_a_stream_as_long_as_may_be_is_read_in_time(opcodes: bytes) -> None:
    n = (2**19 - 10) // len(opcodes)
    Path("long.pt").write_bytes(hostile_files.torch_zip(b"\x80\x02(" + opcodes * n + b"t.", {}))
    began, before = time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(NeurodeployError) as caught:
        load_model("long.pt", "4 T=1 | linear | vote 2")
    assert caught.value.exit_code in (2, 6)
    assert time.process_time() - began < 10  # about a second; work that grows with the square would take minutes
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 < MAX_BYTES


def doubled(op: bytes) -> bytes:
    """Tuples that hold themselves twice, sixty times over: 2^60 values to whoever copies, hashes or prints them."""
    return b"\x80\x02)" + b"2\x86"[:0] + b"".join(b"q" + bytes([i]) + b"h" + bytes([i]) + b"\x86" for i in range(60)) + op


@pytest.mark.parametrize("op", [b".", b"}h\x3bK\x01s.", b"ccollections\nOrderedDict\nh\x3b\x85R.", b"h\x3bQ.", b"h\x3b)R."])
def test_shared_values_are_never_copied_hashed_or_printed(op: bytes) -> None:
    Path("shared.pt").write_bytes(hostile_files.torch_zip(doubled(op), {}))
    began = time.process_time()
    with pytest.raises((UnsafeFile, UsageError)):
        load_model("shared.pt", "4 T=1 | linear | vote 2")
    assert time.process_time() - began < 1


def sound() -> dict[str, bytes]:
    """Small files that load."""
    state = {"0.weight": torch.arange(12.0).reshape(3, 4), "0.bias": torch.zeros(3)}
    out = io.BytesIO()
    torch.save(state, out)
    header = {"0.weight": {"dtype": "F32", "shape": [3, 4], "data_offsets": [0, 48]}}
    return {"m.pt": out.getvalue(), "m.safetensors": hostile_files.safetensors(header, bytes(48))}


@pytest.mark.parametrize("name", ["m.pt", "m.safetensors"])
def test_truncated_and_flipped_files_are_read_or_refused(name: str) -> None:
    whole = sound()[name]
    arch = "4 T=2 v_th=1 fire=>= reset=soft | linear | if | vote 3"
    Path(name).write_bytes(whole)
    load_model(name, arch)
    rng = np.random.default_rng(5)
    outcomes = {"read": 0, "refused": 0}
    variants = [whole[:n] for n in rng.integers(0, len(whole), 150)]
    for _ in range(600):
        changed = bytearray(whole)
        for place in rng.integers(0, len(whole), int(rng.integers(1, 4))):
            changed[place] ^= 1 << int(rng.integers(8))
        variants.append(bytes(changed))
    for variant in variants:
        Path(name).write_bytes(variant)
        try:
            load_model(name, arch)
        except NeurodeployError as error:
            assert error.exit_code in (2, 6) and error.what
            outcomes["refused"] += 1
        else:
            outcomes["read"] += 1
    assert outcomes["read"] > 5 and outcomes["refused"] > 300, outcomes
    assert not Path(hostile_files.EXECUTED).exists()


def test_headers_of_json_that_python_takes_and_json_does_not() -> None:
    infinite = b'{"w": {"dtype": "F32", "shape": [Infinity], "data_offsets": [0, 4]}}'
    for text in (b'{"w": NaN}', infinite, b'{"w": ' + b"9" * 5000):
        Path("m.safetensors").write_bytes(hostile_files.safetensors(text))
        with pytest.raises(UnsafeFile):
            check_model_file("m.safetensors")


def test_data_that_unpacks_without_end() -> None:
    """Half a megabyte that is half a gigabyte of images: refused by what the archive claims. A sound one is read."""
    for name, n in (("bomb.npz", 2**29), ("sound.npz", 2**23)):
        with zipfile.ZipFile(name, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("x.npy", "w") as stream:
            stream.write(hostile_files.npy(f"{{'descr': '|u1', 'fortran_order': False, 'shape': ({n // 1024}, 32, 32), }}"))
            for _ in range(n // 2**20):
                stream.write(bytes(2**20))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(UnsafeFile, match="claims to unpack") as caught:
        load_data("bomb.npz")
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 < MAX_BYTES and "savez" in caught.value.remedy
    with pytest.raises(UsageError, match="no array 'y'"):
        load_data("sound.npz")
    with pytest.raises(UnsafeFile, match="claims to unpack"):
        read_array(Path("bomb.npz"))
    assert read_array(Path("sound.npz")).shape == (8192, 32, 32)


def mutated(whole: bytes, rng: np.random.Generator) -> bytes:
    """The bytes with some flipped, left out, put in, or copied from elsewhere in the file."""
    data = bytearray(whole)
    for _ in range(int(rng.integers(1, 7))):
        at, other, n = (int(v) for v in rng.integers(0, max(1, len(data)), 3))
        n = 1 + n % 8
        kind = rng.integers(4)
        if kind == 0 and data:
            data[at] ^= 1 << int(rng.integers(8))
        elif kind == 1:
            del data[at : at + n]
        else:
            data[at : at + (n if kind == 2 else 0)] = data[other : other + n] if kind == 2 else rng.bytes(n)
    return bytes(data)


@pytest.mark.parametrize("name", [name for name, content in FILES.items() if 0 < len(content) < 20_000])
def test_mutations_of_hostile_files_never_crash_the_reader(name: str) -> None:
    """A few of what was run by the million: every answer is a file that passes its headers, or a refusal."""
    rng = np.random.default_rng(len(name))
    path = Path(f"m{Path(name).suffix}")
    refused = 0
    for _ in range(40):
        path.write_bytes(mutated(FILES[name], rng))
        for read in (check_model_file, lambda file: load_model(file, "4 T=1 | linear | vote 2")):
            try:
                read(path)
            except NeurodeployError as error:
                assert error.exit_code in (2, 6) and error.what
                refused += 1
    assert refused > 30 and not Path(hostile_files.EXECUTED).exists()
