"""Geometry of candidates put together from a few lowered networks, against lowering each of them."""

from __future__ import annotations

import random
from dataclasses import replace

import numpy as np
import pytest
from neurodeploy.cost.geometry import shape_of
from neurodeploy.cost.layer_rates import LayerRates
from neurodeploy.cost.space_shapes import Segment, SpaceShapes
from neurodeploy.errors import NeurodeployError, UsageError
from neurodeploy.hw.profile import target
from neurodeploy.ir.graph import Edge, Graph
from neurodeploy.ir.nodes import Input
from neurodeploy.lower import lower
from neurodeploy.models.macro import BLOCKS, N_POSITIONS, MacroConfig
from neurodeploy.place import place
from neurodeploy.search.space import Genome, Space

from deployable import autosnn
from small_nets import chain, linear

SPACE = Space.uniform(BLOCKS, N_POSITIONS)
MACRO = MacroConfig(in_channels=1, image_size=(8, 8), n_classes=10)
SEGMENTS = [Segment("stem", None), *(Segment(p.name, p.index) for p in MACRO.positions), Segment("classifier", None)]


@pytest.mark.parametrize("kind", ["graded", "bias"])
def test_equals_lowering_every_candidate(kind: str) -> None:
    profile = target("loihi2")

    def lowered(genome: Genome) -> Graph:
        return lower(autosnn(genome), profile, kind)  # type: ignore[arg-type]

    shapes, model = SpaceShapes(SPACE, SEGMENTS, lowered), LayerRates(profile)
    rng = random.Random(0)
    seen = set()
    for genome in {SPACE.draw(rng) for _ in range(12)}:
        graph = lowered(genome)
        found = shapes(genome)
        assert found == shape_of(graph)
        assert [n for n, r in zip(found.names, found.repeats, strict=True) if r] == list(graph.metadata.get("relays", {}))
        plan = place(graph, profile)
        rates = np.random.default_rng(0).random(len(found.names)) * 0.3
        mine, other = (m.cost(rates, "pipelined") for m in (model.place(found), model.on(graph, plan)))
        assert mine.energy_j.nominal == pytest.approx(other.energy_j.nominal, rel=1e-12)  # sums in another order
        assert mine.latency_s.nominal == pytest.approx(other.latency_s.nominal, rel=1e-12)
        assert mine.n_cores == plan.n_cores
        seen.add(mine.energy_j.nominal)
    assert len(seen) > 6
    with pytest.raises(UsageError, match="no block"):
        shapes(("SCB_k3", "nothing", "SCB_k3", "SCB_k3", "SCB_k3"))


def test_segments_that_are_none_are_refused() -> None:
    graph = chain(Input("x", shape=(4,), kind="spikes"), linear("a", 4, 3), linear("b", 3, 3), linear("c", 3, 2))
    space = Space(positions=(("one",),))

    def shapes(*prefixes: str, of: Graph = graph) -> SpaceShapes:
        return SpaceShapes(space, [Segment(prefix, None) for prefix in prefixes], lambda _: of)

    assert shapes("a", "b", "c")(("one",)) == shape_of(graph)
    with pytest.raises(NeurodeployError, match="belongs to no segment") as caught:
        shapes("a", "b")
    assert caught.value.error_code == "bad_space"
    with pytest.raises(NeurodeployError, match="after layers of a later one"):
        shapes("b", "a", "c")
    # A shortcut over a whole segment, of equal length so that the network is balanced.
    more = (Edge("a.n", "far", 2), Edge("far", "c.n"))
    over = replace(graph, nodes=(*graph.nodes, linear("far", 3, 2)), edges=(*graph.edges, *more))
    with pytest.raises(NeurodeployError, match="beyond the layer before"):
        shapes("a", "b", "c", of=over)
