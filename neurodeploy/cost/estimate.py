"""From firing rates alone: rasters in chip time, and how likely each neuron is to be updated in each step.

"Every neuron updates" overstates a quiet network, "only firing neurons do" understates it: a neuron is updated when an
event arrives, when its state is not zero, when it has a bias, or when it fires (`sim.trace.Trace`).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from neurodeploy.cost.idle import idle_spikes, repeats_its_input
from neurodeploy.errors import NeurodeployError, UsageError
from neurodeploy.fixedpoint import DECAY_BITS, shift_signed
from neurodeploy.hw.profile import Zeros
from neurodeploy.ir.nodes import Conv2d, CubaLif, CurrentLif, Lif, Linear, Node, Shape
from neurodeploy.ir.reference import conv2d
from neurodeploy.place.layers import Layer, Network, SynapseGroup
from neurodeploy.place.reach import channel_taps, conv_taps

Array = NDArray[Any]
Floats = NDArray[np.float64]

ALMOST_ONE = 1.0 - 1e-12  # log(1 - rate) of a neuron that always fires stays finite
_ROUND_OFF = 1e-6  # means over a batch in float32 may leave 0..1 by this much


def chip_rates(network: Network, rates: dict[str, Array], *, idle: bool) -> dict[str, Array]:
    """Rates [T, *shape] in model time, shifted to chip time by each layer's latency: [T', 1, *shape].

    Outside of its window a layer does what `idle` says: what it does without input (True), or nothing (False).
    Raises UsageError naming rates that are missing or malformed, NeurodeployError for unbalanced or recurrent networks.
    """
    graph = network.graph
    if not graph.is_acyclic or not graph.is_balanced:
        raise NeurodeployError(
            "rates have no place in time where paths differ in length", where=graph.nodes[0].name, code="unbalanced",
            remedy="Lower the graph, or simulate it and count the trace",
        )
    relays = graph.metadata.get("relays", {})
    senders = {g.source for g in network.groups} | {layer.name for layer in network.layers}
    quiet = idle_spikes(graph) if idle else {}
    chip = {}
    for node in graph.nodes:
        if node.name not in senders:
            continue
        given = rates.get(node.name, rates.get(relays.get(node.name, "")))
        wanted = (graph.n_timesteps, *graph.shapes[node.name])
        first, last = graph.latencies[node.name], graph.latencies[node.name] + graph.n_timesteps
        window = checked_rates(node.name, given, wanted)
        chip[node.name] = np.zeros((graph.n_chip_steps, 1, *graph.shapes[node.name]))
        if node.name in quiet:
            chip[node.name][:, 0] = quiet[node.name]
        chip[node.name][first:last, 0] = window
        if idle and node.is_neuron and repeats_its_input(graph):
            after = np.arange(graph.n_chip_steps - last)
            chip[node.name][last:, 0] = window[after % graph.n_timesteps]
    return chip


def checked_rates(name: str, given: Array | None, wanted: tuple[int, ...]) -> Floats:
    """Rates of a node as float64, of the shape that is wanted. Raises UsageError where they are missing or malformed."""
    if given is None:
        raise UsageError("its firing rates are missing", where=name, remedy="Record every layer of the lowered network")
    if given.shape != wanted:
        raise UsageError(f"rates of shape {given.shape}", where=name, limit=f"Expected [T, *shape] = {wanted}")
    rates = np.asarray(given, dtype=np.float64)
    if not (rates.min(initial=0.0) >= -_ROUND_OFF and rates.max(initial=0.0) <= 1 + _ROUND_OFF):
        raise UsageError(
            f"rates from {rates.min()} to {rates.max()}", where=name, limit="A rate is the probability of a spike, 0 to 1"
        )
    return np.clip(rates, 0.0, 1.0)


def update_probability(
    network: Network, rates: dict[str, Array], chip: dict[str, Array], zeros: Zeros = "stored"
) -> dict[str, Array]:
    """P(neuron is updated) [T', 1, *shape] of every layer, taking sources and steps as independent.

    event:    e[t] = 1 - prod over fan-in of (1 - rate)
    current:  u[t] = e[t], or 1 - (1 - e[t])(1 - u[t-1]) where the current decays over several steps
    touched:  m[t] = 1 - (1 - u[t])(1 - v[t-1]) with v[t] = m[t] - fired[t] (a hard reset leaves zero), 0 where v forgets
    updated:  1 - (1 - e[t])(1 - before[t]), before[t] = P(u or v not zero after t-1) = m[t-1]; at least fired[t];
              1 where there is a bias. A state that starts at another value than zero counts as touched.

    A weight of zero is no part of the fan-in where `zeros` is "culled".
    Raises NeurodeployError for neurons whose updates rates say nothing about (sigma-delta, several spikes a timestep).
    """
    found = {}
    for layer in network.layers:
        fired = chip[layer.name][:, 0]
        event = _event_probability(layer, chip, culled=zeros == "culled")
        updated = np.maximum(_with_memory(layer.node, event, fired), fired)
        written = _host_bias(layer, rates)
        always = np.maximum(has_bias(layer), written)
        found[layer.name] = (always + (1.0 - always) * updated)[:, None]
    return found


def _event_probability(layer: Layer, chip: dict[str, Array], *, culled: bool) -> Floats:
    """[T', *shape]: at least one spike arrives through any synapse, whatever its weight."""
    silent = np.zeros(chip[layer.name][:, 0].shape)  # log of the probability that nothing arrives
    for group in layer.groups:
        source = chip[group.source][:, 0]
        log_quiet = np.log1p(-np.minimum(source, ALMOST_ONE)).reshape(len(source), *group.source_map)
        for delay, arriving in _arrivals(group, log_quiet, culled=culled):
            late = np.zeros_like(silent)
            late[delay:] = arriving.reshape(silent.shape)[: max(0, len(arriving) - delay)]
            silent += late
    return -np.expm1(silent)


def _arrivals(group: SynapseGroup, values: Floats, *, culled: bool) -> list[tuple[int, Floats]]:
    """(timesteps on the way, sum of values over the fan-in that takes them) of a group; several where synapses have delays."""
    node = group.synapse
    if not culled and (not isinstance(node, Linear) or node.delays is None):
        return [(group.delay, _gather(group, values))]
    present = (node.weight != 0 if culled else np.ones(node.weight.shape, dtype=bool)).astype(np.float64)
    if not isinstance(node, Linear):
        return [(group.delay, _through(group, node, values, present))]
    flat = values.reshape(len(values), -1)
    inner = np.zeros(present.shape, dtype=np.int64) if node.delays is None else node.delays
    return [
        (group.delay + int(d), (flat @ np.where(inner == d, present, 0.0).T).reshape(len(values), *group.target_map))
        for d in np.unique(inner)
    ]


def _through(group: SynapseGroup, node: Conv2d, values: Floats, present: Floats) -> Floats:
    """`_gather` over the weights that are `present`."""
    out = conv2d(values, present, node.stride, node.padding, node.dilation, node.groups)
    return np.asarray(out.reshape(len(values), *group.target_map), dtype=np.float64)


def _gather(group: SynapseGroup, values: Floats) -> Floats:
    """Sum of values [T', C, H, W] over the fan-in of each target neuron, [T', C_out, H_out, W_out]."""
    if isinstance(group.synapse, Linear):
        total = values.sum(axis=(1, 2, 3))[:, None, None, None]
        return np.broadcast_to(total, (len(values), *group.target_map))
    n_groups = group.synapse.groups
    t, c, h, w = values.shape
    per_group = values.reshape(t, n_groups, c // n_groups, h, w).sum(axis=2)
    spread = conv_taps(group, 0).T.astype(np.float64) @ (per_group @ conv_taps(group, 1).astype(np.float64))
    first = np.argmax(channel_taps(group)[:: c // n_groups], axis=0)  # group of each output channel
    return np.asarray(spread[:, first], dtype=np.float64)


def _with_memory(node: Node, event: Floats, fired: Floats) -> Floats:
    keeps_v, keeps_u = memory_of(node)
    hard = not isinstance(node, Lif) or node.reset == "hard"
    assert isinstance(node, Lif | CubaLif)  # `memory_of` has refused the others
    interval, offset = node.reset_interval, node.reset_offset
    updated = np.empty_like(event)
    u, v = _at_start(node, event.shape[1:])
    before = np.maximum(u, v)
    for t in range(len(event)):
        updated[t] = 1 - (1 - event[t]) * (1 - before)
        if interval is not None and (t + 1) % interval == offset % interval:
            u = v = np.zeros(event.shape[1:])
        u = _kept(keeps_u, 1 - (1 - event[t]) * (1 - u), event[t])
        touched = _kept(keeps_v, 1 - (1 - u) * (1 - v), u)
        v = np.maximum(touched - fired[t], 0.0) if hard else touched
        before = touched
    return updated


def _kept(keeps: bool | NDArray[np.bool_], with_memory: Floats, without: Floats) -> Floats:
    if isinstance(keeps, bool):
        return with_memory if keeps else without
    return np.where(keeps, with_memory, without)


def memory_of(node: Node) -> tuple[bool | NDArray[np.bool_], bool | NDArray[np.bool_]]:
    """Whether the membrane and the current keep anything for the next step; arrays where neurons of the layer differ.

    Raises NeurodeployError for neurons whose updates rates say nothing about (sigma-delta, several spikes a timestep).
    """
    if isinstance(node, CubaLif):
        v, u = (np.asarray(decay) < 2**DECAY_BITS for decay in (node.v_decay, node.i_decay))
        return _plain(v), _plain(u)
    if isinstance(node, Lif) and not node.multi_spike:
        return node.inv_tau < 1.0, isinstance(node, CurrentLif) and node.inv_tau_syn < 1.0
    raise NeurodeployError(
        f"rates do not say when a {type(node).__name__} is updated", where=node.name, code="no_rates",
        limit="From rates: CubaLif, and Lif with one spike a timestep", remedy="Simulate the network and count the trace",
    )


def _plain(flags: NDArray[np.bool_]) -> bool | NDArray[np.bool_]:
    return flags if flags.any() and not flags.all() else bool(flags.any())


def _at_start(node: Node, shape: Shape) -> tuple[Floats, Floats]:
    """(u, v) before the first timestep: 1 where the state starts at another value than zero."""
    start = (isinstance(node, Lif) and node.v_init) or 0.0
    starts = (node.i_init, node.v_init) if isinstance(node, CubaLif) else (np.zeros(1), np.full(1, start))
    u, v = (np.broadcast_to(start != 0, shape).astype(np.float64) for start in starts)
    return u, v


def has_bias(layer: Layer) -> Floats:
    """[*shape]: 1 where the neuron has a bias of its own, or one that its synapses still carry."""
    node, shape = layer.node, getattr(layer.node, "shape", ())
    if isinstance(node, CubaLif):
        found = shift_signed(np.asarray(node.bias_mant), node.bias_exp) != 0
        return np.array(np.broadcast_to(found, shape), dtype=np.float64)
    total = np.zeros(layer.map)
    for synapse in {id(g.synapse): g.synapse for g in layer.groups}.values():
        if synapse.bias is not None:
            total += np.asarray(synapse.bias)[:, None, None]
    return np.asarray((total != 0).reshape(shape), dtype=np.float64)


def _host_bias(layer: Layer, rates: dict[str, Array]) -> Floats:
    """[*shape]: probability that the host writes a bias that is not zero."""
    shape = getattr(layer.node, "shape", ())
    quiet = np.ones(shape)
    for name in layer.host_inputs:
        quiet *= 1.0 - (checked_rates(name, rates[name][:1], (1, *shape))[0] if name in rates else 1.0)
    return 1.0 - quiet
