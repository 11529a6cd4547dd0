"""Graphs as `.nir` files (package nir >= 1.0.8) and back; `nir_nodes.py` has the equations of the mapping.

NIR describes continuous time; the unit of time in these files is one timestep (dt = 1, forward Euler) unless `dt` says how long
one is: spikingjelly and snntorch write and expect 1e-4. NIR has no notion of a synapse's timestep: a pipelined graph, whose
paths into a node are equally long, is written without its delays, which leaves its function unchanged, and the delays are kept
in the metadata for the way back. Where paths differ or lead back, every delay is a Delay, except one timestep that is all the
delay of a loop, which forward Euler has by itself. A host part is written in front of the chip's input, which becomes a Scale
by `value_scale` (integer graphs round after it).

The graph's metadata hold the conventions that NIR leaves open, as text, and under `neurodeploy` the structure of our
graph; the arrays live in the NIR nodes alone. Reading rebuilds the graph, writes it again in memory and compares, so
a file whose NIR values and structure disagree is refused.

nir 1.0.8 derives both sides of a convolution's output from the kernel's height: files with kernels that are not square
are valid, but its own reader takes them only with `type_check=False`.
"""

from __future__ import annotations

import io
import json
import math
from pathlib import Path
from typing import Any

import h5py
import nir
import numpy as np

from neurodeploy.errors import NeurodeployError, UnsafeFile, UsageError
from neurodeploy.ir import archive, serialize
from neurodeploy.ir.graph import Edge, Graph
from neurodeploy.ir.hdf5 import open_checked
from neurodeploy.ir.nir_foreign import NirOptions, to_graph
from neurodeploy.ir.nir_foreign_repair import repair
from neurodeploy.ir.nir_nodes import array_of, current_of, host_name, to_node, with_timestep
from neurodeploy.ir.nodes import Array, Input

_CONVENTIONS = {
    "time": "dt = 1 timestep, forward Euler; the state is updated with the input of the same timestep, then compared",
    "firing": "metadata `fire` of each neuron: `>` or `>=` against v_threshold",
    "reset": "to v_reset in the timestep of the spike, or metadata `reset`: `soft` subtracts v_threshold; all states start at "
             "v_reset; the current of a CubaLIF is kept",
    "floor": "metadata `v_min` of a neuron: no state stays below it; `multi_spike`: floor(v / v_threshold) spikes a timestep",
    "delays": "not represented; all paths are equally long, so outputs equal those of the pipelined graph up to a shift",
    "samples": "a sample starts with all neurons at v_reset; run neurodeploy's n_timesteps timesteps",
    "integers": "an integer graph is written as real numbers; the chip's rounding and saturation are not represented",
}

_DELAYED = "Delay nodes; a recurrent connection without one acts a timestep later"


def _fail(where: str, what: str, remedy: str) -> NeurodeployError:
    return NeurodeployError(what, where=where, code="not_nir", remedy=remedy)


def to_nir(graph: Graph, dt: float = 1.0) -> nir.NIRGraph:
    """The graph in NIR, with timesteps of dt in the file's unit of time.

    Raises NeurodeployError naming the node without an equivalent there.
    """
    nodes: dict[str, Any] = {}
    fronts = {current.name: node.name for node in graph.nodes if (current := current_of(node, graph)) is not None}
    delays: dict[str, Any] = {}
    edges: list[tuple[str, str]] = []
    pipelined = graph.is_acyclic and graph.is_balanced
    for edge in graph.edges:
        if edge.src in fronts:
            continue
        src, dst = edge.src, fronts.get(edge.dst, edge.dst)
        if edge.delay and not pipelined and not _closes(graph, edge):
            name = f"{dst}.delay.{src}"
            delays[name] = nir.Delay(np.full(graph.shapes[src], float(edge.delay)))
            edges.append((src, name))
            src = name
        edges.append((src, dst))
    if graph.host is not None:
        for node in graph.host.nodes:
            nodes[host_name(node.name)] = to_node(node, graph.host)
        entry = graph.inputs[0]
        edges = [(host_name(e.src), host_name(e.dst)) for e in graph.host.edges] + edges
        edges.insert(0, (host_name(graph.host.output.name), entry.name))
    for node in graph.nodes:
        if "/" in node.name or node.name in nodes or node.name in delays:
            raise _fail(node.name, "a node cannot have this name in NIR", "Rename it")
        if node.name in fronts:
            continue
        if isinstance(node, Input) and graph.host is not None:
            nodes[node.name] = nir.Scale(scale=np.full(node.shape, float(node.value_scale)))
        else:
            nodes[node.name] = to_node(node, graph)
    nodes |= delays
    end = "output" if "output" not in nodes else "neurodeploy.output"
    nodes[end] = nir.Output(output_type=np.array(graph.shapes[graph.output.name]))
    edges.append((graph.output.name, end))
    document, _ = archive.unpack(serialize.to_bytes(graph), "graph")
    metadata: dict[str, Any] = {**_CONVENTIONS, "neurodeploy": json.dumps(document, sort_keys=True)}
    if not pipelined:
        metadata["delays"] = _DELAYED
    if dt != 1:
        metadata |= {"dt": dt, "time": metadata["time"].replace("dt = 1 timestep", f"dt = {dt:g}, one timestep")}
        nodes = {name: with_timestep(node, dt) for name, node in nodes.items()}
    square = all(n.weight.shape[2] == n.weight.shape[3] for n in nodes.values() if isinstance(n, nir.Conv2d))
    return nir.NIRGraph(nodes=nodes, edges=edges, metadata=metadata, type_check=square)


