"""The fast simulator, equal to `reference.py` bit for bit: whole layers on torch, one chip timestep at a time."""

from __future__ import annotations

from collections import deque

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from neurodeploy.errors import NeurodeployError, UsageError
from neurodeploy.ir.graph import Edge, IntGraph
from neurodeploy.ir.nodes import Array, Conv2d, CubaLif, Flatten, Input, Linear, MaxPool2d, Node, Vote
from neurodeploy.ir.reference import check_input, default_steps, input_at, input_range
from neurodeploy.sim.kernels import Neuron, Synapse
from neurodeploy.sim.trace import Recorder, Trace, vote_node


class Clocked:
    """A network with its state for a batch of samples that all started together.

    `step` advances one chip timestep; `keep` drops samples. After a step: `votes` float64 [B, n_classes] (chip time),
    `updated` (with track_updates) and `neurons[name].v_mem`, `.i_syn`.
    """

    def __init__(self, graph: IntGraph, batch: int, *, track_updates: bool = True) -> None:
        """Raises NeurodeployError where exactness cannot be shown or a node has no integer meaning."""
        self.graph, self.batch, self.t = graph, batch, 0
        self._vote = vote_node(graph)
        self._input = _only_input(graph)
        self.votes: NDArray[np.float64] = np.zeros((batch, self._vote.n_classes if self._vote else 0))
        self.updated: dict[str, NDArray[np.bool_]] = {}
        self.neurons: dict[str, Neuron] = {}
        self._synapses: dict[str, Synapse] = {}
        bounds: dict[str, int] = {}
        for name in _bound_order(graph):
            node = graph[name]
            bounds[name] = self._prepare(node, sum(bounds[e.src] for e in graph.incoming(name) if e.src in bounds))
        for node in graph.nodes:
            if isinstance(node, CubaLif):
                self.neurons[node.name] = Neuron(node, batch, sum(bounds[e.src] for e in graph.incoming(node.name)))
        self._track = track_updates
        self._needs_events = _event_carriers(graph, self.neurons) if track_updates else set()
        depth = {n.name: 1 + max((e.delay for e in graph.outgoing(n.name)), default=0) for n in graph.nodes}
        self._values: dict[str, deque[Tensor | None]] = {n: deque(maxlen=d) for n, d in depth.items()}  # newest first
        self._events: dict[str, deque[Tensor | None]] = {n: deque(maxlen=depth[n]) for n in self._needs_events}
        self._last_input: Array | None = None

    def _prepare(self, node: Node, largest: int) -> int:
        """Build what a node needs and bound the magnitude of its output, given that of its summed inputs."""
        if isinstance(node, Input):
            return int(max(abs(v) for v in input_range(node)))
        if isinstance(node, CubaLif):
            return 1
        if isinstance(node, Conv2d | Linear):
            synapse = self._synapses[node.name] = Synapse(node, largest)
            return synapse.bound
        if isinstance(node, Flatten | MaxPool2d | Vote):
            return largest
        raise NeurodeployError(f"{type(node).__name__} in an integer graph", where=node.name, code="bad_node")

    @torch.inference_mode()
    def step(self, x_t: Array | None = None) -> dict[str, Array]:
        """Advance one timestep with chip input x_t, integers [B, *input shape]; None after the last input.

        Returns what inputs (their values) and neuron layers (bool) put out, [B, *shape]; do not write into them.
        Raises UsageError for input that the graph cannot take.
        """
        if x_t is not None:
            x_t = self._last_input = check_input(self.graph, x_t[np.newaxis])[0]
            if x_t.shape[0] != self.batch:
                raise UsageError(f"{x_t.shape[0]} samples", where=self._input.name, limit=f"Expected {self.batch}")
        elif self._input.kind == "bias":
            x_t = self._last_input
        spikes: dict[str, Array] = {}
        done: set[str] = set()
        with torch.backends.nnpack.flags(enabled=False):  # its Winograd kernels are not exact
            for node in self.graph.order:
                value = self._advance(node, x_t, done)
                self._values[node.name].appendleft(value)
                done.add(node.name)
                if isinstance(node, Input | CubaLif):
                    spikes[node.name] = self._array(node, value)
        self.t += 1
        return spikes

    def _array(self, node: Node, value: Tensor | None) -> Array:
        if value is not None:
            return np.asarray(value.numpy())
        dtype = np.int64 if isinstance(node, Input) else np.bool_
        return np.zeros((self.batch, *self.graph.shapes[node.name]), dtype=dtype)

    def _advance(self, node: Node, x_t: Array | None, done: set[str]) -> Tensor | None:
        name = node.name
        arrived = None
        if name in self._needs_events:
            arrived = self._sum_events(name, done)
        if isinstance(node, Input):
            value = None if x_t is None or not x_t.any() else torch.from_numpy(x_t)
        elif isinstance(node, CubaLif):
            value = self._fire(self.neurons[name], self._sum(name, done, self.neurons[name].dtype), done)
        elif isinstance(node, Vote):
            self.votes = self._mean_of_groups(node, self._sum(name, done, torch.int64))
            return None
        elif isinstance(node, Flatten):
            total = self._sum(name, done, None)
            value = None if total is None else total.flatten(1)
            arrived = None if arrived is None else arrived.flatten(1)
        elif isinstance(node, MaxPool2d):
            total = self._sum(name, done, torch.float64)
            value = None if total is None else torch.max_pool2d(total, node.kernel)
            arrived = None if arrived is None else torch.max_pool2d(arrived.to(torch.float32), node.kernel) > 0
        else:
            synapse = self._synapses[name]
            value = synapse.apply(self._sum(name, done, synapse.dtype))
            arrived = synapse.events(arrived)
        if name in self._needs_events:
            self._events[name].appendleft(arrived)
        return value

    def _fire(self, neuron: Neuron, total: Tensor | None, done: set[str]) -> Tensor | None:
        name = neuron.node.name
        updated = None
        if self._track and not neuron.always_updated:
            updated = neuron.active()
            arrived = self._sum_events(name, done)
            if arrived is not None:
                updated |= arrived
        fired = neuron.step(self.t, total)
        if self._track:
            updated = torch.ones_like(fired) if updated is None else updated | fired
            self.updated[name] = np.asarray(updated.numpy())
        return fired if bool(fired.any()) else None

    def _mean_of_groups(self, node: Vote, total: Tensor | None) -> NDArray[np.float64]:
        if total is None:
            return np.zeros((self.batch, node.n_classes))
        sums = total.reshape(self.batch, node.n_classes, node.group).sum(dim=2).to(torch.float64)
        return np.asarray((sums / node.group).numpy())

    def _past(self, history: deque[Tensor | None], edge: Edge, done: set[str]) -> Tensor | None:
        """What the source put out `edge.delay` steps ago; the newest entry is this step's once the source is done."""
        index = edge.delay - (0 if edge.src in done else 1)
        return history[index] if index < len(history) else None

    def _sum(self, name: str, done: set[str], dtype: torch.dtype | None) -> Tensor | None:
        """The incoming edges of a node added up in `dtype`, exact by the bounds (None: the widest integer)."""
        terms = [v for e in self.graph.incoming(name) if (v := self._past(self._values[e.src], e, done)) is not None]
        if not terms:
            return None
        if dtype is None:
            return terms[0] if len(terms) == 1 else sum((t.to(torch.int64) for t in terms[1:]), terms[0].to(torch.int64))
        total = terms[0].to(dtype)
        for term in terms[1:]:
            total = total + term.to(dtype)
        return total

    def _sum_events(self, name: str, done: set[str]) -> Tensor | None:
        """Where an event reaches a node over any of its edges."""
        found: Tensor | None = None
        for edge in self.graph.incoming(name):
            if edge.src in self._events:
                here = self._past(self._events[edge.src], edge, done)
            else:
                values = self._past(self._values[edge.src], edge, done)
                here = None if values is None else values != 0
            if here is not None:
                found = here if found is None else found | here
        return found

    @torch.inference_mode()
    def keep(self, mask: Array) -> None:
        """Go on with the samples where mask [B] is true; the others stop costing time."""
        mask = np.asarray(mask)
        if mask.shape != (self.batch,) or mask.dtype != np.bool_:
            raise UsageError(f"a mask {mask.dtype} {mask.shape}", limit=f"Expected bool ({self.batch},)")
        kept = torch.from_numpy(mask)
        for neuron in self.neurons.values():
            neuron.keep(kept)
        for table in (self._values, self._events):
            for name, history in table.items():
                table[name] = deque((None if v is None else v[kept] for v in history), maxlen=history.maxlen)
        self._last_input = None if self._last_input is None else self._last_input[mask]
        self.votes = self.votes[mask]
        self.updated = {name: flags[mask] for name, flags in self.updated.items()}
        self.batch = int(mask.sum())


