"""The tables that a person reads: at most 100 columns, each figure with what it rests on, no number cut."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import example_results as results
import pytest
from neurodeploy.cli import figures, tables
from neurodeploy.cli.render_deploy import show_check, show_export, show_quantization, show_training, show_verdict
from neurodeploy.cli.render_energy import show_energy
from neurodeploy.cli.render_exit import verdict
from neurodeploy.cli.render_search import show_search
from rich.console import Console

from commands import bare

Show = Callable[[Console, dict[str, Any]], None]


def drawn(show: Show, data: dict[str, Any], width: int = 100) -> str:
    out = io.StringIO()
    show(Console(file=out, width=width, highlight=False, color_system=None), data)
    return out.getvalue()


def rows(text: str) -> list[str]:
    """Lines with single spaces."""
    return [" ".join(line.split()) for line in text.splitlines()]


@pytest.fixture
def bundle(tmp_path: Path) -> dict[str, Any]:
    (tmp_path / "graph.npz").touch()
    found = {**results.accuracy(), "agreement": results.AGREEMENT}
    return {
        "bundle": str(tmp_path), "artifact": str(tmp_path / "graph.npz"), "quantization": results.quantization(),
        "placement": results.placement(), "accuracy": found,
    }


def test_search_says_what_was_found_and_how_well_it_is_known() -> None:
    text = drawn(show_search, results.search("runs/my first"))
    lines = rows(text)
    assert "Found: skip,SCB_k3,SRB_k5" in lines
    assert "accuracy 96.67 % 522 of 540; 94.79 to 97.88 % simulated" in lines
    assert "accuracy before quantization 97.04 % real-valued network in float64 computed" in lines
    assert "same answer as before 99.63 % 538 of 540; 98.66 to 99.90 % simulated" in lines
    assert "change by quantization -0.37 points -0.99 to +0.26; 0 gained, 2 lost simulated" in lines
    assert "98.33 % as trained, 97.77 % in integers, 98.89 % after fine-tuning" in bare(text)
    assert "None was measured on hardware." in bare(text)
    assert "(2 estimated, 1 published)" in bare(text)
    assert "Within a factor of 2." in text
    assert "host computer; management: not available" in bare(text)
    assert "neurodeploy validate 'runs/my first/bundle'" in text
    assert "33 s: supernet 29.9 s, search 3.4 s" in text


def test_search_costs_both_schedules() -> None:
    lines = rows(drawn(show_search, results.search()))
    assert "pipelined single status" in lines, "the recipe's schedule stands first"
    assert "energy 6.7 uJ (3.35 to 13.4) 20.1 uJ (10.1 to 40.2) estimated" in lines
    assert "synaptic operations 89,371 89,371 simulated" in lines
    assert "synapse 1.5 uJ (0.75 to 3) 22.4 % 4.5 uJ (2.25 to 9) 22.4 % estimated" in lines
    assert "management - - - - not available" in lines
    assert "conv1 512 1 51.25 0.100 26,912 1,500.00 68.2 %" in lines
    assert "input - - 51.25 - 26,912 200.00 9.1 %" in lines


def test_search_lists_the_front_beside_what_came_of_the_best() -> None:
    lines = rows(drawn(show_search, results.search()))
    assert "Pareto front: 2 of 10 candidates evaluated (9 feasible) for loihi2" in lines
    front = [line for line in lines if line.startswith(("SCB_k3,SCB_k3,SCB_k3 95.00 %", "skip,SCB_k3,SRB_k5 90.00 %"))]
    assert [line.split()[0] for line in front] == ["SCB_k3,SCB_k3,SCB_k3", "skip,SCB_k3,SRB_k5"]
    assert "energy 5.6 uJ 6.7 uJ +19.6 %" in lines
    assert "cores 2 2 0.0 %" in lines


def test_a_long_front_says_how_much_is_left_out() -> None:
    data = results.search()
    data["pareto"] *= 10
    assert "8 more with --json" in bare(drawn(show_search, data))


def test_a_network_that_came_as_integers_has_no_twin() -> None:
    data = results.search()
    data["test"]["agreement"] = None
    data["test"]["accuracy"] = {**results.accuracy(), "float": None}
    data["validation"] = None
    data["test"]["early_exit"] = None
    text = drawn(show_search, data)
    assert "same answer" not in text and "Early exit" not in text
    assert "accuracy before quantization -" in bare(text)


def test_early_exit_stands_beside_networks_of_fixed_length() -> None:
    text = drawn(show_search, results.search())
    lines = rows(text)
    assert "fixed length, same mean 95.12 % (interpolated): early exit +2.29 points" in lines
    assert "model timesteps 2.20 of 4 on average" in lines
    assert "chip timesteps 12.20 of 14: 10 more for the pipeline of 10 synapse layers" in lines
    assert "energy, one sample 18 uJ (9 to 36) instead of 20 uJ (10 to 40), estimated" in lines
    assert any(line.startswith("1 200 (37.0 %)") and line.endswith("91.00 %") for line in lines)


@pytest.mark.parametrize(
    ("mean", "saved", "said"),
    [(2.2, 0.1, "the depth of the network eats it"), (4.0, 0.0, "No sample stops early"), (2.0, 0.45, "45 % of the energy.")],
)
def test_a_small_saving_is_called_small(mean: float, saved: float, said: str) -> None:
    found = verdict(results.early_exit(mean=mean, saved=saved))
    assert said in found
    assert ("small" in found) is (saved == 0.1)


def test_energy_of_one_target() -> None:
    text = drawn(show_energy, results.energy())
    lines = rows(text)
    assert "accuracy 96.67 % (522 of 540; 94.79 to 97.88 %), simulated" in lines
    assert "energy 6.7 uJ (3.35 to 13.4) estimated" in lines
    assert "1 conv2 0: 0, 1 64 1,000.00 7 1 0 %" in lines, "the core that works longest stands first"
    assert "Core 0 (conv1) is the busiest: receiving, it sets the length of 81 % of the steps." in bare(text)
    assert "effective ACs / MACs 79,065 / 8,598" in lines
    assert "Not an energy of the target." in lines
    assert "One inference" not in lines, "one target stands beside none"


def test_energy_of_a_target_that_it_does_not_fit() -> None:
    lines = rows(drawn(show_energy, results.energy(other=results.unfit())))
    assert "other no 130 - - - -" in lines
    assert "other: does not fit, 1 limit broken; no figure can be given." in lines


def test_assumed_activity_is_nowhere_called_simulated() -> None:
    data = results.energy()
    terms = {term: None if status is None else "assumed" for term, status in results.cost()["breakdown_status"].items()}
    data["targets"]["loihi2"] |= {
        "accuracy": None, "early_exit": None, "data": None, "rate": 0.1, "status": "assumed", "breakdown_status": terms,
        "exact_counts": False,
    }
    text = drawn(show_energy, data)
    assert "simulated" not in text
    assert "assumed: 0.1 spikes a neuron and timestep; no data was run" in text
    assert "spikes 1,401 assumed" in rows(text)
    assert "latency 66.9 us (33.5 to 134) assumed" in rows(text)


def test_given_spikes_are_called_simulated() -> None:
    data = results.energy()
    used = {"file": "in.npz", "n_samples": 3, "n_timesteps": 16, "n_chip_timesteps": 19}
    data["targets"]["loihi2"] |= {"accuracy": None, "early_exit": None, "data": None, "input": used}
    text = drawn(show_energy, data)
    assert "3 x 16 timesteps of in.npz, every event counted" in bare(text)
    assert "3 samples of in.npz" in bare(text) and "spikes 1,401 simulated" in bare(text) and "assumed" not in text


def test_the_length_of_the_timesteps() -> None:
    text = bare(drawn(show_energy, results.energy()))
    assert "timesteps 4, 19.1 us together" in text and "1.6 us, 4.25 us, 9 us" in text
    assert "longest is timestep 1 (the first is 0)" in text and "each, us 4, 9, 4.5, 1.6" in text
    data = results.energy()
    data["targets"]["loihi2"]["latency_steps_s"] = [2e-6] * 40
    text = bare(drawn(show_energy, data))
    assert "timesteps 40, 80 us together" in text and "longest is" not in text and "each, us" not in text


def test_a_target_that_the_network_cannot_be_brought_onto() -> None:
    data = results.energy()
    unknown = dict.fromkeys(data["targets"]["loihi2"])
    data["targets"]["other"] = {**unknown, "fits": False, "violations": [], "reason": "No way."}
    assert "other: no figure can be given. No way." in bare(drawn(show_energy, data))


def test_integers_that_came_as_they_are() -> None:
    entry = {"layer": "1.neuron", "neuron": "CubaLif", "weight": [-6, 254], "v_th": [50, 50], "i_decay": [4096, 4096],
             "v_decay": [0, 300], "bias_mant": None}  # fmt: skip
    text = bare(drawn(show_quantization, {"calibrated": False, "as_given": True, "layers": [entry]}))
    assert "1.neuron CubaLif -6 to 254 50 4096 0 to 300 -" in text and "nothing was rounded" in text


def test_no_bottleneck_is_said_too() -> None:
    data = results.energy()
    data["targets"]["loihi2"]["limiting"] = {"core": None, "node": None, "side": "floor", "share_of_steps": 0.9}
    assert "no core is a bottleneck" in bare(drawn(show_energy, data))


def test_check_that_fits_shows_cores_by_layer() -> None:
    data = {"target": "loihi2", "fits": True, "n_cores": 5, "placement": results.placement(), "violations": []}
    lines = rows(drawn(show_check, data))
    assert "loihi2 fits, 5 cores of 1 chip" in lines
    assert "conv1 16 x 8 x 8 1,024 0-3 18 64 512" in lines


def test_check_that_does_not_fit_shows_every_limit_and_what_would_fit() -> None:
    entry = {**results.unfit(), "suggestion": {"system": {"name": "Kapoho Point", "n_chips": 8}, "width": 4}}
    other = {"fits": True, "n_cores": 5, "placement": results.placement(), "violations": [], "suggestion": None}
    lines = rows(drawn(show_check, {"fits": False, "targets": {"loihi2": entry, "big": other}}))
    for line in ("conv1 (neurons)", "what needs 9 neurons", "limit A core holds 8", "remedy Use 8 channels"):
        assert line in lines
    assert "as it is fits Kapoho Point (8 chips)" in lines
    assert "big fits, 5 cores of 1 chip" in lines


def test_export(bundle: dict[str, Any]) -> None:
    text = drawn(show_export, bundle)
    lines = rows(text)
    assert "files graph.npz" in lines
    assert "conv1 254 250 126 2048 5 1,200 7 3 yes" in lines
    assert "conv2 64 64 4 18 64 512" in lines
    assert f"neurodeploy validate {bundle['bundle']}" in text


def test_export_without_data(bundle: dict[str, Any]) -> None:
    text = drawn(show_export, {**bundle, "accuracy": None, "quantization": results.quantization(calibrated=False)})
    assert "accuracy unknown: no data was given" in rows(text)
    assert "No calibration: scales come from the weights alone." in bare(text)


@pytest.mark.parametrize(("ok", "last"), [(True, "VALID: the bundle is what it claims"),
                                          (False, "FAILED: golden spikes, fast simulator")])
def test_verdict(ok: bool, last: str) -> None:
    lines = rows(drawn(show_verdict, results.verdict(ok=ok)))
    assert lines[-1] == last
    assert f"golden spikes, fast simulator {'ok' if ok else 'FAILED'} 215,488 of 215,488 values equal" in lines
    assert "simulated now 96.67 % of 540 samples" in lines
    assert ("timestep 3" in lines) is not ok
    assert ("conv1 4 4 4 0" if ok else "conv1 4 5 4 1(0)") in lines


def test_training() -> None:
    data = {"model": "m.safetensors", "accuracy": 0.97, "accuracy_validation": 0.98, "accuracy_per_step": [0.9, 0.97],
            "time_unit": "timestep"}
    text = drawn(show_training, data)
    assert "test, after timestep 1: 90.00 %, 2: 97.00 %" in rows(text)
    assert "neurodeploy export m.safetensors --target" in text
    data["accuracy_per_step"] = [t / 100 for t in range(1, 33)]
    text = bare(drawn(show_training, data))
    assert "test, after timestep 2: 2.00 %, 5: 5.00 %" in text and "29: 29.00 %, 32: 32.00 %" in text and " 31:" not in text


@pytest.mark.parametrize("show", [show_search, show_energy, show_verdict])
def test_wide_consoles_are_not_filled(show: Show) -> None:
    data = {show_search: results.search(), show_energy: results.energy(), show_verdict: results.verdict()}[show]
    assert max(len(line) for line in drawn(show, data, width=250).splitlines()) <= tables.WIDTH


def test_narrow_consoles_break_numbers_but_never_cut_them() -> None:
    text = drawn(show_search, results.search(), width=70)
    assert max(len(line) for line in text.splitlines()) <= 70
    assert "…" not in text
    assert text.count("13.4)") == drawn(show_search, results.search()).count("13.4)") > 0


def test_large_bands_stay_plain_numbers() -> None:
    assert figures.band({"low": 5e-10, "nominal": 9.98e-10, "high": 1.535e-9}, "J") == "998 pJ (500 to 1535)"
    assert figures.band(None, "J") == "-"
    assert figures.band({"low": 0.0, "nominal": 0.0, "high": 0.0}, "J") == "0 J (0 to 0)"
    assert figures.percent(-1e-9) == "0.00 %"


def test_settings_are_printed_by_the_keys_that_set_takes() -> None:
    quantity = {"value": 15.3, "unit": "pJ", "low": 7.0, "high": 24.0, "status": "estimated", "source": "x"}
    resolved = {"recipe": {"evolution": {"budget": 20}}, "profile": {"energy": {"synapse": quantity}}}
    lines = rows(drawn(lambda console, data: tables.settings(console, tables.by_key(data)), resolved))
    assert lines == ["evolution.budget 20", "profile.energy.synapse.value 15.3 pJ (7 to 24), estimated"]
