"""Model files: what is written comes back, and nothing in a foreign file is believed or executed."""

from __future__ import annotations

import io
import json
import pickle
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from neurodeploy.errors import UnsafeFile, UsageError
from neurodeploy.models.autosnn import AutoSnn, MacroConfig, SuperNet
from neurodeploy.models.files import load_module, save

CONFIG = MacroConfig(1, (8, 8), 3, width=4, n_timesteps=3, group=2, bn_time="per_step", tau0=1.7)
ARCH = ("SRB_k3", "skip_connect", "SCB_k5", "SRB_k5", "skip_connect")
SUFFIXES = (".safetensors", ".pt")


@pytest.fixture
def net() -> AutoSnn:
    torch.manual_seed(0)
    module = AutoSnn(CONFIG, ARCH)
    for _ in range(3):
        module(torch.rand(5, 1, 8, 8))
    module.metadata = {"data": "digits", "accuracy": 0.875, "splits": ["train", "val"]}
    return module


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_round_trip(net: AutoSnn, tmp_path: Path, suffix: str, dtype: torch.dtype) -> None:
    net = net.to(dtype)
    path = tmp_path / f"model{suffix}"
    save(net, path)
    assert [p.name for p in tmp_path.iterdir()] == [path.name]
    loaded = load_module(path)
    assert (loaded.config, loaded.arch, loaded.metadata) == (net.config, net.arch, net.metadata)
    assert not loaded.training
    state = net.state_dict()
    assert loaded.state_dict().keys() == state.keys()
    assert all(torch.equal(v, state[k]) and v.dtype == state[k].dtype for k, v in loaded.state_dict().items())
    x = torch.rand(20, 1, 8, 8, dtype=dtype) * 4
    votes = loaded(x)
    assert torch.equal(votes, net.eval()(x))
    votes.sum().backward()  # a loaded network trains on
    assert loaded.stem.conv.weight.grad is not None


def test_pt_holds_plain_types(net: AutoSnn, tmp_path: Path) -> None:
    save(net, tmp_path / "m.pt")
    content = torch.load(tmp_path / "m.pt", weights_only=True)
    assert set(content) == {"schema_version", "arch", "state_dict", "data"}
    assert content["arch"] == {"macro": CONFIG.to_dict(), "arch": list(ARCH)}


