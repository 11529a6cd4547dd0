"""AutoSNN networks and the single-path supernet that holds all of them (3,125 in the layout and with the blocks of the paper).

Votes are [T, B, n_classes]: per timestep the mean of each class's group of output neurons. Their sum over T is the
logit (accuracy is its argmax), the sum divided by T what the MSE loss compares with the one-hot label.
Source: Na et al., AutoSNN, ICML 2022.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from torch import Tensor, nn

from neurodeploy.errors import UsageError
from neurodeploy.models.blocks import AveragePool, ExtraStem, Layers, constrain, make_block
from neurodeploy.models.macro import BLOCKS, N_POSITIONS, Arch, MacroConfig, check_arch
from neurodeploy.models.plain import plain_metadata

__all__ = ["BLOCKS", "N_POSITIONS", "Arch", "AutoSnn", "Classifier", "MacroConfig", "Stem", "SuperNet", "check_arch"]


class Stem(nn.Module):
    """conv3x3 + BN + PLIF. Static images [B, C, H, W] are convolved once and held as a constant current for T steps.

    `extra` is what the stems for larger images add (`MacroConfig.stem`), else None.
    """

    def __init__(self, config: MacroConfig, layers: Layers) -> None:
        super().__init__()
        self.config = config
        self.conv = layers.conv(config.in_channels, config.width, 3, first=True)
        self.bn = layers.norm(config.width)
        self.neuron = layers.neuron()
        n_pools = 2 if config.stem == "dvs" else 1
        self.extra = None if config.stem == "plain" else ExtraStem(config.width, n_pools, layers)

    def forward(self, x: Tensor) -> Tensor:
        expected = (self.config.in_channels, *self.config.image_size)
        if x.ndim not in (4, 5) or tuple(x.shape[-3:]) != expected:
            raise UsageError(
                f"input of shape {list(x.shape)}", where="stem",
                limit=f"This network takes [B, C, H, W] or [T, B, C, H, W] with (C, H, W) = {expected}",
                remedy="Reshape or resize the images",
            )
        current = self.bn(self.conv(x))
        if x.ndim == 4:
            current = current.expand(self.config.n_timesteps, *current.shape)
        out: Tensor = self.neuron(current)
        return out if self.extra is None else self.extra(out)


class Classifier(nn.Module):
    """Flatten, Linear without bias, PLIF, and the vote: maps [T, B, C, H, W] to votes [T, B, n_classes].

    `pool` is the mean of the whole map in front, with neurons of its own, where `MacroConfig.global_pool` asks for it.
    """

    def __init__(self, config: MacroConfig, layers: Layers) -> None:
        super().__init__()
        self.n_classes, self.group = config.n_classes, config.group
        self.pool = AveragePool(None, layers) if config.global_pool else None
        self.linear = layers.linear(config.n_features, config.n_classes * config.group)
        self.neuron = layers.output_neuron()

    def forward(self, x: Tensor) -> Tensor:
        if self.pool is not None:
            x = self.pool(x)
        spikes: Tensor = self.neuron(self.linear(x.flatten(2)))
        return spikes.reshape(*spikes.shape[:2], self.n_classes, self.group).mean(dim=3)


class AutoSnn(nn.Module):
    """One architecture: `arch` names a block of ALL_BLOCKS for each position. Raises UsageError otherwise.

    forward: static [B, C, H, W] or [T, B, C, H, W] -> votes [T, B, n_classes].
    `metadata` holds plain JSON values that travel with the network into files and graphs (dataset, accuracy, ...).
    """

    def __init__(self, config: MacroConfig, arch: Sequence[str]) -> None:
        super().__init__()
        self.config = config
        self.arch: Arch = check_arch(arch, config.n_positions)
        self.metadata: dict[str, Any] = {}
        layers = Layers(config)
        self.stem = Stem(config, layers)
        self.layers = nn.ModuleList(
            layers.pool() if p.index is None else make_block(self.arch[p.index], p.c_in, p.c_out, layers, p.stride)
            for p in config.positions
        )
        self.classifier = Classifier(config, layers)
        layers.initialise(self)

    def constrain(self) -> None:
        """Bring the weights back to at most w_max * v_th, after a step of the optimiser."""
        constrain(self, self.config)

    def forward(self, x: Tensor) -> Tensor:
        return _run(self.stem, self.layers, self.classifier, x)

    def describe(self) -> dict[str, Any]:
        """What, with the weights, makes this network: {"macro": fields, "arch": [block, ...]}, plain JSON values."""
        return {"macro": self.config.to_dict(), "arch": list(self.arch)}

    def plain_metadata(self) -> dict[str, Any]:
        """A copy of `metadata` in plain JSON values; raises UsageError for others, or for the names of `describe`."""
        return plain_metadata(self.metadata, self.describe())


class SuperNet(nn.Module):
    """All `blocks` at every position, one path per call: `forward(x, arch)`; architectures share their weights."""

    def __init__(self, config: MacroConfig, blocks: Sequence[str] = BLOCKS) -> None:
        super().__init__()
        self.config, self.blocks = config, tuple(blocks)
        layers = Layers(config)
        self.stem = Stem(config, layers)
        self.layers = nn.ModuleList(
            layers.pool() if p.index is None
            else nn.ModuleDict({name: make_block(name, p.c_in, p.c_out, layers, p.stride) for name in self.blocks})
            for p in config.positions
        )
        self.classifier = Classifier(config, layers)
        layers.initialise(self)

    def constrain(self) -> None:
        """As `AutoSnn.constrain`."""
        constrain(self, self.config)

    def forward(self, x: Tensor, arch: Sequence[str]) -> Tensor:
        blocks = iter(check_arch(arch, self.config.n_positions, self.blocks))
        path = [layer[next(blocks)] if isinstance(layer, nn.ModuleDict) else layer for layer in self.layers]
        return _run(self.stem, path, self.classifier, x)

    def child(self, arch: Sequence[str]) -> AutoSnn:
        """The architecture as a network of its own: copies of weights and running statistics, the same training mode."""
        child = AutoSnn(self.config, check_arch(arch, self.config.n_positions, self.blocks))
        own = self.state_dict()
        prefixes = {p.name: f"{p.name}.{child.arch[p.index]}" for p in self.config.positions if p.index is not None}
        picked: dict[str, Tensor] = {}
        for key in child.state_dict():
            head, _, tail = key.partition(".")
            place, _, rest = tail.partition(".")
            layer = f"{head}.{place}"
            picked[key] = own[f"{prefixes[layer]}.{rest}" if layer in prefixes else key]
        sample = self.stem.conv.weight
        child.to(device=sample.device, dtype=sample.dtype).load_state_dict(picked)
        return child.train(self.training)


def _run(stem: nn.Module, layers: Iterable[nn.Module], classifier: nn.Module, x: Tensor) -> Tensor:
    x = stem(x)
    for layer in layers:
        x = layer(x)
    votes: Tensor = classifier(x)
    return votes
