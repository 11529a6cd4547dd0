"""Fit, placement, quantization and verdicts for a person."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console

from neurodeploy.cli import tables
from neurodeploy.cli.figures import MISSING, count, percent, runs, share_of
from neurodeploy.cli.render_event_accuracy import show_event_accuracy
from neurodeploy.cli.render_event_cores import show_core_integers, show_core_plan
from neurodeploy.cli.render_event_gap import show_gap
from neurodeploy.cli.render_exit import show_early_exit
from neurodeploy.cli.render_front import chip_commands
from neurodeploy.cli.render_gpu import memory
from neurodeploy.cli.render_placement import show_optimised, show_utilisation

PLACEMENT_SOURCES = {
    "bundle": "the one that the bundle was exported with", "placed": "made now, as few cores as hold it",
    "optimised": "made now and optimised",
}
_HELD_OUT = "Samples that no choice was made on; 95 % intervals, the change paired."
_STEPS_SHOWN = 12  # timesteps of a trained model, at most; of more every so many
_CORES_SHOWN = 6  # core numbers of a layer that are listed one by one


def show_check(console: Console, data: Mapping[str, Any]) -> None:
    """Print whether the network fits, per target: cores of each layer, or every broken limit with its remedy."""
    targets = data["targets"] if "targets" in data else {data["target"]: data}
    for name, entry in targets.items():
        on_gpu = "memory" in (entry.get("utilisation") or ())
        if entry["fits"] and on_gpu:
            tables.facts(console, "", [(name, f"fits: {memory(entry['utilisation']['memory'])}")])
            continue
        if entry["fits"]:
            tables.facts(console, "", [(name, f"fits, {_cores_of(entry)}")])
            show_lowering(console, entry.get("lowering"))
            show_placement(console, entry["placement"], entry.get("placement_source"))
            _show_use(console, entry)
            continue
        if "reason" in entry:
            tables.facts(console, "", [(name, f"cannot be brought onto it: {entry['reason']}")])
            continue
        n = len(entry["violations"])
        tables.facts(console, "", [(name, f"does not fit: {n} limit{'s' if n != 1 else ''} broken")])
        _show_violations(console, entry["violations"])
        _show_use(console, entry)
        if "suggestion" in entry and entry["suggestion"] is not None and not on_gpu:  # there the remedy says it
            _show_suggestion(console, name, entry["suggestion"])


def _show_use(console: Console, entry: Mapping[str, Any]) -> None:
    if "layers" in (entry.get("utilisation") or ()):  # where a core holds one layer, the placement says it
        show_utilisation(console, entry["utilisation"])
    if entry.get("optimised"):
        show_optimised(console, entry["optimised"])


def _on_cores(placement: Mapping[str, Any] | None) -> bool:
    """Whether a placement is one of an event-driven chip, a core for each layer."""
    return placement is not None and "shapes" not in placement


def _cores_of(entry: Mapping[str, Any]) -> str:
    """How many cores of how much."""
    if _on_cores(entry["placement"]):
        limit = (entry.get("utilisation") or {}).get("n_cores_limit")
        return f"{entry['n_cores']} of {limit} cores" if limit else f"{entry['n_cores']} cores"
    n = entry["placement"]["n_chips"]
    return f"{entry['n_cores']} cores of {n} chip{'s' if n != 1 else ''}"


def _show_violations(console: Console, violations: list[dict[str, str]]) -> None:
    for v in violations:
        rows = [("  what", v["what"]), ("  limit", v["limit"]), ("  remedy", v["remedy"])]
        tables.facts(console, f"{v['where']} ({v['rule']})", rows)


def _show_suggestion(console: Console, target: str, found: Mapping[str, Any]) -> None:
    system, width = found["system"], found["width"]
    rows = [
        ("as it is", "fits no system of this target" if system is None else
         f"fits {system['name']} ({system['n_chips']} chips)"),
        ("narrower", "no width fits" if width is None else f"width {width} fits: --set network.width={width} in the recipe"),
    ]  # fmt: skip
    tables.facts(console, f"Smallest changes that fit {target}", rows)


def show_placement(console: Console, placement: Mapping[str, Any], source: str | None = None) -> None:
    """One row a layer: how many neurons on which cores; `source` where the placement comes from."""
    if _on_cores(placement):
        show_core_plan(console, placement, None if source is None else PLACEMENT_SOURCES[source])
        return
    rows = []
    for name, shape in placement["shapes"]:
        cores = [core for core in placement["cores"] if core["node"] == name]
        n = sum(core["n_neurons"] for core in cores)
        rows.append([
            name, " x ".join(str(s) for s in shape), count(n), runs([core["index"] for core in cores], _CORES_SHOWN),
            count(max(core["n_words"] for core in cores)), count(max(core["n_axons_in"] for core in cores)),
            count(max(core["n_axons_out"] for core in cores)),
        ])  # fmt: skip
    columns = ["layer", "shape", "neurons", "cores", "words", "axons in", "axons out"]
    note = "words (of synaptic memory) and axons: of the layer's fullest core."
    if source is not None:
        note = f"The placement is {PLACEMENT_SOURCES[source]}. {note}"
    tables.grid(console, "Placement", columns, rows, note=note)


def show_export(console: Console, data: Mapping[str, Any]) -> None:
    """Print what was written, how each layer became integers and where it went."""
    accuracy, on_cores = data["accuracy"], _on_cores(data["placement"])
    folder = Path(data["bundle"])
    files = ", ".join(sorted(path.name for path in folder.iterdir()))
    rows = [("bundle", str(folder)), ("artifact", Path(data["artifact"]).name), ("files", files)]
    if accuracy is None:
        rows.append(("accuracy", "unknown: no data was given"))
    elif not on_cores:
        rows += _accuracies(accuracy)
    console.print()
    tables.facts(console, "Exported", rows)
    validate = f"neurodeploy validate {shlex.quote(str(folder))}"
    if data["placement"] is None:  # on a GPU nothing is quantized or placed
        if data["early_exit"] is not None:
            show_early_exit(console, data["early_exit"])
        tables.lines(console, "Next", [f"{validate} --oracle onnxruntime", *(
            f"python {shlex.quote(str(script))} --help" for script in sorted(folder.glob("run_on_*.py"))
        )])  # fmt: skip
        return
    if on_cores and accuracy is not None:
        show_event_accuracy(console, "Accuracy", accuracy, accuracy.get("agreement"), note=_HELD_OUT)
    show_quantization(console, data["quantization"])
    show_lowering(console, data["quantization"].get("lowering"))
    _show_rates(console, data["quantization"])
    show_placement(console, data["placement"], data.get("placement_source"))
    if data.get("optimised"):
        show_optimised(console, data["optimised"])
    if data.get("gap"):
        show_gap(console, data["gap"])
    if data.get("early_exit") is not None:
        show_early_exit(console, data["early_exit"])
    tables.lines(console, "Next", chip_commands(str(folder), data["placement"]["target"]) if on_cores else [validate])


def _accuracies(accuracy: Mapping[str, Any]) -> list[tuple[str, str]]:
    based = share_of(accuracy["n_right"], accuracy["n"], accuracy["interval"])
    rows = [("accuracy", f"{percent(accuracy['simulator'])} ({based}), simulated")]
    if accuracy["float"] is not None and "quantized" not in accuracy:  # nothing is quantized on a GPU
        rows.append(("before quantization", f"{percent(accuracy['float'])}, computed in float64"))
    if "as_trained" in accuracy:
        rows.append(("with its own neurons", f"{percent(accuracy['as_trained'])}, computed in float64, as it was trained"))
    if accuracy.get("agreement") is not None:
        same = accuracy["agreement"]
        rows.append(("same answer as before", f"{percent(same['share'])} ({same['n_same']} of {same['n']}), simulated"))
    return rows


def show_quantization(console: Console, found: Mapping[str, Any]) -> None:
    """One row a layer: its integers, and what rounding did to its spikes on the calibration data."""
    if "rule" in found:
        show_core_integers(console, found)
        return
    if found.get("as_given"):
        _show_integers(console, found["layers"])
        return
    ranges = {entry["layer"]: entry for entry in found["ranges"]}
    rows = [
        [
            e["layer"], f"{e['scale']:.6g}", str(e["weight_max"]), str(e["v_th"]), str(e["v_decay"]), count(e["n_saturated"]),
            count(e["n_spikes"]), count(e["n_mismatches"]), count(e["n_ties"]),
            "yes" if ranges[e["layer"]]["clip_reachable"] else "no",
        ]
        for e in found["layers"]
    ]
    columns = ["layer", "scale", "|w| max", "v_th", "decay", "saturated", "spikes", "differ", "ties", "clips"]
    fine_tuned = found.get("fine_tuned", False)
    if found["calibrated"]:
        note = (
            "On the calibration images: spikes, those that differ from the real-valued network, membranes exactly at the "
            "threshold (ties). "
        )
    else:
        note = "" if fine_tuned else "No calibration: scales come from the weights alone. "
    note += "Fine-tuned in integers after rounding. " if fine_tuned else ""
    note += "clips: some input could reach the membrane's limit. No current or accumulator can wrap."
    tables.grid(console, "Quantization", columns, rows, note=note)


def show_lowering(console: Console, notes: Mapping[str, Any] | None) -> None:
    """Which layers share a synapse with others, and what the chip's neurons do other than the network's."""
    notes = notes or {}
    rows = [(name, f"one synapse, with {', '.join(maps)}") for name, maps in notes.get("folded", {}).items()]
    flat = notes.get("flattened", [])
    rows += [(", ".join(flat), "weights of its own for each neuron: no convolution does this at borders")] if flat else []
    rows += [("input", notes["input"])] if "input" in notes else []
    rows += [("neurons", text) for text in notes.get("differences", [])]
    if rows:
        tables.facts(console, "How it was lowered", rows)


def _show_rates(console: Console, found: Mapping[str, Any]) -> None:
    """Firing of the network with its own neurons and with the chip's, a row a layer."""
    if "rates" not in found:
        return
    rows = [
        [e["layer"], f"{e['float']:.4f}", f"{e['chip']:.4f}", percent(e["chip"] / e["float"]) if e["float"] else MISSING]
        for e in found["rates"]
    ]
    basis = "validation images" if found["calibrated"] else "the golden inputs"
    note = f"On {basis}. network: in real numbers, its neurons as it was trained. chip: the integers that were exported."
    tables.grid(console, "Spikes per neuron and timestep", ["layer", "network", "chip", "of it"], rows, note=note)


