"""A small network of events with the recordings that it answers, as files: what the commands take."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from neurodeploy.data.event_dataset import EventDataset
from neurodeploy.data.event_files import save_events
from neurodeploy.ir.graph import Graph
from neurodeploy.ir.nir import write_nir
from neurodeploy.ir.nodes import Conv2d, Flatten, Input, Linear, Vote
from neurodeploy.models.autosnn import AutoSnn
from neurodeploy.models.files import save
from neurodeploy.models.macro import MacroConfig
from tests.event_nets import chain, lif
from tests.validate.event_bundles import recordings


@dataclass(frozen=True)
class EventModel:
    """`path` names `data` as its dataset, `unnamed` is the same network without one."""

    path: Path
    unnamed: Path
    data: Path
    graph: Graph
    recordings: EventDataset


def halves() -> Graph:
    """Mixes both polarities (`mix` -> `n1`), then tells which half of the sensor sent more events (`fc` -> `out`)."""
    left = np.broadcast_to(np.arange(4) < 2, (2, 4, 4)).reshape(-1)
    return chain(
        Input("input", (2, 4, 4)), Conv2d("mix", np.reshape([0.9, 0.6, 0.5, 0.8], (2, 2, 1, 1))), lif("n1", 2, 4, 4),
        Flatten("flat"), Linear("fc", np.where(np.stack([left, ~left]), 0.9, -0.9)), lif("out", 2), Vote("vote", 2, 1),
        encoding="events",
    )  # fmt: skip


def write(folder: Path) -> EventModel:
    """The files of `halves` and its recordings (60 of 40 events, 100 ms)."""
    events, graph = recordings(), halves()
    data = folder / "events.npz"
    save_events(data, events)
    named = {"name": str(data), "duration_us": events.duration_us, "sensor": list(events.sensor)}
    graph = replace(graph, metadata={**graph.metadata, "data": named})
    write_nir(graph, folder / "model.nir")
    write_nir(halves(), folder / "unnamed.nir")
    return EventModel(folder / "model.nir", folder / "unnamed.nir", data, graph, events)


def write_leaky(folder: Path) -> Path:
    """An untrained network of the kind that chips with timesteps take: PLIF neurons, batch norms, max-pools."""
    config = MacroConfig(in_channels=1, image_size=(8, 8), n_classes=3, width=2, n_timesteps=2, group=2)
    module = AutoSnn(config, ["skip_connect", "SCB_k3", "skip_connect", "skip_connect", "skip_connect"])
    for norm in (m for m in module.modules() if isinstance(m, torch.nn.BatchNorm2d)):
        torch.nn.init.constant_(norm.bias, 0.1)
    module.metadata = {"data": {"name": "digits", "n_levels": 17}, "encoding": "direct"}
    save(module, folder / "leaky.safetensors")
    return folder / "leaky.safetensors"
