"""Proxies that papers compare networks with, in a table of their own: none of them is an energy of the chip.

Operations are counted as NeuroBench does (Yik et al. 2025): an operation is effective when its input and its weight are
not zero; what meets an input all in {-1, 0, 1} is an accumulation (AC), anything else a multiply-accumulate (MAC).
Biases, pooling and normalisation are left out. Constants: hw_profiles/_proxies.toml.
"""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from neurodeploy.cost.estimate import chip_rates
from neurodeploy.errors import NeurodeployError
from neurodeploy.hw.profile import Quantity
from neurodeploy.ir.graph import Graph
from neurodeploy.ir.nodes import CubaLif, Input, Lif, Linear
from neurodeploy.place.layers import Network, SynapseGroup, read_network
from neurodeploy.place.reach import Floats, axis_taps, build_reach
from neurodeploy.resources import folder


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class BreakEven(_Strict):
    """Spikes per synapse and inference at which an SNN and an ANN cost the same, as published."""

    low: float
    high: float
    source: str


class NDns(_Strict):
    """Weight of a neuron operation in the N-DNS power proxy."""

    neuron_weight: float


class Constants(_Strict):
    """Contents of hw_profiles/_proxies.toml."""

    schema_version: int
    energy_45nm: dict[str, Quantity]
    break_even: dict[str, BreakEven]
    n_dns: NDns


def constants() -> Constants:
    """The packaged constants."""
    text = (folder("hw_profiles") / "_proxies.toml").read_text(encoding="utf-8")
    return Constants.model_validate(tomllib.loads(text))


def proxies(graph: Graph, rates: dict[str, NDArray[Any]]) -> dict[str, Any]:
    """Proxy figures of one inference of a lowered network, as plain JSON values.

    `rates` as for `counts.from_rates` (`counts.mean_rates` of a trace makes them exact). Operations of pooling and relay
    layers that lowering added count too, like any layer. Raises UsageError for missing rates.
    """
    network = _countable(graph)
    totals = {name: raster.sum(axis=(0, 1)) for name, raster in chip_rates(network, rates, idle=False).items()}
    return _proxies(network, totals)


def proxies_of(graph: Graph, messages: dict[str, NDArray[Any]]) -> dict[str, Any]:
    """As `proxies`, from the mean number of messages [*shape] that each input and layer sends in one inference.

    For networks whose layers have no window of their own (recurrent, paths of different length), and for all steps that
    were simulated. Raises NeurodeployError for a network that cannot be counted.
    """
    return _proxies(_countable(graph), messages)


def _countable(graph: Graph) -> Network:
    network = read_network(graph)
    if network.problems:
        raise NeurodeployError(str(network.problems[0]), code="cannot_count")
    return network


def _proxies(network: Network, messages: dict[str, NDArray[Any]]) -> dict[str, Any]:
    graph = network.graph
    arrivals = [Arrival(g, messages[g.source].reshape(g.source_map), _is_binary(graph, g)) for g in network.groups]
    n_spikes = float(sum(messages[layer.name].sum() for layer in network.layers))
    return proxies_from(arrivals, sum(layer.n_neurons for layer in network.layers), n_spikes, graph.n_timesteps)


@dataclass(frozen=True, eq=False)
class Arrival:
    """What reaches a group of synapses in one inference: mean number of values other than 0 of each source element, and
    whether all of them are -1, 0 or 1."""

    group: SynapseGroup
    messages: NDArray[Any]
    binary: bool


def proxies_from(arrivals: Sequence[Arrival], n_neurons: int, n_spikes: float, n_timesteps: int) -> dict[str, Any]:
    """The figures, from what reaches each group of synapses and how many spikes all neurons send in one inference."""
    table = constants()
    macs = acs = dense = synapses = 0.0
    for arrival in arrivals:
        arriving = float((arrival.messages * nonzero_fan_out(arrival.group)).sum())
        if arrival.binary:
            acs += arriving
        else:
            macs += arriving
        dense += _dense_macs(arrival.group)
        synapses += _n_synapses(arrival.group)
    weights = list({id(a.group.synapse): a.group.synapse.weight for a in arrivals}.values())
    n_weights = sum(w.size for w in weights)
    neuron_ops = float(n_neurons * n_timesteps)
    joule = {name: q.si[1] for name, q in table.energy_45nm.items()}
    return {
        "dense_macs_per_timestep": dense,
        "dense_macs": dense * n_timesteps,
        "effective_macs": macs,
        "effective_acs": acs,
        "membrane_updates": neuron_ops,
        "activation_sparsity": 1.0 - n_spikes / neuron_ops if neuron_ops else 0.0,
        "connection_sparsity": sum(int((w == 0).sum()) for w in weights) / n_weights if n_weights else 0.0,
        "n_weights": n_weights,
        "n_dns_ops": acs + macs + table.n_dns.neuron_weight * neuron_ops,
        "spikes_per_synapse": (acs + macs) / synapses if synapses else 0.0,
        "break_even_spikes_per_synapse": {name: line.model_dump() for name, line in table.break_even.items()},
        "energy_45nm_j": {
            kind: {
                "snn": macs * joule[f"mac_{kind}"] + acs * joule[f"ac_{kind}"],
                "dense_pass": dense * joule[f"mac_{kind}"],
            }
            for kind in ("fp32", "int8")
        },
        "provenance": {f"energy_45nm.{name}": q.model_dump() for name, q in table.energy_45nm.items()},
        "note": "Arithmetic at 45 nm and operation counts; not an energy of the target.",
    }


def _is_binary(graph: Graph, group: SynapseGroup) -> bool:
    source = graph[group.source]
    if isinstance(source, Input):
        return source.kind == "spikes" or (source.kind == "graded" and source.max_value == 1)
    return isinstance(source, CubaLif) or (isinstance(source, Lif) and not source.multi_spike)


def _dense_macs(group: SynapseGroup) -> float:
    """Multiplications of one dense pass, those with padding included."""
    per_output = int(np.prod(group.synapse.weight.shape[1:]))
    return float(np.prod(group.target_map)) * per_output


def _n_synapses(group: SynapseGroup) -> float:
    """Synapses, clipped at the borders."""
    whole = [((0, n),) for n in group.target_map]
    return float(build_reach(group, *whole).apply(np.ones(group.source_map)).sum())


def nonzero_fan_out(group: SynapseGroup) -> Floats:
    """[C, H, W]: synapses with a weight that is not zero, out of each source element."""
    nonzero = (group.synapse.weight != 0).astype(np.float64)
    if isinstance(group.synapse, Linear):
        return np.asarray(nonzero.sum(axis=0).reshape(group.source_map), dtype=np.float64)
    conv = group.synapse
    out_per_group = nonzero.shape[0] // conv.groups
    # [C, kH, kW]: output channels that use an input channel through each kernel element
    per_tap = nonzero.reshape(conv.groups, out_per_group, *nonzero.shape[1:]).sum(axis=1).reshape(-1, *nonzero.shape[2:])
    hits = [
        np.stack(
            [
                axis_taps(
                    group.source_map[1 + a], group.target_map[1 + a], 1, conv.stride[a],
                    conv.padding[a] - k * conv.dilation[a], 1,
                ).sum(axis=1)
                for k in range(nonzero.shape[2 + a])
            ]
        ).astype(np.float64)
        for a in (0, 1)
    ]  # [k, n_in]: 1 where some output meets this input with kernel element k
    return np.asarray(np.einsum("ckl,kh,lw->chw", per_tap, *hits), dtype=np.float64)
