"""`simulate` writes exactly what the definition of the arithmetic computes, whole or not at all."""

from __future__ import annotations

import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from neurodeploy.cost.windows import steps_until_settled
from neurodeploy.errors import UsageError
from neurodeploy.export import golden
from neurodeploy.ir import serialize
from neurodeploy.ir.nodes import CubaLif
from neurodeploy.jobs import simulate as jobs
from neurodeploy.jobs.net_options import NetOptions
from neurodeploy.jobs.simulate import SimulateResult, simulate
from neurodeploy.sim import reference
from numpy.typing import NDArray
from tests.ir import hand_graphs

import strangers


def run(folder: Path, name: str, **options: Any) -> tuple[SimulateResult, dict[str, NDArray[Any]]]:
    net, given, _ = strangers.write(name, folder)
    result = simulate(net, options.pop("given", given), folder / "out.npz", **options)
    with np.load(folder / "out.npz") as file:
        return result, {key: file[key] for key in file.files}


@pytest.mark.parametrize("name", sorted(strangers.NETWORKS))
@pytest.mark.parametrize("use_reference", [False, True])
def test_every_layer_is_that_of_the_definition(name: str, use_reference: bool, tmp_path: Path) -> None:
    result, found = run(tmp_path, name, states=True, use_reference=use_reference)
    graph = strangers.NETWORKS[name]()
    n_steps = steps_until_settled(graph)
    trace = reference.simulate(graph, strangers.given(graph), n_steps, record_state=True)
    assert trace.v_mem is not None and trace.i_syn is not None
    if name == "biased":  # the chip adds a bias to the membrane: it is no current
        assert trace.i_syn["0.neuron"].any()
        trace.i_syn["0.neuron"][:] = 0
    tables: dict[str, dict[str, Any]] = {"spikes": trace.spikes, "v_mem": trace.v_mem, "i_syn": trace.i_syn}
    layers = [n.name for n in graph.neurons]
    wanted = {f"{kind}/{layer}": table[layer] for kind, table in tables.items() for layer in layers if layer in table}
    assert list(found) == list(wanted) == list(result.arrays)
    for key, values in wanted.items():
        assert np.array_equal(found[key], values), key
        assert list(values.shape) == result.arrays[key]
    assert result.n_timesteps == n_steps and result.n_samples == 2 and result.input == "input"
    assert result.spikes_per_layer == {layer: int(np.count_nonzero(trace.spikes[layer])) for layer in layers}
    assert min(result.spikes_per_layer.values()) > 0, "a silent layer proves nothing"


def test_a_recording_takes_little_room(tmp_path: Path) -> None:
    _, found = run(tmp_path, "plain", states=True)
    assert found["spikes/0.neuron"].dtype == np.int8
    assert found["v_mem/0.neuron"].dtype == np.int32 and np.abs(found["v_mem/0.neuron"]).max() >= 2**15
    with zipfile.ZipFile(tmp_path / "out.npz") as file:
        assert len(file.namelist()) == 6
    first = (tmp_path / "out.npz").read_bytes()
    run(tmp_path, "plain", states=True)
    assert (tmp_path / "out.npz").read_bytes() == first


def test_the_recording_lies_as_the_input_does(tmp_path: Path) -> None:
    graph = strangers.biased()
    x = strangers.given(graph)
    _, batched = run(tmp_path, "biased")
    for sample in (0, 1):
        once = x[0, sample]
        np.savez(tmp_path / "torch.npz", once)
        np.savez(tmp_path / "lava.npz", once.transpose(2, 1, 0))
        _, alone = run(tmp_path, "biased", given=tmp_path / "torch.npz")
        result, lava = run(tmp_path, "biased", given=tmp_path / "lava.npz", layout="lava")
        assert result.n_input_timesteps is None and result.n_samples == 1
        for key, values in batched.items():
            assert np.array_equal(alone[key], values[:, sample])
            assert np.array_equal(lava[key], values[:, sample].transpose())
        assert lava["spikes/0.neuron"].shape == (2, 3, 2, graph.n_chip_steps) and alone["spikes/2.neuron"].any()


@pytest.mark.parametrize("n_timesteps", [1, 5, 30])
def test_as_many_timesteps_as_asked_for(n_timesteps: int, tmp_path: Path) -> None:
    result, found = run(tmp_path, "recurrent", n_timesteps=n_timesteps)
    graph = strangers.recurrent()
    wanted = reference.simulate(graph, strangers.given(graph), n_timesteps).spikes
    assert result.n_timesteps == n_timesteps
    assert all(np.array_equal(found[f"spikes/{n.name}"], wanted[n.name]) for n in graph.neurons)


