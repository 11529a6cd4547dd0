"""What a simulator saw: spikes, which neurons the chip had to update, and the votes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neurodeploy.errors import NeurodeployError, UsageError
from neurodeploy.hw.profile import target
from neurodeploy.ir.graph import IntGraph
from neurodeploy.ir.nodes import Array, CubaLif, Delta, Iaf, Node, Sigma, SigmaDelta, Vote

# Which state of a neuron (`ir.reference.State`) is recorded as what.
STATES: dict[type[Node], dict[str, str]] = {
    CubaLif: {"v_mem": "v_mem", "i_syn": "i_syn"}, Delta: {"v_mem": "act"}, SigmaDelta: {"v_mem": "sigma"},
    Sigma: {"v_mem": "sigma"}, Iaf: {"v_mem": "v_mem"},
}
LAVA = "lava"


@dataclass(frozen=True, eq=False)
class Trace:
    """One run of `n_steps` chip timesteps. Rasters are in CHIP time, [T', B, *shape]; votes in MODEL time.

    spikes: by name of every input (its values) and neuron layer: int8 0 or 1 of a CubaLif; int32 of the others, messages of
    sigma-delta neurons, numbers of spikes of an Iaf (as the values of an input of a network of Iaf are numbers of events).
    updated: bool, by neuron layer: in that step the neuron's state (v_mem or i_syn; act, residue or sigma) was not zero
    before the step, or an event arrived (any message through any of its synapses, whatever the weights, and a delayed
    one when its delay is over), or its bias is not zero, or it fired. An Iaf has no leak: its state alone updates nothing.
    votes: float64 [T' - latency, B, n_classes], row t belonging to model timestep t; zero classes without a Vote.
    v_mem, i_syn: int64 by neuron layer at the END of each step, after the reset; None where not recorded. For sigma-delta
    neurons v_mem is sigma, for a Delta act, and they and an Iaf have no i_syn.
    """

    graph: IntGraph
    n_steps: int
    spikes: dict[str, NDArray[np.signedinteger[Any]]]
    updated: dict[str, NDArray[np.bool_]]
    votes: NDArray[np.float64]
    v_mem: dict[str, NDArray[np.int64]] | None = None
    i_syn: dict[str, NDArray[np.int64]] | None = None

    @property
    def batch(self) -> int:
        """Samples B."""
        return int(self.votes.shape[1])

    @property
    def logits(self) -> NDArray[np.float64]:
        """[T, B, n_classes]: the sum of the votes of model timesteps 0..t."""
        return np.cumsum(self.votes, axis=0)

    @property
    def n_spikes(self) -> dict[str, int]:
        """Events of each input and neuron layer over all timesteps and samples: messages, or in a network of Iaf spikes."""
        if any(isinstance(n, Iaf) for n in self.graph.nodes):
            return {name: int(np.abs(raster.astype(np.int64)).sum()) for name, raster in self.spikes.items()}
        return {name: int(np.count_nonzero(raster)) for name, raster in self.spikes.items()}


def vote_node(graph: IntGraph) -> Vote | None:
    """The graph's read-out, or None; raises NeurodeployError when there are several."""
    votes = [n for n in graph.nodes if isinstance(n, Vote)]
    if len(votes) > 1:
        raise NeurodeployError(f"{len(votes)} read-outs", where=", ".join(v.name for v in votes), code="bad_graph")
    return votes[0] if votes else None


def vote_latency(graph: IntGraph) -> int:
    """Chip timesteps by which the votes trail the input."""
    vote = vote_node(graph)
    return graph.latencies[vote.name] if vote is not None else 0


@dataclass
class Recorder:
    """Collects one step after another and makes the Trace; both simulators use it, so that their traces have one form."""

    graph: IntGraph
    batch: int
    n_steps: int
    record_state: bool
    v_on_spike: int = 0  # what v_mem shows where a CubaLif fired
    _arrays: dict[str, dict[str, Array]] = field(default_factory=dict)
    votes: NDArray[np.float64] = field(init=False)  # [T', B, n_classes] in chip time, written by the simulator

    def __post_init__(self) -> None:
        if self.n_steps < 1:
            raise UsageError(f"n_steps is {self.n_steps}", limit="At least 1")
        node = vote_node(self.graph)
        self.votes = np.zeros((self.n_steps, self.batch, node.n_classes if node is not None else 0))

    def add(self, t: int, kind: str, name: str, values: Array) -> None:
        """Store values [B, *shape] of one node; kind is spikes, updated, v_mem or i_syn."""
        self.put(slice(t, t + 1), slice(None), kind, name, values[np.newaxis])

    def put(self, steps: slice, samples: slice, kind: str, name: str, values: Array) -> None:
        """Store values [W, b, *shape] of some steps and samples; spikes come before v_mem."""
        table = self._arrays.setdefault(kind, {})
        if name not in table:
            spikes = np.int8 if isinstance(self.graph[name], CubaLif) else np.int32
            dtype = {"spikes": spikes, "updated": np.bool_}.get(kind, np.int64)
            table[name] = np.zeros((self.n_steps, self.batch, *values.shape[2:]), dtype=dtype)
        if kind == "spikes" and values.dtype.itemsize > 4 and np.abs(values).max(initial=0) >= 2**31:
            late = steps.start + int(np.flatnonzero((np.abs(values) >= 2**31).reshape(len(values), -1).any(axis=1))[0])
            raise NeurodeployError(
                f"a message of {np.abs(values).max()} at timestep {late}", where=name, code="overflow",
                limit="Messages have at most 32 bits", remedy="Use smaller weights, or a larger state_exp before it",
            )
        if kind == "v_mem" and self.v_on_spike and isinstance(self.graph[name], CubaLif):
            values = np.where(self._arrays["spikes"][name][steps, samples] != 0, self.v_on_spike, values)
        table[name][steps, samples] = values

    def trace(self) -> Trace:
        """The finished Trace."""
        votes = self.votes if vote_node(self.graph) is None else self.votes[vote_latency(self.graph) :]
        state = (self._arrays.get("v_mem", {}), self._arrays.get("i_syn", {})) if self.record_state else (None, None)
        return Trace(self.graph, self.n_steps, self._arrays.get("spikes", {}), self._arrays.get("updated", {}), votes, *state)


def spike_readout(v_readout: str) -> int:
    """What a neuron's v_mem reads at the end of a step in which it fired: 0 in "lava", else what the named target shows.

    Nothing else depends on it: a read-out, no state. Raises UsageError for a target whose profile does not say.
    """
    if v_readout == LAVA:
        return 0
    shown = target(v_readout).arithmetic.v_readout_on_spike
    if shown is None:
        raise UsageError(
            f"what v_mem shows where a neuron of {v_readout} fired is not known", code="unknown_readout",
            limit=f"Known: {LAVA}, and targets with arithmetic.v_readout_on_spike", remedy=f"Use {LAVA!r}",
        )
    return shown.count


def first_difference(a: Trace, b: Trace) -> str | None:
    """Where two traces of one graph first differ ("spikes of conv2: ... at timestep 3, sample 0, neuron (1, 2)"), or None.

    Layers in the order of the graph, so the layer named is where the divergence starts.
    """
    if a.n_steps != b.n_steps:
        return f"{a.n_steps} timesteps != {b.n_steps}"
    for node in a.graph.order:
        for kind in ("i_syn", "v_mem", "spikes", "updated"):
            mine, other = getattr(a, kind) or {}, getattr(b, kind) or {}
            found = _differs(mine.get(node.name), other.get(node.name))
            if found:
                return f"{kind} of {node.name}: {found}"
    found = _differs(a.votes, b.votes)
    return found and f"votes: {found}"


def _differs(a: Array | None, b: Array | None) -> str | None:
    if a is None or b is None:
        return None if a is b else "recorded in only one of the traces"
    if a.shape != b.shape:
        return f"shape {a.shape} != {b.shape}"
    at = np.argwhere(a != b)
    if not len(at):
        return None
    t, sample, *neuron = (int(i) for i in at[0])
    first = (t, sample, *neuron)
    return f"{a[first]} != {b[first]} at timestep {t}, sample {sample}, neuron {tuple(neuron)} ({len(at)} of {a.size} differ)"
