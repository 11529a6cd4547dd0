"""The candidate blocks of AutoSNN, and torch layers that accept a time axis.

Maps are [T, B, C, H, W]. Convolutions have no bias and pad by k // 2. At stride 1 blocks keep H and W; at stride 2 the first
convolution of k > 1 (and that of a shortcut) has it, and odd sides are rounded up.

    skip_connect  x                                            (stride 1, Cin = Cout: nothing, 0 spikes)
                  PLIF(BN(conv1x1(x)))                         (stride 1, Cin != Cout)
                  PLIF(BN([conv1x1(x), conv1x1(x shifted)]))   (stride 2: half of the channels from the odd pixels)
    SCB_k         PLIF(BN(conv_k(PLIF(BN(conv_k(x))))))
    SRB_k         PLIF(BN(conv_k(PLIF(BN(conv_k(x))))) + s(x)) with s = identity, or BN(conv1x1(.)) where sizes change
    SIB_k_e       PLIF(BN(conv1x1(PLIF(BN(conv_k(PLIF(BN(conv1x1(x)))))))) + s(x)), e * Cin channels inside; no s at stride 2

Source: Na et al., AutoSNN, ICML 2022, and its release; the addition stands before the last PLIF, so block outputs are binary.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from neurodeploy.errors import NeurodeployError, UsageError
from neurodeploy.extensions import failure
from neurodeploy.models.macro import OWN_BLOCKS, BnTime, MacroConfig
from neurodeploy.models.neurons import Dynamics, If, Neuron, Plif
from neurodeploy.models.shared_norm import Total, shared_norm

OUTPUT_SLOPE = 0.1  # of the surrogate gradient of output neurons, at least


def _split(y: Tensor, like: Tensor) -> Tensor:
    """[T*B, ...] -> [T, B, ...] with T and B of `like`."""
    return y.view(*like.shape[:2], *y.shape[1:])


class Conv2d(nn.Conv2d):
    """A convolution without bias over [B, C, H, W] or [T, B, C, H, W]; padding k // 2."""

    def __init__(self, c_in: int, c_out: int, kernel: int, groups: int = 1, stride: int = 1) -> None:
        super().__init__(c_in, c_out, kernel, stride, padding=kernel // 2, bias=False, groups=groups)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) if x.ndim == 4 else _split(super().forward(x.flatten(0, 1)), x)


class StandardConv2d(Conv2d):
    """The same with standardised weights: of each output channel, c = w - centre * mean(w) and c / |c| * gain, at most `most`.

    What training learns are w and the gains [O]; `effective` is what acts, and what a chip gets. Inputs of any rate then give
    currents of a known size about zero (`centre` 1) or not far from it, which networks without leak and without biases need
    as others need batch normalisation. Source: weight standardisation, Qiao et al., arXiv 1903.10520; scaled for networks
    without norms, Brock et al., ICLR 2021; `centre` is ours.
    """

    def __init__(
        self, c_in: int, c_out: int, kernel: int, gain: float, most: float | None, centre: float, groups: int = 1,
        stride: int = 1,
    ) -> None:
        super().__init__(c_in, c_out, kernel, groups, stride)
        self.gain = nn.Parameter(torch.full((c_out,), gain))
        self.most, self.centre = most, centre

    @property
    def effective(self) -> Tensor:
        """Weights [O, I, k, k] as they act."""
        return _standardised(self.weight, self.gain, self.most, self.centre)

    def forward(self, x: Tensor) -> Tensor:
        flat = x if x.ndim == 4 else x.flatten(0, 1)
        y = F.conv2d(flat, self.effective, None, self.stride, self.padding, groups=self.groups)
        return y if x.ndim == 4 else _split(y, x)


class StandardLinear(nn.Linear):
    """A linear layer without bias, its weights standardised as those of StandardConv2d."""

    def __init__(self, n_in: int, n_out: int, gain: float, most: float | None, centre: float) -> None:
        super().__init__(n_in, n_out, bias=False)
        self.gain = nn.Parameter(torch.full((n_out,), gain))
        self.most, self.centre = most, centre

    @property
    def effective(self) -> Tensor:
        """Weights [O, I] as they act."""
        return _standardised(self.weight, self.gain, self.most, self.centre)

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.effective)


