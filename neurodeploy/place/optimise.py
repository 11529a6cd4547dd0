"""A placement that costs less: layers cut onto other numbers of cores, and blocks moved to other cores.

The cost comes in as a function (a package above may not be imported). Three stages, none of which may make it worse:

1. Balance: the layers that set the length of the steps get other grids of cores, as long as that helps and cores are free.
2. Trim: grids that need less energy (fewer packets, fewer cores) take the place of those that stage 1 left behind, for at
   most a hundredth more of the cost that it reached.
3. Sites: blocks move to the cores between which packets travel the fewest hops (`sites`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from neurodeploy.errors import DoesNotFit
from neurodeploy.hw.profile import Profile
from neurodeploy.ir.graph import Graph
from neurodeploy.place.assign import assign
from neurodeploy.place.fit import check
from neurodeploy.place.layers import Layer, Network, read_network
from neurodeploy.place.partition import Cut, cut_layer, even_parts, fits, grid_cut
from neurodeploy.place.placement import Placement
from neurodeploy.place.sites import MOST_CORES, arrange
from neurodeploy.place.traffic import source_messages, traffic

Goal = Literal["latency", "energy", "edp"]
GOALS: tuple[Goal, ...] = ("latency", "energy", "edp")
Counts3 = tuple[int, int, int]  # parts along channels, rows and columns

_GAIN = 1e-4  # relative gain below which a change is not worth its cores
_SAME = 1e-9  # relative difference that is round-off
_SHARE_BALANCE = 0.7  # of the budget
_SLACK = 0.01  # of the cost, that trimming may give back for energy


@dataclass(frozen=True)
class Score:
    """What a placement costs. `value` is minimised.

    smooth: falls with the load of the busiest cores also where another core hides it. energy: breaks ties, in joule.
    limits: share of the steps (0..1) whose length each layer sets. figures: for people and JSON, `value` among them.
    """

    value: float
    smooth: float
    energy: float
    limits: dict[str, float] = field(default_factory=dict)
    figures: dict[str, Any] = field(default_factory=dict)


Objective = Callable[[Placement], Score]


@dataclass(frozen=True)
class Optimised:
    """The better placement with its figures beside those of the plain one; `n_tried` placements were scored."""

    plan: Placement
    start: Placement
    before: dict[str, Any]
    after: dict[str, Any]
    n_tried: int
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values, without the placements."""
        return {"before": self.before, "after": self.after, "n_tried": self.n_tried, "notes": list(self.notes)}


def optimise(
    graph: Graph, profile: Profile, objective: Objective, messages: Mapping[str, NDArray[Any]], *,
    n_chips: int | None = None, budget: int = 300, seed: int = 0,
) -> Optimised:
    """The best placement found with `budget` evaluations of the objective; deterministic per seed, never worse than `place`.

    messages: mean messages per sample of every element of each layer and input (`traffic`). n_chips: chips whose cores may
    be used, default those that the plain placement takes. Raises DoesNotFit as `place`.
    """
    fit = check(graph, profile, n_chips)
    if fit.placement is None:
        raise DoesNotFit(fit.violations, target=profile.name)
    network = read_network(graph)
    chips = n_chips or fit.placement.n_chips
    search = _Search(network, profile, objective, messages, chips * profile.capacity.cores_per_chip.count, budget)
    search.start([cut for layer in network.layers if (cut := cut_layer(layer, profile)) is not None])
    before = search.score
    search.balance()
    search.trim()
    notes = [f"stopped at the budget of {budget} evaluations"] if search.n_tried >= budget else []
    plan, after = search.plan, search.score
    between, entering = traffic(network, search.cuts, messages)
    if len(entering) > MOST_CORES:
        notes.append(f"{len(entering)} cores are too many to look for better sites")
    moved = assign(network, search.cuts, profile, arrange(between, entering, profile, seed=seed).tolist())
    if moved != plan:
        there = objective(moved)
        search.n_tried += 1
        if there.value <= after.value * (1 + _SAME) and there.energy <= after.energy * (1 + _SAME):
            plan, after = moved, there
    return Optimised(
        plan=plan, start=fit.placement, before=before.figures, after=after.figures, n_tried=search.n_tried, notes=tuple(notes)
    )


