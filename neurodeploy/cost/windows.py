"""Which schedule has a meaning for a network: can samples follow each other without a gap?"""

from __future__ import annotations

import warnings

import numpy as np

from neurodeploy.cost.schedule import Schedule
from neurodeploy.errors import NeurodeployWarning, UsageError
from neurodeploy.fixedpoint import DECAY_BITS
from neurodeploy.ir.graph import Graph
from neurodeploy.ir.nodes import CubaLif, Lif, Linear, Node


def no_window(graph: Graph) -> str | None:
    """Why no layer has a window of T timesteps of its own for each sample, or None where each has one."""
    if not graph.is_acyclic:
        return "it is recurrent: its layers have no window of their own for each sample"
    if not graph.is_balanced:
        return "its paths differ in length: two samples would meet in one layer"
    for node in graph.nodes:
        if isinstance(node, Linear) and node.delays is not None and node.delays.any():
            return f"the delays of {node.name} carry spikes of one sample into the next"
    return None


def schedules(graph: Graph) -> tuple[Schedule, ...]:
    """Those that have a meaning for a network."""
    return ("single", "pipelined") if no_window(graph) is None else ("single",)


def carried_state(graph: Graph) -> str | None:
    """The first layer of a graph with windows that starts them with memory of the sample before, or None."""
    return next((n.name for n in graph.neurons if not _starts_anew(n, graph.latencies[n.name], graph.n_timesteps)), None)


def steps_until_settled(graph: Graph) -> int:
    """Chip timesteps until the last input of a sample has reached the output on every path, delays in synapses included.

    Of a recurrent graph, whose loops never end, `n_chip_steps`.
    """
    if not graph.is_acyclic:
        return graph.n_chip_steps
    latest: dict[str, int] = {}
    for node in graph.feedforward_order:
        inside = int(node.delays.max(initial=0)) if isinstance(node, Linear) and node.delays is not None else 0
        latest[node.name] = inside + max((latest[e.src] + e.delay for e in graph.incoming(node.name)), default=0)
    return graph.n_timesteps + latest[graph.output.name]


def _starts_anew(node: Node, latency: int, n_timesteps: int) -> bool:
    """Whether a layer's state is reset at the start of every window latency + k T."""
    if not isinstance(node, Lif | CubaLif):
        return False
    one = 2**DECAY_BITS
    if isinstance(node, CubaLif) and np.all(node.i_decay == one) and np.all(node.v_decay == one):
        return True  # it forgets within the timestep
    interval = node.reset_interval
    return interval is not None and n_timesteps % interval == 0 and (latency + 1 - node.reset_offset) % interval == 0


def schedule_for(graph: Graph, asked: Schedule | None) -> Schedule:
    """The schedule asked for, or the natural one: pipelined where each sample then gets what it gets alone, else single.

    Raises UsageError with the reason where pipelined was asked for and layers have no windows; warns where they have
    but keep their state from sample to sample.
    """
    reason = no_window(graph)
    if reason is not None:
        if asked == "pipelined":
            raise UsageError(
                f"this network cannot take a new sample every {graph.n_timesteps} timesteps: {reason}", where="--schedule",
                code="no_pipeline", remedy="Use --schedule single, the default for such a network",
            )
        return "single"
    carried = carried_state(graph)
    if asked == "pipelined" and carried is not None:
        warnings.warn(NeurodeployWarning(
            f"it is not reset every {graph.n_timesteps} timesteps: in a pipeline one sample acts on the next, here each one "
            "starts from zero", code="state_carried", where=carried,
            remedy="Read the .net with --reset-interval, or use --schedule single",
        ), stacklevel=2)
    return asked or ("pipelined" if carried is None else "single")