def test_the_input_may_be_longer_than_the_files_own_samples(tmp_path: Path) -> None:
    graph = strangers.plain()
    x = strangers.given(graph, n_timesteps=25)
    np.savez(tmp_path / "long.npz", x)
    result, found = run(tmp_path, "plain", given=tmp_path / "long.npz")
    assert (result.n_input_timesteps, result.n_timesteps) == (25, 27)
    wanted = reference.simulate(replace(graph, n_timesteps=25), x).spikes
    assert np.array_equal(found["spikes/1.neuron"], wanted["1.neuron"]) and wanted["1.neuron"][15:].any()


def test_samples_in_parts_are_the_samples_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    graph = strangers.recurrent()
    np.savez(tmp_path / "many.npz", strangers.given(graph, batch=7))
    whole, found = run(tmp_path, "recurrent", given=tmp_path / "many.npz", states=True)
    monkeypatch.setattr(jobs, "_BATCH_BYTES", 10 * 13 * 21 * 3)  # three samples at a time
    parts, again = run(tmp_path, "recurrent", given=tmp_path / "many.npz", states=True)
    assert whole == parts and whole.n_samples == 7
    assert all(np.array_equal(found[key], again[key]) for key in found)


def test_the_read_out_of_the_chip(tmp_path: Path) -> None:
    _, lava = run(tmp_path, "plain", states=True)
    _, chip = run(tmp_path, "plain", states=True, v_readout="loihi2")
    for layer in ("0.neuron", "1.neuron"):
        fired = lava[f"spikes/{layer}"] != 0
        assert fired.any() and np.array_equal(lava[f"spikes/{layer}"], chip[f"spikes/{layer}"])
        assert (lava[f"v_mem/{layer}"][fired] == 0).all() and (chip[f"v_mem/{layer}"][fired] == 128).all()
        assert np.array_equal(lava[f"v_mem/{layer}"][~fired], chip[f"v_mem/{layer}"][~fired])


def test_a_bundles_golden_input_gives_its_golden_spikes(tmp_path: Path) -> None:
    graph = hand_graphs.residual()
    vectors = golden.record(graph, hand_graphs.inputs(graph))
    serialize.save(graph, tmp_path / "graph.npz")
    golden.save(vectors, tmp_path / "golden.npz")
    simulate(tmp_path / "graph.npz", tmp_path / "golden.npz", tmp_path / "out.npz")
    with np.load(tmp_path / "out.npz") as found:
        assert set(found.files) == {f"spikes/{name}" for name in vectors.spikes}
        assert all(np.array_equal(found[f"spikes/{name}"], raster) for name, raster in vectors.spikes.items())


@pytest.mark.parametrize("target", ["loihi1", "loihi2"])
def test_a_target_says_whether_it_fits(target: str, tmp_path: Path) -> None:
    result, found = run(tmp_path, "plain", target=target)
    assert result.fits is True and not result.errors
    graph = strangers.plain()
    nodes = tuple(replace(n, v_th=2**18) if isinstance(n, CubaLif) and n.name == "1.neuron" else n for n in graph.nodes)
    serialize.save(replace(graph, nodes=nodes), tmp_path / "loud.npz")
    result = simulate(tmp_path / "loud.npz", tmp_path / "plain-in.npz", tmp_path / "loud-out.npz", target=target)
    assert result.fits is False and [e.exit_code for e in result.errors] == [3] and "thresholds" in str(vars(result.errors[0]))
    with np.load(tmp_path / "loud-out.npz") as loud:
        assert np.array_equal(loud["spikes/0.neuron"], found["spikes/0.neuron"]) and loud["spikes/0.neuron"].any()


def test_what_is_refused_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    net, given, _ = strangers.write("plain", tmp_path)
    (tmp_path / "file").write_text("mine")
    before = sorted(tmp_path.iterdir())
    for out in (tmp_path, tmp_path / "file" / "out.npz", given):
        payload = given.read_bytes()
        with pytest.raises(UsageError) as caught:
            simulate(net, given, out)
        assert str(out) in caught.value.where and caught.value.remedy and given.read_bytes() == payload
    with pytest.raises(UsageError, match="cannot be set"):
        simulate(net, given, tmp_path / "out.npz", net=NetOptions(reset_interval=3))
    with pytest.raises(UsageError, match=r"GiB.*samples"):
        simulate(net, given, tmp_path / "out.npz", n_timesteps=10**8)

    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("numpy.lib.format.write_array", full)
    with pytest.raises(UsageError, match="No space left"):
        simulate(net, given, tmp_path / "out.npz")
    assert sorted(tmp_path.iterdir()) == before


def test_an_older_recording_survives_a_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(tmp_path, "plain")
    old = (tmp_path / "out.npz").read_bytes()
    monkeypatch.setattr("neurodeploy.jobs.simulate._arrays", lambda trace: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        run(tmp_path, "plain")
    assert (tmp_path / "out.npz").read_bytes() == old
