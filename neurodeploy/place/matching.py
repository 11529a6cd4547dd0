"""Layers to cores of the DYNAP-CNN family as an exact bipartite matching on the words that they need.

A layer takes one core of its own and fits a core when all three memories are large enough. `match` finds a complete
matching whenever one exists (augmenting paths, Kuhn 1955) and otherwise says why none does: the layers that fit no core,
and else a set of layers larger than the set of cores that any of them fits (Hall 1935).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from neurodeploy.errors import DoesNotFit, Violation
from neurodeploy.place.core_memory import CoreMemory, Words


@dataclass(frozen=True)
class Requirement:
    """The words of one layer and the cores that it must not take (a core kept for something else)."""

    name: str
    words: Words
    forbidden: frozenset[int] = frozenset()

    def cores(self, memories: Sequence[CoreMemory]) -> tuple[int, ...]:
        """Indices of the cores that it fits, ascending."""
        return tuple(k for k, memory in enumerate(memories) if k not in self.forbidden and memory.fits(self.words))


@dataclass(frozen=True)
class Matching:
    """`cores[i]` is the core of layer i, None where it got none; `violations` is empty exactly when every layer has one."""

    cores: tuple[int | None, ...]
    violations: tuple[Violation, ...]


def match(layers: Sequence[Requirement], memories: Sequence[CoreMemory]) -> Matching:
    """A core for each layer, each core for at most one; as many layers as possible when not all can have one.

    Every layer that fits no core is a violation, with the memories that fail and the largest that there are; when the
    others compete for too few cores, so is each such group. Deterministic: layers in their order take the lowest core
    that leaves the earlier ones served.
    """
    choices = [layer.cores(memories) for layer in layers]
    owner: dict[int, int] = {}
    unserved = [i for i in range(len(layers)) if choices[i] and not _augment(i, choices, owner, set())]
    cores: list[int | None] = [None] * len(layers)
    for core, i in owner.items():
        cores[i] = core
    violations = [_too_large(layer, memories) for layer, fitting in zip(layers, choices, strict=True) if not fitting]
    reported: set[frozenset[int]] = set()
    for i in unserved:
        contested: set[int] = set()
        _augment(i, choices, owner, contested)  # fails again, and leaves the cores that it could reach
        group = frozenset({i, *(owner[core] for core in contested)})
        if not any(group & other for other in reported):
            rivals = sorted(group | {k for k in unserved if set(choices[k]) <= contested})
            violations.append(_contested([layers[k] for k in rivals], contested))
            reported.add(group)
    return Matching(tuple(cores), tuple(violations))


def require_match(layers: Sequence[Requirement], memories: Sequence[CoreMemory], *, target: str) -> tuple[int, ...]:
    """The cores of all layers. Raises DoesNotFit with every violation."""
    found = match(layers, memories)
    if found.violations:
        raise DoesNotFit(found.violations, target=target)
    return tuple(core for core in found.cores if core is not None)


def _augment(i: int, choices: Sequence[Collection[int]], owner: dict[int, int], visited: set[int]) -> bool:
    """Give layer i a core, moving others where that helps. `visited` collects the cores that were tried."""
    for core in choices[i]:
        if core in visited:
            continue
        visited.add(core)
        if core not in owner or _augment(owner[core], choices, owner, visited):
            owner[core] = i
            return True
    return False


def _too_large(layer: Requirement, memories: Sequence[CoreMemory]) -> Violation:
    allowed = [memory for k, memory in enumerate(memories) if k not in layer.forbidden]
    needs = {"kernel": layer.words.kernel, "neuron": layer.words.neuron, "bias": layer.words.bias}
    largest = {
        "kernel": max((m.kernel_words for m in allowed), default=0),
        "neuron": max((m.neuron_words for m in allowed), default=0),
        "bias": max((m.bias_words for m in allowed), default=0),
    }
    over = [name for name in needs if needs[name] > largest[name]]
    if over:
        limit = "the largest cores that it may use hold " + ", ".join(f"{largest[name]} {name} words" for name in over)
    else:
        limit = "each memory exists, but no core that it may use holds all of them: " + "; ".join(
            f"core {k} lacks {' and '.join(f'{n - have} {name} words' for name, n, have in memory.shortages(layer.words))}"
            for k, memory in enumerate(memories)
            if k not in layer.forbidden
        )
    remedies = {
        "kernel": "fewer channels or a smaller kernel (channels out and k * k round up to powers of two)",
        "neuron": "a smaller map (a larger stride, pooling before this layer) or fewer channels out",
        "bias": "no bias, or fewer channels out",
    }
    return Violation(
        "core_memory",
        layer.name,
        "needs " + ", ".join(f"{n} {name} words" for name, n in needs.items()),
        limit,
        "Use " + "; ".join(remedies[name] for name in (over or ["kernel", "neuron"])),
    )


def _contested(group: Sequence[Requirement], cores: set[int]) -> Violation:
    names = ", ".join(layer.name for layer in group)
    return Violation(
        "cores",
        names,
        f"{len(group)} layers fit only cores {', '.join(map(str, sorted(cores)))}",
        f"a core holds one layer, and these are {len(cores)}",
        "Shrink one of these layers until another core holds it, or remove a layer",
    )
