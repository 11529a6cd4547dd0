"""Does a network fit a target, and where does each neuron go."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

from neurodeploy.errors import DoesNotFit, NeurodeployWarning, UsageError, Violation
from neurodeploy.hw.profile import Profile
from neurodeploy.ir.graph import Graph
from neurodeploy.ir.nodes import Conv2d
from neurodeploy.place.assign import assign
from neurodeploy.place.case import Case
from neurodeploy.place.layers import Network, read_network
from neurodeploy.place.partition import cut_layer
from neurodeploy.place.placement import Placement
from neurodeploy.place.rules import RULES


@dataclass(frozen=True)
class Check:
    """Result of `check`: the placement where the network fits, else every violation.

    `n_cores` counts the cores of the layers that can be cut at all; `warnings` stop nothing.
    """

    fits: bool
    placement: Placement | None
    violations: tuple[Violation, ...]
    n_cores: int
    warnings: tuple[NeurodeployWarning, ...] = ()

    def warn(self) -> None:
        """Hand the warnings on."""
        for warning in self.warnings:
            warnings.warn(warning, stacklevel=3)


@dataclass(frozen=True)
class System:
    """A system of a target that is sold under a name."""

    name: str
    n_chips: int


def check(graph: Graph, profile: Profile, n_chips: int | None = None) -> Check:
    """Every rule of the target against a lowered Graph or an IntGraph, on `n_chips` chips (default: its smallest system).

    Raises UsageError when no system has that many chips.
    """
    chips = _n_chips(profile, n_chips)
    network = read_network(graph)
    case = Case(network=network, profile=profile, n_chips=chips, cuts=tuple(cut_layer(n, profile) for n in network.layers))
    violations = tuple(v for rule in RULES for v in rule(case))
    cuts = tuple(c for c in case.cuts if c is not None)  # a layer without a cut breaks a rule, and then nothing is assigned
    return Check(
        fits=not violations, placement=None if violations else assign(network, cuts, profile), violations=violations,
        n_cores=case.n_cores, warnings=_wide_convs(network, profile),
    )


def place(graph: Graph, profile: Profile, n_chips: int | None = None) -> Placement:
    """Placement of a lowered Graph or an IntGraph. Raises DoesNotFit with every violation; warns as `Check.warnings` do."""
    result = check(graph, profile, n_chips)
    if result.placement is None:
        raise DoesNotFit(result.violations, target=profile.name)
    result.warn()
    return result.placement


def suggest(graph: Graph, profile: Profile) -> System | None:
    """The smallest system of the target that holds the network, or None where more chips do not help."""
    for n_chips, name in sorted((n, name) for name, n in profile.systems.items()):
        if check(graph, profile, n_chips).fits:
            return System(name=name, n_chips=n_chips)
    return None


def _wide_convs(network: Network, profile: Profile) -> tuple[NeurodeployWarning, ...]:
    """What the vendor's compiler says about convolutions of wide maps."""
    width = profile.partition.conv_width_inexact
    return () if width is None else tuple(
        NeurodeployWarning(
            f"a convolution of a map {group.source_map[2]} wide", where=group.synapse.name, code="wide_conv",
            remedy=f"{profile.title}'s compiler warns from {width} on that some results may not be exact at x = n*256 - 1; "
            "use a narrower map, or compare the spikes with the chip's",
        )
        for group in network.groups
        if isinstance(group.synapse, Conv2d) and group.source_map[2] >= width
    )


def _n_chips(profile: Profile, n_chips: int | None) -> int:
    most = max(profile.systems.values())
    if n_chips is None:
        return profile.n_chips
    if not 1 <= n_chips <= most:
        raise UsageError(
            f"n_chips is {n_chips}", where=profile.name, limit=f"Systems have 1 to {most} chips",
            remedy=f"Use one of {', '.join(f'{n} ({name})' for name, n in profile.systems.items())}",
        )
    return n_chips
