"""The process that reads a stranger's HDF5 file; started by `hdf5_process` with the file as its standard input.

It gives up the right to open any file, to write one and to start processes before it looks at the first byte, and it
has little memory and time. What it found goes back as an archive of plain numbers, which the parent checks again.
"""

from __future__ import annotations

import contextlib
import io
import os
import resource
from typing import Any

from neurodeploy.errors import UnsafeFile
from neurodeploy.ir import archive
from neurodeploy.ir.hdf5 import Tree, load_tree

READY = b"R"  # sent once everything is imported and the limits hold: what goes wrong later is the file's doing
_MARGIN_BYTES = 64 * 2**20  # of memory, on top of what the data need
_COPIES = 3  # of the data that exist at once: arrays, archive, its bytes
FORMAT = "neurodeploy hdf5 tree"


def memory_bytes(max_bytes: int) -> int:
    """Memory that reading at most `max_bytes` of data may take, beyond the interpreter with its libraries."""
    return _MARGIN_BYTES + _COPIES * max_bytes


def limit_process(max_bytes: int, cpu_s: int) -> None:
    """Bind this process: no file opened or written, no process started, memory and processor time bounded."""
    with open("/proc/self/statm", encoding="ascii") as file:  # noqa: PTH123 - pathlib is not needed here otherwise
        in_use = int(file.read().split()[0]) * resource.getpagesize()
    for what, limit in (
        (resource.RLIMIT_CORE, 0), (resource.RLIMIT_FSIZE, 0), (resource.RLIMIT_NPROC, 0),
        (resource.RLIMIT_CPU, cpu_s + int(sum(os.times()[:2])) + 1),
        (resource.RLIMIT_AS, in_use + memory_bytes(max_bytes)), (resource.RLIMIT_NOFILE, 0),
    ):
        _, most = resource.getrlimit(what)
        limit = limit if most == resource.RLIM_INFINITY else min(limit, most)
        # Of processor time the soft limit sends SIGXCPU, which says what happened; the hard one would kill.
        later = limit + int(what == resource.RLIMIT_CPU and (most == resource.RLIM_INFINITY or most > limit))
        resource.setrlimit(what, (limit, later))


def to_bytes(tree: Tree) -> bytes:
    """The archive of a tree; `hdf5_process` reads it."""
    names = {f"a{i:05d}": name for i, name in enumerate(sorted(tree.arrays))}
    document = {"format": FORMAT, "arrays": names, "texts": tree.texts, "groups": sorted(tree.groups)}
    return archive.pack(document, {key: tree.arrays[name] for key, name in names.items()})


def serve(source: int, out: int, max_bytes: int, cpu_s: int) -> None:
    """Read the file behind the descriptor `source`, write the archive of its tree, or of what is wrong, to `out`."""
    _warm_up()
    limit_process(max_bytes, cpu_s)
    _write(out, READY)
    try:
        with io.FileIO(source, "rb", closefd=False) as file:
            payload = to_bytes(load_tree(file, "", max_bytes))
    except UnsafeFile as err:
        payload = _failure(err)
    except MemoryError:
        payload = _failure(UnsafeFile("reading it takes too much memory", limit=f"At most {memory_bytes(max_bytes)} bytes"))
    except Exception as err:  # whatever a damaged file makes the library raise is the file's fault
        payload = _failure(UnsafeFile("the file is damaged", limit=f"{type(err).__name__}: {str(err)[:200]}"))
    _write(out, payload)


def _failure(err: UnsafeFile) -> bytes:
    return archive.pack({"format": FORMAT, "error": {"what": err.what, "where": err.where, "limit": err.limit}}, {})


def _warm_up() -> None:
    """Read and pack a small file, so that everything is imported before no file can be opened any more."""
    import h5py
    import numpy as np

    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        file["group/numbers"] = np.arange(6, dtype=np.float32).reshape(2, 3)
        file["group/text"] = "text"
        file.create_dataset("packed", data=np.arange(6, dtype=np.uint8), compression="gzip", shuffle=True)
        file["external"] = h5py.ExternalLink("nowhere", "/")
    with contextlib.suppress(UnsafeFile):
        load_tree(buffer, "", 2**16)  # refused for the link, after the rest was read
    with contextlib.suppress(UnsafeFile):
        load_tree(io.BytesIO(b"no HDF5"), "", 2**16)
    _failure(UnsafeFile("nothing"))
    to_bytes(Tree({"a": np.zeros(1)}, {}, frozenset()))


def _write(out: int, payload: bytes) -> None:
    view = memoryview(payload)
    while view:
        view = view[os.write(out, view) :]


def main(arguments: dict[str, Any]) -> None:
    """The program: `arguments` holds max_bytes and cpu_s; the file is descriptor 0, the answer goes to descriptor 1."""
    serve(0, 1, int(arguments["max_bytes"]), int(arguments["cpu_s"]))
