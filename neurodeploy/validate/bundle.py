"""A bundle opened from its files alone, after every sha256 was checked."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from neurodeploy.errors import UnsafeFile
from neurodeploy.export import golden
from neurodeploy.export.bundle import MANIFEST, check_files, read_manifest
from neurodeploy.export.golden import GOLDEN, Golden
from neurodeploy.export.loihi2 import GRAPH
from neurodeploy.export.write import NIR
from neurodeploy.hw.profile import Profile, describe
from neurodeploy.ir.graph import IntGraph
from neurodeploy.ir.serialize import load_int
from neurodeploy.place import Placement


@dataclass(frozen=True, eq=False)
class OpenBundle:
    """What a bundle holds: the network, its placement, the profile it was made for, the golden vectors."""

    path: Path
    manifest: dict[str, Any]
    net: IntGraph
    plan: Placement
    profile: Profile
    golden: Golden


def open_bundle(path: Path) -> OpenBundle:
    """Open a bundle. Raises UsageError where there is none, UnsafeFile naming the file that was changed or is damaged."""
    path = Path(path)
    manifest = read_manifest(path)
    where = str(path / MANIFEST)
    for name in (GRAPH, GOLDEN, *_nir(manifest), f"run_on_{manifest.get('target')}.py"):
        if name not in manifest["files"]:
            raise UnsafeFile(f"{name} is not among the files of the bundle", where=where, remedy="Export again")
    check_files(path, manifest)
    _check_fields(manifest, where)
    try:
        profile = Profile.model_validate(manifest["profile"]["content"])
        digest, plan = manifest["profile"]["digest"], Placement.from_dict(manifest["placement"])
        claims = (manifest["target"], manifest["n_timesteps"], manifest["n_chip_steps"])
    except ValidationError as err:
        raise UnsafeFile(f"the profile in it is invalid: {describe(err)}", where=where, remedy="Export again") from err
    except (KeyError, TypeError) as err:
        raise UnsafeFile(f"an entry is missing or damaged: {err}", where=where, remedy="Export again") from err
    if digest != profile.digest:
        raise UnsafeFile("the profile in it is not the one named by its digest", where=where, remedy="Export again")
    graph = load_int(path / GRAPH)
    wanted = (graph.target, graph.n_timesteps, graph.n_chip_steps)
    if claims != wanted or profile.name != graph.target or plan.target != graph.target:
        raise UnsafeFile(
            f"target and timesteps {claims} are not those of {GRAPH}, {wanted}", where=where, remedy="Export again"
        )
    vectors = golden.load(path / GOLDEN)
    _check_golden(graph, vectors, str(path / GOLDEN))
    return OpenBundle(path, manifest, graph, plan, profile, vectors)


def _check_fields(manifest: dict[str, Any], where: str) -> None:
    """Raise UnsafeFile where an entry that is optional is not of the kind that is read."""
    for name in ("data", "accuracy", "early_exit", "netx", "golden"):
        if not isinstance(manifest.get(name, {}), dict | None):
            raise UnsafeFile(f"{name} is no table", where=where, remedy="Export again")
    source = (manifest.get("data") or {}).get("name")
    if not isinstance(source, str | None):
        raise UnsafeFile("data.name is no text", where=where, remedy="Export again")
    for name, value in (manifest.get("accuracy") or {}).items():
        if name in ("float", "quantized") and (isinstance(value, bool) or not isinstance(value, int | float | None)):
            raise UnsafeFile(f"accuracy.{name} is no number", where=where, remedy="Export again")


def _nir(manifest: dict[str, Any]) -> tuple[str, ...]:
    """`model.nir`, unless the manifest says why the bundle goes without it."""
    stored = manifest.get("nir")
    return () if isinstance(stored, dict) and stored.get("file") is None and stored.get("reason") else (NIR,)


def _check_golden(graph: IntGraph, vectors: Golden, where: str) -> None:
    batch = vectors.x.shape[1] if vectors.x.ndim > 1 else 0
    shapes = {n.name: (graph.n_chip_steps, batch, *graph.shapes[n.name]) for n in graph.neurons}
    found = {name: raster.shape for name, raster in vectors.spikes.items()}
    if vectors.x.shape != (graph.n_timesteps, batch, *graph.inputs[0].shape) or batch == 0 or found != shapes:
        raise UnsafeFile(f"the golden vectors do not belong to {GRAPH}", where=where, remedy="Export again")
