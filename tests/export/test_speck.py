"""The files of a bundle for event-driven chips: exact, reproducible, in the vendor's axis order, and safe to read."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from neurodeploy.errors import DoesNotFit, UnsafeFile, UsageError
from neurodeploy.export import golden_events
from neurodeploy.export.speck import write_artifacts
from neurodeploy.export.speck_document import differences, encode, read_document, read_speck, write_document
from neurodeploy.ir import archive
from neurodeploy.ir.serialize import load_int, same
from neurodeploy.place.dynapcnn_config import ChipConfig, CnnLayer, Destination, DvsLayer
from neurodeploy.place.dynapcnn_rules import check
from neurodeploy.place.event_cores import limits_of
from tests.event_nets import residual
from tests.export.speck_bundles import classifier, deployed, profile, streams, uneven, write

GRAPHS = {"classifier": classifier, "uneven": uneven, "residual": residual}


@pytest.mark.parametrize("name", GRAPHS)
def test_everything_comes_back(name: str, tmp_path: Path) -> None:
    made = write(GRAPHS[name](), tmp_path / "b")
    assert differences(read_speck(made.path), made.config) is None
    assert same(load_int(made.path / "graph.npz"), made.net) is None
    read = golden_events.load_events(made.path / "golden.npz")
    assert read.n_samples == 3 and all(np.array_equal(a, b) for a, b in zip(read.events, made.golden.events, strict=True))
    for layer, tables in made.golden.spikes.items():
        assert sum(map(len, tables)) > 50, "silent layers equal any other"
        assert all(np.array_equal(a, b) for a, b in zip(tables, read.spikes[layer], strict=True))
    assert {p.name for p in made.path.iterdir()} >= {"graph.npz", "speck.json", "speck_arrays.npz", "run_on_speck2f.py"}


def test_equal_networks_give_equal_bytes(tmp_path: Path) -> None:
    one, two = write(residual(), tmp_path / "one"), write(residual(), tmp_path / "two")
    for path in one.path.iterdir():
        assert path.read_bytes() == (two.path / path.name).read_bytes(), path.name


def test_the_vendor_s_words_and_axes(tmp_path: Path) -> None:
    """x before y, by hand: the uneven network's second core has stride 2 along y, padding 1 along y, a map of 3 x 2."""
    made = write(uneven(), tmp_path / "b")
    document, arrays = read_document(made.path)
    core = str(document["layer2core_map"]["n2"])
    entry = document["cnn_layers"][core]
    assert entry["dimensions"] == {
        "input_shape": {"size": {"x": 4, "y": 6}, "feature_count": 4},
        "output_shape": {"size": {"x": 2, "y": 3}, "feature_count": 6},
        "kernel_size": 3, "stride": {"x": 1, "y": 2}, "padding": {"x": 0, "y": 1},
    }  # fmt: skip
    weights = arrays[entry["weights"]]
    mine = made.net["c2"].weight  # type: ignore[attr-defined]
    assert (weights[5, 3, 0, 2], weights.shape) == (mine[5, 3, 2, 0], (6, 4, 3, 3))
    assert arrays[entry["neurons_initial_value"]].shape == (6, 2, 3)
    assert entry["destinations"] == [
        {"layer": document["layer2core_map"]["n3"], "enable": True, "pooling": 1, "feature_shift": 0}
    ]
    assert (document["chip"], document["target"]) == ("speck2f", "speck2f")
    assert document["input"] == {
        "shape": [2, 12, 8],
        "destinations": [{"layer": document["layer2core_map"]["n1"], "pooling": {"x": 1, "y": 1}, "feature_shift": 0}],
    }


def test_a_residual_block_is_a_feature_shift(tmp_path: Path) -> None:
    document, _ = read_document(write(residual(), tmp_path / "b").path)
    where = document["layer2core_map"]
    shifts = {d["layer"]: d["feature_shift"] for d in document["cnn_layers"][str(where["n1"])]["destinations"]}
    main = document["cnn_layers"][str(where["n2"])]["destinations"]
    assert shifts[where["n2"]] == 0 and {shifts[where["n3"]], main[0]["feature_shift"]} == {0, 4}
    assert document["cnn_layers"][str(where["n3"])]["dimensions"]["input_shape"]["feature_count"] == 8


def test_the_sensor(tmp_path: Path) -> None:
    states = np.arange(512).reshape(1, 16, 32)
    layer = CnnLayer(in_shape=(1, 16, 32), out_shape=(1, 16, 32), threshold_high=3, initial_state=states)
    dvs = DvsLayer((Destination(4, True),), merge=True, pooling=(4, 2), origin=(3, 5), cut=(66, 68), mirror_diagonal=True)
    config = ChipConfig({4: layer}, dvs)
    fields, arrays = encode(config, {4: "first"})
    write_document(tmp_path, fields, arrays)
    assert differences(read_speck(tmp_path), config) is None
    assert fields["dvs_layer"]["pooling"] == {"x": 2, "y": 4} and fields["cnn_layers"]["4"]["layer"] == "first"