def _show_integers(console: Console, layers: list[dict[str, Any]]) -> None:
    """One row a layer of a network that came as integers."""

    def span(values: list[int] | None) -> str:
        return MISSING if values is None else str(values[0]) if values[0] == values[1] else f"{values[0]} to {values[1]}"

    names = ("weight", "v_th", "i_decay", "v_decay", "bias_mant")
    rows = [[entry["layer"], entry["neuron"], *(span(entry[name]) for name in names)] for entry in layers]
    columns = ["layer", "neuron", "weights", "v_th", "i_decay", "v_decay", "bias"]
    tables.grid(console, "Integers", columns, rows, note="As the file has them: nothing was rounded or scaled.", left=2)


def show_verdict(console: Console, data: Mapping[str, Any]) -> None:
    """Print each check, the accuracies, the early exit, and the verdict in one line at the end."""
    console.print()
    rows = [[c["name"], "ok" if c["ok"] else "FAILED", c["what"]] for c in data["checks"]]
    tables.grid(console, f"{data['bundle']} for {data['target']}", ["check", "", "what was compared"], rows, left=3)
    accuracy = data["accuracy"]
    real, now = accuracy["float"], accuracy["simulator"]
    shown = [("as the manifest claims", percent(real))] if data["time_unit"] == "timestep" else [
        ("before quantization", "unknown" if real is None else f"{percent(real)}, computed in float64"),
        ("as the manifest claims", percent(accuracy["quantized"])),
    ]
    shown += [
        ("simulated now", "not run: no data" if now is None else f"{percent(now)} of {data['n_samples']} samples"),
    ]
    tables.facts(console, "Accuracy", shown)
    if data["early_exit"] is not None:
        show_early_exit(console, data["early_exit"])
    if data["first_divergence"] is not None:
        tables.facts(console, "First divergence", _divergence(data["first_divergence"], data["time_unit"]))
    if "trace" in data:
        _show_trace(console, data["trace"], "sample" if data["time_unit"] == "us" else data["time_unit"])
    failed = ", ".join(c["name"] for c in data["checks"] if not c["ok"])
    verdict = "VALID: the bundle is what it claims" if data["ok"] else f"FAILED: {failed}"
    console.print(verdict, style="bold green" if data["ok"] else "bold red", markup=False)


