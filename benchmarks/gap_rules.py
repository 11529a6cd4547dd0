"""What bins, weights above the threshold and the floor do to the gap between clocked and event-driven simulation.

    python benchmarks/gap_rules.py [BUNDLE] [--out FILE.json]

The integers of one bundle (default: exports/digits-speck2f) on the test split, four times: as they are; with thresholds and
floors a quarter as high, so that many weights exceed the threshold; the same with those weights cut at the threshold; and with
the floor at minus the threshold, as sinabs has it unless told otherwise. Prints for 16, 32 and 64 bins a sample what share of
each layer's event-driven spikes the clocked simulation of the same integers lacks (below 0: has too many), and how many
answers agree. Nothing is trained: only the changed rule differs.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from neurodeploy.data.event_sources import load_events
from neurodeploy.ir.graph import IntGraph
from neurodeploy.ir.nodes import Conv2d, Iaf, Linear, Node
from neurodeploy.jobs.event_evaluate import BINS
from neurodeploy.sim.event_gap import gap_table
from neurodeploy.sim.event_runs import run_streams
from neurodeploy.validate.event_bundle import open_event_bundle


def changed(net: IntGraph, threshold: float = 1.0, *, cut: bool = False, floor: float | None = None) -> IntGraph:
    """The network with thresholds and floors times `threshold`, weights cut at them, or floors at `floor` thresholds."""
    v_th = {n.name: max(1, round(n.v_th * threshold)) for n in net.neurons if isinstance(n, Iaf)}
    behind = {source.name: neuron.name for neuron in net.neurons for source, _ in net.sources(neuron.name)}

    def node(old: Node) -> Node:
        if isinstance(old, Iaf):
            low = round((old.v_min or 0) * threshold) if floor is None else round(floor * v_th[old.name])
            return replace(old, v_th=v_th[old.name], v_min=low)
        if isinstance(old, Conv2d | Linear) and cut:
            return replace(old, weight=np.minimum(old.weight, v_th[behind[old.name]]))
        return old

    return replace(net, nodes=tuple(node(n) for n in net.nodes))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path, nargs="?", default=Path("exports/digits-speck2f"))
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    opened = open_event_bundle(asked.bundle)
    data = load_events(opened.manifest["data"]["name"])
    streams, labels = data.split("test")
    found: dict[str, Any] = {}
    for name, net in {
        "as exported": opened.net,
        "thresholds a quarter, weights as they are": changed(opened.net, 0.25),
        "thresholds a quarter, weights cut at them": changed(opened.net, 0.25, cut=True),
        "floor at minus the threshold": changed(opened.net, floor=-1.0),
    }.items():
        accuracy = float((run_streams(net, streams, duration_us=data.duration_us).predictions == labels).mean())
        gaps = [g.to_dict() for g in gap_table(net, streams, data.sensor, data.duration_us, BINS)]
        found[name] = {"accuracy": accuracy, "gap": gaps}
        over = sum(layer["n_over_threshold"] for layer in gaps[0]["layers"])
        print(f"\n{name}: {100 * accuracy:.2f} % event-driven, {over} weights above a threshold")
        print(f"  {'layer':24}" + "".join(f"{f'{n} bins':>10}" for n in BINS))
        for i, layer in enumerate(gaps[0]["layers"]):
            print(f"  {layer['name']:24}" + "".join(f"{100 * g['layers'][i]['total']['relative']:9.2f}%" for g in gaps))
        print(f"  {'same answer':24}" + "".join(f"{100 * g['agreement']:9.2f}%" for g in gaps), flush=True)
    if asked.out is not None:
        asked.out.write_text(json.dumps({"bundle": asked.bundle.name, "arms": found}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
