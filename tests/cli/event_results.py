"""Results of a small network on an event-driven chip, in the form that the jobs hand to the command line: made by the jobs."""

from __future__ import annotations

import copy
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from neurodeploy.cost.event_band import Candidate, front_flips
from neurodeploy.data.event_dataset import EventDataset
from neurodeploy.early_exit.confidence import ConfidencePolicy
from neurodeploy.early_exit.event_windows import EventExitPolicy
from neurodeploy.hw.profile import EventProfile, any_target
from neurodeploy.ir.nodes import Array
from neurodeploy.jobs.event_evaluate import evaluate_events
from neurodeploy.lower.event_cores import lower_to_events
from neurodeploy.place.event_cores import place
from neurodeploy.quantize.iaf_network import quantize_events
from neurodeploy.sim.events_stream import from_raster

from event_nets import residual

GENOMES = (["skip_connect", "SCB_k3"], ["SCB_k3", "SCB_k3"])
DURATION_US = 20_000


def profile() -> EventProfile:
    found = any_target("speck2f")
    assert isinstance(found, EventProfile)
    return found


def recordings(n: int = 10) -> EventDataset:
    """Random events in 50 bins; the class says how many there are."""
    rng = np.random.default_rng(2)
    streams: list[Array] = []
    for i in range(n):
        stream = from_raster((rng.random((50, 2, 8, 8)) < 0.02 + 0.01 * (i % 5)).astype(np.int64))
        streams.append(np.column_stack([stream[:, 0] * (DURATION_US // 50), stream[:, 1:]]))
    everything = np.arange(n)
    return EventDataset("random-events", tuple(streams), everything % 5, 5, (2, 8, 8), DURATION_US,
                        {"train": everything[:0], "validation": everything[:0], "test": everything})  # fmt: skip


@cache
def _evaluated() -> dict[str, Any]:
    chip, data = profile(), recordings()
    lowered = lower_to_events(residual(), chip)
    net = quantize_events(lowered, chip)
    policy = EventExitPolicy("event", 7, ConfidencePolicy(0.4, 1.0, "confidence", "sum"))
    plan = place(net, chip)
    found = evaluate_events(lowered, net, plan, chip, policy, data, limit=None)
    limited = evaluate_events(lowered, net, plan, chip, None, data, limit=5e6, with_gap=False)
    return {
        "test": found.to_dict(), "over": limited.to_dict()["cost"]["events"], "plan": plan.to_dict(),
        "quantization": dict(net.quantization),
    }


def evaluated() -> dict[str, Any]:
    """`test`: the dictionary of an evaluation; `over`: a cost with cores over their limit; `plan`, `quantization`."""
    return copy.deepcopy(_evaluated())


def cost() -> dict[str, Any]:
    found: dict[str, Any] = evaluated()["test"]["cost"]["events"]
    return found


def search(run_dir: Path | str = "runs/first") -> dict[str, Any]:
    """A finished search of two candidates."""
    found = evaluated()
    metrics: dict[str, Any] = {
        "accuracy": 0.9, "spikes": 1400.0, "synops": 400_000.0, "energy_j": 52e-6, "energy_dynamic_j": 12e-6,
        "energy_at_exit_j": 30e-6, "latency_s": 1.8e-6, "n_cores": 4, "fits": True, "fitness": 0.81,
    }  # fmt: skip
    best = {"genome": GENOMES[0], **metrics}
    other = {"genome": GENOMES[1], **metrics, "accuracy": 0.95, "synops": 800_000.0, "fitness": 0.8}
    front = front_flips([Candidate("-".join(e["genome"]), e["accuracy"], e["synops"], 0.02) for e in (best, other)], profile())
    return {
        "run_dir": str(run_dir), "model": f"{run_dir}/model.safetensors", "bundle": f"{run_dir}/bundle", "target": "speck2f",
        "n_evaluated": 10, "n_feasible": 9, "stopped": "budget", "best": best, "pareto": [best, other],
        "energy_band": {**front.to_dict(), "sentence": front.sentence()}, "fine_tuned": False, "test": found["test"],
        "validation": {"accuracy_float": 0.97, "accuracy_integer": 0.96, "drop": 0.01, "agreement": 0.98, "n": 359},
        "seconds": {"supernet": 29.85, "search": 3.4}, "data": {"name": "random-events", "split": "test"},
        "schedule": "pipelined", "recipe": "digits_events", "disclaimer": "Within a factor of ten.",
    }  # fmt: skip


def energy_entry() -> dict[str, Any]:
    """One target of an energy report, run on data."""
    test = evaluated()["test"]
    return {
        "fits": True, "accuracy": test["accuracy"], "early_exit": test["early_exit"],
        "data": {"name": "random-events", "split": "test"}, **test["cost"]["events"], "disclaimer": "Within a factor of ten.",
        "placement_source": "placed", "interval_predicted_s": None,
    }  # fmt: skip


def export(folder: Path) -> dict[str, Any]:
    """What an export answers; `folder` holds a file."""
    found = evaluated()
    return {
        "bundle": str(folder), "artifact": str(folder / "speck.json"), "quantization": found["quantization"],
        "placement": found["plan"], "accuracy": {**found["test"]["accuracy"], "agreement": found["test"]["agreement"]},
        "optimised": None, "placement_source": "placed", "gap": found["test"]["gap"],
        "early_exit": found["test"]["early_exit"],
    }  # fmt: skip
