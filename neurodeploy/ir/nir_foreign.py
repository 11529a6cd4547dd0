"""Others' `.nir` files as graphs; `nir_foreign_nodes.py` and `nir_foreign_neurons.py` have the equations of every node.

What no field of a file says, `NirOptions` states; what it leaves open is assumed, with a warning (`nir_assumed`):

Neurons. NIR's text has them fire above the threshold and return to v_reset. The tools that write IF neurons for event-driven
chips (r = 1, no time constants) mean something else, so such files are read as sinabs 3.1.3 has it, others by NIR's text.

Time. NIR is continuous, and forward Euler needs a timestep. Files whose time constants and delays are all below 1 are taken to
be in seconds, with the 1e-4 s that snntorch and spikingjelly write; where all are 1 or more, in timesteps. Without any,
r = 1e4 everywhere says the same 1e-4 s. A file with some of both is refused unless dt is stated.

Shapes are inferred from the input. Average pools become sum pools, their factor goes into the weights behind (in the
precision of the file, which is sinabs' arithmetic); biases that are all zero are dropped.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import nir
import numpy as np

from neurodeploy.errors import NeurodeployWarning, UnsafeFile
from neurodeploy.ir.graph import Graph
from neurodeploy.ir.nir_foreign_build import Builder, flat_nodes
from neurodeploy.ir.nodes import Fire

_SINABS: dict[str, Any] = {
    "fire": ">=", "reset": "soft", "v_min": "-v_threshold", "multi_spike": True, "n_timesteps": 32,
}
_NIR_TEXT: dict[str, Any] = {"fire": ">", "reset": "hard", "v_min": "none", "multi_spike": False, "n_timesteps": 32}
_SECONDS = 1e-4
_SHOWN = 8  # repairs in the warning
_TIMES = {
    nir.LIF: ("tau",), nir.LI: ("tau",), nir.CubaLIF: ("tau_syn", "tau_mem"), nir.CubaLI: ("tau_syn", "tau_mem"),
    nir.Delay: ("delay",),
}


@dataclass(frozen=True)
class NirOptions:
    """What a NIR file does not say. None: not known, assume it (above; first sinabs' convention, then NIR's text).

    fire: `>=` or `>` (assumed `>=`, `>`). reset: `soft` (subtract the threshold), `late` (subtract it in the next timestep,
    behind the decay: snntorch's default) or `hard` (assumed `soft`, `hard`). v_min: floor of the state, a number, `none` or
    `-v_threshold` (assumed `-v_threshold`, `none`). multi_spike: several spikes a timestep (assumed true, false). n_timesteps:
    of the graph (assumed 32). n_classes: add a Vote of equal groups of output neurons; nothing by default. dt: of a timestep,
    in the file's unit of time; above 0.
    """

    fire: Fire | None = None
    reset: Literal["hard", "soft", "late"] | None = None
    v_min: float | Literal["none", "-v_threshold"] | None = None
    multi_spike: bool | None = None
    n_timesteps: int | None = None
    n_classes: int | None = None
    dt: float | None = None

    def settled(self, usual: dict[str, Any] = _SINABS) -> tuple[dict[str, Any], tuple[str, ...]]:
        """Every convention but dt with its value, and the names of those that were assumed."""
        assumed = tuple(name for name in usual if getattr(self, name) is None)
        return {name: usual[name] if name in assumed else getattr(self, name) for name in usual}, assumed


def to_graph(found: nir.NIRGraph, where: str, options: NirOptions, repairs: list[str]) -> Graph:
    """The float graph of a NIR graph that was not written by neurodeploy; metadata `nir` holds the conventions.

    repairs: what was put right in the file so far, a line each. Raises UnsafeFile naming the node that is not supported or not
    valid. Warns about what was assumed (`nir_assumed`) and what was put right (`nir_repaired`), once each.
    """
    flat = flat_nodes(found, where)
    timed, usual = _is_timed(flat[0]), _SINABS
    if timed:
        usual = _NIR_TEXT
    conventions, assumed = options.settled(usual)
    said = [f"{name} {conventions[name]}" for name in assumed]
    if timed:
        if options.dt is None:
            conventions["dt"], reason = _assumed_dt(flat[0], where)
            said.append(f"dt {conventions['dt']:g} ({reason})")
        else:
            conventions["dt"] = options.dt
    graph = Builder(flat, where, conventions, repairs).build(options.n_classes)
    if repairs:
        shown = list(dict.fromkeys(repairs))
        more = f"; and {len(shown) - _SHOWN} more" if len(shown) > _SHOWN else ""
        warnings.warn(
            NeurodeployWarning(f"the file is not quite NIR, read as: {'; '.join(shown[:_SHOWN])}{more}", code="nir_repaired",
                               where=where, remedy="Nothing, if that is what was meant; else mend the tool that wrote it"),
            stacklevel=3,
        )
    if said:
        warnings.warn(
            NeurodeployWarning(f"the file leaves conventions open, assumed: {', '.join(said)}", code="nir_assumed", where=where,
                               remedy="State them where you know better: --set nir.reset=hard (snntorch's default is late), "
                                      "or NirOptions"),
            stacklevel=3,
        )
    return graph


def _is_timed(nodes: dict[str, Any]) -> bool:
    """Whether anything depends on the timestep: time constants, delays, integrators, or IF neurons with r other than 1."""
    return any(
        isinstance(node, nir.I) or type(node) in _TIMES or (isinstance(node, nir.IF) and bool(np.any(np.asarray(node.r) != 1)))
        for node in nodes.values()
    )


def _times(nodes: dict[str, Any]) -> Iterator[tuple[str, float]]:
    """(node, time) of every time that is above 0; what is no number is for the node's reader to refuse."""
    for name, node in nodes.items():
        for field in _TIMES.get(type(node), ()):
            values = np.asarray(getattr(node, field))
            if values.dtype.kind in "iuf":
                yield from ((name, float(v)) for v in np.unique(values) if v > 0 and math.isfinite(v))


def _assumed_dt(nodes: dict[str, Any], where: str) -> tuple[float, str]:
    """(dt, why). Raises UnsafeFile where times are below and above 1."""
    times = sorted(_times(nodes), key=lambda pair: pair[1])
    if not times:
        drives = [np.asarray(n.r) for n in nodes.values() if isinstance(n, nir.IF | nir.I)]
        if drives and all(r.dtype.kind in "iuf" and r.size and np.allclose(r, 1 / _SECONDS, rtol=1e-6) for r in drives):
            return _SECONDS, "r is 1e4 everywhere: seconds"
        return 1.0, "no time constants: timesteps"
    (low_at, low), (high_at, high) = times[0], times[-1]
    if high < 1:
        return _SECONDS, "every time is below 1: seconds"
    if low >= 1:
        return 1.0, "every time is 1 or more: timesteps"
    raise UnsafeFile(
        f"times from {low:g} ({low_at}) to {high:g} ({high_at}) could be seconds or timesteps", where=f"{where}: {low_at}",
        limit="All below 1 are taken as seconds, all from 1 on as timesteps",
        remedy="State the timestep in the file's unit: --set nir.dt=1e-4",
    )
