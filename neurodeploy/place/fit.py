"""Does a network fit a target, and where does each neuron go."""

from __future__ import annotations

from dataclasses import dataclass

from neurodeploy.errors import DoesNotFit, UsageError, Violation
from neurodeploy.hw.profile import Profile
from neurodeploy.ir.graph import Graph
from neurodeploy.place.case import Case
from neurodeploy.place.layers import read_network
from neurodeploy.place.noc import site
from neurodeploy.place.partition import Cut, cut_layer
from neurodeploy.place.placement import Core, Placement
from neurodeploy.place.rules import RULES


@dataclass(frozen=True)
class Check:
    """Result of `check`: the placement where the network fits, else every violation.

    `n_cores` counts the cores of the layers that can be cut at all.
    """

    fits: bool
    placement: Placement | None
    violations: tuple[Violation, ...]
    n_cores: int


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
    placement = None if violations else _assign(case, profile)
    return Check(fits=not violations, placement=placement, violations=violations, n_cores=case.n_cores)


def place(graph: Graph, profile: Profile, n_chips: int | None = None) -> Placement:
    """Placement of a lowered Graph or an IntGraph. Raises DoesNotFit with every violation."""
    result = check(graph, profile, n_chips)
    if result.placement is None:
        raise DoesNotFit(result.violations, target=profile.name)
    return result.placement


def suggest(graph: Graph, profile: Profile) -> System | None:
    """The smallest system of the target that holds the network, or None where more chips do not help."""
    for n_chips, name in sorted((n, name) for name, n in profile.systems.items()):
        if check(graph, profile, n_chips).fits:
            return System(name=name, n_chips=n_chips)
    return None


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


def _assign(case: Case, profile: Profile) -> Placement:
    """Cores in layer order, consecutive: neighbouring layers share tiles, so most packets travel few hops."""
    cores: list[Core] = []
    for cut in case.cuts:
        assert cut is not None  # a layer without a cut breaks a rule, and then nothing is assigned
        cores += _cores_of(cut, len(cores), profile)
    return Placement(
        target=profile.name, n_chips=cores[-1].chip + 1,
        shapes=tuple((n.name, case.network.graph.shapes[n.name]) for n in case.network.layers), cores=tuple(cores),
    )


def _cores_of(cut: Cut, first: int, profile: Profile) -> list[Core]:
    blocks = [(i, c, r, x) for i, c in enumerate(cut.channels) for r in cut.rows for x in cut.cols]
    cores = []
    for k, (i, c, r, x) in enumerate(blocks):
        where = site(first + k, profile)
        n = (c[1] - c[0]) * (r[1] - r[0]) * (x[1] - x[0])
        cores.append(Core(
            index=first + k, chip=where.chip, tile=where.tile, x=where.x, y=where.y, node=cut.layer.name,
            channels=c, rows=r, cols=x, n_neurons=n, n_words=cut.n_words[i], n_axons_in=int(cut.n_axons_in[k]),
            n_axons_out=n * cut.layer.n_groups_out,
        ))
    return cores
