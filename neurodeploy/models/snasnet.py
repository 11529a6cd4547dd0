"""SNASNet: two cells whose edges, forward and backward, a search chooses; both have the same edges and weights of their own.

    stem conv3x3, BN (constant current) -> cell(C) -> BN, LIF, conv3x3 (C -> 2C), BN, average pool 2 -> cell(2C)
    -> BN, LIF, average pool -> dropout -> Linear -> LIF -> Linear with bias -> vote

A node's value x_i is the sum of its forward edges, real numbers. Wherever a node is read it is x_i + l_i, and at the end of a
timestep l_i becomes the sum of its backward edges, 0 before the first (later with `feedback` "loop", see `SnasConfig`). Votes
are [T, B, n_classes]: group means of the output layer divided by T, so that their sum over T is the logit of the release, which
the loss "ce" compares with the label. With `ends` "spikes" LIF, conv3x3, BN follow the stem and neurons the output layer, and
votes are group means of their spikes.
Source: Kim et al., SNASNet, ECCV 2022 (arXiv 2201.10355), and its released code.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.nn import functional as F  # noqa: N812

from neurodeploy.errors import UsageError
from neurodeploy.models.blocks import BatchNorm, Conv2d
from neurodeploy.models.neurons import Dynamics, Lif
from neurodeploy.models.snas_cell import CONV3, POOL, SKIP, Cell, SnasConfig, check_cell, edges, is_recurrent, loop_delay

See = Callable[[str, Tensor], None]  # name of a layer of neurons, its spikes [T, B, *shape]


class _Spike(Function):
    """[u >= 0] with the gradient of `models.neurons`, one timestep at a time."""

    @staticmethod
    def forward(ctx: Any, u: Tensor, alpha: float) -> Tensor:
        ctx.save_for_backward(u)
        ctx.alpha = alpha
        return (u >= 0).to(u.dtype)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        (u,) = ctx.saved_tensors
        return grads[0] * (ctx.alpha / 2) / (1 + (math.pi / 2 * ctx.alpha * u).square()), None


def _step(neuron: Lif, x: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    """(spikes, membrane) of one timestep with currents x [B, *shape], as `neurons.scan`, for layers in loops."""
    v = v + (x - v) * neuron.inv_tau(x.dtype)
    spikes: Tensor = _Spike.apply(v - neuron.dynamics.v_th, neuron.dynamics.surrogate_alpha)  # type: ignore[no-untyped-call]
    return spikes, v * (1 - spikes.detach())


class LifConv(nn.Module):
    """An edge with neurons: LIF, convolution, BN, whose statistics are taken at every timestep."""

    def __init__(self, channels: int, kernel: int, neuron: Lif) -> None:
        super().__init__()
        self.neuron = neuron
        self.conv = Conv2d(channels, channels, kernel)
        self.bn = BatchNorm(channels, "per_step")

    def synapse(self, spikes: Tensor) -> Tensor:
        """What spikes [(T,) B, C, H, W] give behind the neurons."""
        current: Tensor = self.bn(self.conv(spikes))
        return current

    def silent(self, like: Tensor) -> Tensor:
        """What no spikes give, as `like` [B, C, H, W]."""
        return _silent(self.bn, like)


def _silent(bn: BatchNorm, like: Tensor) -> Tensor:
    """What a batch norm makes of zeros by its running statistics, in training too: there are none of a time without spikes."""
    return F.batch_norm(torch.zeros_like(like), bn.running_mean, bn.running_var, bn.weight, bn.bias, False, 0.0, bn.eps)


def _average(x: Tensor, kernel: int, *, stride: int | None = None, padding: int = 0) -> Tensor:
    """Average pool over [(T,) B, C, H, W]; zeros in the padding count."""
    maps = F.avg_pool2d(x.flatten(0, -4), kernel, stride, padding)
    return maps.reshape(*x.shape[:-2], *maps.shape[-2:])


Fire = Callable[[str, LifConv, Tensor], Tensor]  # spikes of an edge's neurons, given its name, itself and its input


class SnasCell(nn.Module):
    """The graph of edges between four nodes: currents [T, B, C, H, W] to currents of the same shape."""

    def __init__(self, cell: Cell, channels: int, neuron: Callable[[], Lif], delay: int | None = None) -> None:
        """delay: timesteps of backward edges with feedback "loop", None for the released feedback."""
        super().__init__()
        self.ops = edges(cell)
        self.recurrent = is_recurrent(cell)
        self.delay = delay
        self.edges = nn.ModuleDict({
            f"{row}{col}": LifConv(channels, 3 if op == CONV3 else 1, neuron())
            for row, col, op in self.ops if op not in (SKIP, POOL)
        })

    def forward(self, x: Tensor, see: See, silent: Tensor | None = None) -> Tensor:
        """silent: x without any spikes, [B, C, H, W], which feedback "loop" needs."""
        return self.stepped(x, see, silent) if self.recurrent else self.whole(x, see)

    def whole(self, x: Tensor, see: See) -> Tensor:
        """All timesteps of an edge at once; without backward edges the same as `stepped`."""

        def fire(name: str, edge: LifConv, value: Tensor) -> Tensor:
            spikes: Tensor = edge.neuron(value)
            see(f"edges.{name}.neuron", spikes)
            return spikes

        return self._nodes([x], [torch.zeros_like(x)] * 4, fire)[3]

    def stepped(self, x: Tensor, see: See, silent: Tensor | None = None) -> Tensor:
        """One timestep after the other."""
        membranes = dict.fromkeys(self.edges, torch.zeros_like(x[0]))
        none = [torch.zeros_like(x[0])] * 4
        coming = deque([none] if self.delay is None or silent is None else [self._before(silent)] * self.delay)
        fired: dict[str, list[Tensor]] = {name: [] for name in self.edges}

        def fire(name: str, edge: LifConv, value: Tensor) -> Tensor:
            spikes, membranes[name] = _step(edge.neuron, value, membranes[name])
            fired[name].append(spikes)
            return spikes

        out = []
        for x_t in x:
            fed = coming.popleft()
            nodes = self._nodes([x_t], fed, fire)
            out.append(nodes[3])
            coming.append([self._sum(col, nodes, fed, fire, backward=True) for col in range(4)])
        for name in self.edges:
            see(f"edges.{name}.neuron", torch.stack(fired[name]))
            del fired[name]
        return torch.stack(out)

    def _before(self, silent: Tensor) -> list[Tensor]:
        """What backward edges carry while no neuron has fired."""
        fed = [torch.zeros_like(silent)] * 4
        for _ in range(4 * 4):  # every way that passes no neurons ends: none leads over more edges
            nodes = self._nodes([silent], fed, None)
            fed = [self._sum(col, nodes, fed, None, backward=True) for col in range(4)]
        return fed

    def _nodes(self, nodes: list[Tensor], fed: Sequence[Tensor], fire: Fire | None) -> list[Tensor]:
        for col in range(1, 4):
            nodes.append(self._sum(col, nodes, fed, fire, backward=False))
        return nodes

    def _sum(self, col: int, nodes: Sequence[Tensor], fed: Sequence[Tensor], fire: Fire | None, *, backward: bool) -> Tensor:
        """What the forward or the backward edges into node `col` add up to; without `fire`, no neuron does."""
        total: Tensor | None = None
        for row, to, op in self.ops:
            if to != col or (row > col) is not backward:
                continue
            value = nodes[row] + fed[row] if self.recurrent else nodes[row]
            if op == POOL:
                value = _average(value, 3, stride=1, padding=1)
            elif op != SKIP:
                name = f"{row}{col}"
                edge = self.edges[name]
                assert isinstance(edge, LifConv)
                value = edge.silent(value) if fire is None else edge.synapse(fire(name, edge, value))
            total = value if total is None else total + value
        return torch.zeros_like(nodes[0]) if total is None else total


class SnasNet(nn.Module):
    """One cell in the macro of the paper. Raises UsageError for what is no cell (`snas_cell.check_cell`), and for feedback
    "loop" where a loop passes no neurons.

    forward: static [B, C, H, W] or [T, B, C, H, W] -> votes [T, B, n_classes]; `see` is told every layer's spikes as soon as
    they are there. `metadata` holds plain JSON values that travel into graphs (dataset, accuracy, ...).
    """

    def __init__(self, config: SnasConfig, cell: str | Sequence[str]) -> None:
        super().__init__()
        self.config = c = config
        self.arch = check_cell(cell)
        self.metadata: dict[str, Any] = {}
        width = 2 * c.width
        self.stem_conv = nn.Conv2d(c.in_channels, c.width, 3, c.stem_stride, 1, bias=False)
        self.stem_bn = BatchNorm(c.width, "per_step")
        delay = loop_delay(self.arch) if c.feedback == "loop" else None
        self.cell1 = SnasCell(self.arch, c.width, self._neuron, delay)
        self.down_bn = BatchNorm(c.width, "per_step")
        self.down_neuron = self._neuron()
        self.down = Conv2d(c.width, width, 3)
        self.down_bn2 = BatchNorm(width, "per_step")
        self.cell2 = SnasCell(self.arch, width, self._neuron, delay)
        self.last_bn = BatchNorm(width, "per_step")
        self.last_neuron = self._neuron()
        self.dropout = nn.Dropout(c.dropout)
        self.hidden = nn.Linear(width * math.prod(c.last_size), c.hidden, bias=False)
        self.hidden_neuron = self._neuron()
        self.output = nn.Linear(c.hidden, c.n_classes * c.group)
        spiking = c.ends == "spikes"
        self.entry = LifConv(c.width, 3, self._neuron()) if spiking else None
        self.output_neuron = self._neuron() if spiking else None
        self._initialise()

    def _neuron(self) -> Lif:
        return Lif(Dynamics(v_th=self.config.v_th), self.config.tau)

    def _initialise(self) -> None:
        """First weights as released: the score of an untrained network depends on them."""
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_uniform_(layer.weight, a=2)
            elif isinstance(layer, nn.Linear):
                nn.init.normal_(layer.weight, 0, self.config.linear_std)
                if layer.bias is not None:
                    nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor, see: See = lambda name, spikes: None) -> Tensor:
        c = self.config
        expected = c.in_channels, *c.image_size
        if x.ndim not in (4, 5) or tuple(x.shape[-3:]) != expected:
            raise UsageError(f"input of shape {list(x.shape)}", where="stem", remedy="Reshape or resize the images",
                             limit=f"This network takes [B, C, H, W] or [T, B, C, H, W] with (C, H, W) = {expected}")

        def fire(name: str, current: Tensor) -> Tensor:
            spikes: Tensor = self.get_submodule(name)(current)
            see(name, spikes)
            return spikes

        maps = self.stem_conv(x.flatten(0, -4))
        current = self.stem_bn(maps.reshape(*x.shape[:-3], *maps.shape[1:]))
        if x.ndim == 4:
            current = current.expand(c.n_timesteps, *current.shape)
        silent = None
        if self.entry is not None:
            current = self.entry.synapse(fire("entry.neuron", current))
            silent = self.entry.silent(current[0])
        current = self.cell1(current, lambda name, spikes: see(f"cell1.{name}", spikes), silent)
        spikes = fire("down_neuron", self.down_bn(current))
        current = _average(self.down_bn2(self.down(spikes)), 2)
        silent = _silent(self.down_bn2, current[0])
        current = self.cell2(current, lambda name, spikes: see(f"cell2.{name}", spikes), silent)
        spikes = fire("last_neuron", self.last_bn(current))
        features = _average(spikes, c.pool).flatten(2)
        features = features * self.dropout(torch.ones_like(features[0]))  # one mask for all timesteps
        values = self.output(fire("hidden_neuron", self.hidden(features)))
        if self.output_neuron is not None:
            values = fire("output_neuron", values)
        votes: Tensor = values.reshape(*values.shape[:2], c.n_classes, c.group).mean(dim=3)
        return votes if c.ends == "spikes" else votes / c.n_timesteps

    def spikes(self, x: Tensor) -> dict[str, Tensor]:
        """Spikes [T, B, *shape] of every layer of neurons, by module path."""
        found: dict[str, Tensor] = {}
        self(x, found.__setitem__)
        return found

    def describe(self) -> dict[str, Any]:
        """What, with the weights, makes this network: {"snasnet": fields, "arch": rows of the cell}, plain JSON values."""
        return {"snasnet": self.config.to_dict(), "arch": list(self.arch)}
