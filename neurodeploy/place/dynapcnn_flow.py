"""What arrives at each core of a DYNAP-CNN chip: channel ranges that tile its input, maps of its size, no rings.

Sources write their channels to [feature_shift, feature_shift + c_out) of a core's input; a core that nobody feeds is not
looked at. Source: as `dynapcnn_rules`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations, pairwise

from neurodeploy.errors import Violation
from neurodeploy.place.dynapcnn_config import ChipConfig, ChipLimits, CnnLayer, Pair


@dataclass(frozen=True)
class Source:
    """One enabled way into a core: its channels [bottom, top] there and the map that arrives, (y, x)."""

    where: str
    bottom: int
    n_channels: int
    map: Pair

    @property
    def top(self) -> int:
        """The last channel it writes."""
        return self.bottom + self.n_channels - 1


def sources(config: ChipConfig) -> dict[int, list[Source]]:
    """The enabled sources of every core that has any, the sensor's last. Needs poolings above 0."""
    found: dict[int, list[Source]] = {}
    for core, layer in sorted(config.cores.items()):
        for i, d in enumerate(layer.destinations):
            if d.enable:
                pooled = (layer.out_shape[1] // d.pooling, layer.out_shape[2] // d.pooling)
                source = Source(f"core {core} destination {i}", d.feature_shift, layer.out_shape[0], pooled)
                found.setdefault(d.layer, []).append(source)
    if config.dvs is not None:
        for i, d in enumerate(config.dvs.destinations):
            if d.enable:
                channels, height, width = config.dvs.out_shape
                found.setdefault(d.layer, []).append(Source(f"DVS layer destination {i}", 0, channels, (height, width)))
    return found


def fed_cores(config: ChipConfig, limits: ChipLimits) -> Iterator[Violation]:
    """Violations of what each fed core receives: ranges that start at 0 and tile its channels, maps of its input's size."""
    for core, arriving in sorted(sources(config).items()):
        where, layer = f"core {core}", config.cores.get(core, CnnLayer())
        in_order = sorted(arriving, key=lambda source: source.bottom)
        if in_order[0].bottom != 0:
            yield Violation("range_start", where, f"its first channel from {in_order[0].where} is {in_order[0].bottom}",
                            "the input starts at channel 0", "Give one source feature_shift 0")
        for first, second in combinations(in_order, 2):
            if second.bottom <= first.top:
                yield Violation(
                    "range_overlap", where,
                    f"{first.where} writes channels {first.bottom} to {first.top}, {second.where} from {second.bottom} on",
                    "channels of different sources must not overlap: additions of two sources are refused",
                    "Concatenate: shift the second source behind the first and give the kernel a part for each",
                )
        for first, second in pairwise(in_order):
            if second.bottom > first.top + 1:
                yield Violation("range_gap", where, f"nobody writes channels {first.top + 1} to {second.bottom - 1}",
                                "the channels of the sources follow each other without a gap",
                                f"Shift {second.where} to {first.top + 1}")
        n_channels = sum(source.n_channels for source in arriving)
        if n_channels != layer.in_shape[0]:
            yield Violation("range_count", where, f"its sources bring {n_channels} channels", f"it takes {layer.in_shape[0]}",
                            "Give the layer as many channels in as its sources have")
        for source in arriving:
            if source.top > limits.max_feature_shift:
                yield Violation("range_top", where, f"{source.where} writes up to channel {source.top}",
                                f"the last one is {limits.max_feature_shift}", "Concatenate fewer channels")
            for axis, n, wanted in zip("yx", source.map, layer.in_shape[1:], strict=True):
                if n != wanted:
                    yield Violation(f"map_size_{axis}", where, f"{source.where} sends a map of size {axis} {n}",
                                    f"its input has size {axis} {wanted}",
                                    "Pooling divides and drops the rest; give the layer that input size")


def rings(config: ChipConfig) -> tuple[int, ...]:
    """Cores that lie on a ring of enabled destinations or behind none but such: empty where there is no ring."""
    targets = {core: {d.layer for d in layer.destinations if d.enable} for core, layer in config.cores.items()}
    while True:
        done = {core for core, after in targets.items() if not after & set(targets)}
        if not done:
            break
        targets = {core: after for core, after in targets.items() if core not in done}
    fed = True
    while fed:
        reached = {core for after in targets.values() for core in after}
        fed = bool(set(targets) - reached)
        targets = {core: after for core, after in targets.items() if core in reached}
    return tuple(sorted(targets))