def _standardised(weight: Tensor, gain: Tensor, most: float | None, centre: float) -> Tensor:
    flat = weight.flatten(1)
    centred = flat - centre * flat.mean(dim=1, keepdim=True)
    # the floor keeps the division sound where nothing is left, as of a single weight
    length = centred.square().sum(dim=1, keepdim=True).clamp(min=1e-8).sqrt()
    scaled = (centred / length * gain[:, None]).reshape(weight.shape)
    return scaled if most is None else scaled.clamp(max=most)


class BatchNorm(nn.BatchNorm2d):
    """Batch normalisation over [B, C, H, W] or [T, B, C, H, W].

    In training, statistics are taken over T*B*H*W ("merged"), or over B*H*W at each timestep, the running statistics
    moving T times ("per_step", as AutoSNN was released). In evaluation both are the same map. `total` is set while several
    processes train (`train.ranks`): statistics are then those of all their parts of a batch.
    """

    def __init__(self, channels: int, bn_time: BnTime) -> None:
        super().__init__(channels)
        self.bn_time = bn_time
        self.total: Total | None = None

    def forward(self, x: Tensor) -> Tensor:
        x = x.to(self.weight.dtype)  # of a convolution in mixed precision
        if x.ndim == 4:
            return self._normalised(x)
        if self.training and self.bn_time == "per_step":
            return torch.stack([self._normalised(step) for step in x])
        return _split(self._normalised(x.flatten(0, 1)), x)

    def _normalised(self, x: Tensor) -> Tensor:
        return shared_norm(self, x, self.total) if self.training and self.total else super().forward(x)


class SumPool(nn.Module):
    """2x2 sum, stride 2, over [T, B, C, H, W]; an odd last row or column is dropped."""

    def forward(self, x: Tensor) -> Tensor:
        return _split(4 * F.avg_pool2d(x.flatten(0, 1), 2), x)


class MaxPool(nn.Module):
    """2x2 maximum, stride 2, over [T, B, C, H, W]; an odd last row or column is dropped."""

    def forward(self, x: Tensor) -> Tensor:
        return _split(F.max_pool2d(x.flatten(0, 1), 2), x)


@dataclass(frozen=True)
class Layers:
    """Makes the layers of one network: the same neuron, norm and pool everywhere."""

    config: MacroConfig

    @property
    def dynamics(self) -> Dynamics:
        """What all its neurons compute."""
        c = self.config
        return Dynamics(c.decay_input, c.v_th, c.v_reset, c.fire, c.reset, c.surrogate_alpha, c.multi_spike, c.v_min)

    def neuron(self) -> Neuron:
        """Leaky neurons that learn their time constant, or neurons without leak."""
        return Plif(self.dynamics, self.config.tau0) if self.config.neuron == "plif" else If(self.dynamics)

    def output_neuron(self) -> Neuron:
        """Neurons of the classifier: as all others, but their gradient never vanishes, so that a class that has fallen silent
        can be trained back."""
        d = self.dynamics
        return If(replace(d, surrogate_least=OUTPUT_SLOPE)) if d.floored else self.neuron()

    def norm(self, channels: int) -> nn.Module:
        """A batch norm, or nothing."""
        return BatchNorm(channels, self.config.bn_time) if self.config.norm == "batch" else nn.Identity()

    @property
    def most(self) -> float | None:
        """The largest weight."""
        return None if self.config.w_max is None else self.config.w_max * self.config.v_th

    def conv(
        self, c_in: int, c_out: int, kernel: int, *, first: bool = False, groups: int = 1, stride: int = 1
    ) -> Conv2d:
        """A convolution without bias. Standardised, the first one keeps the mean of its weights: without it the events of a
        sensor cancel in pairs, and their order inside a time bin counts for more (docs/speck.md)."""
        if self.config.norm == "weights":
            centre = 0.0 if first else self.config.centre
            return StandardConv2d(c_in, c_out, kernel, self.config.gain, self.most, centre, groups, stride)
        return Conv2d(c_in, c_out, kernel, groups, stride)

    def linear(self, n_in: int, n_out: int) -> nn.Linear:
        """A linear layer without bias."""
        if self.config.norm == "weights":
            return StandardLinear(n_in, n_out, self.config.gain, self.most, self.config.centre)
        return nn.Linear(n_in, n_out, bias=False)

    def pool(self, *, in_stem: bool = False) -> nn.Module:
        """What halves a map. The release's stems have max-pools in every macro."""
        if self.config.pool == "average" and not in_stem:
            return AveragePool(2, self)
        return SumPool() if self.config.pool == "sum" else MaxPool()

    def initialise(self, module: nn.Module) -> None:
        """First weights of a network without norms, which nothing scales later; others keep torch's."""
        if self.config.norm == "none":
            for layer in synapses(module):
                nn.init.normal_(layer.weight, 0.0, self.config.gain / math.sqrt(layer.weight[0].numel()))
        constrain(module, self.config)


