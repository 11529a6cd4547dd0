"""`.nir` files with random damage: each is read, or refused as a file, with nothing else raised or warned of."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from neurodeploy.errors import NeurodeployWarning, UnsafeFile
from neurodeploy.ir.nir import read_nir, write_nir
from neurodeploy.ir.nir_foreign import NirOptions
from neurodeploy.ir.reference import evaluate
from tests.ir import test_nir_write
from tests.ir.test_nir_foreign import write
from tests.ir.test_nir_foreign_equations import deep, delayed, fc, flat_maps, recurrent

ODD: tuple[Any, ...] = (
    0.0, -1.0, float("nan"), float("inf"), 1e300, 1e-300, 2.5, 65536.0, 0, -1, 3, 2**31, 2**62, "text", np.zeros(0),
    np.ones((1, 1, 1, 1, 1)),
)


def files(folder: Path) -> list[Path]:
    for i, make in enumerate((deep, flat_maps, delayed)):
        write(folder / f"{i}.nir", make()[0])
    write(folder / "3.nir", *recurrent(fc(4, 4)))
    write_nir(test_nir_write.integrating(), folder / "4.nir")
    write_nir(test_nir_write.recurrent(), folder / "5.nir", 1e-4)
    return sorted(folder.glob("*.nir"))


def damage(path: Path, rng: np.random.Generator) -> None:
    with h5py.File(path, "a") as file:
        node, names = file["node"], list[str]()
        node.visititems(lambda name, item: names.append(name) if isinstance(item, h5py.Dataset) else None)
        name = names[rng.integers(len(names))]
        value = node[name][()]
        del node[name]
        kind = int(rng.integers(6))
        if kind == 0 or np.asarray(value).dtype.kind not in "iuf":
            if kind < 3:
                node[name] = ODD[rng.integers(len(ODD))]
        elif kind == 1:
            node[name] = np.asarray(value)[np.newaxis]
        elif kind == 2:
            node[name] = np.broadcast_to(value, (3, *np.shape(value)))
        elif kind == 3:
            node[name] = np.asarray(value).reshape(-1)[:1]
        elif kind == 4:
            one = np.array(value, dtype=float)
            one.reshape(-1)[rng.integers(one.size)] = rng.choice([0, -1, np.nan, 1e9, 0.5])
            node[name] = one


@pytest.mark.parametrize("seed", range(3))
def test_damaged_files(seed: int, tmp_path: Path) -> None:
    rng, read, refused = np.random.default_rng(seed), 0, 0
    sound, path = files(tmp_path), tmp_path / "damaged.nir"
    for i in range(120):
        path.write_bytes(sound[i % len(sound)].read_bytes())
        damage(path, rng)
        reset: Any = ("hard", "soft", "late")[i % 3]
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", NeurodeployWarning)
                graph = read_nir(path, NirOptions(">", reset, "none", False, 3, None, 1.0))
        except UnsafeFile as err:
            refused += 1
            assert str(path) in err.where
            continue
        read += 1
        evaluate(graph, np.ones((3, 1, *graph.inputs[0].shape)))
    assert read > 10 and refused > 40
