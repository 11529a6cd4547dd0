"""Who sends how many packets to whom: between the cores of a cut network, from mean messages of every element."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neurodeploy.errors import UsageError
from neurodeploy.place.layers import Network, SynapseGroup
from neurodeploy.place.partition import Cut

Floats = NDArray[np.float64]


def source_messages(group: SynapseGroup, messages: Mapping[str, NDArray[Any]]) -> Floats:
    """Mean messages of a group's source as a map [C, H, W]; UsageError where they are missing."""
    if group.source not in messages:
        raise UsageError("its messages are missing", where=group.source, remedy="Record every layer and input")
    return np.asarray(messages[group.source], dtype=np.float64).reshape(group.source_map)


def traffic(network: Network, cuts: Sequence[Cut], messages: Mapping[str, NDArray[Any]]) -> tuple[Floats, Floats]:
    """Packets per sample from core to core [n, n], and from outside to each core [n]; cores in layer order.

    messages: mean number of messages per sample of every element of a layer or input, in its shape. One packet goes to
    each target core per message and group of synapses. Raises UsageError naming what is missing.
    """
    first = dict(zip((n.name for n in network.layers), np.cumsum([0, *(c.n_cores for c in cuts)]).tolist(), strict=False))
    placed = {layer.name: cut for layer, cut in zip(network.layers, cuts, strict=True)}
    n_cores = sum(cut.n_cores for cut in cuts)
    between, entering = np.zeros((n_cores, n_cores)), np.zeros(n_cores)
    for layer, cut in zip(network.layers, cuts, strict=True):
        here = slice(first[layer.name], first[layer.name] + cut.n_cores)
        for group, reach in zip(layer.groups, cut.reaches, strict=True):
            raster = source_messages(group, messages)
            sender = placed.get(group.source)
            if sender is None:
                entering[here] += reach.reached.apply(raster)
                continue
            blocks = [(c, r, x) for c in sender.channels for r in sender.rows for x in sender.cols]
            for k, (c, r, x) in enumerate(blocks, start=first[group.source]):
                part = raster[slice(*c), slice(*r), slice(*x)]
                between[k, here] += reach.within(c, r, x).reached.apply(part)
    return between, entering