def synapses(module: nn.Module) -> Iterator[nn.Conv2d | nn.Linear]:
    """Every convolution and linear layer."""
    yield from (part for part in module.modules() if isinstance(part, nn.Conv2d | nn.Linear))


def constrain(module: nn.Module, config: MacroConfig) -> None:
    """Cut every weight of the network at w_max * v_th, where there is such a limit; standardised weights keep it themselves.

    On event-driven chips an update gives one spike at most: what a weight has above the threshold comes late.
    """
    if config.w_max is not None and config.norm != "weights":
        with torch.no_grad():
            for layer in synapses(module):
                layer.weight.clamp_(max=config.w_max * config.v_th)


class ConvBn(nn.Module):
    """conv + BN, real-valued: the shortcut of a block that changes its channels or size."""

    def __init__(self, c_in: int, c_out: int, kernel: int, layers: Layers, stride: int = 1) -> None:
        super().__init__()
        self.conv = layers.conv(c_in, c_out, kernel, stride=stride)
        self.bn = layers.norm(c_out)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.bn(self.conv(x))
        return out


class AveragePool(nn.Module):
    """Mean over kernel x kernel pixels, stride = kernel, or (None) over the whole map, and neurons behind it.

    The mean of spikes is at most 1: neurons that decay their input (`decay_input`) never reach a threshold of 1 by it.
    """

    def __init__(self, kernel: int | None, layers: Layers) -> None:
        super().__init__()
        self.kernel = kernel
        self.neuron = layers.neuron()

    def forward(self, x: Tensor) -> Tensor:
        height, width = (self.kernel, self.kernel) if self.kernel else x.shape[3:]
        total = F.avg_pool2d(x.flatten(0, 1), (height, width), divisor_override=1)
        # the product, as the Graph has it, not the quotient: neurons without leak stand exactly at their threshold often
        out: Tensor = self.neuron(_split(total * (1 / (height * width)), x))
        return out


class ExtraStem(nn.Module):
    """What follows the stem's neurons for large images: pool, conv3x3, BN, PLIF, and where `n_pools` is 2 another pool."""

    def __init__(self, channels: int, n_pools: int, layers: Layers) -> None:
        super().__init__()
        self.pool1 = layers.pool(in_stem=True)
        self.conv = layers.conv(channels, channels, 3)
        self.bn = layers.norm(channels)
        self.neuron = layers.neuron()
        self.pool2 = layers.pool(in_stem=True) if n_pools == 2 else None

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.neuron(self.bn(self.conv(self.pool1(x))))
        return out if self.pool2 is None else self.pool2(out)


class Identity(nn.Module):
    """skip_connect that keeps its channels: hands its input on, adds no spikes."""

    def forward(self, x: Tensor) -> Tensor:
        return x


class ConvSkip(nn.Module):
    """skip_connect that changes its channels: conv1x1, BN, PLIF."""

    def __init__(self, c_in: int, c_out: int, layers: Layers) -> None:
        super().__init__()
        self.conv = layers.conv(c_in, c_out, 1)
        self.bn = layers.norm(c_out)
        self.neuron = layers.neuron()

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.neuron(self.bn(self.conv(x)))
        return out