def test_differences_are_named() -> None:
    _, _, config = deployed(classifier())
    core = min(config.cores)
    layer = config.cores[core]
    weights = layer.weights.copy()
    weights[1, 0, 2, 1] += 1
    for changed, wanted in (
        ({"weights": weights}, rf"core {core}.weights: 1 of 72 values differ, the first at \(1, 0, 2, 1\)"),
        ({"threshold_high": 7}, f"core {core}.threshold_high: 40 != 7"),
        ({"destinations": ()}, f"core {core}.destinations"),
    ):
        other = ChipConfig({**config.cores, core: replace(layer, **changed)})
        found = differences(config, other)
        assert found is not None
        assert re.match(wanted, found), found
    assert differences(config, ChipConfig({})) is not None
    assert differences(config, ChipConfig(config.cores, DvsLayer())) == "DVS layer: only one of the configurations has it"
    unused = replace(layer, destinations=(*layer.destinations, Destination()))
    assert differences(config, ChipConfig({**config.cores, core: unused})) is None


# ---------------------------------------------------------------- readout


def test_the_readout_reads_every_fourth_channel(tmp_path: Path) -> None:
    made = write(classifier(10), tmp_path / "b", padded=True)
    document, _ = read_document(made.path)
    core = document["output"]["core"]
    padded, own = read_speck(made.path).cores[core], made.config.cores[core]
    assert padded.out_shape == (37, 1, 1) and padded.weights.shape == (37, *own.weights.shape[1:])
    np.testing.assert_array_equal(padded.weights[::4], own.weights)
    between = np.setdiff1d(np.arange(37), np.arange(0, 37, 4))
    assert not padded.weights[between].any() and padded.threshold_high > 0
    block = {"core": core, "destination": 12, "channel_stride": 4, "n_classes": 10, "windows": [1, 16, 32]}
    assert document["readout"] == block
    assert document["output"]["channel_stride"] == 4
    assert not any(d["layer"] == 12 for d in document["cnn_layers"][str(core)]["destinations"]), "old validators die of it"
    assert check(read_speck(made.path), limits_of(profile())) == ()


def test_a_readout_that_cannot_be(tmp_path: Path) -> None:
    for graph, target, what in (
        (classifier(10), "dynapcnn", "no readout block"), (classifier(16), "speck2f", "16 classes"),
        (residual(), "speck2f", "2 neurons for each of 5 classes"), (uneven(), "speck2f", "a map of 1 x 2|output map of 1 x 2"),
    ):
        net, plan, config = deployed(graph, target)
        with pytest.raises(UsageError, match=what):
            write_artifacts(net, plan, profile(target), config, tmp_path, padded=True)


def test_a_padded_layer_that_fits_no_longer(tmp_path: Path) -> None:
    net, plan, config = deployed(classifier(10))
    core = plan.core_of("n3")
    wide = replace(config.cores[core], in_shape=(512, 2, 2), weights=np.zeros((10, 512, 2, 2), dtype=np.int64))
    others = {k: v for k, v in config.cores.items() if k != core}
    with pytest.raises(DoesNotFit, match="kernel words"):
        write_artifacts(net, plan, profile(), ChipConfig({**others, core: wide}), tmp_path, padded=True)


# ---------------------------------------------------------------- files from strangers


def _document(change: Callable[[dict[str, Any]], None]) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        document = json.loads((folder / "speck.json").read_text())
        change(document)
        (folder / "speck.json").write_text(json.dumps(document))

    return apply


def _arrays(change: Callable[[dict[str, Any]], None]) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        document, arrays = archive.unpack(archive.read(folder / "speck_arrays.npz"), "x")
        change(arrays)
        archive.write(folder / "speck_arrays.npz", archive.pack(document, arrays))

    return apply