def _closes(graph: Graph, edge: Edge) -> bool:
    """Whether a delay of one timestep is all that a loop through this edge has: forward Euler's own."""
    if edge.delay != 1:
        return False
    reached, waiting = {edge.dst}, [edge.dst]
    while waiting:
        for other in graph.outgoing(waiting.pop()):
            if other.delay == 0 and other.dst not in reached:
                reached.add(other.dst)
                waiting.append(other.dst)
    return edge.src in reached


def write_nir(graph: Graph, path: Path, dt: float = 1.0) -> None:
    """Write a graph as `.nir`, a timestep being dt long; equal graphs give equal bytes.

    Raises as `to_nir`, UsageError where it cannot be written.
    """
    if not 0 < dt < math.inf:
        raise UsageError(f"a timestep of {dt:g}", where=str(path), limit="Above 0")
    out = io.BytesIO()
    nir.write(out, to_nir(graph, dt))
    archive.write(path, out.getvalue())


def read_nir(path: Path, foreign: NirOptions | None = None) -> Graph:
    """The graph (an IntGraph where one was written) of a `.nir` file written by `write_nir`.

    foreign: take files of other tools too, with these conventions (`nir_foreign`, which says what it reads). Raises
    UsageError when there is no such file, UnsafeFile when it is unsafe, corrupt, changed, or not of our making.
    """
    with open_checked(path) as file:
        if "node" not in file or not isinstance(file["node"], h5py.Group):
            raise UnsafeFile("not a NIR file", where=str(path))
        try:
            with np.errstate(all="ignore"):  # nir divides by strides that may be 0
                found, repairs = _parse(file["node"])
        except (AssertionError, KeyError, TypeError, ValueError, AttributeError, IndexError, OSError, OverflowError) as err:
            raise UnsafeFile("not a valid NIR graph", where=str(path), limit=f"{type(err).__name__}: {err}") from err
    if not isinstance(found, nir.NIRGraph):
        raise UnsafeFile("a single node, not a NIR graph", where=str(path))
    text = found.metadata.get("neurodeploy")
    if not isinstance(text, str):
        if foreign is not None:
            with np.errstate(all="ignore"):  # numbers that are too large for a network end as a value that is refused
                return to_graph(found, str(path), foreign, repairs)
        raise UnsafeFile(
            "this NIR file was not written by neurodeploy", where=str(path), limit="Others' are read where they are asked for",
            remedy="Load it as a network of its own",
        )
    graph = _rebuild(text, found, str(path))
    try:
        changed = _difference(to_nir(graph, _timestep(found, str(path))), found)
    except UnsafeFile:
        raise
    except NeurodeployError as err:  # a structure that could not have been written
        changed = str(err)
    if changed is not None:
        raise UnsafeFile("its values and its structure disagree", where=f"{path}: {changed}", remedy="Export it again")
    return graph


def _parse(group: h5py.Group) -> tuple[Any, list[str]]:
    """(what nir.read gives without checks of types, what was put right first: `nir_foreign_repair`)."""
    tree = nir.serialization.hdf2dict(group)
    repairs = repair(tree)
    return nir.dict2NIRNode(tree), repairs


def _timestep(found: nir.NIRGraph, where: str) -> float:
    dt = np.asarray(found.metadata.get("dt", 1.0))
    if dt.dtype.kind != "f" or dt.shape != () or not 0 < dt < math.inf:
        raise UnsafeFile("the timestep in its metadata is no number above 0", where=where)
    return float(dt)


def _rebuild(text: str, found: nir.NIRGraph, where: str) -> Graph:
    try:
        document = json.loads(text)
        arrays: dict[str, Array] = {}
        for part, prefix in ((document["graph"], ""), (document["graph"]["host"], host_name(""))):
            for entry in part["nodes"] if part is not None else ():
                for field, value in entry.items():
                    if isinstance(value, dict) and "array" in value:
                        if value["dtype"] not in archive.DTYPES:
                            raise UnsafeFile(f"array type {value['dtype']!r:.20}", where=where)
                        array = array_of(found.nodes[prefix + entry["name"]], entry, field)
                        arrays[value["array"]] = np.asarray(array, dtype=value["dtype"]).reshape(value["shape"])
        return serialize.from_bytes(archive.pack(document, arrays), where)
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, RecursionError) as err:
        raise UnsafeFile("the structure in its metadata is damaged", where=where, limit=f"{type(err).__name__}: {err}") from err


def _difference(wanted: nir.NIRGraph, found: nir.NIRGraph) -> str | None:
    if set(wanted.nodes) != set(found.nodes) or set(wanted.edges) != set(found.edges):
        return "nodes or edges"
    for name, node in wanted.nodes.items():
        mine, theirs = node.to_dict(), found.nodes[name].to_dict()
        if set(mine) != set(theirs):
            return str(name)
        for key, value in mine.items():
            same = value == theirs[key] if isinstance(value, str) else _equal(value, theirs[key])
            if not same:
                return f"{name}.{key}"
    return None


def _equal(a: Any, b: Any) -> bool:
    if isinstance(a, dict):
        return isinstance(b, dict) and set(a) == set(b) and all(_equal(a[k], b[k]) for k in a)
    return np.array_equal(np.asarray(a), np.asarray(b))