class _Search:
    """Cuts of all layers on consecutive cores, with the score they have."""

    def __init__(
        self, network: Network, profile: Profile, objective: Objective, messages: Mapping[str, NDArray[Any]], n_cores: int,
        budget: int,
    ) -> None:
        self.network, self.profile, self.objective, self.messages = network, profile, objective, messages
        self.most_cores, self.budget, self.n_tried = n_cores, budget, 0
        self._known: dict[tuple[object, ...], tuple[Placement, Score]] = {}

    def start(self, cuts: list[Cut]) -> None:
        self.cuts = cuts
        self.plan, self.score = self._evaluate(cuts)
        self.most_value = self.score.value

    def balance(self) -> None:
        """Recut layers that set steps, most of them first, while the score falls; the rest of the budget is for `trim`."""
        while self.n_tried < _SHARE_BALANCE * self.budget:
            if not any(self._improve(k, _better) for k in self._by_limit()):
                return

    def trim(self) -> None:
        """Recut every layer while energy falls and the cost stays where it is, give or take the slack."""
        most = min(self.score.value * (1 + _SLACK), self.most_value)
        changed = True

        def cheaper(a: Score, b: Score) -> bool:
            return a.value <= most and a.energy < b.energy * (1 - _GAIN)

        while changed and self.n_tried < self.budget:
            changed = False
            for k in range(len(self.cuts)):
                changed = self._improve(k, cheaper) or changed

    def _by_limit(self) -> list[int]:
        """Layers that set steps, and those that hear from them (their grids decide how many packets are sent)."""
        limits = self.score.limits
        names = [layer.name for layer in self.network.layers]
        share = {
            k: max(limits.get(name, 0.0), *(0.5 * limits.get(g.source, 0.0) for g in self.network.layers[k].groups), 0.0)
            for k, name in enumerate(names)
        }
        return [k for k in sorted(share, key=lambda k: -share[k]) if share[k] > 0]

    def _improve(self, k: int, better: Callable[[Score, Score], bool]) -> bool:
        """Take the best other grid of layer k, if one is better; the rest of the layers stay."""
        best: tuple[list[Cut], Placement, Score] | None = None
        free = self.most_cores - sum(cut.n_cores for cut in self.cuts) + self.cuts[k].n_cores
        near = [cut for cut in _other_cuts(self.cuts[k], self.profile) if cut.n_cores <= free]
        for cut in _undominated(near, self.messages):
            cuts = [*self.cuts[:k], cut, *self.cuts[k + 1 :]]
            if self.n_tried >= self.budget:
                break
            plan, score = self._evaluate(cuts)
            if better(score, self.score if best is None else best[2]):
                best = (cuts, plan, score)
        if best is None:
            return False
        self.cuts, self.plan, self.score = best
        return True

    def _evaluate(self, cuts: Sequence[Cut]) -> tuple[Placement, Score]:
        key = tuple(cut.ranges for cut in cuts)
        if key not in self._known:
            plan = assign(self.network, cuts, self.profile)
            self._known[key] = (plan, self.objective(plan))
            self.n_tried += 1
        return self._known[key]


def _better(a: Score, b: Score) -> bool:
    """Less cost, or as much with less load on the busiest cores."""
    if a.value < b.value * (1 - _GAIN):
        return True
    return a.value <= b.value * (1 + _SAME) and a.smooth < b.smooth * (1 - _GAIN)


def _undominated(cuts: Sequence[Cut], messages: Mapping[str, NDArray[Any]]) -> list[Cut]:
    """Those cuts of one layer than which no other has fewer or as many of: cores, neurons and synops on the fullest core,
    packets in all; the others cannot cost less."""
    rows = np.array([_loads(cut, messages) for cut in cuts]).reshape(-1, 4)
    kept: list[int] = []
    for i, row in enumerate(rows):
        as_good = (rows <= row).all(axis=1)
        as_good &= (rows < row).any(axis=1) | (np.arange(len(rows)) < i)
        if not as_good.any():
            kept.append(i)
    return [cuts[i] for i in kept]


def _loads(cut: Cut, messages: Mapping[str, NDArray[Any]]) -> tuple[float, float, float, float]:
    synops, packets = np.zeros(cut.n_cores), 0.0
    for group, reach in zip(cut.layer.groups, cut.reaches, strict=True):
        raster = source_messages(group, messages)
        synops += reach.apply(raster)
        packets += float(reach.reached.apply(raster).sum())
    return float(cut.n_cores), float(cut.used.neurons), float(synops.max()), packets


def _other_cuts(cut: Cut, profile: Profile) -> Iterator[Cut]:
    """Grids near that of a cut which fit: a part more or less along an axis, twice or half as many, the same ones even."""
    layer = cut.layer
    here = (len(cut.channels), len(cut.rows), len(cut.cols))
    for parts in _near(here, layer):
        ranges = tuple(even_parts(size, n) for size, n in zip(layer.map, parts, strict=True))
        other = grid_cut(layer, (ranges[0], ranges[1], ranges[2]), profile)
        if other.ranges != cut.ranges and fits(other, profile):
            yield other


def _near(here: Counts3, layer: Layer) -> list[Counts3]:
    found: dict[Counts3, None] = {here: None}

    def add(change: dict[int, int]) -> None:
        parts = tuple(change.get(axis, n) for axis, n in enumerate(here))
        if all(1 <= n <= size for n, size in zip(parts, layer.map, strict=True)):
            found[(parts[0], parts[1], parts[2])] = None

    for axis, n in enumerate(here):
        steps = {n - 1, n + 1, -(-5 * n // 4), -(-3 * n // 2), 2 * n, -(-n // 2), n - n // 4}
        for new in sorted(steps):
            add({axis: new})
        for other in range(3):
            if other != axis and n > 1:
                add({axis: -(-n // 2), other: 2 * here[other]})
                add({axis: 1, other: n * here[other]})
    return sorted(found, key=lambda parts: (int(np.prod(parts)), parts))
