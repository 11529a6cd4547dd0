"""Does a block of somebody else's do what its graph says? Asked before anything is trained with it."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
from torch import nn

from neurodeploy.errors import NeurodeployError, UsageError
from neurodeploy.extensions import failure
from neurodeploy.ir.graph import Graph
from neurodeploy.ir.nodes import Input
from neurodeploy.ir.reference import evaluate
from neurodeploy.models.blocks import BatchNorm, Layers, make_block, synapses
from neurodeploy.models.convert import Builder
from neurodeploy.models.macro import ALL_BLOCKS, OWN_BLOCKS, MacroConfig
from neurodeploy.models.record import record

_BATCH, _SIDE, _NAME = 2, 6, "block"
_MAY_DIFFER = 1e-3  # of the values: torch and numpy add in another order, and a membrane may stand that close to its threshold


def check_blocks(names: Iterable[str], config: MacroConfig) -> None:
    """Raise UsageError unless every name is a block, and a registered one takes and gives what the network needs: at each
    position's channels, `forward` on random spikes is compared with the graph of `to_graph`, random norms included."""
    for name in dict.fromkeys(names):
        if name in ALL_BLOCKS:
            continue
        OWN_BLOCKS.get(name)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            sizes = dict.fromkeys((p.c_in, p.c_out, p.stride) for p in config.positions if p.index is not None)
            for c_in, c_out, stride in sizes:
                _compare(name, c_in, c_out, stride, config)


def own_parameters(module: nn.Module, names: Iterable[str]) -> dict[str, dict[str, list[int]]]:
    """{"parameters": shapes by name} where blocks of somebody else's are among `names`, else {}: their class may have changed
    since a checkpoint was written."""
    if set(names) <= set(ALL_BLOCKS):
        return {}
    return {"parameters": {name: list(value.shape) for name, value in module.state_dict().items()}}


def _compare(name: str, c_in: int, c_out: int, stride: int, config: MacroConfig) -> None:
    where = f"block {name!r} with {c_in} to {c_out} channels"
    block = make_block(name, c_in, c_out, Layers(config), stride).double().eval()
    for part in block.modules():
        if isinstance(part, BatchNorm):  # a fresh one changes next to nothing, and leaving it out would not be seen
            for tensor, low, high in ((part.weight, 0.5, 2.0), (part.bias, -0.3, 0.5), (part.running_mean, -0.3, 0.3),
                                      (part.running_var, 0.3, 1.5)):
                if tensor is not None:
                    nn.init.uniform_(tensor, low, high)
    shape = c_in, *(min(n, _SIDE) for n in config.image_size)
    for layer in synapses(block):
        nn.init.normal_(layer.weight, 0.0, 2.0 / layer.weight[0].numel() ** 0.5)  # so that every layer fires
    x = (torch.rand((config.n_timesteps, _BATCH, *shape), dtype=torch.float64) < 0.5).double()
    try:
        with torch.inference_mode(), record(block) as recorded:
            found = block(x).numpy()
    except NeurodeployError:
        raise
    except Exception as error:  # whatever a stranger's block raises
        raise failure("block", name, error, f" with {c_in} to {c_out} channels, forward") from error
    expected = (*x.shape[:2], c_out, *x.shape[3:])
    if found.shape != expected:
        raise UsageError(f"gives {list(found.shape)} for {list(x.shape)}", where=where, code="bad_block",
                         limit=f"The network needs {list(expected)}", remedy="Keep height and width, and give c_out channels")
    builder = Builder()
    last = builder.own_block(_NAME, block, builder.add(Input("input", tuple(shape))))
    graph = Graph(tuple(builder.nodes), tuple(builder.edges), config.n_timesteps)
    wanted = evaluate(graph, x.numpy())
    for node, value in [(last, found), *((f"{_NAME}.{path}", spikes.numpy()) for path, spikes in recorded.items())]:
        differing = int(np.count_nonzero(value != wanted[node])) if value.shape == wanted[node].shape else value.size
        if differing > _MAY_DIFFER * value.size:
            raise UsageError(f"its graph and its forward differ at {node}: in {differing} of {value.size} values", where=where,
                             code="bad_block", remedy="Let to_graph add the same layers in the same order as forward")
