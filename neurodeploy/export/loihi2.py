"""The artifacts for chips with Lava's neurons: `graph.npz`, `network.net` where netx can hold the network, the run script."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from neurodeploy.ir.graph import IntGraph
from neurodeploy.ir.net import write_net
from neurodeploy.ir.netx import netx_kwargs, netx_reason
from neurodeploy.ir.serialize import save

GRAPH, NET = "graph.npz", "network.net"
_SCRIPT = Path(__file__).with_name("run_on_loihi2.py")


def write_artifacts(net: IntGraph, folder: Path, target: str) -> dict[str, Any]:
    """Write the artifacts into a folder; returns the manifest fields `artifact` and `netx` {file, reason, kwargs}."""
    save(net, folder / GRAPH)
    reason = netx_reason(net)
    if reason is None:
        write_net(net, folder / NET)
    shutil.copyfile(_SCRIPT, folder / f"run_on_{target}.py")
    return {
        "artifact": GRAPH,
        "netx": {
            "file": NET if reason is None else None, "reason": reason,
            "kwargs": netx_kwargs(net) if reason is None else None,
        },
    }