def _divergence(found: Mapping[str, Any], unit: str) -> list[tuple[str, str]]:
    names = {"timestep": "time"} if unit == "us" else {}
    values = {"timestep": f"{found['timestep']} us"} if unit == "us" else {}
    if found.get("instead") is not None:
        t, *address = found["instead"]
        values["instead"] = f"neuron {address} at {t} us"
    return [(names.get(k, k), values.get(k, str(v))) for k, v in found.items() if v is not None]


def _show_trace(console: Console, trace: Mapping[str, Mapping[str, list[int]]], each: str) -> None:
    """One row a layer; each: what the counts are of."""
    rows = [
        [
            name, str(sum(e["expected"])), str(sum(e["got"])),
            " ".join(str(b) if a == b else f"{b}({a})" for a, b in zip(e["expected"], e["got"], strict=True)),
        ]
        for name, e in trace.items()
    ]
    columns = ["layer", "stored", "now", f"spikes in each {each}"]
    tables.grid(console, "Golden spikes", columns, rows, note="In brackets: stored, where it differs.", left_also=(3,))


def show_training(console: Console, data: Mapping[str, Any]) -> None:
    """Print the trained model and its accuracies."""
    n, each = len(data["accuracy_per_step"]), -(-len(data["accuracy_per_step"]) // _STEPS_SHOWN)
    steps = ", ".join(
        f"{t}: {percent(share)}" for t, share in enumerate(data["accuracy_per_step"], start=1) if (n - t) % each == 0
    )
    console.print()
    tables.facts(console, "Trained", [
        ("model", str(data["model"])), ("accuracy, test split", f"{percent(data['accuracy'])}, computed in float32"),
        ("accuracy, validation", f"{percent(data['accuracy_validation'])}, the best epoch, which is the one kept"),
        (f"test, after {data['time_unit']}", steps),
    ])  # fmt: skip
    tables.lines(console, "Next", [f"neurodeploy export {shlex.quote(str(data['model']))} --target TARGET"])
