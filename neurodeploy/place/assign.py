"""From cuts to a placement: which core of the system holds which block of which layer, and the way back."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from neurodeploy.errors import DoesNotFit, NeurodeployError, Violation
from neurodeploy.hw.profile import Profile
from neurodeploy.ir.graph import Graph
from neurodeploy.place.case import Case
from neurodeploy.place.layers import Network, read_network
from neurodeploy.place.noc import site
from neurodeploy.place.partition import RESOURCES, Cut, fits, grid_cut, limits_of
from neurodeploy.place.placement import Core, Placement
from neurodeploy.place.rules import RULES


def assign(network: Network, cuts: Sequence[Cut], profile: Profile, numbers: Sequence[int] | None = None) -> Placement:
    """Placement of cut layers. numbers: the core of the system (`noc.site`) of each block, in layer order.

    Default: consecutive cores, so that neighbouring layers share tiles and most packets travel few hops.
    """
    taken = range(sum(cut.n_cores for cut in cuts)) if numbers is None else numbers
    cores: list[Core] = []
    for cut in cuts:
        cores += _cores_of(cut, taken[len(cores) : len(cores) + cut.n_cores], profile)
    return Placement(
        target=profile.name, n_chips=max(core.chip for core in cores) + 1,
        shapes=tuple((cut.layer.name, network.graph.shapes[cut.layer.name]) for cut in cuts), cores=tuple(cores),
    )


def _cores_of(cut: Cut, numbers: Sequence[int], profile: Profile) -> Iterator[Core]:
    blocks = [(i, c, r, x) for i, c in enumerate(cut.channels) for r in cut.rows for x in cut.cols]
    for k, ((i, c, r, x), number) in enumerate(zip(blocks, numbers, strict=True)):
        where = site(number, profile)
        n = (c[1] - c[0]) * (r[1] - r[0]) * (x[1] - x[0])
        yield Core(
            index=number, chip=where.chip, tile=where.tile, x=where.x, y=where.y, node=cut.layer.name,
            channels=c, rows=r, cols=x, n_neurons=n, n_words=cut.n_words[i], n_axons_in=int(cut.n_axons_in[k]),
            n_axons_out=n * cut.layer.n_groups_out,
        )


def cuts_of(network: Network, plan: Placement, profile: Profile) -> tuple[Cut, ...]:
    """The cut of each layer that a placement holds; NeurodeployError where it is not one of this network."""
    shapes = {layer.name: network.graph.shapes[layer.name] for layer in network.layers}
    if shapes != dict(plan.shapes):
        raise NeurodeployError(
            f"the placement holds {dict(plan.shapes)}, the network has {shapes}", code="not_placed",
            remedy="Place the network that is costed",
        )
    return tuple(grid_cut(layer, plan.grid(layer.name), profile) for layer in network.layers)


def derive(graph: Graph, profile: Profile, plan: Placement, n_chips: int | None = None) -> Placement:
    """The placement with the same blocks on the same cores, everything else computed anew: equal to `plan` where that is
    sound, whether the default one or an optimised one.

    Raises DoesNotFit with every limit of the target (on n_chips chips, default the plan's own) that is broken,
    NeurodeployError where `plan` is no placement of this graph.
    """
    network = read_network(graph)
    if network.problems:
        raise DoesNotFit(network.problems, target=profile.name)
    cuts = cuts_of(network, plan, profile)
    case = Case(network=network, profile=profile, n_chips=n_chips or plan.n_chips, cuts=cuts)
    numbers = [core.index for name, _ in plan.shapes for core in plan.cores_of(name)]
    violations = (*(v for rule in RULES for v in rule(case)), *_overfull(cuts, profile), *_sites(case, numbers))
    if violations:
        raise DoesNotFit(violations, target=profile.name)
    return assign(network, cuts, profile, numbers)


def _overfull(cuts: Sequence[Cut], profile: Profile) -> Iterator[Violation]:
    limits = limits_of(profile)
    for cut in cuts:
        if not fits(cut, profile):
            over = [r for r in RESOURCES if getattr(cut.used, r) >= getattr(limits, r)]
            yield Violation(
                rule="cores", where=cut.layer.name,
                what=f"its fullest core takes {', '.join(f'{getattr(cut.used, r)} {r}' for r in over)}",
                limit=f"A core of {profile.name} holds {', '.join(f'{getattr(limits, r)} {r}' for r in over)}",
                remedy="Place it again",
            )


def _sites(case: Case, numbers: Sequence[int]) -> Iterator[Violation]:
    last = case.profile.capacity.cores_per_chip.count * case.n_chips
    if len(set(numbers)) < len(numbers) or not all(0 <= number < last for number in numbers):
        yield Violation(
            rule="cores", where="network", what="two blocks on one core, or a core that does not exist",
            limit=f"Cores are numbered 0 to {last - 1}", remedy="Place it again",
        )
