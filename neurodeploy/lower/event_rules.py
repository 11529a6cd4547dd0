"""What the cores of an event-driven chip can be configured to do, as rules on the layers of a network and a profile.

Memory and the number of cores are `place/event_cores.py`'s. Every number comes from the profile; pairs are (y, x).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from neurodeploy.errors import Violation
from neurodeploy.hw.event_profile import EventProfile
from neurodeploy.ir.event_layers import CoreLayer, CoreNetwork

Rule = Callable[[CoreNetwork, EventProfile], Iterator[Violation]]


def violations(network: CoreNetwork, profile: EventProfile) -> tuple[Violation, ...]:
    """Every broken rule of `RULES`."""
    return tuple(violation for rule in RULES for violation in rule(network, profile))


def merged(found: Sequence[Violation]) -> tuple[Violation, ...]:
    """The same violation of several layers as one that names them all, in the order of the first."""
    groups: dict[tuple[str, str, str, str], list[str]] = {}
    for v in found:
        places = groups.setdefault((v.rule, v.what, v.limit, v.remedy), [])
        if v.where not in places:
            places.append(v.where)
    return tuple(Violation(rule, ", ".join(places), *rest) for (rule, *rest), places in groups.items())


def listed(values: Sequence[int]) -> str:
    """Values for a sentence."""
    return ", ".join(map(str, values))


def _by(pair: Sequence[int]) -> str:
    return "x".join(map(str, pair))


def kernels(network: CoreNetwork, profile: EventProfile) -> Iterator[Violation]:
    """Kernels are square and have a largest size; those of linear layers have the size of the input map."""
    most = profile.capacity.kernel_size_max.count
    for layer in network.layers:
        if layer.kernel[0] != layer.kernel[1]:
            yield _not_square(layer)
        if max(layer.kernel) > most:
            remedy = f"Pool or stride to a map of at most {most}x{most}" if layer.linear else "Use a smaller kernel"
            yield Violation("kernel_size", layer.label, _kernel(layer), f"Kernels have at most {most}x{most} weights", remedy)


def _not_square(layer: CoreLayer) -> Violation:
    side = max(layer.kernel)
    remedy = "Pool, stride or crop to a square map" if layer.linear else (
        f"Train with a {side}x{side} kernel, or fill this one with zeros to {side}x{side} and widen its padding"
    )
    return Violation("kernel_square", layer.label, _kernel(layer), "Kernels are square", remedy)


def _kernel(layer: CoreLayer) -> str:
    if layer.linear:
        return f"a linear layer over a map of {_by(layer.kernel)} is a kernel of that size"
    return f"a kernel of {_by(layer.kernel)}"


def strides(network: CoreNetwork, profile: EventProfile) -> Iterator[Violation]:
    """Strides are one of a few values on each axis."""
    known = profile.capacity.strides.values
    for layer in network.layers:
        if not set(layer.stride) <= set(known):
            yield Violation("stride", layer.label, f"a stride of {_by(layer.stride)}", f"Strides are {listed(known)}",
                            "Use one of them, or pool by the rest")


def paddings(network: CoreNetwork, profile: EventProfile) -> Iterator[Violation]:
    """Paddings have a largest value."""
    most = profile.capacity.padding_max.count
    for layer in network.layers:
        if not 0 <= min(layer.padding) <= max(layer.padding) <= most:
            yield Violation("padding", layer.label, f"a padding of {_by(layer.padding)}", f"Paddings are 0 to {most}",
                            "Use less padding")


def channels(network: CoreNetwork, profile: EventProfile) -> Iterator[Violation]:
    """Channels in and out have a largest number, and so has the shift that puts sources side by side."""
    most = profile.capacity.channels_max.count
    for layer in network.layers:
        for n, side in ((layer.in_shape[0], "in"), (layer.out_shape[0], "out")):
            if n > most:
                yield Violation("channels", layer.label, f"{n} channels {side}", f"At most {most}",
                                f"Use at most {most} channels {side}")
    last = profile.capacity.feature_shift_max.count
    for source, shape, d in network.connections:
        if d.feature_shift + shape[0] - 1 > last and network[d.layer].in_shape[0] <= most:
            yield Violation("feature_shift", f"{source} -> {d.layer}", f"channels up to {d.feature_shift + shape[0] - 1}",
                            f"The last channel of a core is {last}", "Concatenate fewer channels")


def maps(network: CoreNetwork, profile: EventProfile) -> Iterator[Violation]:
    """Maps into a core and maps of neurons have a largest side each."""
    c = profile.capacity
    for layer in network.layers:
        for shape, most, what, remedy in (
            (layer.in_shape, c.input_size_max.count, "an input map", "Pool or crop before this layer"),
            (layer.out_shape, c.output_size_max.count, "a map of neurons (before pooling)",
             "Use a larger stride, or pool before this layer"),
        ):
            if max(shape[1:]) > most:
                yield Violation("map_size", layer.label, f"{what} of {_by(shape[1:])}", f"At most {most}x{most}", remedy)


def pools(network: CoreNetwork, profile: EventProfile) -> Iterator[Violation]:
    """A pool is one number of a few per connection and divides the map before it; the sensor's has one per axis."""
    for source, shape, d in network.connections:
        at_input = source == network.entry.name
        known = profile.sensor.poolings.values if at_input else profile.capacity.poolings.values
        where = f"{source} -> {d.layer}"
        if not set(d.pool) <= set(known):
            yield Violation("pooling", where, f"pools by {_by(d.pool)}", f"Pools are by {listed(known)}",
                            "Pool by one of them, in two layers if need be, or stride")
        if d.pool[0] != d.pool[1] and not at_input:
            yield Violation("pooling_square", where, f"pools by {_by(d.pool)}", "A connection pools both axes alike",
                            "Use square pools, or a stride for the other axis")
        if shape[1] % d.pool[0] or shape[2] % d.pool[1]:
            yield Violation("odd_map", where, f"pools a map of {_by(shape[1:])} by {_by(d.pool)}",
                            "Spikes of the last rows or columns get an address outside the next map",
                            f"Make the map divisible by {_by(d.pool)} (padding, stride or crop)")
        if at_input and d.pool != (1, 1) and max(shape[1:]) > profile.sensor.size.count:
            yield Violation("sensor_size", where, f"pools an input of {_by(shape[1:])}",
                            f"The sensor, which pools the input, has {_by([profile.sensor.size.count] * 2)} pixels",
                            "Pool the events on the host")


