"""Bundles of event-driven chips: what is whole holds, and every change, hidden or not, is found and named."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from neurodeploy.errors import DoesNotFit, Mismatch, NeurodeployError, UnsafeFile, UsageError
from neurodeploy.export.golden_events import GoldenEvents, load_events, save_events
from neurodeploy.export.speck_document import read_document, write_document
from neurodeploy.hw.profile import EventProfile
from neurodeploy.ir import serialize
from neurodeploy.ir.graph import Graph
from neurodeploy.place.core_plan import CorePlan
from neurodeploy.place.event_cores import limits_of
from neurodeploy.sim import events_reference
from neurodeploy.sim.events_graph import from_graph
from neurodeploy.validate import EventBundle, OpenBundle, Verdict, open_any, validate_event_bundle
from neurodeploy.validate.event_golden import replay
from tests.event_nets import changed, residual
from tests.export import hand_bundles
from tests.export.speck_bundles import classifier, deployed, profile, uneven
from tests.ir.hand_graphs import chain
from tests.validate.event_bundles import exported, re_sign, recordings, sides

FILES = ["manifest.json", "graph.npz", "speck.json", "speck_arrays.npz", "model.nir", "golden.npz", "run_on_speck2f.py",
         "sinabs_model.py"]
CHECKS = ["files", "golden spikes, fast simulator", "golden spikes, reference simulator", "placement", "artifacts",
          "vendor's rules"]


def opened(folder: Path) -> EventBundle:
    found = open_any(folder)
    assert isinstance(found, EventBundle)
    return found


def failed(verdict: Verdict) -> list[str]:
    return [check.name for check in verdict.checks if not check.ok]


def what(verdict: Verdict, name: str) -> str:
    return next(check.what for check in verdict.checks if check.name == name)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return exported(classifier(), tmp_path / "b")


@pytest.mark.parametrize(
    ("graph", "padded", "target"),
    [(classifier(), False, "speck2f"), (classifier(), True, "speck2f"), (residual(), False, "speck2e"),
     (uneven(), False, "dynapcnn")],
    ids=["classifier", "padded", "residual", "uneven"],
)
def test_a_good_bundle_holds(graph: Graph, padded: bool, target: str, tmp_path: Path) -> None:
    folder = exported(graph, tmp_path / "b", padded=padded, target=target)
    verdict = validate_event_bundle(folder)
    assert (verdict.ok, verdict.agreement, verdict.first_divergence, verdict.target) == (True, 1.0, None, target)
    assert verdict.n_spikes > 100 and verdict.n_compared == 2 * verdict.n_spikes
    assert [(c.name, c.ok) for c in verdict.checks] == [(name, True) for name in CHECKS]
    found = json.loads(json.dumps(verdict.to_dict()))
    assert (found["time_unit"], found["ok"]) == ("us", True)
    assert ("padded" in what(verdict, "artifacts")) is padded


def test_opening_gives_back_what_was_exported(folder: Path, tmp_path: Path) -> None:
    net, plan, config = deployed(classifier())
    bundle = opened(folder)
    assert serialize.same(bundle.net, replace(net, target="speck2f")) is None
    assert (bundle.plan, bundle.golden.n_samples, bundle.padded, bundle.policy) == (plan, 3, False, None)
    assert sorted(bundle.config.cores) == sorted(config.cores)
    assert isinstance(open_any(hand_bundles.write(chain(), tmp_path / "loihi").path), OpenBundle)
    with pytest.raises(UsageError, match=r"manifest\.json is missing"):
        open_any(tmp_path / "nothing")


@pytest.mark.parametrize("name", FILES)
def test_a_changed_byte_or_a_missing_file_is_named(name: str, folder: Path) -> None:
    path = folder / name
    good = path.read_bytes()
    for at in (0, len(good) // 3, len(good) // 2, len(good) - 1):
        damaged = bytearray(good)
        damaged[at] ^= 4
        path.write_bytes(bytes(damaged))
        with pytest.raises(UnsafeFile, match=name.replace(".", r"\.")):
            open_any(folder)
    path.unlink()
    with pytest.raises(UsageError if name == "manifest.json" else UnsafeFile, match="is missing") as caught:
        open_any(folder)
    assert name in str(caught.value)


def test_a_changed_weight_is_located(folder: Path) -> None:
    """The weights before `n2` are changed and the manifest signed again: `n1` agrees, the first spike of `n2` is named."""
    bundle = opened(folder)
    conv: Any = bundle.net["c2"]
    other = replace(bundle.net, nodes=tuple(
        replace(conv, weight=conv.weight[::-1]) if n.name == "c2" else n for n in bundle.net.nodes
    ))
    serialize.save(other, folder / "graph.npz")
    re_sign(folder)
    verdict = validate_event_bundle(folder)
    assert 0 < verdict.agreement < 1
    assert failed(verdict) == ["golden spikes, fast simulator", "golden spikes, reference simulator", "artifacts"]
    assert [e.exit_code for e in verdict.errors] == [4, 4, 4]
    assert "speck.json and graph.npz disagree: core" in str(verdict.errors[2]) and "weights" in str(verdict.errors[2])
    first: Any = verdict.first_divergence
    was, now = (
        events_reference.simulate(from_graph(g)[0], bundle.golden.events[first.sample]).spikes["n2"].tcyx
        for g in (bundle.net, other)
    )
    assert (first.layer, first.sample) == ("n2", 0)
    k = first.index
    assert np.array_equal(was[:k], now[:k]) and not np.array_equal(was[k], now[k])
    mine, instead = (was[k], now[k]) if first.expected else (now[k], was[k])
    assert ((first.timestep, *first.neuron), first.instead) == (tuple(mine), tuple(instead))
    assert first.expected == 1 - first.got and mine[0] <= instead[0]


def without(table: np.ndarray, k: int) -> np.ndarray:
    return np.delete(table, k, axis=0)


def twice(table: np.ndarray, k: int) -> np.ndarray:
    return np.insert(table, k, table[k], axis=0)


def moved(table: np.ndarray, k: int) -> np.ndarray:
    other = table.copy()
    other[k, 1] = (other[k, 1] + 1) % 6
    return other


@pytest.mark.parametrize(
    ("change", "k"), [(without, 5), (without, -1), (twice, 5), (moved, 5)],
    ids=["removed", "the last removed", "added", "moved"],
)
def test_a_changed_golden_spike_is_located(
    change: Callable[[np.ndarray, int], np.ndarray], k: int, folder: Path
) -> None:
    golden = load_events(folder / "golden.npz")
    tables = golden.spikes["n2"]
    k %= len(tables[1])
    stored, now = change(tables[1], k), tables[1]
    spikes = {**golden.spikes, "n2": (tables[0], stored, tables[2])}
    save_events(GoldenEvents(golden.events, spikes), folder / "golden.npz")
    re_sign(folder)
    verdict = validate_event_bundle(folder)
    first: Any = verdict.first_divergence
    assert {"golden spikes, fast simulator", "golden spikes, reference simulator"} <= set(failed(verdict))
    assert (first.layer, first.sample) == ("n2", 1)
    k = first.index
    assert np.array_equal(stored[:k], now[:k]) and not np.array_equal(stored[k : k + 1], now[k : k + 1])
    if k < len(stored):  # the earlier of both is named, of two at one time the stored one
        mine, instead = (stored[k], now[k]) if stored[k, 0] <= now[k, 0] else (now[k], stored[k])
        assert ((first.timestep, *first.neuron), first.instead) == (tuple(mine), tuple(instead))
        assert first.expected == int(stored[k, 0] <= now[k, 0]) == 1 - first.got
    else:
        assert ((first.timestep, *first.neuron), first.instead) == (tuple(now[k]), None)
        assert (first.expected, first.got) == (0, 1) and "expected no spike, got at" in str(first)
    # Its number of spikes is a field of speck.json, too.
    assert ("artifacts" in failed(verdict)) is (len(stored) != len(now))


def test_golden_events_of_another_network_are_refused(folder: Path) -> None:
    golden = load_events(folder / "golden.npz")
    spikes = golden.spikes
    outside = spikes["n1"][0].copy()
    outside[0, 3] = 8
    late = golden.events[1][::-1]
    far = golden.events[2].copy()
    far[3, 1] = 2
    for bad, said in (
        (GoldenEvents(golden.events, {k: v for k, v in spikes.items() if k != "n3"}), "do not belong"),
        (GoldenEvents((), dict.fromkeys(spikes, ())), "do not belong"),
        (GoldenEvents(golden.events, {**spikes, "n1": (outside, *spikes["n1"][1:])}), "golden spikes of n1 outside"),
        (GoldenEvents((golden.events[0], late, golden.events[2]), spikes), "golden sample 1 is no stream.*never decrease"),
        (GoldenEvents((*golden.events[:2], far), spikes), "golden sample 2 is no stream.*outside the sensor"),
    ):
        save_events(bad, folder / "golden.npz")
        re_sign(folder)
        with pytest.raises(UnsafeFile, match=said):
            open_any(folder)


def test_silent_golden_events_prove_nothing(folder: Path) -> None:
    golden = load_events(folder / "golden.npz")
    nothing = np.zeros((0, 4), dtype=np.int64)
    save_events(GoldenEvents((nothing,), dict.fromkeys(golden.spikes, (nothing,))), folder / "golden.npz")
    re_sign(folder)
    verdict = validate_event_bundle(folder)
    assert "hold no spike" in str(verdict.errors[0]) and verdict.errors[0].exit_code == 4
    assert failed(verdict)[:2] == ["golden spikes, fast simulator", "golden spikes, reference simulator"]


def test_the_reference_runs_as_far_as_it_may(folder: Path) -> None:
    bundle = opened(folder)
    network, _ = from_graph(bundle.net)
    each = [sum(events_reference.simulate(network, x).n_synops.values()) for x in bundle.golden.events]
    for synops, said in (
        (sum(each), f"3 of 3 samples, {sum(each):,} synops"), (each[0], f"1 of 3 samples, {each[0]:,} synops (it stops"),
        (each[0] + each[1] // 2, "1 of 3 samples and "), (0, "0 of 3 samples and 1 of 200 events of the next, "),
    ):
        found = replay(bundle, synops)
        assert not found.errors and said in found.checks[1].what
    half = replay(bundle, each[0] + each[1] // 2)
    assert sum(map(len, bundle.golden.spikes["n1"])) < half.n_compared < 2 * sum(bundle.golden.n_spikes.values())
    # What comes behind the part that is run slowly is the fast simulator's to find.
    late = {name: (*tables[:2], tables[2][:-1]) for name, tables in bundle.golden.spikes.items()}
    found = replay(replace(bundle, golden=GoldenEvents(bundle.golden.events, late)), each[0])
    assert [check.ok for check in found.checks] == [False, True]


@pytest.mark.parametrize(
    ("change", "said"),
    [(lambda d, a: d["cnn_layers"]["2"].update(threshold_high=41), "core 2.threshold_high: 41 != 40"),
     (lambda d, a: d["cnn_layers"]["2"]["dimensions"]["padding"].update(x=0), "core 2.padding"),
     (lambda d, a: a.update({"3/weights": a["3/weights"][::-1].copy()}), "core 3.weights: .* values differ"),
     (lambda d, a: d["output"].update(core=2), "output.core: 2 != "),
     (lambda d, a: d["input"]["destinations"][0].update(layer=3), r"input.destinations\[0\].layer: 3 != 2"),
     (lambda d, a: d.update(extra=1), "extra: 1 != None"),
     (lambda d, a: d["layer2core_map"].pop("n1"), "layer2core_map.n1: None != 2")],
    ids=["threshold", "padding", "weights", "output", "input", "more", "less"],
)
def test_another_configuration_is_found(change: Callable[[Any, Any], object], said: str, folder: Path) -> None:
    document, arrays = read_document(folder)
    change(document, arrays)
    write_document(folder, document, arrays)
    re_sign(folder)
    verdict = validate_event_bundle(folder)
    error = verdict.errors[0]
    assert isinstance(error, Mismatch) and error.error_code == "artifact_mismatch"
    with pytest.raises(NeurodeployError, match=said):
        raise error
    assert failed(verdict)[0] == "artifacts"


def test_the_padding_is_part_of_the_configuration(tmp_path: Path) -> None:
    folder = exported(classifier(), tmp_path / "b", padded=True)
    assert opened(folder).config.cores[opened(folder).plan.core_of("n3")].out_shape == (37, 1, 1)
    re_sign(folder, lambda m: m["speck"].update(padded_for_readout=False))
    assert failed(validate_event_bundle(folder)) == ["artifacts"]


def test_what_the_vendor_would_refuse_is_found(folder: Path) -> None:
    document, arrays = read_document(folder)
    document["cnn_layers"]["2"]["destinations"][0]["pooling"] = 3
    write_document(folder, document, arrays)
    re_sign(folder)
    verdict = validate_event_bundle(folder)
    assert failed(verdict) == ["artifacts", "vendor's rules"]
    assert "rejected" in what(verdict, "vendor's rules")
    assert isinstance(verdict.errors[-1], DoesNotFit) and "pool" in str(verdict.errors[-1])


def test_stricter_rules_are_listed_and_no_error(tmp_path: Path) -> None:
    """Weights above the threshold: the vendor accepts them, we say so."""
    weight = classifier()["c1"].weight  # type: ignore[attr-defined]
    graph = changed(classifier(), c1={"weight": 3 * weight})
    _, plan, _ = deployed(graph)
    verdict = validate_event_bundle(exported(graph, tmp_path / "b"))
    said = what(verdict, "vendor's rules")
    assert verdict.ok
    assert said.startswith("accepted, as its validator is known to answer; 6 of 7 stricter rules of ours hold too, but not: ")
    assert f"weight_over_threshold (core {plan.core_of('n1')} " in said


def other_plan(plan: CorePlan, node: str, core: int, **changes: Any) -> CorePlan:
    memory = limits_of(profile()).cores[core % 9]
    there: dict[str, Any] = {
        "core": core, "kernel_words_max": memory.kernel_words, "neuron_words_max": memory.neuron_words,
        "bias_words_max": memory.bias_words, **changes,
    }
    return replace(plan, cores=tuple(replace(u, **there) if u.node == node else u for u in plan.cores))


def test_a_layer_may_lie_on_another_core_that_holds_it(tmp_path: Path) -> None:
    _, plan, _ = deployed(classifier())
    free = next(core for core in range(9) if core not in {u.core for u in plan.cores})
    folder = exported(classifier(), tmp_path / "b", plan=other_plan(plan, "n3", free))
    verdict = validate_event_bundle(folder)
    assert verdict.ok and "others, but each layer fits" in what(verdict, "placement")
    re_sign(folder, lambda m: m.update(placement=plan.to_dict()))
    verdict = validate_event_bundle(folder)
    assert failed(verdict) == ["artifacts"] and "cores: " in str(verdict.errors[0])


@pytest.mark.parametrize(
    ("core", "changes", "said"),
    [(9, {}, "the chip has cores 0 to 8"), (2, {"kernel_words": 1}, "kernel_words is .*, the manifest says 1"),
     (2, {"neuron_words_max": 1}, "neuron_words_max is .*, the manifest says 1")],
)
def test_another_placement_is_found(core: int, changes: dict[str, int], said: str, folder: Path) -> None:
    _, plan, _ = deployed(classifier())
    re_sign(folder, lambda m: m.update(placement=other_plan(plan, "n1", core, **changes).to_dict()))
    verdict = validate_event_bundle(folder)
    assert "placement" in failed(verdict)
    error = verdict.errors[0]
    assert isinstance(error, Mismatch) and (error.error_code, error.where) == ("placement_mismatch", f"core {core}")
    with pytest.raises(Mismatch, match=said):
        raise error


def test_a_core_that_is_too_small_is_found(tmp_path: Path) -> None:
    """A profile whose core 8 has no room for the neurons of `n1`, and a manifest that places them there."""
    folder = exported(classifier(), tmp_path / "b")

    def change(manifest: dict[str, Any]) -> None:
        content = manifest["profile"]["content"]
        content["capacity"]["neuron_words"]["values"][8] = 16
        chip = EventProfile.model_validate(content)
        manifest["profile"]["digest"] = chip.digest
        memory = limits_of(chip).cores[8]
        use = next(u for u in manifest["placement"]["cores"] if u["node"] == "n1")
        use.update(core=8, kernel_words_max=memory.kernel_words, neuron_words_max=16, bias_words_max=memory.bias_words)

    re_sign(folder, change)
    assert "256 neuron words, it has 16" in str(validate_event_bundle(folder).errors[0])


def test_a_profile_that_it_does_not_fit_is_found(folder: Path) -> None:
    def shrink(manifest: dict[str, Any]) -> None:
        content = manifest["profile"]["content"]
        for name in ("kernel_words", "neuron_words", "bias_words"):
            content["capacity"][name]["values"] = content["capacity"][name]["values"][:2]
        content["capacity"]["parallel_cores"]["values"] = []
        manifest["profile"]["digest"] = EventProfile.model_validate(content).digest

    re_sign(folder, shrink)
    verdict = validate_event_bundle(folder)
    assert isinstance(verdict.errors[0], DoesNotFit) and "3 layers of neurons" in str(verdict.errors[0])
    assert "placement" in failed(verdict)


@pytest.mark.parametrize(
    ("change", "said"),
    [(lambda m: m.pop("placement"), "placement"), (lambda m: m["placement"]["cores"].pop(), "not one of the layers"),
     (lambda m: m["placement"].update(cores=3), "not a placement"), (lambda m: m["profile"].update(digest="0"), "digest"),
     (lambda m: m.update(n_timesteps=3), "target and timesteps"), (lambda m: m.update(target="../x"), "is not among the files"),
     (lambda m: m["profile"]["content"].pop("capacity"), "the profile in it is invalid: capacity"),
     (lambda m: m.update(speck=None), "speck or sinabs"), (lambda m: m.update(speck=[]), "speck is no table"),
     (lambda m: m.update(sinabs={"file": "/etc/passwd"}), "speck or sinabs"),
     (lambda m: m["sinabs"].update(file=None), r"sinabs_model\.py is there"), (lambda m: m.update(early_exit={}), "no policy"),
     (lambda m: m.update(early_exit=3), "early_exit is no table"), (lambda m: m.update(data={"name": 3}), "data.name"),
     (lambda m: m.update(data={"name": "x", "split": 3}), "data.split"), (lambda m: m.update(profile=3), "entry is missing")],
)
def test_damaged_manifests_are_refused(change: Callable[[dict[str, Any]], object], said: str, folder: Path) -> None:
    re_sign(folder, change)
    with pytest.raises(UnsafeFile, match=said) as caught:
        open_any(folder)
    assert caught.value.where == str(folder / "manifest.json")


def test_the_script_for_sinabs_is_there_as_the_manifest_says(folder: Path) -> None:
    (folder / "sinabs_model.py").unlink()
    re_sign(folder)
    with pytest.raises(UnsafeFile, match=r"sinabs_model\.py is missing, the manifest says otherwise"):
        open_any(folder)
    re_sign(folder, lambda m: m["sinabs"].update(file=None, reason="none"))
    verdict = validate_event_bundle(folder)
    assert failed(verdict) == ["artifacts"] and "manifest.json and graph.npz disagree: sinabs.file" in str(verdict.errors[0])


def test_accuracy_and_early_exit_on_data(tmp_path: Path) -> None:
    policy = {"by": "event", "step": 20, "confidence": {"threshold": 0.9}}
    folder = exported(sides(), tmp_path / "b", accuracy={"float": 0.7, "quantized": 1.0}, early_exit=policy)
    data = recordings()
    streams, labels = data.split("test")
    network, _ = from_graph(opened(folder).net)
    counts = np.stack([events_reference.simulate(network, x).counts["out"].reshape(-1) for x in streams])
    wanted = float((counts.argmax(axis=1) == labels).mean())
    assert 0.7 < wanted < 1 and 0 < labels.mean() < 1
    seen = []

    def exits(policy: Any, runs: Any, streams: Any, labels: Any) -> dict[str, Any]:
        seen.append((policy.step, runs.n_samples, len(streams), len(labels)))
        return {"policy": "seen"}

    verdict = validate_event_bundle(folder, data, early_exit=exits)
    assert verdict.ok and seen == [(20, 20, 20, 20)] and verdict.early_exit == {"policy": "seen"}
    assert (verdict.accuracy, verdict.n_samples) == ({"float": 0.7, "quantized": 1.0, "simulator": wanted}, 20)
    wrong = replace(data, y=1 - data.y)
    found = validate_event_bundle(folder, wrong)
    assert [e.error_code for e in found.errors] == ["accuracy_drop"] and failed(found) == ["accuracy"]
    assert validate_event_bundle(folder, wrong, max_drop=100).ok
    assert validate_event_bundle(folder, wrong, split="train", float_accuracy=0.0).ok
