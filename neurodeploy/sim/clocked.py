"""The fast simulator, equal to `reference.py` bit for bit.

A feed-forward network needs no step-by-step walk: what a layer receives in any timestep is known as soon as the layers
before it have finished ALL timesteps. So a window of timesteps goes through the network layer by layer. Within a layer,
time is batch: one convolution makes the sums of every timestep and sample that is not silent (a `Series` keeps only
those, and an edge's delay merely renumbers them). Then one compiled loop takes each neuron through the window while its
state stays in the processor's cache. Only the neurons' states, and as much of each node's past as its delays reach back,
cross from one window to the next; samples are taken in chunks. Memory therefore depends on neither T nor B: about
16 bytes times _WORKING_SET, or, if that is more, one timestep of one sample - beside the trace and the network itself.
A recurrent network, and one watched step by step (`Clocked.step`, early exit), has windows of one timestep.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray

from neurodeploy.errors import UsageError
from neurodeploy.ir.graph import IntGraph
from neurodeploy.ir.nodes import Array, CubaLif, Flatten, Input, MaxPool2d, Node, SumPool2d, Vote
from neurodeploy.ir.reference import check_input, default_steps
from neurodeploy.sim.kernels import max_pool, sum_pool
from neurodeploy.sim.plan import plan
from neurodeploy.sim.series import History, Series, every_step, silence, total
from neurodeploy.sim.trace import LAVA, Recorder, Trace, spike_readout

_WORKING_SET = 2**22  # values of the largest layer that are worked on at once; twice or half of it was slower

Record = Literal["all", "spikes", "output"]


@dataclass(frozen=True, eq=False)
class Window:
    """What W timesteps of a Clocked brought: arrays [W, B, *shape] by node name, votes float64 [W, B, n_classes].

    spikes: bool, or int64 messages of sigma-delta neurons, numbers of spikes of Iaf; updated: bool; states: int64, by kind,
    then by name.
    """

    spikes: dict[str, Array]
    updated: dict[str, NDArray[np.bool_]]
    votes: NDArray[np.float64]
    states: dict[str, dict[str, NDArray[np.int64]]]


class Clocked:
    """A network with its state for a batch of samples that all started together.

    `advance` takes it through a window of timesteps, `step` through one; `keep` drops samples; `restart` begins again.
    """

    def __init__(self, graph: IntGraph, batch: int, *, track_updates: bool = True) -> None:
        """Raises NeurodeployError where exactness cannot be shown or a node has no integer meaning."""
        self.graph = graph
        self._plan = plan(graph, track_updates)
        self._track = track_updates
        self.restart(batch)

    def restart(self, batch: int) -> None:
        """Forget everything and stand before the first timestep of `batch` new samples."""
        self.batch, self.t = batch, 0
        self.votes: NDArray[np.float64] = np.zeros((batch, self._plan.vote.n_classes if self._plan.vote else 0))
        self.updated: dict[str, NDArray[np.bool_]] = {}
        for layer in self._plan.layers.values():
            layer.begin(batch)
        shapes, synapses = self.graph.shapes, self._plan.synapses
        arriving = {name: shapes[self.graph.incoming(name)[0].src] for name in synapses}
        reach = {name: (synapse.reach, arriving[name]) for name, synapse in synapses.items()}
        sent = {name: (depth, shapes[name]) for name, depth in self._plan.depths.items()}
        self._sent, self._received = History(sent, batch), History(reach, batch)
        carriers = self._plan.carriers
        self._events = History({name: sent[name] for name in carriers}, batch)
        self._reached = History({name: reach[name] for name in carriers if name in reach}, batch)
        self._last_input: Array | None = None

    def step(self, x_t: Array | None = None) -> dict[str, Array]:
        """Advance one timestep with chip input x_t, integers [B, *input shape]; None after the last input.

        Returns what inputs (their values) and neuron layers (bool, or messages) put out, [B, *shape]; do not write into
        them. Afterwards `votes` float64 [B, n_classes] (chip time) and, with track_updates, `updated` [B, *shape] hold
        that step's. Raises UsageError for input that the graph cannot take.
        """
        window = self.advance(None if x_t is None else np.asarray(x_t)[np.newaxis], 1)
        self.votes = window.votes[0]
        self.updated = {name: flags[0] for name, flags in window.updated.items()}
        return {name: values[0] for name, values in window.spikes.items()}

    @torch.inference_mode()
    def advance(
        self, x: Array | None, n_steps: int, *, record_state: bool = False, only: Collection[str] | None = None
    ) -> Window:
        """Advance n_steps timesteps with chip input x, integers [up to n_steps, B, *input shape], None for none left.

        After x an input of kind bias keeps its last value, others are zero. only: inputs and layers whose spikes and states
        the answer holds (None: all). Raises UsageError for input that the graph cannot take, or several steps of a recurrent
        graph.
        """
        if n_steps != 1 and not self.graph.is_acyclic:
            raise UsageError(f"a window of {n_steps} timesteps", limit="A recurrent graph advances one at a time")
        x = self._extended(x, n_steps)
        window = Window({}, {}, np.zeros((n_steps, *self.votes.shape)), {})
        now: dict[str, Series] = {}
        events: dict[str, Series] = {}
        done: set[str] = set()
        for node in self._plan.order:
            name = node.name
            terms = [self._sent.look(e.src, now.get(e.src), e.delay) for e in self.graph.incoming(name)]
            if isinstance(node, Input):
                now[name] = _input_series(node, x)
                window.spikes[name] = x
            elif node.is_neuron:
                # A neuron layer that nothing feeds lives on its bias or its initial state.
                a = total(terms, self._sum_type(name)) if terms else silence(n_steps, self.batch, self.graph.shapes[name])
                now[name] = self._fire(node, a, window, record_state, now, events)
            elif isinstance(node, Vote):
                sums = total(terms, torch.int64).dense().to(torch.int64)
                by_class = sums.reshape(n_steps, self.batch, node.n_classes, node.group).sum(dim=3).to(torch.float64)
                window.votes[:] = (by_class / node.group).numpy()
                now[name] = silence(n_steps, self.batch, self.graph.shapes[name])  # nobody reads a read-out
            else:
                now[name] = self._pass_on(node, total(terms, self._sum_type(name)))
            if name in self._plan.carriers:
                events[name] = self._hand_on(node, self._arrived(name, now, events))
            if only is not None and name not in only:
                for table in (window.spikes, window.updated, *window.states.values()):
                    table.pop(name, None)
            done.add(name)
            for seen in (name, *(e.src for e in self.graph.incoming(name))):
                if seen in now and all(e.dst in done for e in self.graph.outgoing(seen)):  # nobody needs it any more
                    self._sent.push(seen, now.pop(seen))
                    if seen in events:
                        self._events.push(seen, events.pop(seen))
        self.t += n_steps
        return window

    def _extended(self, x: Array | None, n_steps: int) -> Array:
        """The input of a window, int64 [n_steps, B, *input shape]."""
        entry = self._plan.entry
        if x is not None:
            x = check_input(self.graph, x)
            if x.shape[1] != self.batch:
                raise UsageError(f"{x.shape[1]} samples", where=entry.name, limit=f"Expected {self.batch}")
            if len(x) > n_steps:
                raise UsageError(f"{len(x)} timesteps of input", where=entry.name, limit=f"At most {n_steps}")
            self._last_input = x[-1] if entry.kind == "bias" else None
            if len(x) == n_steps:
                return x
        rest: Array = np.zeros((n_steps - (0 if x is None else len(x)), self.batch, *entry.shape), dtype=np.int64)
        if self._last_input is not None:
            rest[:] = self._last_input
        return rest if x is None else np.concatenate([x, rest])

    def _sum_type(self, name: str) -> torch.dtype:
        """A type that holds the sum of the edges into a node."""
        bound = self._plan.drive(name)
        return torch.float32 if bound is not None and bound < 2**24 else torch.int64

    def _pass_on(self, node: Node, a: Series) -> Series:
        if isinstance(node, Flatten):
            return a.like(a.values.flatten(1))
        if isinstance(node, MaxPool2d):
            return max_pool(node, a)
        if isinstance(node, SumPool2d):
            bound = self._plan.bounds[node.name]
            return sum_pool(node, a, torch.float32 if bound is not None and bound < 2**24 else torch.int64)
        synapse = self._plan.synapses[node.name]
        found = synapse.apply({tap.delay: self._received.look(node.name, a, tap.delay) for tap in synapse.taps})
        self._received.push(node.name, a)
        return found

    def _hand_on(self, node: Node, arrived: Series) -> Series:
        """Where a node hands on an event, given where events reach it; bool."""
        if isinstance(node, Flatten):
            return arrived.like(arrived.values.flatten(1))
        if isinstance(node, MaxPool2d | SumPool2d):
            return max_pool(node, arrived)
        synapse = self._plan.synapses[node.name]
        found = synapse.events({tap.delay: self._reached.look(node.name, arrived, tap.delay) for tap in synapse.taps})
        self._reached.push(node.name, arrived)
        return found

    def _arrivals(self, name: str, now: dict[str, Series], events: dict[str, Series]) -> Iterator[Series]:
        """Where an event reaches a node, edge by edge; bool."""
        for edge in self.graph.incoming(name):
            if edge.src in self._plan.carriers:
                yield self._events.look(edge.src, events.get(edge.src), edge.delay)
            else:
                sent = self._sent.look(edge.src, now.get(edge.src), edge.delay)
                yield sent.like(sent.values.view(torch.bool) if sent.values.dtype == torch.uint8 else sent.values != 0)

    def _arrived(self, name: str, now: dict[str, Series], events: dict[str, Series]) -> Series:
        return total(list(self._arrivals(name, now, events)), torch.bool)

    def _fire(
        self, node: Node, a: Series, window: Window, record_state: bool, now: dict[str, Series], events: dict[str, Series]
    ) -> Series:
        name, layer = node.name, self._plan.layers[node.name]
        updates = self._track and not layer.biased.all()
        if record_state:
            played, states = layer.play_recording(a, self.t, updates)
            for kind, values in states.items():
                window.states.setdefault(kind, {})[name] = values
        else:
            played = layer.play(a, self.t, updates)
        window.spikes[name] = np.asarray((played.sent.view(torch.bool) if isinstance(node, CubaLif) else played.sent).numpy())
        if self._track and played.at_work is None:
            window.updated[name] = np.ones(played.sent.shape, dtype=np.bool_)
        elif played.at_work is not None:
            flags = window.updated[name] = played.at_work
            flags |= window.spikes[name].astype(np.bool_, copy=False)
            if layer.biased.any():
                flags |= layer.biased
            for arrived in self._arrivals(name, now, events):
                arrived.mark(flags)
        return every_step(played.sent, played.spoke)

    def keep(self, mask: Array) -> None:
        """Go on with the samples where mask [B] is true; the others stop costing time."""
        mask = np.asarray(mask)
        if mask.shape != (self.batch,) or mask.dtype != np.bool_:
            raise UsageError(f"a mask {mask.dtype} {mask.shape}", limit=f"Expected bool ({self.batch},)")
        for layer in self._plan.layers.values():
            layer.keep(mask)
        for history in (self._sent, self._received, self._events, self._reached):
            history.keep(mask)
        self._last_input = None if self._last_input is None else self._last_input[mask]
        self.votes = self.votes[mask]
        self.updated = {name: flags[mask] for name, flags in self.updated.items()}
        self.batch = int(mask.sum())


def simulate(
    graph: IntGraph, x: Array, n_steps: int | None = None, record_state: bool = False, v_readout: str = LAVA, *,
    record: Record = "all",
) -> Trace:
    """Run chip input x, integers [T, B, *input shape]; equal to `reference.simulate`, which see.

    record: "all"; "spikes", a trace without `updated`; "output", only the spikes of the layer nearest to the output and the
    votes. The less, the faster.
    """
    x = np.asarray(x)
    check_input(graph, x[:1] if x.ndim else x)  # values of later steps are checked in their window
    n_steps = default_steps(graph, x.shape[0]) if n_steps is None else n_steps
    if record not in get_args(Record):
        raise UsageError(f"record={record!r}", limit=f"One of {', '.join(get_args(Record))}")
    batch = x.shape[1]
    recorder = Recorder(graph, batch, n_steps, record_state, spike_readout(v_readout))
    largest = max(int(np.prod(shape)) for shape in graph.shapes.values())
    at_once = max(1, _WORKING_SET // largest)  # pairs of timestep and sample
    window = min(n_steps, at_once) if graph.is_acyclic else 1
    size = max(1, at_once // window)
    network = Clocked(graph, min(batch, size), track_updates=record == "all")
    wanted = None if record != "output" else _last_layers(graph)
    for first in range(0, batch, size):
        samples = slice(first, min(first + size, batch))
        network.restart(samples.stop - first)
        for t in range(0, n_steps, window):
            steps = slice(t, min(t + window, n_steps))
            given = x[steps, samples] if t < len(x) else None
            part = network.advance(given, steps.stop - t, record_state=record_state, only=wanted)
            for kind, table in (("spikes", part.spikes), ("updated", part.updated), *part.states.items()):
                for name, values in table.items():
                    recorder.put(steps, samples, kind, name, values)
            recorder.votes[steps, samples] = part.votes
    return recorder.trace()


def _input_series(node: Input, x: Array) -> Series:
    """The chip input x [W, B, *shape]; values that the host writes once are one row a sample, not one a timestep."""
    rows = np.arange(x.shape[0] * x.shape[1]).reshape(x.shape[:2])
    if node.kind == "bias":
        for w in np.flatnonzero((x[1:] == x[:-1]).all(axis=tuple(range(1, x.ndim)))):
            rows[w + 1] = rows[w]
    values = torch.from_numpy(x).flatten(0, 1)
    return Series(values, np.where(x.any(axis=tuple(range(2, x.ndim))), rows, -1))


def _last_layers(graph: IntGraph) -> set[str]:
    """The neuron layers that the output is made of."""
    front, found = [graph.output], set()
    while front:
        node = front.pop()
        if node.is_neuron:
            found.add(node.name)
        else:
            front += [source for source, _ in graph.sources(node.name)]
    return found
