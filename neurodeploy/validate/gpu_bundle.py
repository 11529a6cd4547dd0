"""A bundle for GPUs opened from its files alone."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from neurodeploy.early_exit.confidence import ConfidencePolicy
from neurodeploy.early_exit.planned import PlannedPolicy
from neurodeploy.errors import NeurodeployError, UnsafeFile
from neurodeploy.export.bundle import MANIFEST, read_manifest
from neurodeploy.export.golden_gpu import GOLDEN, GoldenGpu, load_gpu
from neurodeploy.export.gpu import FILES, GRAPH
from neurodeploy.export.onnx_files import read_onnx
from neurodeploy.export.onnx_forms import FORMS, prepared, to_bytes
from neurodeploy.hw.profile import GpuProfile, describe
from neurodeploy.ir.graph import Graph, IntGraph
from neurodeploy.ir.serialize import load, same
from neurodeploy.sim.gpu_input import latency, n_steps
from neurodeploy.validate.bundle import check_contents
from neurodeploy.validate.exit_policy import read_policy


@dataclass(frozen=True, eq=False)
class GpuBundle:
    """What a bundle for GPUs holds. forms: the ONNX models made anew from the graph, by name; `differing` names those whose
    file is another model. policy: when a sample may stop early, None where it may not."""

    path: Path
    manifest: dict[str, Any]
    graph: Graph
    profile: GpuProfile
    golden: GoldenGpu
    policy: ConfidencePolicy | PlannedPolicy | None
    forms: dict[str, bytes]
    differing: tuple[str, ...]

    @property
    def net(self) -> Graph:
        """The network, under the name that it has in bundles of chips."""
        return self.graph


def open_gpu_bundle(path: Path) -> GpuBundle:
    """Open a bundle for GPUs; no ONNX file in it is run.

    Raises UsageError where there is none, UnsafeFile naming the file that was changed, is damaged, or belongs to another
    network.
    """
    path = Path(path)
    manifest = read_manifest(path)
    check_contents(path, manifest, (GRAPH, GOLDEN, *FILES.values()))
    graph = _graph(path / GRAPH)
    profile = _profile(manifest, graph, str(path / MANIFEST))
    golden = load_gpu(path / GOLDEN, graph)
    forms = {form: to_bytes(write(graph)) for form, write in FORMS.items()}
    differing = tuple(form for form, payload in forms.items() if not _holds(path / FILES[form], payload))
    policy = read_policy(path, manifest, graph.n_timesteps)
    return GpuBundle(path, manifest, graph, profile, golden, policy, forms, differing)


def _holds(path: Path, wanted: bytes) -> bool:
    """Whether a file is the model of these bytes; one that is not byte-equal is read as a stranger's."""
    return path.read_bytes() == wanted or to_bytes(read_onnx(path)) == wanted


def _graph(path: Path) -> Graph:
    graph = load(path)
    try:
        if isinstance(graph, IntGraph) or same(graph, prepared(graph)) is not None:
            raise UnsafeFile("the network is not one that a GPU runs", where=str(path), remedy="Export again")
    except UnsafeFile:
        raise
    except NeurodeployError as err:
        raise UnsafeFile(f"it has no ONNX form: {err.where}: {err.what}", where=str(path), remedy="Export again") from err
    return graph


def _profile(manifest: dict[str, Any], graph: Graph, where: str) -> GpuProfile:
    wanted = {"n_timesteps": graph.n_timesteps, "n_steps": n_steps(graph), "latency": latency(graph)}
    try:
        profile = GpuProfile.model_validate(manifest["profile"]["content"])
        digest, target = manifest["profile"]["digest"], manifest["target"]
        found = {name: manifest[name] for name in wanted}
    except ValidationError as err:
        raise UnsafeFile(f"the profile in it is invalid: {describe(err)}", where=where, remedy="Export again") from err
    except (KeyError, TypeError) as err:
        raise UnsafeFile(f"an entry is missing or damaged: {err}", where=where, remedy="Export again") from err
    if digest != profile.digest or target != profile.name:
        raise UnsafeFile("the profile in it is not the one named by target and digest", where=where, remedy="Export again")
    if found != wanted:
        raise UnsafeFile(f"its timesteps {found} are not those of {GRAPH}, {wanted}", where=where, remedy="Export again")
    return profile
