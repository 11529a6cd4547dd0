"""The tables of event-driven chips: at most 100 columns, each figure with its unit, band and status, no number cut."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import event_results as results
import pytest
from neurodeploy.cli import tables
from neurodeploy.cli.figures import band, count, percent, points, share_of, si
from neurodeploy.cli.render_deploy import show_check, show_export, show_verdict
from neurodeploy.cli.render_energy import show_energy
from neurodeploy.cli.render_event_cores import show_core_integers
from neurodeploy.cli.render_event_cost import show_event_layers
from neurodeploy.cli.render_event_exit import event_verdict, show_event_exit
from neurodeploy.cli.render_event_gap import show_gap
from neurodeploy.cli.render_event_search import band_sentence
from neurodeploy.cli.render_search import show_search
from rich.console import Console

from commands import bare

Show = Callable[[Console, dict[str, Any]], None]


def drawn(show: Callable[[Console, Any], None], data: Any, width: int = 100) -> str:
    out = io.StringIO()
    show(Console(file=out, width=width, highlight=False, color_system=None), data)
    return out.getvalue()


def rows(text: str) -> list[str]:
    """Lines with single spaces."""
    return [" ".join(line.split()) for line in text.splitlines()]


def energy(**others: dict[str, Any]) -> dict[str, Any]:
    return {"targets": {"speck2f": results.energy_entry(), **others}, "proxies": None, "proxies_reason": "none"}


def test_search_says_what_counts_and_what_stands_beside_it() -> None:
    data = results.search("runs/my first")
    text = drawn(show_search, data)
    lines, accuracy, agreement = rows(text), data["test"]["accuracy"], data["test"]["agreement"]
    assert "Found: skip,SCB_k3" in lines
    based = share_of(accuracy["n_right"], accuracy["n"], accuracy["interval"])
    assert f"accuracy, event by event {percent(accuracy['simulator'])} {based} simulated" in lines
    real, sinabs = percent(accuracy["float"]), percent(accuracy["sinabs_rule"])
    assert f"accuracy before, clocked {real} real numbers, events in bins computed" in lines
    assert f"the same by sinabs' rule {sinabs} sinabs' integers, event by event simulated" in lines
    assert f"same answer as before {percent(agreement['share'])} {agreement['n_same']} of 10" in bare(text)
    assert "97.00 % clocked in real numbers, 96.00 % in integers event by event" in bare(text)
    assert "Within a factor of ten." in text and "2 measured, 1 estimated, 1 published" in bare(text)
    for command in ("neurodeploy validate 'runs/my first/bundle' --oracle samna",
                    "python 'runs/my first/bundle/run_on_speck2f.py'"):  # fmt: skip
        assert command in lines
    assert "timestep" not in text, "the chip has none"


def test_cost_of_a_sample_with_band_and_status_of_each_term() -> None:
    cost = results.cost()
    lines = rows(drawn(show_search, results.search()))
    assert f"energy {band(cost['energy_j'], 'J')} - estimated" in lines
    total = cost["energy_j"]["nominal"]
    for term, name, status in (("synapse", "synapses, an energy each", "estimated"), ("static", "static rails", "measured")):
        joule = cost["breakdown_j"][term]
        assert f"{name} {band(joule, 'J')} {100 * joule['nominal'] / total:.1f} % {status}" in lines
    assert f"power {band(cost['power_w'], 'W')} - estimated" in lines
    assert cost["decision_s"] == pytest.approx(0.02 + 4 * 0.373e-6), "the sample and the way through four cores"
    assert "time until all events are answered 20 ms - published" in lines and "the sample's events 20 ms - given" in lines
    assert f"the last one, through the cores {band(cost['latency_band_s'], 's')} - published" in lines
    assert f"synaptic operations (synops) {count(cost['counts']['synops'])} - simulated" in lines
    assert f"synops per second {si(cost['synops_per_s'], '')} - simulated" in lines


def test_absent_terms_are_not_available() -> None:
    data = energy()
    entry = data["targets"]["speck2f"]
    entry["breakdown_j"]["synapse"] = entry["breakdown_status"]["synapse"] = None
    entry |= dict.fromkeys(("latency_s", "latency_band_s", "decision_s", "decision_band_s", "edp_js", "edp_band_js"))
    del entry["provenance"]["time.core"]
    for layer in entry["layers"]:
        layer["energy_dynamic_j"] = None
    lines = rows(drawn(show_energy, data))
    assert "synapses, an energy each - - not available" in lines
    assert "time until all events are answered - - not available" in lines and "energy x time - - not available" in lines


def test_layers_name_their_core_and_what_it_does() -> None:
    cost = results.cost()
    text = drawn(show_event_layers, cost)
    for layer in cost["layers"][1:]:
        (core,) = [core for core in cost["cores"] if core["node"] == layer["name"]]
        n = layer["counts"]["n_spikes"]
        joule = layer["energy_dynamic_j"]["nominal"]
        wanted = (
            f"{layer['name']} {core['index']} {count(layer['n_neurons'])} {count(n)} {n / layer['n_neurons']:.3f} "
            f"{count(layer['counts']['n_synops'])} {si(layer['synops_per_s'], '')} {si(core['synops_per_s'], '')} "
            f"{joule * 1e9:,.2f} {100 * joule / cost['energy_dynamic_j']['nominal']:.1f} %"
        )
        assert wanted in rows(text)
    assert "not published: --set cost.synops_per_core=N flags those above" in bare(text)
    assert "OVER" not in text and "of limit" not in text


def test_cores_over_the_limit_are_flagged() -> None:
    cost = results.evaluated()["over"]
    over = [core for core in cost["cores"] if core["over_limit"]]
    text = drawn(show_event_layers, cost)
    assert 0 < len(over) < len(cost["cores"]), "the limit of the example lies between them"
    assert text.count(" OVER") == len(over)
    for core in over:
        share = f"{100 * core['synops_per_s'] / 5e6:.3g} % OVER"
        assert any(line.startswith(f"{core['node']} {core['index']} ") and line.endswith(share) for line in rows(text))
        assert f"Core {core['index']} ({core['node']}) is over the limit: {si(core['synops_per_s'], '')} synops" in bare(text)
    assert "5 M are possible" in bare(text) and "not published" not in text


def test_gap_has_a_row_a_layer_and_columns_by_bins() -> None:
    reports = results.evaluated()["test"]["gap"]
    text = drawn(show_gap, reports)
    assert [report["n_bins"] for report in reports] == [16, 32, 64]
    assert "layer w > v_th 16 bins own 32 bins own 64 bins own" in rows(text)
    for i, layer in enumerate(reports[0]["layers"]):
        cells = [f"{points(report['layers'][i][part]['relative'])} %" for report in reports for part in ("total", "own")]
        assert f"{layer['name']} {layer['n_over_threshold']} {' '.join(cells)}" in rows(text)
    assert f"same answer {' '.join(percent(report['agreement']) for report in reports)}" in rows(text)
    assert "10 samples, bins of 1.25 ms, 625 us, 312.5 us" in bare(text)
    reports[0]["layers"][0]["total"]["relative"] = None
    assert f"{reports[0]['layers'][0]['name']} 0 - " in bare(drawn(show_gap, reports)), "no spike event by event"
    assert drawn(show_gap, []) == ""


def test_early_exit_counts_events() -> None:
    found = results.evaluated()["test"]["early_exit"]
    text = drawn(show_event_exit, found)
    lines, full = rows(text), found["full"]
    assert f"events to the decision {count(found['mean_events'])} of {count(full['mean_events'])} on average" in bare(text)
    assert f"time to the decision {si(found['mean_time_s'], 's')} of {si(full['mean_time_s'], 's')}" in bare(text)
    assert f"energy saved {percent(found['energy_saved'])}" in lines
    assert "the vote is read every 7 events" in bare(text)
    energies = f"{band(found['energy_j'], 'J')} instead of {band(found['energy_full_j'], 'J')}, estimated"
    assert f"energy, one sample {energies}" in lines
    assert found["energy_saved"] > 0 and f"{100 * found['energy_saved']:.0f} % of the energy" in bare(text)


def test_the_histogram_is_short_and_loses_no_sample() -> None:
    found = results.evaluated()["test"]["early_exit"]
    found["histogram"] = [0, 3, *[1] * 48, 0, 0]
    found |= {"n": 51, "fixed": [{"accuracy": k / 100} for k in range(52)], "policy": {**found["policy"], "step": 10}}
    bars = [line for line in rows(drawn(show_event_exit, found)) if " to " in line and "(" in line and "█" in line]
    assert len(bars) == 13, "50 windows, four a bar: at most 16"
    assert bars[0].startswith("1 to 40 5 (9.8 %)") and bars[0].endswith("3.00 %"), "stopped after the fourth window"
    assert bars[-1].startswith("481 to 500 2 (3.9 %)"), "windows behind the last exit are not shown"
    assert sum(int(bar.split()[3]) for bar in bars) == 51
    found["policy"]["by"] = "time"
    assert "us samples that stop" in bare(drawn(show_event_exit, found))


def test_an_exit_that_spares_nothing_says_so() -> None:
    found = results.evaluated()["test"]["early_exit"]
    assert "Stopping early spares" in event_verdict(found)
    found["mean_events"] = found["full"]["mean_events"]
    assert "No sample stops early" in event_verdict(found)


def test_the_band_of_the_energy_may_turn_the_front() -> None:
    data = results.search()
    assert "the same for every energy in 10 to 100 pJ per synop" in bare(drawn(show_search, data))
    names = ["-".join(genome) for genome in results.GENOMES]
    pair = {"below": names[1], "above": names[0], "e_at_flip_pj": 33.333, "beaten": names[0]}
    data["energy_band"] |= {"flips": True, "pairs": [pair] * 6}
    text = band_sentence(data)
    assert "turns inside 10 to 100 pJ per synop: SCB_k3,SCB_k3 costs less than skip,SCB_k3 below 33.3 pJ, more above" in text
    assert "2 more pairs with --json" in text and "neurodeploy calibrate" in text
    assert text in bare(drawn(show_search, data))


def test_energy_of_one_target() -> None:
    data = energy()
    accuracy = data["targets"]["speck2f"]["accuracy"]
    text = drawn(show_energy, data)
    assert "speck2f: 4 cores" in rows(text) and "One inference" not in text
    assert f"accuracy, event by event {percent(accuracy['simulator'])}" in bare(text)
    assert "10 samples of the test split of random-events" in bare(text)
    assert "Early exit" in text and "How far to trust this" in text and "Clocked simulation" not in text
    assert f"energy {band(results.cost()['energy_j'], 'J')} - estimated" in rows(text)


def test_energy_beside_other_kinds_of_targets() -> None:
    import example_results as mesh

    data = energy(loihi2=mesh.energy()["targets"]["loihi2"], other=mesh.unfit())
    lines = rows(drawn(show_energy, data))
    cost = results.cost()
    both = f"{band(cost['energy_j'], 'J')} {band(cost['energy_dynamic_j'], 'J')}"
    assert f"speck2f yes 4 {both} 20 ms estimated" in lines, "the time until the decision, not the way of one event"
    assert any(line.startswith("loihi2 yes 2 ") for line in lines) and "other no 130 - - - -" in lines
    assert any("on an event-driven chip the sample's duration" in line for line in lines)
    assert any("other: does not fit" in line for line in lines) and "loihi2: 2 cores" in lines


def test_assumed_activity_is_nowhere_called_simulated() -> None:
    data = energy()
    terms = dict.fromkeys(results.cost()["breakdown_status"], "assumed")
    data["targets"]["speck2f"] |= {
        "accuracy": None, "early_exit": None, "data": None, "rate": 0.05, "n_timesteps": 32, "n_timesteps_from": "file",
        "status": "assumed", "breakdown_status": terms, "exact_counts": False,
    }  # fmt: skip
    text = bare(drawn(show_energy, data))
    assert "assumed: 0.05 events of each pixel and neuron in each of 32 bins (as trained); no data was run" in text
    assert "counts assumed, not simulated event by event" in text and "- simulated" not in text


def test_given_events_are_called_simulated() -> None:
    data = energy()
    used = {"file": "in.npz", "n_samples": 1, "n_events": 2345, "duration_us": 20_000, "duration_from": "last event"}
    data["targets"]["speck2f"] |= {"accuracy": None, "early_exit": None, "data": None, "input": used}
    text = bare(drawn(show_energy, data))
    assert "1 sample of in.npz, 2,345 events, every one counted" in text and "20 ms a sample, to the end of the last" in text
    assert "run event by event on a simulator" in text and "assumed" not in text


def test_check_shows_how_full_each_core_is() -> None:
    plan = results.evaluated()["plan"]
    entry = {
        "fits": True, "n_cores": 4, "placement": plan, "placement_source": "placed", "violations": [],
        "utilisation": {"n_cores_limit": 9, "cores": []},
    }  # fmt: skip
    text = drawn(show_check, {"target": "speck2f", **entry})
    assert "speck2f fits, 4 of 9 cores" in rows(text)
    for use in plan["cores"]:
        kernel, kernel_max = use["kernel_words"], use["kernel_words_max"]
        wanted = f"{use['core']} {use['node']} {count(kernel)} of {count(kernel_max)} {percent(kernel / kernel_max)} "
        assert any(line.startswith(wanted) for line in rows(text))
    bundle = {**entry, "placement_source": "bundle", "utilisation": None}
    text = drawn(show_check, {"fits": True, "targets": {"speck2f": bundle, "speck2e": bundle}})
    assert "speck2e fits, 4 cores" in rows(text) and "the one that the bundle was exported with" in bare(text)


def test_export(tmp_path: Path) -> None:
    (tmp_path / "speck.json").touch()
    data = results.export(tmp_path)
    text = drawn(show_export, data)
    lines = rows(text)
    assert "files speck.json" in lines and "artifact speck.json" in lines
    assert f"accuracy, event by event {percent(data['accuracy']['simulator'])}" in bare(text)
    first = data["quantization"]["layers"][0]
    low, high = first["weight"]
    start = f"{first['layer']} {first['scale']:.6g} {low} to {high} {first['v_th']} {first['v_min']} {first['decided_by']} "
    assert any(line.startswith(start) for line in lines)
    assert "from the weights alone: no data" in bare(text) and "Clocked simulation against event-driven, by layer" in text
    assert f"neurodeploy validate {tmp_path} --oracle samna" in lines and f"python {tmp_path}/run_on_speck2f.py" in lines
    text = drawn(show_export, {**data, "accuracy": None, "gap": None, "early_exit": None})
    assert "accuracy unknown: no data was given" in rows(text) and "Clocked" not in text and "Early exit" not in text


def test_integers_say_what_is_wrong_with_a_core() -> None:
    found = results.evaluated()["quantization"]
    found["layers"][1] |= {"silent": True, "threshold_lost": True}
    found |= {"rule": "sinabs", "calibrated": False}
    text = drawn(show_core_integers, found)
    assert f"{found['layers'][1]['layer']}: silent, threshold lost" in rows(text)
    assert "sinabs' rule, to the last bit" in bare(text) and "no data" not in text
    found |= {"rule": "mismatch", "calibrated": True}
    assert "judged by running calibration data event by event" in bare(drawn(show_core_integers, found))


def test_a_verdict_shows_the_exit_in_events() -> None:
    import example_results as mesh

    data = {**mesh.verdict(), "target": "speck2f", "time_unit": "us", "early_exit": results.evaluated()["test"]["early_exit"]}
    text = drawn(show_verdict, data)
    assert "events to the decision" in text and rows(text)[-1] == "VALID: the bundle is what it claims"


@pytest.mark.parametrize("what", ["search", "energy", "over", "check"])
def test_consoles_of_any_width(what: str) -> None:
    """Wide ones are not filled; on narrow ones numbers are broken, never cut."""
    shows: dict[str, tuple[Show, Any]] = {
        "search": (show_search, results.search()), "energy": (show_energy, energy()),
        "over": (show_event_layers, results.evaluated()["over"]),
        "check": (show_check, {"target": "speck2f", "fits": True, "n_cores": 4, "placement": results.evaluated()["plan"]}),
    }  # fmt: skip
    show, data = shows[what]
    assert max(len(line) for line in drawn(show, data, width=250).splitlines()) <= tables.WIDTH
    narrow = drawn(show, data, width=70)
    assert max(len(line) for line in narrow.splitlines()) <= 70 and "…" not in narrow
