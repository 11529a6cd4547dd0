"""Geometry of every candidate of a search space, put together from a few that were lowered.

A network of a space is a row of segments, each between one layer and the next, and what a segment looks like depends on
the block chosen for it alone. So one lowered network per choice holds all segments there are, and the geometry of any
candidate is a concatenation: microseconds instead of the milliseconds of building and lowering it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from neurodeploy.cost.geometry import LayerShape, NetworkShape, shape_of, with_fan_out
from neurodeploy.errors import NeurodeployError
from neurodeploy.ir.graph import Graph
from neurodeploy.search.space import Genome, Space

_BEFORE = -1  # a source that is the last layer of the segment before


@dataclass(frozen=True)
class Segment:
    """A name prefix of a network's layers and the position of the genome that decides what is there (None: always the same)."""

    prefix: str
    position: int | None


@dataclass(frozen=True, eq=False)
class _Piece:
    """A segment as lowered: its layers, whose sources are layers of the piece or _BEFORE, latencies after that, and names
    ("" and a rest for those named after the layer before)."""

    layers: tuple[LayerShape, ...]
    sources: tuple[tuple[int, ...], ...]
    latencies: tuple[int, ...]
    names: tuple[tuple[str, str], ...]
    repeats: tuple[str | None, ...]
    host_inputs: tuple[tuple[str, ...], ...]
    n_from_before: int


class SpaceShapes:
    """`shapes(genome)` is `shape_of(lowered(genome))`. `lowered` builds the few networks that segments are read from.

    `segments` lists all of a network in order. Raises NeurodeployError where segments are not what they have to be: one
    reads from something else than the layer before it.
    """

    def __init__(self, space: Space, segments: Sequence[Segment], lowered: Callable[[Genome], Graph]) -> None:
        self.space, self._segments = space, tuple(segments)
        self._pieces: dict[tuple[int, str | None], _Piece] = {}
        self._fan_outs: dict[tuple[LayerShape, int], LayerShape] = {}
        for k in range(max(len(blocks) for blocks in space.positions)):
            genome = tuple(blocks[min(k, len(blocks) - 1)] for blocks in space.positions)
            shape = shape_of(lowered(genome))
            self._example = shape
            members = self._members(shape)
            before = shape.n_inputs - 1
            for s, segment in enumerate(self._segments):
                block = None if segment.position is None else genome[segment.position]
                self._pieces[s, block] = _piece(shape, members[s], before)
                before = members[s][-1] if members[s] else before

    def __call__(self, genome: Genome) -> NetworkShape:
        """The geometry of a candidate. Raises UsageError for a genome that is not of the space."""
        self.space.check(genome)
        example = self._example
        n_inputs = example.n_inputs
        names, repeats = list(example.names[:n_inputs]), list(example.repeats[:n_inputs])
        latencies = list(example.latencies[:n_inputs])
        layers: list[LayerShape] = []
        sources: list[tuple[int, ...]] = []
        hosts: list[tuple[str, ...]] = []
        before = n_inputs - 1
        for s, segment in enumerate(self._segments):
            piece = self._pieces[s, None if segment.position is None else genome[segment.position]]
            if not piece.layers:
                continue
            if before >= n_inputs:
                layers[before - n_inputs] = self._with_fan_out(layers[before - n_inputs], piece.n_from_before)
            first, start = len(names), latencies[before] if before >= 0 else 0
            last = names[before] if before >= 0 else ""
            layers += piece.layers
            sources += [tuple([before if k == _BEFORE else first + k for k in group]) for group in piece.sources]
            latencies += [start + late for late in piece.latencies]
            names += [own or last + rest for own, rest in piece.names]
            repeats += [last if origin == "" else origin for origin in piece.repeats]
            hosts += piece.host_inputs
            before = len(names) - 1
        return NetworkShape(
            names=tuple(names), layers=tuple(layers), sources=tuple(sources), latencies=tuple(latencies),
            input_maps=example.input_maps, n_timesteps=example.n_timesteps, host_inputs=tuple(hosts), repeats=tuple(repeats),
        )

    def _with_fan_out(self, layer: LayerShape, n: int) -> LayerShape:
        found = self._fan_outs.get((layer, n))
        if found is None:
            found = self._fan_outs[layer, n] = with_fan_out(layer, n)
        return found

    def _members(self, shape: NetworkShape) -> list[list[int]]:
        """Nodes of each segment, in mapping order; relays belong to the segment that reads them."""
        own = [
            next((s for s, g in enumerate(self._segments) if name == g.prefix or name.startswith(f"{g.prefix}.")), None)
            for name in shape.names
        ]
        readers: dict[int, int] = {}
        for i in reversed(range(len(shape.layers))):
            node = shape.n_inputs + i
            if shape.repeats[node] is not None and node in readers:
                own[node] = readers[node]
            for source in shape.sources[i]:
                if own[node] is not None:
                    readers[source] = own[node] or 0
        found: list[list[int]] = [[] for _ in self._segments]
        for node in range(shape.n_inputs, len(shape.names)):
            s = own[node]
            if s is None or any(found[later] for later in range(s + 1, len(found))):
                raise NeurodeployError(
                    "the layer belongs to no segment, or comes after layers of a later one", where=shape.names[node],
                    code="bad_space", limit=f"Segments: {', '.join(g.prefix for g in self._segments)}",
                )
            found[s].append(node)
        return found


def _piece(shape: NetworkShape, nodes: Sequence[int], before: int) -> _Piece:
    local = {node: k for k, node in enumerate(nodes)} | ({before: _BEFORE} if before >= 0 else {})
    last = shape.names[before] if before >= 0 else None
    start = shape.latencies[before] if before >= 0 else 0
    sources = []
    for node in nodes:
        found = shape.sources[node - shape.n_inputs]
        for source in found:
            if source not in local:
                raise NeurodeployError(
                    f"reads from {shape.names[source]}, beyond the layer before its segment", where=shape.names[node],
                    code="bad_space",
                )
        sources.append(tuple(local[source] for source in found))
    names = tuple(
        ("", name.removeprefix(last)) if last is not None and name.startswith(f"{last}.relay") else (name, "")
        for name in (shape.names[node] for node in nodes)
    )
    return _Piece(
        layers=tuple(shape.layers[node - shape.n_inputs] for node in nodes), sources=tuple(sources),
        latencies=tuple(shape.latencies[node] - start for node in nodes), names=names,
        repeats=tuple(
            "" if shape.repeats[node] is not None and shape.repeats[node] == last else shape.repeats[node] for node in nodes
        ),
        host_inputs=tuple(shape.host_inputs[node - shape.n_inputs] for node in nodes),
        n_from_before=sum(group.count(_BEFORE) for group in sources),
    )

