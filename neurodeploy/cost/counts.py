"""How often each thing happens that costs energy or time: exactly on a trace, or in the mean from firing rates.

A spike fired in step t costs its packets, hops and synops in step t, the last step included, whatever the delay of the
synapse (as SANA-FE counts them). One packet goes to each target core per spike and group of synapses. An input has no
core, and its messages enter at the first tile, unless an `Assignment` gives its elements cores; it costs no updates either
way. Every mapped neuron is updated in every step, actively or not. A graded message is one message.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neurodeploy.cost.estimate import chip_rates, update_probability
from neurodeploy.cost.mapping import Mapping, Plan
from neurodeploy.cost.wiring import Link, TableLink, Wiring, wire
from neurodeploy.errors import NeurodeployError
from neurodeploy.hw.profile import Zeros
from neurodeploy.ir.graph import Graph
from neurodeploy.ir.nodes import Linear
from neurodeploy.place.assignment import Assignment
from neurodeploy.place.layers import read_network
from neurodeploy.sim.trace import Trace

Array = NDArray[Any]  # int64 where counted, float64 where estimated


@dataclass(frozen=True, eq=False)
class Activity:
    """What the neurons of one layer do, [T', B, cores of the layer] each; an input has no updates, and one column where it
    sits on no core."""

    n_updates_active: Array
    n_updates_inactive: Array
    n_spikes: Array


@dataclass(frozen=True, eq=False)
class Traffic:
    """What one group of synapses carries: received per target core [T', B, K], sent per source core [T', B, J].

    `kind` is that of the synapse node, "linear" or "conv2d".
    """

    source: str
    synapse: str
    kind: str
    target: str
    n_synops: Array
    n_packets_in: Array
    n_packets_out: Array
    n_hops_ew: Array
    n_hops_ns: Array


@dataclass(frozen=True, eq=False)
class LayerCounts:
    """All counts of one layer, [T', B, n_cores]; of an input only what it sends is not zero.

    `synops` splits n_synops by synapse node, `kinds` has the kind of each. `columns` [n_cores] are the layer's cores as
    indices into the mapping's, None for an input that sits on none: its counts have one column then.
    """

    name: str
    is_input: bool
    n_neurons: int
    columns: NDArray[np.int64] | None
    kinds: dict[str, str]
    synops: dict[str, Array]
    n_updates_active: Array
    n_updates_inactive: Array
    n_spikes: Array
    n_synops: Array
    n_packets_in: Array
    n_packets_out: Array
    n_hops_ew: Array
    n_hops_ns: Array

    @property
    def n_updates(self) -> Array:
        """Mapped neurons: all of them are looked at in every step."""
        return self.n_updates_active + self.n_updates_inactive


@dataclass(frozen=True, eq=False)
class Counts:
    """Counts of a batch of B samples over `n_steps` chip timesteps; `exact` is False where they come from rates.

    `zeros` says whether weights of zero were counted as synapses.
    `n_host_writes`: bias values that the host writes per sample, by input. `latencies` is None for a recurrent network.
    """

    n_timesteps: int
    n_steps: int
    batch: int
    exact: bool
    latencies: dict[str, int] | None
    n_neurons: dict[str, int]
    activity: dict[str, Activity]
    traffic: tuple[Traffic, ...]
    mapping: Mapping
    zeros: Zeros
    n_host_writes: dict[str, int] = field(default_factory=dict)
    has_host_graph: bool = False
    n_steps_run: NDArray[np.int64] | None = None  # [B]: where samples stopped before the last step (`combine.until`)

    @cached_property
    def layers(self) -> dict[str, LayerCounts]:
        """Per layer, in mapping order, inputs first."""
        found = {}
        for name, act in self.activity.items():
            total = {k: np.zeros_like(act.n_spikes) for k in _RECEIVED + _SENT}
            synops: dict[str, Array] = {}
            kinds = {}
            for traffic in self.traffic:
                for kind, end in ((_RECEIVED, traffic.target), (_SENT, traffic.source)):
                    for key in kind if end == name else ():
                        total[key] = total[key] + getattr(traffic, key)
                if traffic.target == name:
                    kinds[traffic.synapse] = traffic.kind
                    own = synops.get(traffic.synapse, np.zeros_like(act.n_spikes))
                    synops[traffic.synapse] = own + traffic.n_synops
            found[name] = LayerCounts(
                name=name, is_input=name not in self.n_neurons, n_neurons=self.n_neurons.get(name, 0),
                columns=self.mapping.columns.get(name), kinds=kinds, synops=synops,
                n_updates_active=act.n_updates_active, n_updates_inactive=act.n_updates_inactive, n_spikes=act.n_spikes,
                **total,
            )
        return found


_RECEIVED = ("n_synops", "n_packets_in")
_SENT = ("n_packets_out", "n_hops_ew", "n_hops_ns")


def count(trace: Trace, plan: Plan, zeros: Zeros = "stored") -> Counts:
    """Exact counts of a trace on a placement; `zeros` as the profile has it (`Profile.zeros`).

    Raises NeurodeployError where trace and placement do not belong together.
    """
    wiring = wire(trace.graph, plan, zeros)
    messages = {name: raster != 0 for name, raster in trace.spikes.items()}  # a graded message is one message
    return _assemble(trace.graph, wiring, plan, messages, dict(trace.updated), exact=True)


def from_rates(graph: Graph, plan: Plan, rates: dict[str, Array], zeros: Zeros = "stored") -> Counts:
    """Mean counts per sample (B = 1) from mean rasters in MODEL time.

    `rates`: for every neuron layer and every input that sends messages the probability of a spike (a non-zero message),
    [T, *shape] in 0..1; relays take the rates of what they repeat, and an input written as biases may be given (the
    fraction of samples in which an element is not zero; absent: never zero). Outside of its window a layer does what
    its biases make it do (`idle`). All counts but updates are linear, hence exact in the mean; updates are estimated
    (`estimate.update_probability`).
    Raises UsageError naming rates that are missing or malformed.
    """
    return from_expected(graph, plan, expected(graph, rates, zeros), zeros)


@dataclass(frozen=True, eq=False)
class Expected:
    """What rates say of a network wherever it is placed: messages and updates to expect, [T', 1, *shape] by name."""

    messages: dict[str, Array]
    updated: dict[str, Array]


def expected(graph: Graph, rates: dict[str, Array], zeros: Zeros = "stored") -> Expected:
    """The part of `from_rates` that no placement changes; errors as there."""
    network = read_network(graph)
    messages = chip_rates(network, rates, idle=True)
    return Expected(messages, update_probability(network, rates, messages, zeros))


def from_expected(graph: Graph, plan: Plan, found: Expected, zeros: Zeros = "stored") -> Counts:
    """The other part: mean counts on one placement. For many placements of one network."""
    return _assemble(graph, wire(graph, plan, zeros), plan, found.messages, found.updated, exact=False)


def mean_rates(trace: Trace) -> dict[str, Array]:
    """Mean rasters of a trace over its samples in MODEL time, [T, *shape]: what `from_rates` takes."""
    graph = trace.graph
    return {
        name: (raster[graph.latencies[name] : graph.latencies[name] + graph.n_timesteps] != 0).mean(axis=1)
        for name, raster in trace.spikes.items()
    }


def _assemble(
    graph: Graph, wiring: Wiring, plan: Plan, messages: dict[str, Array], updated: dict[str, Array], *, exact: bool
) -> Counts:
    senders = {link.group.source for link in wiring.links}
    mapping = wiring.mapping
    activity = {
        node.name: _input_activity(messages[node.name], mapping.own.get(node.name), exact)
        for node in graph.inputs if node.name in senders
    }
    for layer in wiring.network.layers:
        name = layer.name
        if not messages[name].shape[2:] == updated[name].shape[2:] == graph.shapes[name]:
            raise NeurodeployError(f"its raster has shape {messages[name].shape[2:]}, it {graph.shapes[name]}", where=name)
        activity[name] = _neuron_activity(*_by_core((updated[name], messages[name]), plan, mapping, name), exact)
    n_steps, batch = next(iter(activity.values())).n_spikes.shape[:2]
    return Counts(
        n_timesteps=graph.n_timesteps, n_steps=n_steps, batch=batch, exact=exact,
        latencies=dict(graph.latencies) if graph.is_acyclic and graph.is_balanced else None,
        n_neurons={layer.name: layer.n_neurons for layer in wiring.network.layers},
        activity=activity, traffic=tuple(_traffic(link, messages[link.group.source], exact) for link in wiring.links),
        mapping=mapping, zeros=wiring.zeros,
        n_host_writes={
            name: int(np.prod(graph.shapes[name])) for layer in wiring.network.layers for name in layer.host_inputs
        },
        has_host_graph=graph.host is not None,
    )


def _number(values: Array, exact: bool) -> Array:
    return np.rint(values).astype(np.int64) if exact else np.asarray(values, dtype=np.float64)


def _input_activity(messages: Array, own: NDArray[np.int64] | None, exact: bool) -> Activity:
    flat = messages.reshape(*messages.shape[:2], -1)
    total = _number(flat.sum(axis=-1, keepdims=True) if own is None else _sums(flat, own), exact)
    return Activity(np.zeros_like(total), np.zeros_like(total), total)


def _neuron_activity(mapped: NDArray[np.int64], active: Array, fired: Array, exact: bool) -> Activity:
    active = _number(active, exact)
    return Activity(active, _number(mapped - active, exact), _number(fired, exact))


def _by_core(
    rasters: tuple[Array, Array], plan: Plan, mapping: Mapping, name: str
) -> tuple[NDArray[np.int64], Array, Array]:
    """Neurons on each core of a layer [cores], and the sums of both rasters over them [T', B, cores]."""
    if isinstance(plan, Assignment):
        own = mapping.own[name]
        first, second = (_sums(a.reshape(*a.shape[:2], -1), own) for a in rasters)
        return np.bincount(own), first, second
    cores = plan.cores_of(name)
    maps = [a.reshape(*a.shape[:2], *(*a.shape[2:], 1, 1)[:3]) for a in rasters]
    first, second = (
        np.stack(
            [m[:, :, slice(*c.channels), slice(*c.rows), slice(*c.cols)].sum(axis=(2, 3, 4)) for c in cores], axis=-1
        )
        for m in maps
    )
    return np.array([c.n_neurons for c in cores]), first, second


def _sums(flat: Array, own: NDArray[np.int64]) -> Array:
    """Sums of [T', B, N] over the elements of each core, [T', B, cores]; every core has at least one."""
    order = np.argsort(own, kind="stable")
    starts = np.concatenate([[0], np.flatnonzero(np.diff(own[order])) + 1])
    values = flat[..., order]
    return np.add.reduceat(values.astype(np.int64) if values.dtype == np.bool_ else values, starts, axis=-1)


def _traffic(link: Link | TableLink, messages: Array, exact: bool) -> Traffic:
    synops, packets_in, packets_out, hops = (_number(a, exact) for a in link.deliver(messages))
    return Traffic(
        source=link.group.source, synapse=link.group.synapse.name,
        kind="linear" if isinstance(link.group.synapse, Linear) else "conv2d", target=link.group.target, n_synops=synops,
        n_packets_in=packets_in, n_packets_out=packets_out, n_hops_ew=hops[..., 0], n_hops_ns=hops[..., 1],
    )
