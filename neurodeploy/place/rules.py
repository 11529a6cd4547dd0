"""Every limit of a target as one function that returns the violations of a network; `RULES` is the list of them.

A rule reads a `Case`: the network, the profile, how many chips there are, and each layer's cut (None where no cut
holds). All numbers about the chip come from the profile.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from neurodeploy.errors import Violation
from neurodeploy.place.arithmetic_rules import (
    biases,
    initial_states,
    neuron_kind,
    reset_kind,
    sigma_delta,
    state_formats,
    thresholds,
)
from neurodeploy.place.case import Case, spaced
from neurodeploy.place.layers import Layer
from neurodeploy.place.partition import Cut, smallest_need
from neurodeploy.place.synapse_rules import (
    currents,
    delays,
    graded_messages,
    input_messages,
    weight_exponents,
    weights,
)
from neurodeploy.place.words import word_limit

Rule = Callable[[Case], list[Violation]]


def _describe(layer: Layer) -> str:
    if not layer.groups:
        return f"{layer.name} ({layer.n_neurons} neurons)"
    return " + ".join(g.describe() for g in layer.groups) + f" into {layer.name}"


def supported_nodes(case: Case) -> list[Violation]:
    """Only neurons fed by convolutions, linear maps or host-written biases have a place on a core."""
    return list(case.network.problems)


def cores(case: Case) -> list[Violation]:
    """All layers together within the cores of the system."""
    per_chip = case.profile.capacity.cores_per_chip.count
    limit = per_chip * case.n_chips
    if case.n_cores <= limit:
        return []
    largest = max((c for c in case.cuts if c is not None), key=lambda c: c.n_cores)
    n_chips = -(-case.n_cores // per_chip)
    known = [(n, name) for name, n in case.profile.systems.items() if n >= n_chips]
    system = f"use {n_chips} chips ({min(known)[1]}), or " if known else ""
    return [Violation(
        rule="cores", where="network",
        what=f"needs {spaced(case.n_cores)} cores, {spaced(largest.n_cores)} of them for {largest.layer.name}",
        limit=f"{case.n_chips} chip{'s' if case.n_chips != 1 else ''} of {case.profile.name} "
        f"ha{'ve' if case.n_chips != 1 else 's'} {spaced(limit)}",
        remedy=f"{system[:1].upper()}{system[1:]}{'n' if system else 'N'}arrow or downsample the widest layers",
    )]


def neurons_per_core(case: Case) -> list[Violation]:
    """No core holds more neurons than it has; a map's tile stays strictly below, as the compiler keeps it."""
    limit = case.profile.capacity.neurons_per_core.count
    found = []
    for layer in case.network.layers:
        least = 1 if layer.is_dense else 2
        if limit < least:
            found.append(Violation(
                rule="neurons_per_core", where=layer.name, what=f"{_describe(layer)} needs room for one neuron a core",
                limit=f"A core of {case.profile.name} holds {limit} neurons, and a tile stays below {limit + 2 - least}",
                remedy="Check capacity.neurons_per_core of the profile",
            ))
    return found


def synapse_words(case: Case) -> list[Violation]:
    """Synapse memory of a core: even one neuron (or one channel) of a layer must fit."""
    limit = word_limit(case.profile)
    found = []
    for layer in case.network.layers:
        words = smallest_need(layer, case.profile)[0]
        if words > limit:
            unit = "neuron" if layer.is_dense else "output channel"
            n_in = sum(int(np.prod(g.synapse.weight.shape[1:])) for g in layer.groups)
            per_input = words / n_in
            what = "inputs" if layer.is_dense else "weights per output channel (input channels x kernel)"
            found.append(Violation(
                rule="synapse_words", where=layer.name,
                what=f"{_describe(layer)} needs {spaced(words)} synapse words for a core with one {unit}",
                limit=f"A core of {case.profile.name} holds {spaced(limit)} "
                f"(capacity.synapse_words_per_core, partition.compilers.{case.profile.partition.compiler})",
                remedy=f"Use at most {spaced(int(limit / per_input))} {what} of this layer's {spaced(n_in)}, "
                "or split the layer",
            ))
    return found


def axons_in(case: Case) -> list[Violation]:
    """Source elements that a core with a single neuron hears."""
    limit = case.profile.capacity.axons_in_per_core.count
    found = []
    for layer in case.network.layers:
        axons = smallest_need(layer, case.profile)[1]
        if axons > limit:
            found.append(Violation(
                rule="axons_in", where=layer.name, what=f"{_describe(layer)} needs {spaced(axons)} axons in for one neuron",
                limit=f"A core of {case.profile.name} has {spaced(limit)}",
                remedy=f"Use at most {spaced(limit)} inputs per neuron: pool or stride before it, or split the layer",
            ))
    return found


def axons_out(case: Case) -> list[Violation]:
    """Groups of synapses that one neuron feeds."""
    limit = case.profile.capacity.axons_out_per_core.count
    return [
        Violation(
            rule="axons_out", where=layer.name,
            what=f"{layer.name} feeds {spaced(layer.n_groups_out)} groups of synapses, an axon out each for one neuron",
            limit=f"A core of {case.profile.name} has {spaced(limit)}",
            remedy=f"Feed at most {spaced(limit)} layers from it",
        )
        for layer in case.network.layers
        if layer.n_groups_out > limit
    ]


def neuron_groups(case: Case) -> list[Violation]:
    """Sets of decays and threshold on any core of a layer's cut."""
    limit = case.profile.capacity.neuron_groups_per_core.count
    found = []
    for layer, cut in zip(case.network.layers, case.cuts, strict=True):
        most = 1 if cut is None else _most_sets(layer, cut)
        if most > limit:
            found.append(Violation(
                rule="neuron_groups", where=layer.name,
                what=f"{layer.name} needs {most} neuron group{'s' if most != 1 else ''} on one of its cores",
                limit=f"A core of {case.profile.name} has {limit} (capacity.neuron_groups_per_core)",
                remedy=f"Let at most {limit} sets share a core: order the neurons by decays and threshold, or use fewer",
            ))
    return found


def _most_sets(layer: Layer, cut: Cut) -> int:
    """Sets of decays and threshold on the core that has most of them."""
    sets = layer.neuron_sets
    if sets is None:
        return 1
    blocks = (sets[slice(*c), slice(*r), slice(*x)] for c in cut.channels for r in cut.rows for x in cut.cols)
    return max(len(np.unique(block)) for block in blocks)


RULES: tuple[Rule, ...] = (
    supported_nodes, cores, neurons_per_core, synapse_words, axons_in, axons_out, neuron_groups, delays, neuron_kind,
    reset_kind, weights, weight_exponents, biases, thresholds, state_formats, initial_states, sigma_delta, input_messages,
    graded_messages, currents,
)
