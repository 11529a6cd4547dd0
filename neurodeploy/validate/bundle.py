"""A bundle opened from its files alone, after every sha256 was checked."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

from pydantic import ValidationError

from neurodeploy.errors import UnsafeFile
from neurodeploy.export import golden
from neurodeploy.export.bundle import MANIFEST, check_files, read_manifest
from neurodeploy.export.golden import GOLDEN, Golden
from neurodeploy.export.loihi2 import GRAPH
from neurodeploy.export.write import NIR
from neurodeploy.hw.profile import EventProfile, Profile, describe
from neurodeploy.ir.graph import IntGraph
from neurodeploy.ir.serialize import load_int
from neurodeploy.place import Placement


class _Plan(Protocol):
    """A placement of either kind."""

    @property
    def target(self) -> str: ...


P = TypeVar("P", Profile, EventProfile)
Plan = TypeVar("Plan", bound=_Plan)


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
    check_contents(path, manifest, (GRAPH, GOLDEN))
    graph = load_int(path / GRAPH)
    claims = {"n_timesteps": graph.n_timesteps, "n_chip_steps": graph.n_chip_steps}
    profile, plan = entries(path, manifest, Profile, Placement.from_dict, graph, claims)
    vectors = golden.load(path / GOLDEN)
    _check_golden(graph, vectors, str(path / GOLDEN))
    return OpenBundle(path, manifest, graph, plan, profile, vectors)


def check_contents(path: Path, manifest: dict[str, Any], needed: Iterable[str]) -> None:
    """Raise UnsafeFile where a file is missing from the manifest or was changed, or an entry is of the wrong kind.

    needed: files beside the script and `model.nir`, which every bundle has.
    """
    where = str(path / MANIFEST)
    for name in (*needed, *_nir(manifest), f"run_on_{manifest.get('target')}.py"):
        if name not in manifest["files"]:
            raise UnsafeFile(f"{name} is not among the files of the bundle", where=where, remedy="Export again")
    check_files(path, manifest)
    for name in ("data", "accuracy", "early_exit", "netx", "golden", "speck", "sinabs"):
        if not isinstance(manifest.get(name, {}), dict | None):
            raise UnsafeFile(f"{name} is no table", where=where, remedy="Export again")
    for name in ("name", "split"):
        if not isinstance((manifest.get("data") or {}).get(name), str | None):
            raise UnsafeFile(f"data.{name} is no text", where=where, remedy="Export again")
    for name, value in (manifest.get("accuracy") or {}).items():
        if name in ("float", "quantized") and (isinstance(value, bool) or not isinstance(value, int | float | None)):
            raise UnsafeFile(f"accuracy.{name} is no number", where=where, remedy="Export again")


def entries(
    path: Path, manifest: dict[str, Any], kind: type[P], read_plan: Callable[[dict[str, Any]], Plan], graph: IntGraph,
    claims: dict[str, Any],
) -> tuple[P, Plan]:
    """(profile, placement) of a manifest; UnsafeFile for damaged ones, and for those of another network than `graph`.

    claims: further entries of the manifest with the values that they must have.
    """
    where = str(path / MANIFEST)
    try:
        profile = kind.model_validate(manifest["profile"]["content"])
        digest, plan = manifest["profile"]["digest"], read_plan(manifest["placement"])
        found = (manifest["target"], *(manifest[name] for name in claims))
    except ValidationError as err:
        raise UnsafeFile(f"the profile in it is invalid: {describe(err)}", where=where, remedy="Export again") from err
    except UnsafeFile as err:
        raise UnsafeFile(err.what, where=f"{where}: {err.where}" if err.where else where, limit=err.limit,
                         remedy="Export again") from err
    except (KeyError, TypeError) as err:
        raise UnsafeFile(f"an entry is missing or damaged: {err}", where=where, remedy="Export again") from err
    if digest != profile.digest:
        raise UnsafeFile("the profile in it is not the one named by its digest", where=where, remedy="Export again")
    wanted = (graph.target, *claims.values())
    if found != wanted or profile.name != graph.target or plan.target != graph.target:
        raise UnsafeFile(
            f"target and timesteps {found} are not those of {GRAPH}, {wanted}", where=where, remedy="Export again"
        )
    return profile, plan


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
