"""The parts of the run script that need no Lava; with Lava it runs in the side environment."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from neurodeploy.export import run_on_loihi2 as script
from neurodeploy.ir.graph import Edge, IntGraph
from neurodeploy.ir.reference import conv2d
from neurodeploy.ir.serialize import save
from tests.export.hand_bundles import write
from tests.ir.hand_graphs import chain, inputs, residual

KNOWN = {
    "__future__", "argparse", "hashlib", "importlib", "json", "lava", "numpy", "pathlib", "platform", "sys", "tempfile",
    "time", "types", "typing",
}


def net_of(graph: IntGraph, folder: Path) -> script.Net:
    return script.Net(*script.read_archive(write(graph, folder / "b").path / "graph.npz"))


def test_it_stands_alone_and_is_python_3_10() -> None:
    text = Path(script.__file__).read_text(encoding="utf-8")
    tree = ast.parse(text, feature_version=(3, 10))
    imported = {a.name.split(".")[0] for n in ast.walk(tree) if isinstance(n, ast.Import) for a in n.names}
    imported |= {(n.module or "").split(".")[0] for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)}
    assert imported <= KNOWN


def test_it_reads_what_was_exported(tmp_path: Path) -> None:
    graph = residual("graded")
    net = net_of(graph, tmp_path)
    assert (net.source, net.n_timesteps) == ("input", 5)
    assert set(net.neurons) == {n.name for n in graph.neurons}
    np.testing.assert_array_equal(net.nodes["c.conv"]["weight"], graph["c.conv"].weight)  # type: ignore[attr-defined]
    assert net.origins("fc") == [("c", 1, True)]
    assert net.origins("c") == [("c.conv", 0, False), ("c.identity", 0, False)]
    script.check_supported(net)


def test_lava_s_convolution_of_turned_weights_is_ours() -> None:
    """Lava: sum over kx, ky of flipped weights (O, kx, ky, I) on (W, H, C); an asymmetric kernel on an asymmetric map."""
    rng = np.random.default_rng(0)
    x, w = rng.integers(0, 9, (1, 3, 5, 4)), rng.integers(-9, 9, (2, 3, 3, 2))
    wanted = conv2d(x, w, (1, 1), (0, 0), (1, 1), 1)[0]
    image, kernel = script.to_lava(x)[..., 0], script.lava_kernel(w)
    assert (image.shape, kernel.shape) == ((4, 5, 3), (2, 2, 3, 3))
    got = np.zeros((3, 3, 2), dtype=int)  # W, H, C
    for kx in range(2):
        for ky in range(3):
            # True convolution: y[p] = sum_k w[k] x[p + size - 1 - k]
            part = image[1 - kx : 1 - kx + 3, 2 - ky : 2 - ky + 3]
            got += np.einsum("xyi,oi->xyo", part, kernel[:, kx, ky])
    np.testing.assert_array_equal(script.from_lava(got[np.newaxis])[0], wanted)


def test_the_first_divergence_is_the_earliest() -> None:
    a = {"one": np.zeros((4, 2, 2), dtype=int), "two": np.zeros((4, 3), dtype=int)}
    b = {k: v.copy() for k, v in a.items()}
    assert script.first_divergence(["one", "two"], a, b, 0) is None
    b["one"][3, 1, 0] = 1
    b["two"][2, 1] = 1
    b["two"][3, 0] = 1
    assert script.first_divergence(["one", "two"], a, b, 5) == {
        "layer": "two", "timestep": 2, "neuron": [1], "sample": 5, "expected": 0, "got": 1,
    }
    b["one"][2, 0, 1] = 1
    found = script.first_divergence(["one", "two"], a, b, 5)
    assert found is not None
    assert (found["layer"], found["neuron"]) == ("one", [0, 1])


def test_biases_replace_direct_input_only_where_they_can(tmp_path: Path) -> None:
    graph = chain("bias")
    net = net_of(graph, tmp_path)
    x = script.extend(inputs(graph)[:, 0], "bias", 9)
    np.testing.assert_array_equal(x[8], x[5])
    np.testing.assert_array_equal(script.as_bias(net, "stem.lif", x), x[0])
    x[2] += 1
    assert script.as_bias(net, "stem.lif", x) is None
    assert script.as_bias(net, "stem.lif", np.full((9, 4, 6, 4), 4096)) is None
    np.testing.assert_array_equal(script.extend(np.ones((2, 3), dtype=int), "graded", 4).sum(axis=1), [3, 3, 0, 0])


def changed(graph: IntGraph, folder: Path, delays: dict[tuple[str, str], int], **nodes: dict[str, Any]) -> script.Net:
    """The script's view of a graph with other delays and other values in some nodes."""
    edges = tuple(Edge(e.src, e.dst, delays.get((e.src, e.dst), e.delay)) for e in graph.edges)
    values = tuple(replace(n, **nodes.get(n.name.replace(".", "_"), {})) for n in graph.nodes)
    save(replace(graph, nodes=values, edges=edges), folder / "graph.npz")
    return script.Net(*script.read_archive(folder / "graph.npz"))