def test_saving_replaces_the_file(net: AutoSnn, tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    path.write_bytes(b"old")
    save(net, str(path))
    assert load_module(str(path)).arch == ARCH


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_every_truncation_is_refused(net: AutoSnn, tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"m{suffix}"
    save(net, path)
    payload = path.read_bytes()
    for n in (0, 5, 8, 100, len(payload) // 2, len(payload) - 1):
        path.write_bytes(payload[:n])
        with pytest.raises(UnsafeFile) as caught:
            load_module(path)
        assert caught.value.exit_code == 6 and caught.value.remedy and str(path) in str(caught.value)


class Bomb:
    """Unpickling this writes a file."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.mark,))


def test_pickles_are_refused_unopened(net: AutoSnn, tmp_path: Path) -> None:
    mark, path = tmp_path / "executed", tmp_path / "m.pt"
    for name in ("schema_version", "arch", "state_dict", "data", "extra"):
        torch.save({**content_of(net), name: Bomb(mark)}, path)
        with pytest.raises(UnsafeFile, match="nothing in it was executed"):
            load_module(path)
    torch.save(net, path)
    with pytest.raises(UnsafeFile, match="nothing in it was executed"):
        load_module(path)
    path.write_bytes(pickle.dumps(Bomb(mark)))
    with pytest.raises(UnsafeFile, match=r"Path\.touch called.*nothing in it was executed"):
        load_module(path)
    path.rename(tmp_path / "m.safetensors")
    with pytest.raises(UnsafeFile):
        load_module(tmp_path / "m.safetensors")
    assert not mark.exists()


def content_of(net: AutoSnn) -> dict[str, Any]:
    return {"schema_version": 1, "arch": net.describe(), "state_dict": dict(net.state_dict()), "data": {}}


def nested(levels: int, width: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(levels):
        value = [value] * width
    return value


def changed(**fields: Any) -> Callable[[dict[str, Any]], None]:
    return lambda content: content["arch"]["macro"].update(fields)


def set_tensor(name: str, value: Any) -> Callable[[dict[str, Any]], None]:
    return lambda content: content["state_dict"].__setitem__(name, value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.update(schema_version=2), "schema_version is 2"),
        (lambda c: c.pop("arch"), "no model of neurodeploy"),
        (lambda c: c.update(code="x"), "unknown entries"),
        (lambda c: c.update(arch=["SRB_k3"]), "no dict"),
        (lambda c: c["arch"].pop("macro"), "arch is not"),
        (lambda c: c["arch"].update(arch=["SRB_k3"]), "architecture is invalid"),
        (lambda c: c["arch"].update(arch=[["SRB_k3"]] * 5), "architecture is invalid"),
        (lambda c: c["arch"].update(arch=["SRB_k3"] * 5), "missing or unknown"),
        (lambda c: c.update(data={"x": torch.zeros(2)}), "type Tensor"),
        (lambda c: c.update(data={"x": nested(12, 10)}), "too many"),
        (lambda c: c.update(data={"x": nested(200, 1)}), "too deep"),
        (lambda c: c.update(data={3: 4}), "no string"),
        (changed(width=8), "shape"),
        (changed(width=10**12), "impossible sizes|shape"),
        (changed(width=10**30), "impossible sizes"),
        (changed(image_size=[4, 4]), "vanish"),
        (changed(tau0=float("nan")), "tau0 is nan"),
        (changed(v_th=float("inf")), "v_th is inf"),
        (changed(fire="=="), "fire"),
        (changed(n_classes=True), "n_classes"),
        (lambda c: c["state_dict"].pop("stem.neuron.w"), "missing or unknown: stem.neuron.w"),
        (set_tensor("evil", torch.zeros(1)), "missing or unknown: evil"),
        (set_tensor("stem.neuron.w", torch.zeros(1)), "not a tensor of shape"),
        (set_tensor("stem.neuron.w", 0.5), "not a tensor of shape"),
        (set_tensor("stem.conv.weight", torch.zeros(1).expand(4, 1, 3, 3)), "storage has 1 values"),
        (set_tensor("stem.conv.weight", torch.zeros(4, 1, 3, 3).half()), "float16"),
        (set_tensor("stem.conv.weight", torch.zeros(4, 1, 3, 3).double()), "mix"),
        (set_tensor("stem.conv.weight", torch.full((4, 1, 3, 3), float("inf"))), "not finite"),
        (set_tensor("stem.bn.num_batches_tracked", torch.tensor(1.0)), "type torch.float32"),
    ],
)  # fmt: skip
def test_files_that_lie_are_refused(
    net: AutoSnn, tmp_path: Path, change: Callable[[dict[str, Any]], None], message: str
) -> None:
    content = content_of(net)
    change(content)
    torch.save(content, tmp_path / "m.pt")
    with pytest.raises(UnsafeFile, match=message):
        load_module(tmp_path / "m.pt")


def test_compressed_archives_are_refused(net: AutoSnn, tmp_path: Path) -> None:
    save(net, tmp_path / "m.pt")
    out = io.BytesIO()
    with zipfile.ZipFile(tmp_path / "m.pt") as old, zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as new:
        for entry in old.infolist():
            new.writestr(entry.filename, old.read(entry), zipfile.ZIP_DEFLATED)
    (tmp_path / "m.pt").write_bytes(out.getvalue())
    with pytest.raises(UnsafeFile, match="compressed"):
        load_module(tmp_path / "m.pt")


def safetensors_bytes(header: dict[str, Any] | bytes, body: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + body


@pytest.mark.parametrize(
    ("payload", "message"),
    [
        (struct.pack("<Q", 2**60) + b"{}", "claims"),
        (safetensors_bytes(b"[]"), "no JSON object"),
        (safetensors_bytes(b"{"), "not JSON"),
        (safetensors_bytes(b"[" * 100_000), "not JSON"),
        (safetensors_bytes({"w": 3}), "no shape and data_offsets"),
        (safetensors_bytes({"w": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}, b"1234"), "describes"),
        (safetensors_bytes({}, b"1234"), "bytes appended"),
        (safetensors.torch.save({"w": torch.zeros(2)}), "no architecture"),
        (safetensors.torch.save({"w": torch.zeros(2)}, {"schema_version": "1", "arch": "{"}), "arch is not JSON"),
        (safetensors.torch.save({"w": torch.zeros(2)}, {"schema_version": "7", "arch": "{}"}), "schema_version is '7'"),
        (
            safetensors_bytes({
                "__metadata__": {"schema_version": "1", "arch": "{}"},
                "w": {"dtype": "F32", "shape": [1000], "data_offsets": [0, 8]},
            }, b"12345678"), "needs 4000 bytes",
        ),
    ],
)  # fmt: skip
def test_safetensors_that_lie_are_refused(tmp_path: Path, payload: bytes, message: str) -> None:
    path = tmp_path / "m.safetensors"
    path.write_bytes(payload)
    with pytest.raises(UnsafeFile, match=message):
        load_module(path)


def test_paths_that_do_not_work(net: AutoSnn, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    (tmp_path / "folder.pt").mkdir()
    for path in (tmp_path / "none.pt", tmp_path / "none.safetensors", tmp_path / "model.h5", tmp_path / "folder.pt"):
        with pytest.raises(UsageError):
            load_module(path)
    for path in (tmp_path / "file" / "m.pt", tmp_path / "m.h5", tmp_path / "folder.pt"):
        with pytest.raises(UsageError):
            save(net, path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "folder.pt"]


def test_what_cannot_be_saved(net: AutoSnn, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="SuperNet cannot be saved"):
        save(SuperNet(CONFIG), tmp_path / "m.pt")  # type: ignore[arg-type]
    net.metadata = {"x": {1, 2}}
    with pytest.raises(UsageError, match="not plain JSON"):
        save(net, tmp_path / "m.pt")
    net.metadata = {"x": float("nan")}
    with pytest.raises(UsageError, match="not plain JSON"):
        save(net, tmp_path / "m.safetensors")
    assert not list(tmp_path.iterdir())
