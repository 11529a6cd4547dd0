"""Searches so small that they take seconds: three digits or two kinds of recordings, narrow networks, few candidates."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from neurodeploy.data.datasets import load
from neurodeploy.data.event_files import save_events
from tests.validate.event_bundles import recordings

BUDGET = 8
RECIPE = """
schema_version = 1
name = "tiny"
seed = 3

[data]
name = "{data}"

[network]
width = 4
n_timesteps = 2
decay_input = false

[supernet]
epochs = 20
batch_size = 20
lr = 0.01
recalibration_batches = 2
recalibration_batch_size = 32

[evolution]
budget = {budget}
pool = 4
top_k = 3
n_mutations = 2
n_crossovers = 1

[fitness]
lambda_spikes = -0.04
mu_energy = -0.08
nu_latency = -0.02
chance_margin = 0.0

[train]
epochs = 40
batch_size = 30
lr = 0.02

[quantize]
qat_epochs = 1
"""

EVENTS_RECIPE = """
schema_version = 1
name = "tiny_events"
seed = 3

[data]
name = "{data}"

[network]
width = 4
n_timesteps = 8
layout = [1, 1, 0]
group = 1
neuron = "if"
reset = "soft"
decay_input = false
pool = "sum"
norm = "weights"
multi_spike = true
v_min = -16.0
w_max = 1.0
gain = 4.0

[input]
kind = "events"

[supernet]
epochs = 20
batch_size = 10
lr = 0.01
loss = "ce"
encoding = "events"
drop = 0.2
anchor = ["SCB_k3", "SCB_k3"]
anchor_hold = 0.2
anchor_fade = 0.2
adapt_epochs = 6
n_references = 3

[evolution]
budget = {budget}
pool = 4
top_k = 3
n_mutations = 2
n_crossovers = 1

[fitness]
chance_margin = 0.0
energy = "dynamic"

[train]
epochs = 20
batch_size = 10
lr = 0.01
loss = "ce"
encoding = "events"
drop = 0.2
select_last = 0.25
"""


@dataclass(frozen=True)
class Tiny:
    """A finished search: its recipe's file, its folder, what the command printed, its dataset's file, and its target."""

    recipe: Path
    run_dir: Path
    data: dict[str, Any]
    dataset: Path
    target: str = "loihi2"

    @property
    def model(self) -> Path:
        return self.run_dir / "model.safetensors"

    @property
    def bundle(self) -> Path:
        return self.run_dir / "bundle"


def write_dataset(folder: Path, n_per_class: int = 40) -> Path:
    """The first digits 0, 1 and 2 as `three.npz`."""
    digits = load("digits")
    chosen = np.sort(np.concatenate([np.flatnonzero(digits.y == k)[:n_per_class] for k in range(3)]))
    x = np.rint(digits.x[chosen] * (digits.n_levels - 1)).astype(np.uint8)
    np.savez(folder / "three.npz", x=x, y=digits.y[chosen], n_levels=digits.n_levels)
    return folder / "three.npz"


def write_events(folder: Path) -> Path:
    """Recordings of either half of a sensor as `sides.npz`."""
    save_events(folder / "sides.npz", recordings(n=90, n_events=160))
    return folder / "sides.npz"


def write_recipe(folder: Path, dataset: Path | str, budget: int = BUDGET, recipe: str = RECIPE) -> Path:
    path = folder / "tiny.toml"
    path.write_text(recipe.format(data=dataset, budget=budget))
    return path


def without_seconds(result: dict[str, Any]) -> dict[str, Any]:
    """A result without what differs between two equal runs: times, and where it lies."""
    return {k: v for k, v in result.items() if k not in ("seconds", "run_dir", "model", "bundle")}
