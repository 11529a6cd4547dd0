"""Small results in the form that the commands hand to the command line, complete in their fields."""

from __future__ import annotations

from pathlib import Path
from typing import Any

GENOME = ["skip_connect", "SCB_k3", "SRB_k5"]


def band(nominal: float) -> dict[str, float]:
    return {"low": nominal / 2, "nominal": nominal, "high": 2 * nominal}


def layer(name: str, *, n_neurons: int, joule: float) -> dict[str, Any]:
    return {
        "name": name, "is_input": not n_neurons, "n_neurons": n_neurons, "n_cores": 1 if n_neurons else 0, "spike_rate": 0.1,
        "energy_dynamic_j": band(joule), "breakdown_j": {}, "counts": {"n_spikes": 51.25, "n_synops": 26912.4},
    }


def cost(schedule: str = "pipelined", scale: float = 1.0) -> dict[str, Any]:
    terms = {"synapse": 1.5e-6, "soma": 0.5e-6, "spike": 0.2e-6, "hop": 1e-9, "input": 0.0, "static": 4.5e-6}
    breakdown: dict[str, Any] = {name: band(scale * joule) for name, joule in terms.items()}
    statuses: dict[str, Any] = dict.fromkeys(terms, "estimated")
    constants = {"energy.synapse": "estimated", "power.static": "estimated", "time.step_floor": "published"}
    core = {"chip": 0, "x": 0, "y": 1, "n_neurons": 64, "energy_dynamic_j": band(1e-6), "share_of_steps": 0.8, "busiest": True}
    return {
        "target": "loihi2", "schedule": schedule, "n_cores": 2, "n_chips": 1, "energy_j": band(scale * 6.7e-6),
        "energy_dynamic_j": band(scale * 2.2e-6), "breakdown_j": {**breakdown, "management": None},
        "breakdown_status": {**statuses, "management": None}, "latency_s": 66.9e-6, "latency_band_s": band(66.9e-6),
        "interval_s": 19.1e-6, "edp_js": 4.5e-10, "edp_band_js": band(4.5e-10), "latency_steps_s": [4e-6, 9e-6, 4.5e-6, 1.6e-6],
        "counts": {
            "synops": 89370.6, "neuron_updates": 7696.0, "spikes": 1401.2, "messages": 1557.0, "hops": 383.9,
        },
        "layers": [
            layer("input", n_neurons=0, joule=0.2e-6), layer("conv1", n_neurons=512, joule=1.5e-6),
            layer("conv2", n_neurons=64, joule=0.5e-6),
        ],
        "cores": [
            {"index": 0, "node": "conv1", "send_s": 3e-6, "receive_s": 5e-6, **core},
            {"index": 1, "node": "conv2", "send_s": 7e-6, "receive_s": 1e-6, **core, "share_of_steps": 0.0},
        ],
        "limiting": {"core": 0, "node": "conv1", "side": "receive", "share_of_steps": 0.81}, "status": "estimated",
        "excluded": ["host computer", "management: not available, loihi2 has no power.management"], "exact_counts": True,
        "provenance": {name: {"status": status} for name, status in constants.items()},
    }  # fmt: skip


def early_exit(*, mean: float = 2.2, saved: float = 0.1) -> dict[str, Any]:
    histogram = [200, 150, 72, 118] if mean < 4 else [0, 0, 0, 540]
    return {
        "policy": {"threshold": 0.31, "temperature": 1.0, "metric": "confidence", "logits": "mean"}, "threshold": 0.31,
        "accuracy": 0.9741, "n": 540, "mean_timesteps": mean, "mean_chip_timesteps": mean + 10, "pipeline_timesteps": 10,
        "histogram": histogram, "accuracy_fixed": [0.91, 0.95, 0.96, 0.97], "accuracy_fixed_at_mean": 0.9512,
        "energy_j": band(18e-6), "energy_dynamic_j": band(4e-6), "energy_full_j": band(20e-6),
        "energy_dynamic_full_j": band(5e-6), "latency_s": 55e-6, "latency_full_s": 63e-6, "energy_saved": saved,
        "status": "estimated", "oracle": {"accuracy": 0.9852, "mean_timesteps": 1.3},
    }  # fmt: skip


def accuracy() -> dict[str, Any]:
    paired = {"difference": -0.0037, "low": -0.0099, "high": 0.0026, "only_first_right": 0, "only_second_right": 2, "n": 540}
    return {
        "float": 0.9704, "simulator": 0.9667, "n": 540, "n_right": 522, "interval": [0.9479, 0.9788],
        "simulator_minus_float": paired,
    }


AGREEMENT = {"share": 0.9963, "n_same": 538, "n": 540, "interval": [0.9866, 0.999]}


