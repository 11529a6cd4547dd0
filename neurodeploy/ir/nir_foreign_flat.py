"""Others' NIR graphs without graphs inside, and what closes their loops.

A graph inside a graph becomes its nodes, with dotted names; its Input and Output only pass on what arrives.

Recurrence: by forward Euler the spikes of a timestep act in the next one. Of every loop the edge that leads back to where the
loop is entered closes it, and the edge out of the last neurons before it takes a delay of one timestep; a Delay of a timestep
or more on that way is the loop's delay already.
"""

from __future__ import annotations

from typing import Any

import nir

from neurodeploy.errors import UnsafeFile

MAX_NODES, MAX_EDGES, MAX_LOOPS, MAX_INSIDE = 1_000, 10_000, 200, 500
Pairs = list[tuple[str, str]]
_STATEFUL = (nir.IF, nir.LIF, nir.CubaLIF, nir.Threshold, nir.LI, nir.CubaLI, nir.I)


def _refuse(where: str, name: str, what: str, limit: str = "", remedy: str = "") -> UnsafeFile:
    return UnsafeFile(what, where=f"{where}: {name}", limit=limit, remedy=remedy)


def flattened(graph: nir.NIRGraph, where: str) -> tuple[dict[str, Any], Pairs]:
    """(nodes, edges) of a graph without graphs inside. Raises UnsafeFile naming what is inconsistent."""
    nodes, edges, passing = _unpacked(graph, where, "")
    if len(nodes) > MAX_NODES:
        raise _refuse(where, "nodes", f"{len(nodes)} nodes", f"At most {MAX_NODES}")
    if len(passing) > 2 * MAX_INSIDE or len(edges) > MAX_EDGES:
        raise _refuse(where, "edges", f"{len(edges)} edges, {len(passing) // 2} graphs inside",
                      f"At most {MAX_EDGES} and {MAX_INSIDE}")
    for name in passing:
        before, after = [e for e in edges if e[1] == name], [e for e in edges if e[0] == name]
        if (name, name) in before:
            raise _refuse(where, name, "a loop without neurons")
        edges = [e for e in edges if name not in e] + [(s, d) for s, _ in before for _, d in after]
        if len(edges) > MAX_EDGES:
            raise _refuse(where, name, f"{len(edges)} edges", f"At most {MAX_EDGES}")
    return nodes, edges


def _unpacked(graph: nir.NIRGraph, where: str, prefix: str) -> tuple[dict[str, Any], Pairs, list[str]]:
    nodes: dict[str, Any] = {}
    edges: Pairs = []
    passing: list[str] = []
    if len(graph.edges) > MAX_EDGES:
        raise _refuse(where, prefix.rstrip(".") or "edges", f"{len(graph.edges)} edges", f"At most {MAX_EDGES}")
    doors: dict[str, tuple[str, str]] = {}  # of graphs inside: where edges lead in and come out
    for name, node in graph.nodes.items():
        full = prefix + name
        if isinstance(node, nir.NIRGraph):
            inner_nodes, inner_edges, inner_passing = _unpacked(node, where, f"{full}.")
            door = []
            for kind in (nir.Input, nir.Output):
                found = [n for n, inner in node.nodes.items() if isinstance(inner, kind)]
                if len(found) != 1:
                    raise _refuse(where, full, f"a graph inside with {len(found)} nodes of type {kind.__name__}", "One")
                door.append(f"{full}.{found[0]}")
            doors[full] = (door[0], door[1])
            inner_nodes = {n: inner for n, inner in inner_nodes.items() if n not in door}
            passing += [*inner_passing, *door]
            edges += inner_edges
        else:
            inner_nodes = {full: node}
        twice = next((n for n in inner_nodes if n in nodes), None)
        if twice is not None:
            raise _refuse(where, twice, "two nodes have this name")
        nodes |= inner_nodes
    for src, dst in graph.edges:
        for end in (src, dst):
            if end not in graph.nodes:
                raise _refuse(where, prefix + end, f"an edge {src} -> {dst} names it, but there is no such node")
        a, b = prefix + src, prefix + dst
        edges.append((doors.get(a, ("", a))[1], doors.get(b, (b, ""))[0]))
    return nodes, edges, passing


def loops(
    nodes: dict[str, Any], edges: Pairs, start: str, steps: dict[str, int], where: str
) -> tuple[set[tuple[str, str]], Pairs]:
    """(edges that close a loop, edges that take a delay of one timestep for it). steps: timesteps of each Delay.

    Raises UnsafeFile where a loop has several entries, no neurons, or shares its way back with others.
    """
    after: dict[str, list[str]] = {name: [] for name in nodes}
    before: dict[str, list[str]] = {name: [] for name in nodes}
    for src, dst in edges:
        after[src].append(dst)
        before[dst].append(src)
    closing = _back_edges(after, start)
    if len(closing) > MAX_LOOPS:
        raise _refuse(where, start, f"{len(closing)} recurrent connections", f"At most {MAX_LOOPS}")
    delayed = []
    for src, dst in closing:
        if src in _reached(after, start, dst):
            raise _refuse(where, dst, "a recurrent connection into a loop with several entries", "One entry",
                          "Put a Delay of a timestep where the loop closes")
        at, to = src, dst
        while not isinstance(nodes[at], _STATEFUL) and not steps.get(at, 0):
            if at == dst:
                raise _refuse(where, dst, "a recurrent connection without neurons", "Neurons in every loop")
            if len(after[at]) != 1 or len(before[at]) != 1:
                n_in, n_out = len(before[at]), len(after[at])
                raise _refuse(where, at, f"on the way back to {dst}, with {n_in} sources and {n_out} readers",
                              "A way back of its own from the last neurons")
            at, to = before[at][0], at
        if not steps.get(at, 0):
            delayed.append((at, to))
    return set(closing), delayed


def _back_edges(after: dict[str, list[str]], start: str) -> Pairs:
    """Edges that lead to a node on the way from `start`, depth first."""
    found: Pairs = []
    on_way, done = {start}, set[str]()
    stack = [(start, iter(after[start]))]
    while stack:
        name, rest = stack[-1]
        for dst in rest:
            if dst in on_way:
                found.append((name, dst))
            elif dst not in done:
                on_way.add(dst)
                stack.append((dst, iter(after[dst])))
                break
        else:
            stack.pop()
            on_way.discard(name)
            done.add(name)
    return found


def _reached(after: dict[str, list[str]], start: str, without: str) -> set[str]:
    """What can be reached from `start` without going through a node."""
    found, waiting = {start} - {without}, [start] if start != without else []
    while waiting:
        for dst in after[waiting.pop()]:
            if dst not in found and dst != without:
                found.add(dst)
                waiting.append(dst)
    return found
