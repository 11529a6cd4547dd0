"""Macros and architectures by the names that AutoSNN's paper and release give them.

Source: Na et al., AutoSNN, ICML 2022 (tables 2, 5 and 7), and its release (space.py, search_arch/arch.py). The release writes
pools into its lists; here they belong to the macro. Its architectures `AutoSNN_0`, `_16` and `_24` are `AutoSNN_lambda_...`,
because `AutoSNN_16` is a macro too. `all_BLOCK`, as `all_SCB_k3`, has one block at every position.
"""

from __future__ import annotations

from typing import Any

from neurodeploy.errors import UsageError
from neurodeploy.ir.nodes import Pair
from neurodeploy.models.macro import ALL_BLOCKS, N_POSITIONS, OWN_BLOCKS, Arch, MacroConfig, check_arch

_SHORT = {"skip": "skip_connect"}
_ALL = "all_"

# Of every macro, the fields of `MacroConfig` in which it differs from AutoSNN_16.
MACROS: dict[str, dict[str, Any]] = {
    **{f"AutoSNN_{width}": {"width": width} for width in (16, 32, 64, 128)},
    "SNN_2": {"global_pool": True},
    "SNN_3": {"layout": (1, 2, 2, 2, 4, 4, 4, 8), "strides": (1, 2, 1, 1, 2, 1, 1, 2)},
    "SNN_4": {"pool": "average"},
}

ARCHITECTURES: dict[str, Arch] = {name: check_arch([_SHORT.get(block, block) for block in blocks.split()]) for name, blocks in {
    "AutoSNN": "SRB_k5 SRB_k5 skip SRB_k3 SRB_k5",  # lambda -0.08
    "AutoSNN_lambda_0": "SRB_k5 SRB_k5 SRB_k5 SCB_k5 SRB_k5",
    "AutoSNN_lambda_-0.16": "SRB_k5 SRB_k5 skip SRB_k5 SRB_k5",
    "AutoSNN_lambda_-0.24": "skip SRB_k5 skip SCB_k5 SRB_k5",
    "AutoSNN_ANN_space": "SRB_k5 SRB_k3 SCB_k3 SCB_k5 SRB_k5",  # searched without spiking neurons
    "random_search_lambda_0": "SCB_k5 SCB_k5 SRB_k5 SCB_k5 SRB_k5",
    "random_search_lambda_-0.08": "SRB_k5 SRB_k5 SRB_k3 SCB_k3 SRB_k5",
}.items()}


def published(name: str, n_positions: int = N_POSITIONS) -> Arch:
    """The blocks of an architecture of `ARCHITECTURES`, or of `all_BLOCK` for `n_positions`. UsageError for another name, and
    where the network has another number of positions.

    >>> published("AutoSNN_lambda_-0.24")
    ('skip_connect', 'SRB_k5', 'skip_connect', 'SCB_k5', 'SRB_k5')
    """
    if name.startswith(_ALL):
        block = name.removeprefix(_ALL)
        return check_arch([_SHORT.get(block, block)] * n_positions, n_positions)
    if name not in ARCHITECTURES:
        raise UsageError(f"no architecture {name!r:.80}", where="arch", limit=f"Known: {', '.join(ARCHITECTURES)}, all_BLOCK",
                         remedy=f"Choose one of them, or give blocks: {', '.join(ALL_BLOCKS)}")
    return check_arch(ARCHITECTURES[name], n_positions)


def parse_arch(text: str, n_positions: int = N_POSITIONS) -> Arch:
    """A published architecture by name, or blocks separated by commas, as `search` prints a genome; `skip` stands for
    skip_connect. UsageError otherwise, and unless there is one block for each of the positions.

    >>> parse_arch("skip,SCB_k3,skip,skip,SCB_k3")[:2]
    ('skip_connect', 'SCB_k3')
    """
    named = "," not in text and text not in (*ALL_BLOCKS, *_SHORT) and text not in OWN_BLOCKS
    if named and (n_positions > 1 or text.startswith(_ALL)):
        return published(text, n_positions)
    return check_arch([_SHORT.get(block, block) for block in (b.strip() for b in text.split(",")) if block], n_positions)


def macro(name: str, in_channels: int, image_size: Pair, n_classes: int, **fields: Any) -> MacroConfig:
    """A macro of `MACROS` for data of this size; `fields` are others of `MacroConfig`, and go before the macro's.

    The release gives Tiny-ImageNet `stem="tiny_imagenet"`, and events from sensors of 128 x 128 `stem="dvs"`. Its neurons are
    silent behind every mean (SNN_2, SNN_4); `decay_input=False` is the charge equation that it has in a comment. UsageError for
    another name.
    """
    if name not in MACROS:
        raise UsageError(f"no macro {name!r:.80}", where="macro", limit=f"Known: {', '.join(MACROS)}",
                         remedy="Choose one of them")
    return MacroConfig(in_channels, image_size, n_classes, **{**MACROS[name], **fields})