def search(run_dir: Path | str = "runs/first") -> dict[str, Any]:
    best = {
        "genome": GENOME, "accuracy": 0.9, "spikes_paper": 1300.0, "spikes": 1418.9, "synops": 80538.2, "energy_j": 5.6e-6,
        "energy_dynamic_j": 1.8e-6, "energy_at_exit_j": 13.5e-6, "latency_s": 53.6e-6, "n_cores": 2, "fits": True,
        "silent_layers": [], "violations": [], "fitness": 0.8152,
    }  # fmt: skip
    other = {**best, "genome": ["SCB_k3"] * 3, "accuracy": 0.95, "energy_j": 9e-6, "fitness": 0.8}
    validation = {"accuracy_float": 0.9833, "accuracy_integer": 0.9889, "drop": -0.0056, "agreement": 0.9944, "n": 359}
    return {
        "run_dir": str(run_dir), "target": "loihi2", "n_evaluated": 10, "n_feasible": 9, "stopped": "budget", "best": best,
        "pareto": [best, other], "references": {"spikes": 1.0, "energy_j": 1.0, "latency_s": 1.0},
        "model": f"{run_dir}/model.safetensors", "bundle": f"{run_dir}/bundle",
        "validation": {**validation, "before_fine_tuning": {**validation, "accuracy_integer": 0.9777}}, "fine_tuned": True,
        "test": {
            "accuracy": accuracy(), "agreement": AGREEMENT, "early_exit": early_exit(),
            "cost": {"single": cost("single", 3.0), "pipelined": cost()},
        },
        "seconds": {"supernet": 29.85, "search": 3.4}, "data": {"name": "digits", "split": "test"}, "schedule": "pipelined",
        "recipe": "digits", "disclaimer": "Within a factor of 2.",
    }  # fmt: skip


def proxies() -> dict[str, Any]:
    return {
        "dense_macs_per_timestep": 240192.0, "dense_macs": 960768.0, "effective_macs": 8597.7, "effective_acs": 79065.1,
        "membrane_updates": 7696.0, "activation_sparsity": 0.8192, "connection_sparsity": 0.0656, "n_weights": 47160,
        "n_dns_ops": 164622.8, "spikes_per_synapse": 0.997,
        "break_even_spikes_per_synapse": {"dampfhoffer_2023": {"low": 0.15, "high": 1.38, "source": "x"}},
        "energy_45nm_j": {"fp32": {"snn": 1.1e-7, "dense_pass": 1.1e-6}, "int8": {"snn": 4.3e-9, "dense_pass": 5.5e-8}},
        "provenance": {}, "note": "Not an energy of the target.",
    }  # fmt: skip


VIOLATION = {
    "rule": "neurons", "where": "conv1", "what": "needs 9 neurons", "limit": "A core holds 8", "remedy": "Use 8 channels",
}


def unfit() -> dict[str, Any]:
    unknown = ("energy_j", "energy_dynamic_j", "breakdown_j", "latency_s", "edp_js", "counts", "layers", "cores", "status")
    return {"fits": False, "n_cores": 130, "violations": [VIOLATION], **dict.fromkeys(unknown)}


def energy(**others: dict[str, Any]) -> dict[str, Any]:
    entry = {
        "fits": True, "accuracy": {**accuracy(), "float": None}, "early_exit": early_exit(mean=4.0, saved=0.0),
        "data": {"name": "digits", "split": "test"}, **cost(), "disclaimer": "Within a factor of 2.",
    }
    return {"targets": {"loihi2": entry, **others}, "proxies": proxies()}


def placement() -> dict[str, Any]:
    def core(index: int, node: str, n_neurons: int) -> dict[str, Any]:
        return {"index": index, "node": node, "n_neurons": n_neurons, "n_words": 18, "n_axons_in": 64, "n_axons_out": 512}

    cores = [*(core(i, "conv1", 256) for i in range(4)), core(4, "conv2", 64)]
    return {"target": "loihi2", "n_chips": 1, "shapes": [["conv1", [16, 8, 8]], ["conv2", [64]]], "cores": cores}


def quantization(*, calibrated: bool = True) -> dict[str, Any]:
    counted: dict[str, Any] = {"n_spikes": 1200, "n_mismatches": 7, "n_ties": 3}
    seen = counted if calibrated else dict.fromkeys(counted)
    entry = {"layer": "conv1", "scale": 254.0, "weight_max": 250, "v_th": 126, "v_decay": 2048, "n_saturated": 5, **seen}
    return {
        "calibrated": calibrated, "fine_tuned": False, "scales": {"conv1": 254.0}, "layers": [entry],
        "ranges": [{"layer": "conv1", "clip_reachable": True}],
    }


def verdict(*, ok: bool = True) -> dict[str, Any]:
    first = None if ok else {"layer": "conv1", "timestep": 3, "neuron": [0, 1, 2], "expected": 1, "got": 0, "sample": 5}
    return {
        "bundle": "exports/mine", "target": "loihi2", "ok": ok,
        "accuracy": {"float": 0.9704, "quantized": 0.9667, "simulator": 0.9667}, "agreement": 1.0, "n_compared": 430976,
        "n_spikes": 33279, "n_samples": 540, "first_divergence": first, "time_unit": "chip timestep",
        "early_exit": early_exit(), "oracle": None,
        "checks": [
            {"name": "files", "ok": True, "what": "sha256 of 4 files"},
            {"name": "golden spikes, fast simulator", "ok": ok, "what": "215,488 of 215,488 values equal"},
        ],
        "errors": [], "trace": {"conv1": {"expected": [4, 0], "got": [4, 0 if ok else 1]}},
    }  # fmt: skip
