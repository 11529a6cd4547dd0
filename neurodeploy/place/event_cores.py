"""Cores for the layers of a lowered or quantized network on an event-driven chip, and every reason why there are none.

A layer takes one core of its own. Parallel cores, which the profile names because single events may fail there, are taken
last: the matching is tried without them first, then with ever more of them.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np

from neurodeploy.errors import DoesNotFit, NeurodeployWarning, Violation
from neurodeploy.hw.event_profile import EventProfile
from neurodeploy.ir.event_layers import CoreLayer, CoreNetwork, examine
from neurodeploy.ir.graph import Graph
from neurodeploy.ir.nodes import Iaf
from neurodeploy.lower import event_rules
from neurodeploy.place.core_memory import CoreMemory, layer_words
from neurodeploy.place.core_plan import CorePlan, CoreUse
from neurodeploy.place.event_config import configuration as configuration
from neurodeploy.place.event_config import input_cores as input_cores
from neurodeploy.place.event_config import limits_of as limits_of
from neurodeploy.place.event_remedies import with_channels
from neurodeploy.place.matching import Matching, Requirement, match


@dataclass(frozen=True)
class CoreCheck:
    """Result of `check`: the plan where the network fits, else every violation. `n_cores`: one for each layer of neurons.

    `warnings` stop nothing.
    """

    fits: bool
    plan: CorePlan | None
    violations: tuple[Violation, ...]
    n_cores: int
    warnings: tuple[NeurodeployWarning, ...] = ()

    def warn(self) -> None:
        """Hand the warnings on."""
        for warning in self.warnings:
            warnings.warn(warning, stacklevel=3)


def check(graph: Graph, profile: EventProfile) -> CoreCheck:
    """Every rule of the target against a lowered Graph or an IntGraph of Iaf neurons."""
    network, found = examine(graph)
    n_cores = len(graph.neurons)
    if network is None:
        return CoreCheck(False, None, event_rules.merged(found), n_cores)
    memories = limits_of(profile).cores
    violations = [*event_rules.violations(network, profile), *_too_many(network, memories), *_integers(network, profile)]
    layers = tuple(_requirement(layer) for layer in network.layers)
    matching = _match(layers, memories, profile.capacity.parallel_cores.values)
    enough = len(network.layers) <= len(memories)
    violations += [  # ten layers on nine cores compete for cores whatever their sizes are
        with_channels(v, network, memories) for v in matching.violations if enough or v.rule == "core_memory"
    ]
    plan = None if violations else _plan(network, layers, matching, memories, profile.name)
    return CoreCheck(plan is not None, plan, event_rules.merged(violations), n_cores, tuple(_warnings(network)))


def place(graph: Graph, profile: EventProfile) -> CorePlan:
    """Cores for a lowered Graph or an IntGraph. Raises DoesNotFit with every violation; warns as `CoreCheck.warnings` do."""
    result = check(graph, profile)
    if result.plan is None:
        raise DoesNotFit(result.violations, target=profile.name)
    result.warn()
    return result.plan


def _requirement(layer: CoreLayer) -> Requirement:
    words = layer_words(layer.in_shape[0], layer.kernel, layer.out_shape, bias=layer.bias is not None)
    return Requirement(layer.label, words)


def _match(layers: Sequence[Requirement], memories: Sequence[CoreMemory], last: Sequence[int]) -> Matching:
    """The matching with the fewest of the cores that are taken last; the violations are those of all cores.

    Layers are served from the end, because one that comes later takes the lowest core and moves the others up.
    """
    for n in range(len(last), 0, -1):
        for avoided in combinations(last, n):
            found = match([replace(layer, forbidden=frozenset(avoided)) for layer in reversed(layers)], memories)
            if not found.violations:
                return Matching(found.cores[::-1], ())
    found = match(layers[::-1], memories)
    return match(layers, memories) if found.violations else Matching(found.cores[::-1], ())


def _plan(
    network: CoreNetwork, layers: Sequence[Requirement], matching: Matching, memories: Sequence[CoreMemory], target: str
) -> CorePlan:
    uses = []
    for layer, need, core in zip(network.layers, layers, matching.cores, strict=True):
        if core is not None:
            words, offered = need.words, memories[core]
            uses.append(CoreUse(core, layer.name, words.kernel, offered.kernel_words, words.neuron, offered.neuron_words,
                                words.bias, offered.bias_words))
    return CorePlan(target, tuple(uses))


def _too_many(network: CoreNetwork, memories: Sequence[CoreMemory]) -> Iterator[Violation]:
    n, most = len(network.layers), len(memories)
    if n > most:
        yield Violation("n_cores", ", ".join(layer.name for layer in network.layers),
                        f"the network has {n} layers of neurons", f"The chip has {most} cores, a layer takes one",
                        f"Remove {n - most} layer{'s' if n - most > 1 else ''}")


def _integers(network: CoreNetwork, profile: EventProfile) -> Iterator[Violation]:
    """What the fields of a core hold; real numbers are quantized to fit."""
    a = profile.arithmetic
    for layer in network.layers:
        neuron = layer.neuron
        if not isinstance(neuron, Iaf):
            continue
        top = 2 ** (a.state_bits - 1)
        bias = np.zeros(1, dtype=np.int64) if layer.bias is None else layer.bias
        for rule, what, values, low, high in (
            ("weight_range", "weights", layer.weight, -(2 ** (a.weight_bits - 1)), 2 ** (a.weight_bits - 1) - 1),
            ("bias_range", "biases", bias, -(2 ** (a.bias_bits - 1)), 2 ** (a.bias_bits - 1) - 1),
            ("state_range", "first states", neuron.v_init, -top, top - 1),
            ("threshold", "a threshold", np.array(neuron.v_th), 1, top - 1),
            ("floor", "a floor", np.array(-top if neuron.v_min is None else neuron.v_min), -top, 0),
        ):
            smallest, largest = int(values.min()), int(values.max())
            if smallest < low or largest > high:
                span = f"{smallest}" if smallest == largest else f"{smallest} to {largest}"
                yield Violation(rule, layer.label, f"{what} of {span}", f"{low} to {high}",
                                "Quantize the trained network for this target")
        if neuron.state_bits != a.state_bits:
            yield Violation("state_bits", layer.label, f"states of {neuron.state_bits} bits", f"{a.state_bits} bits",
                            "Quantize the trained network for this target")
        if neuron.reset not in a.resets:
            yield Violation("reset", layer.label, f"a {neuron.reset} reset", f"Resets are {', '.join(a.resets)}",
                            "Train with one of them")


def _warnings(network: CoreNetwork) -> Iterator[NeurodeployWarning]:
    for layer in network.layers:
        if layer.bias is not None:
            yield NeurodeployWarning("biases are added on ticks of the slow clock, not per timestep", code="slow_clock_bias",
                                     where=layer.name, remedy="Train without biases")
        if isinstance(layer.neuron, Iaf):
            over = int(np.count_nonzero(layer.weight > layer.neuron.v_th))
            if over:
                yield NeurodeployWarning(
                    f"{over} of {layer.weight.size} weights are above the threshold {layer.neuron.v_th}: an event gives one "
                    "spike at most, the rest comes late", code="weight_over_threshold", where=layer.name,
                    remedy="Train with weights at or below the threshold",
                )
