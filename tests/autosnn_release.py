"""Our networks under the names of AutoSNN's release: its state_dicts, its recorded outputs, its descriptions of children."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from neurodeploy.models.autosnn import AutoSnn
from neurodeploy.models.macro import MacroConfig
from neurodeploy.models.published import macro

_NAMES = (
    (r"^conv_stem\.0\.", "stem.conv."), (r"^conv_stem\.1\.", "stem.bn."), (r"^spike_neuron_stem\.", "stem.neuron."),
    (r"^(?:ImageNet_conv|DVS_conv_1)\.0\.", "stem.extra.conv."), (r"^(?:ImageNet_conv|DVS_conv_1)\.1\.", "stem.extra.bn."),
    (r"^(?:ImageNet_conv|DVS_conv_1)\.2\.", "stem.extra.neuron."), (r"^avgpool\.1\.", "classifier.pool.neuron."),
    (r"^fc\.1\.", "classifier.linear."), (r"^fc\.2\.", "classifier.neuron."),
    (r"\.spike_neuron_([123])\.", r".neuron\1."), (r"\.spike_neuron\.", ".neuron."), (r"\.conv_([12])\.", r".conv\1."),
    (r"\.downsample\.0\.", ".shortcut.conv."), (r"\.downsample\.1\.", ".shortcut.bn."),
)  # fmt: skip
_OUTPUTS = {
    "stem_neuron": "stem.neuron", "tiny_pool": "stem.extra.pool1", "tiny_conv": "stem.extra.neuron",
    "dvs_pool_1": "stem.extra.pool1", "dvs_conv_1": "stem.extra.neuron", "dvs_pool_2": "stem.extra.pool2",
    "fc_neuron": "classifier.neuron",
}  # fmt: skip


def our_name(theirs: str) -> str:
    for pattern, name in _NAMES:
        theirs = re.sub(pattern, name, theirs)
    return theirs


def output_name(theirs: str, recorded: Mapping[str, torch.Tensor]) -> str:
    """Our name of one of a child's outputs; an identity skip puts out what the layer before it did."""
    if theirs in _OUTPUTS:
        return _OUTPUTS[theirs]
    for i in range(int(theirs.split("_")[1]), -1, -1):
        for name in (f"layers.{i}", *(f"layers.{i}.{neuron}" for neuron in ("neuron3", "neuron2", "neuron"))):
            if name in recorded:
                return name
    return next(name for name in ("stem.extra.pool2", "stem.extra.neuron", "stem.neuron") if name in recorded)


def stem_of(dataset: str) -> str:
    return "dvs" if "DVS" in dataset else "tiny_imagenet" if dataset == "Tiny-ImageNet-200" else "plain"


def blocks_of(arch: list[str], config: MacroConfig) -> list[str]:
    """The blocks of one of the release's lists, whose entries at pools mean nothing."""
    return [block for block, position in zip(arch, config.positions, strict=False) if position.index is not None]


def images(data: Mapping[str, np.ndarray]) -> torch.Tensor:
    """A child's input as our networks take it: [B, C, H, W], or [T, B, C, H, W] of its [B, T, C, H, W]."""
    x = torch.tensor(data["input"], dtype=torch.float64)
    return x if x.ndim == 4 else x.transpose(0, 1)


def child(spec: dict[str, Any], data: Mapping[str, np.ndarray]) -> AutoSnn:
    """The network of a `*_child` fixture, in float64, its statistics taken at every timestep as in the release."""
    c, h, w = data["input"].shape[-3:]
    config = macro(
        spec["macro"], c, (h, w), spec["num_class"], n_timesteps=spec["T"], stem=stem_of(spec["dataset"]), bn_time="per_step"
    )
    net = AutoSnn(config, blocks_of(spec["arch"], config)).double()
    net.load_state_dict({our_name(k.removeprefix("sd/")): torch.tensor(v) for k, v in data.items() if k.startswith("sd/")})
    return net