class ReduceSkip(nn.Module):
    """skip_connect that halves its map: the first half of the channels from every other pixel, the second from those one row
    further down and right; BN, PLIF. The release takes even sizes: else the first half is the larger, and zeros follow the last
    row and column."""

    def __init__(self, c_in: int, c_out: int, layers: Layers) -> None:
        super().__init__()
        if c_out < 2:
            raise UsageError("one channel in two halves", where="skip_connect of stride 2", limit="At least 2",
                             remedy="Choose a larger width")
        self.conv1 = layers.conv(c_in, c_out - c_out // 2, 1, stride=2)
        self.conv2 = layers.conv(c_in, c_out // 2, 1, stride=2)
        self.bn = layers.norm(c_out)
        self.neuron = layers.neuron()

    def forward(self, x: Tensor) -> Tensor:
        shifted = F.pad(x, (0, 1, 0, 1))[..., 1:, 1:]
        out: Tensor = self.neuron(self.bn(torch.cat([self.conv1(x), self.conv2(shifted)], dim=2)))
        return out


class ConvBlock(nn.Module):
    """SCB (residual=False) or SRB (residual=True); `shortcut` is None where the input itself is added, or nothing."""

    def __init__(self, c_in: int, c_out: int, kernel: int, residual: bool, layers: Layers, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = layers.conv(c_in, c_out, kernel, stride=stride)
        self.bn1 = layers.norm(c_out)
        self.neuron1 = layers.neuron()
        self.conv2 = layers.conv(c_out, c_out, kernel)
        self.bn2 = layers.norm(c_out)
        self.neuron2 = layers.neuron()
        changes = stride != 1 or c_in != c_out
        self.shortcut = ConvBn(c_in, c_out, 1, layers, stride) if residual and changes else None
        self.adds_input = residual and not changes

    def forward(self, x: Tensor) -> Tensor:
        current = self.bn2(self.conv2(self.neuron1(self.bn1(self.conv1(x)))))
        out: Tensor = self.neuron2(_with_shortcut(current, x, self))
        return out


class BottleneckBlock(nn.Module):
    """SIB: conv1x1 to `expansion` times the channels, conv k x k, conv1x1; `shortcut` as in ConvBlock, none at stride 2."""

    def __init__(self, c_in: int, c_out: int, kernel: int, expansion: int, layers: Layers, stride: int = 1) -> None:
        super().__init__()
        inside = expansion * c_in
        self.conv1 = layers.conv(c_in, inside, 1)
        self.bn1 = layers.norm(inside)
        self.neuron1 = layers.neuron()
        self.conv2 = layers.conv(inside, inside, kernel, stride=stride)
        self.bn2 = layers.norm(inside)
        self.neuron2 = layers.neuron()
        self.conv3 = layers.conv(inside, c_out, 1)
        self.bn3 = layers.norm(c_out)
        self.neuron3 = layers.neuron()
        self.shortcut = ConvBn(c_in, c_out, 1, layers) if stride == 1 and c_in != c_out else None
        self.adds_input = stride == 1 and c_in == c_out

    def forward(self, x: Tensor) -> Tensor:
        inner = self.neuron2(self.bn2(self.conv2(self.neuron1(self.bn1(self.conv1(x))))))
        out: Tensor = self.neuron3(_with_shortcut(self.bn3(self.conv3(inner)), x, self))
        return out


def _with_shortcut(current: Tensor, x: Tensor, block: ConvBlock | BottleneckBlock) -> Tensor:
    if block.shortcut is not None:
        shortcut: Tensor = block.shortcut(x)
        return current + shortcut
    return current + x if block.adds_input else current


def make_block(name: str, c_in: int, c_out: int, layers: Layers, stride: int = 1) -> nn.Module:
    """The block called `name`, one of `macro.ALL_BLOCKS` or of `OWN_BLOCKS`; UsageError otherwise, where a class of the latter
    fails, and for one at a stride of 2, which it is not asked for."""
    if name in OWN_BLOCKS:
        if stride != 1:
            raise UsageError(f"block {name!r} at a position of stride {stride}", where="network.strides", code="bad_block",
                             limit="Registered blocks keep the size of their maps", remedy="Use a pool there")
        try:
            block: nn.Module = OWN_BLOCKS.get(name)(c_in, c_out, layers)
        except NeurodeployError:
            raise
        except Exception as error:  # whatever a stranger's class raises
            raise failure("block", name, error, f" with {c_in} to {c_out} channels") from error
        return block
    kind, *sizes = name.split("_")
    if kind == "skip":
        if stride == 2:
            return ReduceSkip(c_in, c_out, layers)
        return Identity() if c_in == c_out else ConvSkip(c_in, c_out, layers)
    kernel = int(sizes[0][1:])
    if kind == "SIB":
        return BottleneckBlock(c_in, c_out, kernel, int(sizes[1][1:]), layers, stride)
    return ConvBlock(c_in, c_out, kernel, kind == "SRB", layers, stride)
