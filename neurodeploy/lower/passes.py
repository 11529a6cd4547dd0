"""The order of the lowering passes. Each takes a Graph and returns one of the same function."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from neurodeploy.errors import DoesNotFit, UsageError, Violation
from neurodeploy.hw.profile import Profile
from neurodeploy.ir.graph import Graph
from neurodeploy.ir.nodes import Lif
from neurodeploy.lower.activations import refuse_relu
from neurodeploy.lower.current import fold_currents, refuse_biases
from neurodeploy.lower.fold import fold_batch_norm
from neurodeploy.lower.inputs import code_input
from neurodeploy.lower.linear_maps import fold_linear_maps
from neurodeploy.lower.loops import refuse_loops_of_maps, start_samples, time_loops
from neurodeploy.lower.neurons import from_zero
from neurodeploy.lower.paths import fold_paths
from neurodeploy.lower.pool import pools_to_or
from neurodeploy.lower.timing import balance_delays, delay_synapses, identities_to_synapses

InputCoding = Literal["graded", "counts", "bias", "rate"]


def lower(
    graph: Graph, profile: Profile, input_kind: InputCoding | Literal["events"] = "graded", *, n_levels: int | None = None,
    input_bits: int | None = None,
) -> Graph:
    """Lower a trained graph for the target, in real arithmetic still.

    Integrators become the currents of the neurons behind them, batch norms and chains of linear maps are folded, spike
    max-pools become OR layers, shortcuts become synapse groups, every synapse takes `profile.arithmetic.synapse_latency`
    timesteps and relays equalise the paths; each neuron layer restarts at its own latency. Spikes are those of `graph`, each
    layer later by its latency. Delays in the graph are model timesteps; where it is recurrent see `lower.loops`.

    n_levels: grey levels of the data (default: the graph's metadata, else see `code_input`); input_bits: bits of a
    graded message, at most the profile's. Raises NeurodeployError naming the node that cannot be lowered, UsageError for
    an input coding that is unknown or not what the network was trained on, events among them, DoesNotFit for delays that a chip
    cannot keep.
    """
    refuse_relu(graph, profile.name)
    if input_kind == "events" or graph.metadata.get("encoding") == "events":
        raise UsageError(
            "this network was made for streams of events", where="lower", code="other_arithmetic",
            limit=f"{profile.name} is a chip with timesteps, whose networks take images",
            remedy="Export it to an event-driven chip, or train a network on images",
        )
    data = graph.metadata.get("data") or {}
    levels = n_levels or data.get("n_levels")
    trained = graph.metadata.get("encoding")
    if trained is not None and (trained == "rate") != (input_kind == "rate"):
        raise UsageError(
            f"input = {input_kind!r}, but the network was trained on {trained!r} encoded images", where="lower",
            remedy="Use input = 'rate' for a network trained with encoding 'rate', and only for that",
        )
    if graph.is_acyclic and any(e.delay for e in graph.edges):  # a sample's first timestep would move by it, layer by layer
        edge = next(e for e in graph.edges if e.delay)
        raise DoesNotFit((Violation(
            "delayed", f"{edge.src} -> {edge.dst}", f"a delay of {edge.delay}",
            "Networks in real numbers that are not recurrent are lowered without delays",
            "Remove it, or bring the network in integers, as a lava-dl .net",
        ),), target=profile.name)
    refuse_loops_of_maps(graph, profile.name)
    graph = fold_currents(graph, profile.name)
    lowered = fold_batch_norm(fold_linear_maps(graph))  # a norm may stand behind a pool, or in front of it
    lowered = fold_linear_maps(fold_paths(lowered))
    lowered = from_zero(lowered)
    lowered = pools_to_or(lowered)
    lowered = code_input(lowered, profile, input_kind, n_levels=levels, input_bits=input_bits)
    lowered = identities_to_synapses(lowered)
    latency = profile.arithmetic.synapse_latency
    if lowered.is_acyclic:
        lowered = _start_samples(balance_delays(delay_synapses(lowered, latency)))
    else:
        lowered = start_samples(*time_loops(lowered, latency, profile.name))
    refuse_biases(lowered, profile.name)
    return replace(lowered, metadata={**lowered.metadata, "input": input_kind})


def _start_samples(graph: Graph) -> Graph:
    """Restart every neuron layer when its first value of a sample arrives: at timestep = its latency, then every T."""
    nodes = tuple(
        replace(n, reset_interval=graph.n_timesteps, reset_offset=graph.latencies[n.name] + 1) if isinstance(n, Lif) else n
        for n in graph.nodes
    )
    return replace(graph, nodes=nodes)
