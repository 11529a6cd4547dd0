"""What every neuron and max-pool layer put out during a forward pass, by the names of the Graph's nodes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from neurodeploy.errors import UsageError
from neurodeploy.models.autosnn import SuperNet
from neurodeploy.models.blocks import MaxPool, SumPool
from neurodeploy.models.neurons import Neuron
from neurodeploy.models.snasnet import SnasNet


@contextmanager
def record(module: nn.Module) -> Iterator[dict[str, Tensor]]:
    """Yield a dict that each forward pass inside fills anew: name -> output [T, B, *shape] of neurons and pools.

    Names are module paths, as in the Graph of `convert.to_graph`; in a SuperNet the block's name is left out, so that
    a path through it is named like its child. Tensors keep their autograd graph. UsageError for a SnasNet, whose layers in
    loops run one timestep at a time: it has `spikes`.
    """
    if isinstance(module, SnasNet):
        raise UsageError("a SnasNet runs its loops step by step", where="record", remedy="Use net.spikes(x)")
    found: dict[str, Tensor] = {}

    def begin(_module: nn.Module, _args: Any) -> None:
        found.clear()

    handles = [module.register_forward_pre_hook(begin)]
    for path, part in module.named_modules():
        if isinstance(part, Neuron | MaxPool | SumPool):
            parts = path.split(".")
            if isinstance(module, SuperNet) and parts[0] == "layers":
                del parts[2:3]  # the block's name, after the layer's number; a pool has none
            name = ".".join(parts)

            def keep(_module: nn.Module, _args: Any, output: Tensor, name: str = name) -> None:
                found[name] = output

            handles.append(part.register_forward_hook(keep))
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()


def spikes_paper(recorded: Mapping[str, Tensor]) -> Tensor:
    """Spikes per image [B] over all timesteps by AutoSNN's rule: every neuron's plus every pool's outputs.

    Pooled spikes thus count again; an identity skip adds none. float64. Raises UsageError for an empty recording.
    """
    if not recorded:
        raise UsageError("nothing was recorded", where="spikes_paper", remedy="Run the network inside record(network)")
    per_layer = [s.transpose(0, 1).flatten(1).sum(dim=1, dtype=torch.float64) for s in recorded.values()]
    return torch.stack(per_layer).sum(dim=0)
