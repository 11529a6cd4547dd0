"""Exported bundles computed by Intel's Lava in its side environment: every layer's spikes are ours.

Skipped where no environment is there; `neurodeploy env create loihi2` makes one (Python 3.10, half a minute).
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from neurodeploy import vendor
from neurodeploy.data.chip_input import chip_input
from neurodeploy.errors import EnvironmentMissing, NeurodeployError
from neurodeploy.export import golden
from neurodeploy.export.bundle import write_manifest
from neurodeploy.hw.profile import target
from neurodeploy.ir.graph import IntGraph
from neurodeploy.ir.nodes import Array, CubaLif
from neurodeploy.ir.serialize import save
from neurodeploy.lower import lower
from neurodeploy.quantize import quantize
from neurodeploy.validate import open_bundle
from neurodeploy.vendor.worker import play
from tests.commands import run_json
from tests.ir.hand_graphs import chain, inputs, residual
from tests.vendor.fake_python import alive, wait_for
from tests.vendor.oracle_bundles import write
from tests.vendor.oracle_graphs import recurrent_delayed, sigma_delta
from tests.vendor.random_networks import network

import strangers
from deployable import ARCHS, autosnn, images


def absent() -> str | None:
    """Why Lava cannot be asked here, None where it can."""
    try:
        vendor.find("loihi2")
    except NeurodeployError as error:
        assert isinstance(error, EnvironmentMissing)
        return f"{error.what}. {error.remedy}"
    return None


WHY = absent()
pytestmark = pytest.mark.skipif(WHY is not None, reason=str(WHY))


@cache
def searched(arch: int) -> tuple[IntGraph, Array]:
    """A network of the search space, lowered and quantized, with chip inputs of three images."""
    chip, x = target("loihi2"), images(3)
    net = quantize(lower(autosnn(ARCHS[arch], False), chip, "graded", n_levels=17), chip, x)
    return net, chip_input(net, x)


def case(name: str) -> tuple[IntGraph, Array]:
    if name.startswith("searched"):
        return searched(int(name[-1]))
    graph = {
        "chain": chain("spikes"), "chain, graded": chain("graded"), "chain, bias": chain("bias"),
        "residual": residual("graded"), "recurrent": recurrent_delayed(), "sigma-delta": sigma_delta(),
    }[name]
    return graph, inputs(graph, 2)


# The files of each bundle that Lava plays: netx holds chains only.
BOTH, ALONE = ["graph.npz", "network.net"], ["graph.npz"]
CASES = {
    "chain": BOTH, "chain, graded": BOTH, "chain, bias": BOTH, "residual": ALONE, "recurrent": ALONE, "searched 0": ALONE,
    "searched 1": ALONE,
}


@pytest.mark.parametrize("name", CASES)
def test_lava_computes_the_same(name: str, tmp_path: Path) -> None:
    graph, x = case(name)
    bundle = write(graph, x, tmp_path / "bundle")
    code, answer = run_json("validate", str(bundle), "--oracle", "lava", "--oracle-timeout", "300")
    found = answer["data"]["oracle"]
    assert code == 0, answer["errors"]
    assert (found["status"], found["version"], found["n_differences"]) == ("equal", "0.10.0", 0)
    assert [route["file"] for route in found["routes"]] == CASES[name]
    expected = golden.load(bundle / "golden.npz").spikes
    assert found["n_compared"] == len(found["routes"]) * sum(raster.size for raster in expected.values())
    silent = [layer for layer, raster in expected.items() if not raster.any()]
    assert not silent, "a silent layer equals any other"


@pytest.mark.parametrize(
    ("name", "files"),
    [("recurrent", BOTH), ("delayed", BOTH), ("sigma_delta", BOTH), ("biased", BOTH), ("unbalanced", ALONE)],
)
def test_networks_that_strangers_have(name: str, files: list[str], tmp_path: Path) -> None:
    graph = replace(getattr(strangers, name)(), target="loihi2")
    shuffled = replace(graph, nodes=graph.nodes[::-1]) if graph.is_acyclic else graph
    bundle = write(shuffled, strangers.given(graph, graph.n_timesteps), tmp_path / "bundle")
    code, answer = run_json("validate", str(bundle), "--oracle", "lava", "--oracle-timeout", "300")
    found = answer["data"]["oracle"]
    assert (code, found["n_differences"], [r["file"] for r in found["routes"]]) == (0, 0, files), answer["errors"]
    assert all(raster.any() for raster in golden.load(bundle / "golden.npz").spikes.values())


def test_sigma_delta_networks(tmp_path: Path) -> None:
    graph, x = case("sigma-delta")
    bundle = write(graph, x, tmp_path / "bundle")
    expected = golden.load(bundle / "golden.npz").spikes
    assert all((raster < 0).any() and (raster > 1).any() for raster in expected.values()), "messages are graded and signed"
    code, answer = run_json("validate", str(bundle), "--oracle", "lava", "--oracle-timeout", "300")
    assert (code, answer["data"]["oracle"]["n_differences"]) == (0, 0), answer["errors"]


def test_lava_notices_another_threshold(tmp_path: Path) -> None:
    """The comparison can fail: golden spikes of a network whose last layer fires later."""
    graph, x = case("residual")
    bundle = write(graph, x, tmp_path / "bundle")
    later = IntGraph(
        tuple(n if n.name != "out" else CubaLif(**{**vars(n), "v_th": 70}) for n in graph.nodes), graph.edges,
        graph.n_timesteps, graph.metadata, target="loihi2",
    )
    other = write(later, x, tmp_path / "other")
    shutil.copyfile(other / "golden.npz", bundle / "golden.npz")
    manifest = open_bundle(other).manifest
    write_manifest(bundle, {k: v for k, v in manifest.items() if k not in ("files", "sha256")})
    code, answer = run_json("validate", str(bundle), "--oracle", "lava", "--oracle-timeout", "300")
    found, data = answer["data"]["oracle"], answer["data"]
    assert (code, found["status"]) == (4, "differs")
    assert {e["code"] for e in answer["errors"]} == {"golden_mismatch", "oracle_mismatch"}
    assert (found["routes"][0]["first_divergence"]["layer"], data["first_divergence"]["layer"]) == ("out", "out")
    changed = golden.load(other / "golden.npz").spikes["out"]
    assert found["n_differences"] == int(np.count_nonzero(changed != golden.record(graph, x).spikes["out"])) > 0


@pytest.mark.parametrize("start", range(0, 24, 6))
def test_random_networks_with_every_feature(start: int, tmp_path: Path) -> None:
    n_spikes = 0
    for seed in range(start, start + 6):
        graph, x, expected = network(seed)
        save(graph, tmp_path / "graph.npz")
        n_steps = len(next(iter(expected.values())))
        shapes = {name: raster.shape[2:] for name, raster in expected.items()}
        answer = play(vendor.find("loihi2"), tmp_path / "graph.npz", x, n_steps, shapes, timeout_s=300)
        for name, raster in expected.items():
            np.testing.assert_array_equal(answer.outputs[name], raster, err_msg=f"seed {seed}, {name}")
            n_spikes += int(np.count_nonzero(raster))
    assert n_spikes > 100


@pytest.mark.parametrize("options", [(), ("--net",)])
def test_the_script_of_a_bundle(options: tuple[str, ...], tmp_path: Path) -> None:
    graph, x = case("chain")
    bundle = write(graph, x, tmp_path / "bundle")
    python = vendor.find("loihi2").python
    command = [str(python), "run_on_loihi2.py", "--out", str(tmp_path / "lab.json"), *options]
    done = subprocess.run(command, cwd=bundle, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    lab = json.loads((tmp_path / "lab.json").read_text())
    assert (lab["ok"], lab["n_differences"], lab["versions"]["lava-nc"]) == (True, 0, "0.10.0")
    assert lab["route"] == ("network.net" if options else "graph.npz")
    assert sum(sum(s["spikes"].values()) for s in lab["samples"]) > 0


ASKS = """
import sys
from pathlib import Path
import numpy as np
from neurodeploy import vendor
from neurodeploy.vendor.worker import play
x = np.load(sys.argv[2])
play(vendor.find("loihi2"), Path(sys.argv[1]), x, len(x), {"out": (6,)}, timeout_s=600)
"""


def test_lava_does_not_outlive_whoever_asked(tmp_path: Path) -> None:
    """Killed, so that it cannot clean up: the worker notices and ends with all of Lava's processes."""
    graph, x = case("chain")
    save(graph, tmp_path / "graph.npz")
    np.save(tmp_path / "x.npy", np.repeat(x, 500, axis=1))  # minutes of work
    command = [sys.executable, "-c", ASKS, str(tmp_path / "graph.npz"), str(tmp_path / "x.npy")]
    mark = f"NEURODEPLOY_ASKED_BY={tmp_path}"
    environment = {**os.environ, "NEURODEPLOY_ASKED_BY": str(tmp_path)}

    def workers() -> list[int]:
        found = []
        for entry in Path("/proc").glob("[0-9]*"):
            try:
                ours = mark.encode() in (entry / "environ").read_bytes().split(b"\0")
                if ours and b"lava_worker" in (entry / "cmdline").read_bytes():
                    found.append(int(entry.name))
            except OSError:  # it has ended meanwhile
                continue
        return [p for p in found if alive(p)]

    folders: set[Path] = set()
    with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            wait_for(lambda: len(workers()) > 3)  # the worker and processes that Lava forked from it
            folders = {Path(f"/proc/{p}/cwd").readlink() for p in workers()}
        finally:
            process.kill()
    wait_for(lambda: not workers())
    assert folders and not [f for f in folders if f.exists()]