def destinations(network: CoreNetwork, profile: EventProfile) -> Iterator[Violation]:
    """A core sends its spikes to a few cores, and so does the sensor."""
    most = profile.capacity.destinations_per_core.count
    fed = {network.entry.name: network.entry_destinations, **{layer.name: layer.destinations for layer in network.layers}}
    for name, targets in fed.items():
        if len(targets) > most:
            yield Violation("destinations", name, f"feeds {', '.join(d.layer for d in targets)}: {len(targets)} destinations",
                            f"At most {most}", "Branch in a layer behind this one, which has destinations of its own")


def concatenations(network: CoreNetwork, profile: EventProfile) -> Iterator[Violation]:
    """Sources of a core lie side by side where it can have several, none of them the input: its events have no shift."""
    arriving: dict[str, list[tuple[str, int]]] = {}
    for source, _, d in network.connections:
        arriving.setdefault(d.layer, []).append((source, d.feature_shift))
    for name, sources in arriving.items():
        label, names = network[name].label, ", ".join(source for source, _ in sources)
        if len(sources) > 1 and profile.arithmetic.residual == "none":
            yield Violation("residual", label, f"is fed by {names}", "A core has one source", "Remove the shortcut")
        elif len({shift for _, shift in sources}) < len(sources):
            yield Violation("additive", label, f"{names} arrive on the same channels", "Sources of a core lie side by side",
                            "Lower the trained network for this target: it gives each source channels of its own")
        elif network.entry.name in {source for source, _ in sources} and len(sources) > 1:
            yield Violation("input_beside", label, f"is fed by {names}",
                            "The input has a core of its own: its events cannot be shifted behind other channels",
                            "Let the shortcut start behind the first layer")


def biases(network: CoreNetwork, profile: EventProfile) -> Iterator[Violation]:
    """Biases, where the chip has none."""
    for layer in network.layers:
        if layer.bias is not None and profile.arithmetic.bias == "none":
            yield Violation("bias", layer.label, "has biases", "The chip has none", "Train without biases")


RULES: tuple[Rule, ...] = (
    kernels, strides, paddings, channels, maps, pools, destinations, concatenations, biases,
)
