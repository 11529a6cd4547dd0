"""Whether a configuration of a DYNAP-CNN chip is one that the vendor's validator accepts, every violation at once.

`check` returns the vendor's rules and, on request, rules of ours that are stricter by choice (`STRICT`). The first part of
a violation's rule says what the vendor's package does with it: `type.` refuses to build the value, `crash.` dies in its
validator, any other is rejected with a message; `strict.` is accepted by the vendor. The vendor's validator stops at some
faults and does not look for others behind them; here all are reported.

Source: 0.7.1.0 of samna (modules speck2b and dynapcnn), recorded verdicts and its answers to random configurations.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Literal

from neurodeploy.errors import UsageError, Violation
from neurodeploy.place.core_memory import kernel_words, neuron_words, out_map
from neurodeploy.place.dynapcnn_config import ChipConfig, ChipLimits, Destination, each_core, each_destination, listed
from neurodeploy.place.dynapcnn_flow import fed_cores
from neurodeploy.place.dynapcnn_strict import STRICT
from neurodeploy.place.dynapcnn_types import container_types

Verdict = Literal["accepted", "rejected", "type_error", "crash"]
Rule = Callable[[ChipConfig, ChipLimits], Iterator[Violation]]
AXES = ("y", "x")


def check(config: ChipConfig, limits: ChipLimits, *, strict: Collection[str] = ()) -> tuple[Violation, ...]:
    """All violations of the vendor's rules and of the named strict ones (keys of `STRICT`), in the order of the rules.

    Values that no field of the vendor can hold, and those its validator dies of, are reported alone: the rules behind
    them need sound values. Raises UsageError for a strict rule that does not exist.
    """
    unknown = sorted(set(strict) - set(STRICT))
    if unknown:
        raise UsageError(f"no strict rule is called {', '.join(unknown)}", remedy=f"Known ones: {', '.join(STRICT)}")
    fatal = tuple(container_types(config, limits)) or tuple(_crashes(config, limits))
    if fatal:
        return fatal
    rules = (*VENDOR, *(STRICT[name] for name in STRICT if name in strict))
    return tuple(violation for rule in rules for violation in rule(config, limits))


def verdict(violations: Sequence[Violation]) -> Verdict:
    """What the vendor's package answers: the first fatal violation decides, and strict ones count as accepted.

    >>> verdict([Violation("strict.cycle", "core 0", "", "", ""), Violation("crash.pooling", "core 1", "", "", "")])
    'crash'
    """
    kinds = [violation.rule.partition(".")[0] for violation in violations]
    fatal = next((kind for kind in kinds if kind in ("type", "crash")), None)
    if fatal is not None:
        return "type_error" if fatal == "type" else "crash"
    return "accepted" if set(kinds) <= {"strict"} else "rejected"


def _crashes(config: ChipConfig, limits: ChipLimits) -> Iterator[Violation]:
    last = len(limits.cores) - 1
    for where, layer in each_core(config):
        for at, destination in each_destination(where, layer.destinations):
            if destination.enable and destination.pooling == 0:
                limit = f"one of {listed(limits.poolings)}"
                yield Violation("crash.pooling", at, "pools by 0", limit, "Write 1 for no pooling")
            if destination.enable and destination.layer > last:
                yield _beyond(at, destination, last)
    if config.dvs is None:
        return
    enabled = [(at, d) for at, d in each_destination("DVS layer", config.dvs.destinations) if d.enable]
    for at, destination in enabled:
        if destination.layer > last:
            yield _beyond(at, destination, last)
    if enabled and 0 in config.dvs.pooling:
        limit = f"one of {listed(limits.dvs_poolings)}"
        yield Violation("crash.pooling", "DVS layer", "pools by 0", limit, "Write 1 for no pooling")


def _beyond(at: str, destination: Destination, last: int) -> Violation:
    return Violation("crash.destination", at, f"leads to core {destination.layer}", f"cores are 0 to {last}",
                     "Place the layer on one of the cores; the readout is no destination here")


def _ranges(config: ChipConfig, limits: ChipLimits) -> Iterator[Violation]:
    top = 2 ** (limits.state_bits - 1)
    for where, layer in each_core(config):
        for rule, what, value, low, high, remedy in (
            ("kernel_size", "kernel size", layer.kernel_size, 1, limits.max_kernel, "Use a smaller kernel"),
            ("channels", "channels in", layer.in_shape[0], 1, limits.max_channels, "Use fewer channels"),
            ("channels", "channels out", layer.out_shape[0], 1, limits.max_channels, "Use fewer channels, or two cores"),
            ("threshold_high", "threshold", layer.threshold_high, 0, top - 1, "Quantize it again"),
            ("threshold_low", "floor", layer.threshold_low, -top, 0, "The floor of the state is not above 0"),
            *((f"padding_{a}", f"padding {a}", n, 0, limits.max_padding, "Use less padding")
              for a, n in zip(AXES, layer.padding, strict=True)),
            *((f"input_size_{a}", f"input size {a}", n, 1, limits.max_input_size, "Pool or crop before this layer")
              for a, n in zip(AXES, layer.in_shape[1:], strict=True)),
            *((f"output_size_{a}", f"output size {a} (before pooling)", n, 1, limits.max_output_size,
               "Use a larger stride, or pool before this layer") for a, n in zip(AXES, layer.out_shape[1:], strict=True)),
        ):
            if not low <= value <= high:
                yield Violation(rule, where, f"{what} {value}", f"{low} to {high}", remedy)
        for axis, stride in zip(AXES, layer.stride, strict=True):
            if stride not in limits.strides:
                yield Violation(f"stride_{axis}", where, f"stride {axis} {stride}", f"one of {listed(limits.strides)}",
                                "Use one of them")


def _shapes(config: ChipConfig, limits: ChipLimits) -> Iterator[Violation]:
    del limits
    for where, layer in each_core(config):
        c_out, k = layer.out_shape[0], layer.kernel_size
        for rule, array, shape in (
            ("weights_shape", layer.weights, (c_out, layer.in_shape[0], k, k)),
            ("biases_shape", layer.biases, (c_out,)),
            ("state_shape", layer.initial_state, layer.out_shape),
        ):
            if array.shape != shape:
                yield Violation(rule, where, f"the array has shape {list(array.shape)}", f"its dimensions say {list(shape)}",
                                "Write dimensions and arrays of the same layer")
        if 0 in layer.stride:
            continue  # reported as a stride
        sizes = out_map(layer.in_shape[1:], (k, k), layer.stride, layer.padding)
        for axis, n, wanted in zip(AXES, layer.out_shape[1:], sizes, strict=True):
            if n != wanted:
                yield Violation(f"output_formula_{axis}", where, f"output size {axis} {n}",
                                f"floor((in - kernel + 2 padding) / stride) + 1 is {wanted}",
                                f"Write {wanted}" if wanted > 0 else "Use a kernel that fits into the padded map")


def _memory(config: ChipConfig, limits: ChipLimits) -> Iterator[Violation]:
    for core, layer in sorted(config.cores.items()):
        offered, k = limits.cores[core], layer.kernel_size
        kernel = kernel_words(layer.in_shape[0], layer.out_shape[0], (k, k))
        # As the vendor's: the map that the convolution gives, whatever size was written.
        given = layer.out_shape[1:] if 0 in layer.stride else out_map(layer.in_shape[1:], (k, k), layer.stride, layer.padding)
        neuron = neuron_words((layer.out_shape[0], max(given[0], 1), max(given[1], 1)))
        if kernel > offered.kernel_words:
            yield Violation("kernel_memory", f"core {core}", f"needs {kernel} kernel words", f"it holds {offered.kernel_words}",
                            "Use fewer channels or a smaller kernel, or another core")
        if neuron > offered.neuron_words:
            yield Violation("neuron_memory", f"core {core}", f"needs {neuron} neuron words", f"it holds {offered.neuron_words}",
                            "Use fewer channels or a smaller map, or another core")


def _destination_ranges(config: ChipConfig, limits: ChipLimits) -> Iterator[Violation]:
    last = len(limits.cores) - 1
    for where, layer in each_core(config):
        for at, d in each_destination(where, layer.destinations):
            if d.pooling not in limits.accepted_poolings:
                yield Violation("pooling", at, f"pools by {d.pooling}", f"one of {listed(limits.poolings)}",
                                "Pool by one of them, in two layers if need be")
            if d.feature_shift > limits.max_feature_shift:
                yield Violation("feature_shift", at, f"shifts channels by {d.feature_shift}",
                                f"0 to {limits.max_feature_shift}", "Concatenate fewer channels")
            if d.layer > last:  # disabled: enabled ones crash
                yield Violation("destination", at, f"leads to core {d.layer}", f"cores are 0 to {last}",
                                "Leave a disabled destination at its defaults")


def _dvs_ranges(config: ChipConfig, limits: ChipLimits) -> Iterator[Violation]:
    if config.dvs is None:
        return
    for name in ("origin", "cut"):
        for axis, value in zip(AXES, getattr(config.dvs, name), strict=True):
            if value >= limits.dvs_size:
                yield Violation(f"dvs_{name}_{axis}", "DVS layer", f"{name} {axis} {value}", f"0 to {limits.dvs_size - 1}",
                                "The cut is the last row or column that is kept")
    for axis, value in zip(AXES, config.dvs.pooling, strict=True):
        if value not in limits.dvs_poolings:
            yield Violation(f"dvs_pooling_{axis}", "DVS layer", f"pools {axis} by {value}",
                            f"one of {listed(limits.dvs_poolings)}", "Use one of them")
    for at, d in each_destination("DVS layer", config.dvs.destinations):
        if d.layer >= len(limits.cores):
            yield Violation("destination", at, f"leads to core {d.layer}", f"cores are 0 to {len(limits.cores) - 1}",
                            "Leave a disabled destination at its defaults")


VENDOR: tuple[Rule, ...] = (_ranges, _shapes, _memory, _destination_ranges, _dvs_ranges, fed_cores)
