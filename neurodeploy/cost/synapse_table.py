"""How many synapses join each source element to each core, for neurons that lie anywhere and for weights left out.

`place.reach` factors the same numbers by axis, which needs blocks of layers and every weight; here each synapse is counted.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from neurodeploy.ir.nodes import Conv2d, Linear
from neurodeploy.place.layers import SynapseGroup

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_CHUNK = 2**22  # synapses that are listed at a time


def synapse_table(group: SynapseGroup, own: Ints, n_cores: int, *, culled: bool) -> Floats:
    """[source elements, n_cores]: synapses into each core, `own` [target neurons] being the core of every neuron.

    `culled` leaves out weights that are zero.
    """
    if isinstance(group.synapse, Linear):
        return _linear(group.synapse, own, n_cores, culled)
    return _conv(group, group.synapse, own, n_cores, culled)


def _linear(node: Linear, own: Ints, n_cores: int, culled: bool) -> Floats:
    table = np.zeros((n_cores, node.weight.shape[1]))
    for k in range(n_cores):
        rows = node.weight[own == k]
        table[k] = np.count_nonzero(rows, axis=0) if culled else len(rows)
    return np.ascontiguousarray(table.T)


def _conv(group: SynapseGroup, conv: Conv2d, own: Ints, n_cores: int, culled: bool) -> Floats:
    (_, h, w), (c_out, h_out, w_out) = group.source_map, group.target_map
    n_sources, per_group = group.n_sources, conv.weight.shape[1]
    total = np.zeros(n_sources * n_cores)
    own = own.reshape(c_out, h_out * w_out)
    for ky, kx in np.ndindex(conv.weight.shape[2:]):
        # Target positions whose source under this tap lies inside of the map.
        y = np.arange(h_out) * conv.stride[0] - conv.padding[0] + ky * conv.dilation[0]
        x = np.arange(w_out) * conv.stride[1] - conv.padding[1] + kx * conv.dilation[1]
        inside = ((y >= 0) & (y < h))[:, None] & ((x >= 0) & (x < w))[None, :]
        where = np.flatnonzero(inside)
        if not where.size:
            continue
        source = (y[:, None] * w + x[None, :]).reshape(-1)[where]
        weight = conv.weight[:, :, ky, kx]
        outs, ins = np.nonzero(weight) if culled else np.nonzero(np.ones_like(weight, dtype=bool))
        channel = outs // (c_out // conv.groups) * per_group + ins
        step = max(1, _CHUNK // where.size)
        for first in range(0, len(outs), step):
            part = slice(first, first + step)
            element = channel[part, None] * (h * w) + source
            flat = element * n_cores + own[outs[part]][:, where]
            total += np.bincount(flat.reshape(-1), minlength=total.size)
    return total.reshape(n_sources, n_cores)