@pytest.mark.parametrize(
    ("chip", "delays", "nodes", "what"),
    [(False, {("stem.lif", "pool.or"): 0}, {}, r"pool\.or: a delay of 0 timesteps from stem\.lif; .* at least 1"),
     (True, {("stem.lif", "pool.or"): 2}, {}, r"pool\.or: a delay of 2 timesteps from stem\.lif; the chip has no process"),
     (True, {("flat", "fc"): 66}, {}, "fc: a delay of 66 timesteps from conv.lif; the chip"),
     (False, {}, {"fc": {"weight": np.full((6, 12), 256)}}, r"fc: weights from 256 to 256; Lava holds -256\.\.255"),
     (True, {}, {"fc": {"weight": np.arange(-3, 69).reshape(6, 12)}}, "fc: odd weights of both signs"),
     (False, {}, {"fc": {"delays": np.full((6, 12), 64)}}, r"fc: delays from 64 to 64; Lava offers 0\.\.63"),
     (False, {}, {"stem": {"sum_bits": 20}}, "stem: sums may leave 24 bits"),
     (False, {}, {"out": {"state_bits": 20}}, "out: Lava's LIF has 24 bits of state"),
     (False, {}, {"out": {"bias_mant": np.full(6, 2**15)}}, "out: Lava's LIF has 16 bits of bias")],
)
def test_what_lava_lacks_is_named(
    chip: bool, delays: dict[tuple[str, str], int], nodes: dict[str, dict[str, Any]], what: str, tmp_path: Path
) -> None:
    with pytest.raises(script.RunnerError, match=what) as caught:
        script.check_supported(changed(chain(), tmp_path, delays, **nodes), chip)
    assert caught.value.code == 2


def test_what_lava_has_passes(tmp_path: Path) -> None:
    delays = {("stem.lif", "pool.or"): 3, ("flat", "fc"): 64, ("fc", "out"): 9}
    script.check_supported(changed(chain(), tmp_path, delays, fc={"weight": np.arange(-3, 69).reshape(6, 12)}))
    script.check_supported(changed(chain("graded"), tmp_path, {}, stem={"sum_bits": 24}))


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(folder / "run_on_loihi2.py"), "--out", str(folder.parent / "lab.json"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def test_as_a_command_without_lava(tmp_path: Path) -> None:
    folder = write(residual(), tmp_path / "b").path
    found = run(folder)
    assert (found.returncode, "pip install lava-nc==0.10.0" in found.stderr) == (5, True)
    found = run(folder, "--net")
    assert (found.returncode, "several sources or destinations" in found.stderr) == (2, True)
    payload = bytearray((folder / "graph.npz").read_bytes())
    payload[len(payload) // 2] ^= 1
    (folder / "graph.npz").write_bytes(bytes(payload))
    found = run(folder)
    assert (found.returncode, "graph.npz: the file was changed" in found.stderr) == (6, True)
    (folder / "graph.npz").unlink()
    assert "graph.npz: the file is missing" in run(folder).stderr
    assert run(folder, "--bundle", str(tmp_path)).returncode == 2
    assert not (tmp_path / "lab.json").exists()


def test_lab_json_of_a_comparison(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """The whole command with the Lava run replaced by the simulator, once right and once with one spike turned."""
    from neurodeploy.sim.clocked import simulate

    graph = chain()
    folder = write(graph, tmp_path / "b").path
    turned: dict[str, Any] = {}

    class Played:
        rail_power = None

        def __init__(self, net: script.Net, chip: bool, power: bool) -> None:
            assert not chip

        def play(self, x: Any, n_steps: int, netx: Any) -> dict[str, Any]:
            assert netx is None
            spikes = simulate(graph, x[:, np.newaxis], n_steps).spikes
            found = {n.name: spikes[n.name][:, 0].copy() for n in graph.neurons}
            if turned:
                found["pool"][3, 0, 1, 1] ^= 1
            return found

    monkeypatch.setattr(script, "LavaRun", Played)
    monkeypatch.setattr(script.importlib.util, "find_spec", lambda name: name)
    arguments = ["--bundle", str(folder), "--out", str(tmp_path / "lab.json")]
    assert script.main(arguments) == 0
    lab = json.loads((tmp_path / "lab.json").read_text())
    assert (lab["ok"], lab["first_divergence"], lab["rail_power"], len(lab["samples"])) == (True, None, None, 2)
    assert sum(lab["samples"][0]["spikes"].values()) > 0
    turned["yes"] = True
    assert script.main([*arguments, "--samples", "1"]) == 4
    lab = json.loads((tmp_path / "lab.json").read_text())
    assert (lab["n_differences"], lab["first_divergence"]["layer"], lab["first_divergence"]["timestep"]) == (1, "pool", 3)
    assert "first divergence: layer pool, timestep 3, neuron [0, 1, 1], sample 0" in capsys.readouterr().out
