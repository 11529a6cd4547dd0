"""Neurons of other conventions on a chip whose neurons fire once a timestep, reset to zero and have no floor.

What the chip does not do is left out, and said: a warning, `metadata["lowering"]["differences"]` for a person and `["neurons"]`
with what each layer was.
That neurons rest at a value other than zero is no difference: measured from there, everything is the same. Where they neither
leak nor reset to it, it is only where they start, once a sample.
"""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import Any

from neurodeploy.errors import NeurodeployWarning
from neurodeploy.hw.profile import Profile
from neurodeploy.ir.graph import Graph
from neurodeploy.ir.nodes import Lif

_TRAINED = ("reset", "multi_spike", "v_min", "v_th", "v_reset")
DIFFERENCES = {
    "reset": "resets to zero, where the network subtracts the threshold",
    "multi_spike": "one spike a timestep, where the network sends several",
    "floor": "no floor under the membrane, where the network has one",
    "start": "starts at zero, where the network starts at another value (of a converted network: --start zero)",
}


def from_zero(graph: Graph) -> Graph:
    """Membranes measured from where they rest (hard resets): the same spikes."""
    return replace(graph, nodes=tuple(_from_zero(n) if isinstance(n, Lif) else n for n in graph.nodes))


def _from_zero(node: Lif) -> Lif:
    if node.reset != "hard" or node.multi_spike or node.v_reset == 0:
        return node
    v_min = None if node.v_min is None else node.v_min - node.v_reset
    return replace(node, v_th=node.v_th - node.v_reset, v_reset=0.0, v_min=v_min)


def to_chip_neurons(lowered: Graph, profile: Profile) -> Graph:
    """A lowered graph with the neurons that the target has in the place of those it has not; see `DIFFERENCES`.

    Warns once (`neuron_differs`), naming layers and differences. `as_trained` undoes it.
    """
    were: dict[str, dict[str, Any]] = {}
    layers: dict[str, list[str]] = {}
    nodes = []
    for node in lowered.nodes:
        if isinstance(node, Lif) and differences(node):
            were[node.name] = {name: getattr(node, name) for name in _TRAINED}
            for difference in differences(node):
                layers.setdefault(difference, []).append(node.name)
            v_reset = 0.0 if _starts(node) else node.v_reset
            node = _from_zero(replace(node, reset="hard", multi_spike=False, v_min=None, v_reset=v_reset))
        nodes.append(node)
    if not were:
        return lowered
    said = [f"{DIFFERENCES[difference]} ({', '.join(names)})" for difference, names in layers.items()]
    for relay, origin in lowered.metadata.get("relays", {}).items():
        if were.get(origin, {}).get("multi_spike"):  # it passes on what the network's neurons would have sent
            were[relay] = {**were[origin], "reset": "soft", "v_min": None, "v_th": 1.0, "v_reset": 0.0}
    warnings.warn(NeurodeployWarning(
        f"neurons of {profile.name} do other than the network's: {'; '.join(said)}", code="neuron_differs",
        remedy="Compare the firing rates that `export` shows, or the accuracy with --data; --set neurons=exact refuses it",
    ), stacklevel=2)
    notes = {**lowered.metadata.get("lowering", {}), "neurons": were, "differences": said}
    return replace(lowered, nodes=tuple(nodes), metadata={**lowered.metadata, "lowering": notes})


def differences(node: Lif) -> list[str]:
    """What of a neuron the chip does not do, of `DIFFERENCES`."""
    found = {"reset": node.reset != "hard", "multi_spike": node.multi_spike, "floor": node.v_min is not None,
             "start": _starts(node)}
    return [name for name, differs in found.items() if differs]


def _starts(node: Lif) -> bool:
    """Whether v_reset is the membrane before the first timestep and nothing else."""
    return node.reset == "soft" and node.inv_tau == 0 and node.v_reset != 0


def as_trained(lowered: Graph) -> Graph:
    """A lowered graph in real numbers with its neurons as the network had them."""
    were = lowered.metadata.get("lowering", {}).get("neurons", {})
    return replace(lowered, nodes=tuple(replace(n, **were[n.name]) if n.name in were else n for n in lowered.nodes))