def simulate(graph: IntGraph, x: Array, n_steps: int | None = None, record_state: bool = False) -> Trace:
    """Run chip input x, integers [T, B, *input shape]; equal to `reference.simulate`, which see."""
    x = check_input(graph, x)
    n_steps = default_steps(graph, x.shape[0]) if n_steps is None else n_steps
    recorder = Recorder(graph, x.shape[1], n_steps, record_state)
    network = Clocked(graph, x.shape[1])
    entry = graph.inputs[0]
    for t in range(n_steps):
        for name, values in network.step(input_at(entry, x, t)).items():
            recorder.add(t, "spikes", name, values)
        for name, flags in network.updated.items():
            recorder.add(t, "updated", name, flags)
        if record_state:
            for name, neuron in network.neurons.items():
                recorder.add(t, "v_mem", name, neuron.v_mem.numpy())
                recorder.add(t, "i_syn", name, neuron.i_syn.numpy())
        if vote_node(graph) is not None:
            recorder.vote(network.votes)
    return recorder.trace()


def _only_input(graph: IntGraph) -> Input:
    if len(graph.inputs) != 1:
        raise NeurodeployError(f"the graph has {len(graph.inputs)} inputs", limit="One is supported", code="bad_graph")
    return graph.inputs[0]


def _bound_order(graph: IntGraph) -> list[str]:
    """Nodes so that the sources of everything but neurons and inputs come first; neurons are bounded by themselves."""
    order = [n.name for n in graph.nodes if isinstance(n, Input | CubaLif)]
    waiting = [n.name for n in graph.nodes if n.name not in order]
    while waiting:
        ready = next((n for n in waiting if all(e.src in order for e in graph.incoming(n))), None)
        if ready is None:
            raise NeurodeployError("a loop without neurons has no bound", where=", ".join(waiting[:4]), code="not_exact")
        order.append(ready)
        waiting.remove(ready)
    return order


def _event_carriers(graph: IntGraph, neurons: dict[str, Neuron]) -> set[str]:
    """Synapses and reshapes through which events must be followed: those behind neurons not updated anyway."""
    front = [name for name, neuron in neurons.items() if not neuron.always_updated]
    found: set[str] = set()
    while front:
        for source, _ in graph.sources(front.pop()):
            if not isinstance(source, Input | CubaLif) and source.name not in found:
                found.add(source.name)
                front.append(source.name)
    return found
