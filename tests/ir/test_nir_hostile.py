"""`.nir` files that are made to hurt are refused at once: nothing else is opened, little memory is taken."""

from __future__ import annotations

import time
import tracemalloc
from pathlib import Path
from typing import Any

import h5py
import nir
import numpy as np
import pytest
from neurodeploy.errors import UnsafeFile
from neurodeploy.ir import nir_foreign_flat
from neurodeploy.ir.nir import read_nir
from tests.ir.test_nir_foreign import STATED, neurons, parts, write

TEXT = h5py.string_dtype()


def refused(path: Path, text: str) -> None:
    begin = time.process_time()
    with pytest.raises(UnsafeFile, match=text):
        read_nir(path, STATED)
    assert time.process_time() - begin < 2
    tracemalloc.start()  # a run of its own, for it makes everything slow
    with pytest.raises(UnsafeFile):
        read_nir(path, STATED)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2**27


def doctored(tmp_path: Path, change: Any) -> Path:
    """A sound file with `change` done to its group of nodes."""
    path = write(tmp_path / "g.nir", parts())
    with h5py.File(path, "a") as file:
        change(file["node"])
    return path


def declares(node: h5py.Group, **how: Any) -> None:
    del node["nodes/fc/weight"]
    node["nodes/fc"].create_dataset("weight", shape=(2**14, 2**14), dtype="f8", **how)


def nested(node: h5py.Group) -> None:
    group = node["nodes"]
    for i in range(40):
        group = group.create_group(f"g{i}/nodes")


def linked(node: h5py.Group) -> None:
    node["nodes/again"] = node["nodes"]


def soft(node: h5py.Group) -> None:
    node["nodes/soft"] = h5py.SoftLink("/node/nodes/fc")


def texts(node: h5py.Group) -> None:
    del node["edges"]
    node.create_dataset("edges", data=np.full((60_000, 2), "a", dtype=object), dtype=TEXT, compression="gzip")


def edges(node: h5py.Group) -> None:
    del node["edges"]
    node.create_dataset("edges", data=np.array([(f"a{i}", f"b{i}") for i in range(20_000)], dtype=object), dtype=TEXT)


def reference(node: h5py.Group) -> None:
    node.create_dataset("nodes/fc/metadata", data=node["nodes"].ref, dtype=h5py.ref_dtype)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (declares, "declares 2147483648 bytes. At most 67108864"),
        (lambda node: declares(node, chunks=(64, 64), compression="gzip"), "declares 2147483648 bytes"),
        (nested, "nested too deeply"), (linked, "an object linked twice"), (soft, "a link of kind SoftLink"),
        (texts, "120000 texts. At most 50000"), (edges, "edges: 20000 edges. At most 10000"),
        (reference, "neither numbers nor text"),
    ],
    ids=["declared", "packed", "nested", "linked", "soft", "texts", "edges", "reference"],
)  # fmt: skip
def test_hdf5_that_hurts(change: Any, text: str, tmp_path: Path) -> None:
    refused(doctored(tmp_path, change), text)


def test_a_small_file_that_is_a_network_of_another_size(tmp_path: Path) -> None:
    """Every number in the file is small; what they ask for is not."""
    huge, one, end = np.array([65536, 65536]), np.array([1, 1]), nir.Output(np.array([1]))
    wide = {"input": nir.Input(np.array([8, 65536, 65536])), "n": neurons(1), "output": end}
    pool = {**wide, "input": nir.Input(np.array([1, 65536, 65536])), "n": nir.SumPool2d(huge, one, 0 * one)}
    refused(write(tmp_path / "wide.nir", wide), "beyond any network")
    refused(write(tmp_path / "pool.nir", pool), r"n: windows of \(65536, 65536\) over 1 channels")


def test_more_nodes_than_any_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nir_foreign_flat, "MAX_NODES", 100)
    one = np.array([1])
    nodes = {"input": nir.Input(one), **{f"n{i}": neurons(1) for i in range(100)}, "output": nir.Output(one)}
    refused(write(tmp_path / "long.nir", nodes), "nodes: 102 nodes. At most 100")