def _first(document: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = next(iter(document["cnn_layers"].values()))
    return found


def _pickled(folder: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path.write_text, (folder / "ran", "evil"))

    np.savez(folder / "speck_arrays.npz", x=np.array([Evil()], dtype=object))


DAMAGE: dict[str, Callable[[Path], None]] = {
    "no JSON": lambda f: f.joinpath("speck.json").write_text("{"),  # type: ignore[dict-item,return-value]
    "deep JSON": lambda f: f.joinpath("speck.json").write_text("[" * 100_000),  # type: ignore[dict-item,return-value]
    "large JSON": lambda f: f.joinpath("speck.json").write_text(" " * (2**22 + 1)),  # type: ignore[dict-item,return-value]
    "another format": _document(lambda d: d.update(format="x")),
    "a later version": _document(lambda d: d.update(schema_version=2)),
    "arrays elsewhere": _document(lambda d: d.update(arrays="../x.npz")),
    "cores in a list": _document(lambda d: d.update(cnn_layers=[1])),
    "a core of many digits": _document(lambda d: d["cnn_layers"].update({"9" * 5000: {}})),
    "core 64": _document(lambda d: d["cnn_layers"].update({"64": _first(d)})),
    "an empty core": _document(lambda d: d["cnn_layers"].update({"8": {}})),
    "a text for a number": _document(lambda d: _first(d).update(threshold_high="40")),
    "a switch of 1": _document(lambda d: _first(d).update(leak_enable=1)),
    "true for a number": _document(lambda d: _first(d).update(threshold_low=True)),
    "a number without end": _document(lambda d: _first(d).update(threshold_high=10**40)),
    "another size": _document(lambda d: _first(d)["dimensions"].update(kernel_size=5)),
    "no size": _document(lambda d: _first(d)["dimensions"].pop("stride")),
    "destinations that are none": _document(lambda d: _first(d).update(destinations=[3])),
    "many destinations": _document(lambda d: _first(d).update(destinations=[{"layer": 0, "enable": False}] * 100)),
    "a sensor that is none": _document(lambda d: d.update(dvs_layer=[])),
    "an array twice": _document(lambda d: _first(d).update(biases=_first(d)["weights"])),
    "no array": _arrays(lambda a: a.pop(min(a))),  # type: ignore[arg-type,return-value]
    "one array more": _arrays(lambda a: a.update(more=np.zeros(3))),
    "real numbers": _arrays(lambda a: a.update({k: v.astype(float) for k, v in a.items()})),
    "turned arrays": _arrays(lambda a: a.update({k: v.swapaxes(0, -1) for k, v in a.items() if v.ndim > 1})),
    "pickled arrays": _pickled,
    "no archive": lambda f: f.joinpath("speck_arrays.npz").write_bytes(b"PK"),  # type: ignore[dict-item,return-value]
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_damaged_files(kind: str, tmp_path: Path) -> None:
    made = write(uneven(), tmp_path / "b")
    DAMAGE[kind](made.path)
    with pytest.raises(UnsafeFile) as caught:
        read_speck(made.path)
    assert caught.value.exit_code == 6 and not (made.path / "ran").exists()


def test_missing_files(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such file"):
        read_speck(tmp_path)


# ---------------------------------------------------------------- golden events


def test_golden_events_that_are_none(tmp_path: Path) -> None:
    made = write(uneven(), tmp_path / "b")
    path = made.path / "golden.npz"
    document, arrays = archive.unpack(archive.read(path), "x")
    for change in (
        {"n/events": np.array([10, 10, 10], dtype=np.int32)}, {"n/events": np.array([-1, 300, 301], dtype=np.int32)},
        {"events": arrays["events"][:, :3]}, {"spikes/n1": arrays["spikes/n1"] * -1}, {"more": arrays["events"]},
        {"n/spikes/n1": np.array([len(arrays["spikes/n1"])], dtype=np.int32)}, {"events": arrays["events"].astype(float)},
    ):
        archive.write(path, archive.pack(document, {**arrays, **change}))
        with pytest.raises(UnsafeFile):
            golden_events.load_events(path)
    archive.write(path, archive.pack({"format": "neurodeploy golden", "schema_version": 1}, arrays))
    assert not golden_events.is_events(path)
    with pytest.raises(UnsafeFile, match="no golden events"):
        golden_events.load_events(path)


def test_golden_events_start_from_nothing(tmp_path: Path) -> None:
    net, _, _ = deployed(classifier())
    started = replace(net, nodes=tuple(
        replace(n, v_init=np.full((4, 8, 8), 3)) if n.name == "n1" else n for n in net.nodes  # type: ignore[call-arg]
    ))
    with pytest.raises(UsageError, match="do not start at 0"):
        golden_events.record_events(started, streams((2, 8, 8)))
    late = golden_events.GoldenEvents((np.array([[2**31, 0, 0, 0]]),), {})
    with pytest.raises(UsageError, match="2147483648 us"):
        golden_events.save_events(late, tmp_path / "golden.npz")
    nothing = golden_events.GoldenEvents((), {"n1": ()})
    golden_events.save_events(nothing, tmp_path / "golden.npz")
    assert golden_events.load_events(tmp_path / "golden.npz").n_samples == 0
