"""`simulate` on streams of events writes what the definition of the chip's order computes; rasters still run clocked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from neurodeploy.data.event_files import save_events
from neurodeploy.errors import UsageError
from neurodeploy.export.golden_events import load_events
from neurodeploy.hw.profile import EventProfile, any_target
from neurodeploy.ir import serialize
from neurodeploy.ir.graph import IntGraph
from neurodeploy.jobs import event_simulate
from neurodeploy.jobs.event_simulate import EventSimulateResult
from neurodeploy.jobs.export import export
from neurodeploy.jobs.simulate import SimulateResult, simulate
from neurodeploy.lower.event_cores import lower_to_events
from neurodeploy.sim import clocked, events_reference
from neurodeploy.sim.events_graph import from_graph
from neurodeploy.sim.events_load import core_loads
from neurodeploy.sim.events_trace import Order
from numpy.typing import NDArray
from tests import event_models
from tests.event_nets import integers, residual
from tests.export.speck_bundles import streams

from commands import bare, run, run_json


def network() -> IntGraph:
    """With a shortcut, so that the order of events matters."""
    profile = any_target("speck2f")
    assert isinstance(profile, EventProfile)
    return integers(lower_to_events(residual(), profile))


def written(folder: Path, n: int = 5) -> list[NDArray[Any]]:
    """The network as graph.npz, and streams as in.npz."""
    serialize.save(network(), folder / "graph.npz")
    given = [*streams((2, 8, 8))[:3], np.zeros((0, 4), dtype=np.int64), streams((2, 8, 8))[0][:20]][:n]
    np.savez(folder / "in.npz", events=np.concatenate(given), offsets=np.cumsum([0, *map(len, given)]))
    return [np.asarray(stream) for stream in given]


def events_of(folder: Path, **options: Any) -> tuple[EventSimulateResult, dict[str, NDArray[Any]]]:
    result = simulate(folder / "graph.npz", folder / "in.npz", folder / "out.npz", **options)
    assert isinstance(result, EventSimulateResult)
    with np.load(folder / "out.npz") as file:
        return result, {name: file[name] for name in file.files}


@pytest.mark.parametrize("order", ["depth", "breadth"])
@pytest.mark.parametrize("use_reference", [False, True])
def test_every_spike_is_that_of_the_definition(tmp_path: Path, order: Order, use_reference: bool) -> None:
    given = written(tmp_path)
    result, found = events_of(tmp_path, order=order, use_reference=use_reference)
    net, states = from_graph(network())
    traces = [events_reference.simulate(net, stream, order=order, v_init=states) for stream in given]
    layers = list(net.index)
    assert set(found) == {f"{kind}/{name}" for kind in ("spikes", "offsets") for name in layers} == set(result.arrays)
    for name in layers:
        ends = found[f"offsets/{name}"]
        parts = np.split(found[f"spikes/{name}"], ends[1:-1])
        assert len(parts) == len(given) and all(
            np.array_equal(part, trace.spikes[name].tcyx) for part, trace in zip(parts, traces, strict=True)
        )
    assert result.spikes_per_layer == {name: sum(t.n_spikes[name] for t in traces) for name in layers}
    assert min(result.spikes_per_layer.values()) > 0, "a silent layer proves nothing"
    assert result.synops_per_layer == {name: sum(t.n_synops[name] for t in traces) for name in layers}
    assert result.n_events == sum(map(len, given)) and result.duration_from == "last event"
    loads = core_loads(traces, 1e-6, 1e-3, duration_s=result.duration_us * 1e-6)
    for load in loads:
        assert result.synops_per_s[load.name]["mean"] == pytest.approx(load.mean_per_s)
        assert result.synops_per_s[load.name]["peak"] == pytest.approx(load.peak_per_s)


def test_the_orders_differ_where_paths_meet(tmp_path: Path) -> None:
    written(tmp_path)
    depth, breadth = (events_of(tmp_path, order=order)[1] for order in ("depth", "breadth"))
    assert any(not np.array_equal(depth[name], breadth[name]) for name in depth)


def test_samples_in_parts_are_the_samples_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written(tmp_path)
    whole, found = events_of(tmp_path)
    monkeypatch.setattr(event_simulate, "_BATCH", 2)
    parts, again = events_of(tmp_path)
    assert whole == parts and all(np.array_equal(found[name], again[name]) for name in found)
    monkeypatch.setattr(event_simulate, "MAX_SPIKES", 10)
    with pytest.raises(UsageError, match="more than 10 spikes"):
        events_of(tmp_path)


def test_golden_events_give_golden_spikes(tmp_path: Path) -> None:
    model = event_models.write(tmp_path)
    export(model.path, "speck2f", out=tmp_path / "b")
    code, answer = run_json(
        "simulate", str(tmp_path / "b"), "--input", str(tmp_path / "b" / "golden.npz"), "--out", str(tmp_path / "o.npz")
    )
    assert code == 0 and answer["data"]["n_timesteps"] is None
    golden = load_events(tmp_path / "b" / "golden.npz")
    with np.load(tmp_path / "o.npz") as found:
        for name, tables in golden.spikes.items():
            assert np.array_equal(found[f"spikes/{name}"], np.concatenate(tables)) and len(found[f"spikes/{name}"])


def test_what_a_person_sees(tmp_path: Path) -> None:
    written(tmp_path)
    files = [str(tmp_path / name) for name in ("graph.npz", "in.npz", "out.npz")]
    code, shown = run("simulate", files[0], "--input", files[1], "--out", files[2], "--order", "breadth")
    assert code == 0 and "breadth first" in bare(shown) and "spikes/<layer>, offsets/<layer>" in bare(shown)


def test_a_model_is_quantized_for_the_target(tmp_path: Path) -> None:
    model = event_models.write(tmp_path)
    export(model.path, "speck2f", out=tmp_path / "b")
    found = []
    for path, options in ((model.path, {"target": "speck2f"}), (tmp_path / "b", {})):
        result = simulate(path, model.data, tmp_path / "out.npz", **options)  # type: ignore[arg-type]
        assert isinstance(result, EventSimulateResult) and result.duration_us == 100_000
        found.append(result.spikes_per_layer)
    assert found[0] == found[1] and min(found[0].values()) > 0
    with pytest.raises(UsageError, match="real numbers"):
        simulate(model.path, model.data, tmp_path / "out.npz")


def test_rasters_run_clocked(tmp_path: Path) -> None:
    written(tmp_path)
    x = np.random.default_rng(0).integers(0, 3, size=(5, 2, 2, 8, 8))
    np.savez(tmp_path / "in.npz", input=x)
    result = simulate(tmp_path / "graph.npz", tmp_path / "in.npz", tmp_path / "out.npz")
    assert isinstance(result, SimulateResult) and result.n_timesteps == 5
    with np.load(tmp_path / "out.npz") as found:
        for name, raster in clocked.simulate(network(), x, 5).spikes.items():
            assert name == "input" or (np.array_equal(found[f"spikes/{name}"], raster) and raster.any())
    with pytest.raises(UsageError, match="no stream of events"):
        simulate(tmp_path / "graph.npz", tmp_path / "in.npz", tmp_path / "out.npz", order="depth")


@pytest.mark.parametrize("asked", [{"states": True}, {"n_timesteps": 3}, {"layout": "lava"}, {"v_readout": "loihi2"}])
def test_options_of_timesteps_are_refused(tmp_path: Path, asked: dict[str, Any]) -> None:
    written(tmp_path)
    with pytest.raises(UsageError, match="no timesteps"):
        events_of(tmp_path, **asked)
    assert not (tmp_path / "out.npz").exists()


def test_events_on_other_networks_are_refused(tmp_path: Path) -> None:
    import strangers

    net, _, _ = strangers.write("plain", tmp_path)
    save_events(tmp_path / "events.npz", event_models.recordings())
    with pytest.raises(UsageError, match="chip with timesteps") as caught:
        simulate(net, tmp_path / "events.npz", tmp_path / "out.npz")
    assert caught.value.error_code == "other_arithmetic"


def test_events_outside_the_sensor_are_named(tmp_path: Path) -> None:
    written(tmp_path)
    for events, code in (([[0, 0, 9, 1]], "event_outside"), ([[5, 0, 1, 1], [3, 0, 1, 1]], "events_unsorted")):
        np.savez(tmp_path / "in.npz", events=events)
        with pytest.raises(UsageError) as caught:
            events_of(tmp_path)
        assert caught.value.error_code == code and caught.value.remedy
