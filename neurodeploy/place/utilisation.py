"""How full the cores of each layer are, and which resource decided how many there are."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from neurodeploy.hw.profile import Profile
from neurodeploy.ir.graph import Graph
from neurodeploy.place.assign import cuts_of
from neurodeploy.place.layers import Layer, Network, read_network
from neurodeploy.place.partition import RESOURCES, Cut, Limits, cut_layer, limits_of, smallest_need
from neurodeploy.place.placement import Placement


@dataclass(frozen=True)
class ResourceUse:
    """One resource on the layer's fullest core, and how many cores it would ask for alone (None: no number is enough)."""

    used: int
    limit: int
    n_cores_alone: int | None

    @property
    def share(self) -> float:
        """Used part of the limit; above 1 where even a core with one neuron is too small."""
        return self.used / self.limit if self.limit else float("inf") if self.used else 0.0


@dataclass(frozen=True)
class LayerUse:
    """A layer's cores. `limiting`: the resource that asks for the most cores alone, of equals the fuller one (a single
    neuron group is no use of groups to speak of).

    n_cores: those it has; n_cores_needed: the fewest that hold it. None where no number of cores does (`resources` is then
    the need of a single neuron). n_packets_per_spike: cores that one spike reaches, mean over its neurons.
    """

    layer: str
    n_neurons: int
    n_cores: int | None
    n_cores_needed: int | None
    limiting: str
    resources: dict[str, ResourceUse]
    n_packets_per_spike: float | None

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            **asdict(self),
            "resources": {name: {**asdict(use), "share": round(use.share, 6)} for name, use in self.resources.items()},
        }


@dataclass(frozen=True)
class Utilisation:
    """All layers in mapping order, and the network on `n_cores_limit` cores.

    cores_by_resource: cores of the layers that each resource limits. neurons_share: filled part of the cores in use.
    """

    layers: tuple[LayerUse, ...]
    n_cores: int
    n_cores_limit: int
    cores_by_resource: dict[str, int]
    neurons_share: float

    @property
    def limiting(self) -> str | None:
        """The resource that decides most of the network's cores; None without layers that can be placed."""
        return max(self.cores_by_resource, key=lambda r: self.cores_by_resource[r], default=None)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "n_cores": self.n_cores, "n_cores_limit": self.n_cores_limit, "limiting": self.limiting,
            "cores_by_resource": dict(self.cores_by_resource), "neurons_share": round(self.neurons_share, 6),
            "layers": [layer.to_dict() for layer in self.layers],
        }


def utilisation(
    graph: Graph, profile: Profile, plan: Placement | None = None, n_chips: int | None = None
) -> Utilisation:
    """Use of every resource by every layer, on the cores of `plan` or, without one, on the fewest that hold the layer.

    n_chips: of the system (default the plan's, or the target's smallest).
    """
    network = read_network(graph)
    fewest = [cut_layer(layer, profile) for layer in network.layers]
    cuts: list[Cut | None] = fewest if plan is None else [*cuts_of(network, plan, profile)]
    placed = plan is not None or all(cut is not None for cut in fewest)
    reached = _packets_per_spike(network, cuts) if placed else {}
    layers = tuple(
        _layer_use(layer, needed, cut, profile, reached.get(layer.name))
        for layer, needed, cut in zip(network.layers, fewest, cuts, strict=True)
    )
    by_resource: dict[str, int] = {}
    for use in layers:
        if use.n_cores is not None:
            by_resource[use.limiting] = by_resource.get(use.limiting, 0) + use.n_cores
    n_cores = sum(by_resource.values())
    chips = n_chips or (profile.n_chips if plan is None else plan.n_chips)
    neurons = sum(use.n_neurons for use in layers if use.n_cores is not None)
    return Utilisation(
        layers=layers, n_cores=n_cores, n_cores_limit=chips * profile.capacity.cores_per_chip.count,
        cores_by_resource=by_resource,
        neurons_share=neurons / (n_cores * profile.capacity.neurons_per_core.count) if n_cores else 0.0,
    )


def _layer_use(
    layer: Layer, needed: Cut | None, cut: Cut | None, profile: Profile, n_packets: float | None
) -> LayerUse:
    limits = limits_of(profile)
    fewest, used = (_single(layer, profile) if c is None else c.used for c in (needed, cut))
    resources = {}
    for name in RESOURCES:
        alone = cut_layer(layer, profile, limits.only(name))
        resources[name] = ResourceUse(
            used=getattr(used, name), limit=getattr(limits, name), n_cores_alone=None if alone is None else alone.n_cores
        )

    def rank(name: str) -> tuple[float, float]:
        cores, most = resources[name].n_cores_alone, getattr(fewest, name)
        idle = name == "neuron_groups" and most == 1 <= getattr(limits, name)
        return (np.inf if cores is None else cores, 0.0 if idle else most / max(1, getattr(limits, name)))

    return LayerUse(
        layer=layer.name, n_neurons=layer.n_neurons, n_cores=None if cut is None else cut.n_cores,
        n_cores_needed=None if needed is None else needed.n_cores, limiting=max(RESOURCES, key=rank), resources=resources,
        n_packets_per_spike=n_packets,
    )


def _single(layer: Layer, profile: Profile) -> Limits:
    """What a core with one neuron needs."""
    words, axons_in, axons_out = smallest_need(layer, profile)
    return Limits(neurons=1, synapse_words=words, axons_in=axons_in, axons_out=axons_out, neuron_groups=1)


def _packets_per_spike(network: Network, cuts: list[Cut | None]) -> dict[str, float]:
    """Per layer the target cores that a spike of it reaches, mean over its neurons; one packet each."""
    found = {layer.name: 0.0 for layer in network.layers}
    for cut in cuts:
        assert cut is not None
        for group, reach in zip(cut.layer.groups, cut.reaches, strict=True):
            if group.source in found:
                found[group.source] += float(reach.n_axons_in.sum()) / group.n_sources
    return found
