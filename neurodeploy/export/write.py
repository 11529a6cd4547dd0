"""From a placed integer network to a bundle."""

from __future__ import annotations

import platform
from collections.abc import Callable
from importlib import metadata as packages
from pathlib import Path
from typing import Any

from neurodeploy.early_exit.planned import FILE, PlannedPolicy
from neurodeploy.errors import NeurodeployError, UsageError
from neurodeploy.export import golden
from neurodeploy.export.bundle import Bundle, write_manifest, written_whole
from neurodeploy.export.loihi2 import write_artifacts
from neurodeploy.hw.profile import Profile
from neurodeploy.ir.graph import Graph, IntGraph
from neurodeploy.ir.nir import write_nir
from neurodeploy.ir.nodes import Array
from neurodeploy.place import Placement
from neurodeploy.quantize.passing import for_target
from neurodeploy.quantize.report import as_given

NIR = "model.nir"
OWN_FIELDS = ("data", "seed", "accuracy", "early_exit")  # of the metadata; they get places of their own in the manifest

# Which writer makes the artifacts, by the neuron that the profile names.
_WRITERS: dict[str, Callable[[IntGraph, Path, str], dict[str, Any]]] = {"cuba_lif": write_artifacts}


def export(
    net: IntGraph, plan: Placement, profile: Profile, out: Path, *, golden_inputs: Array, metadata: dict[str, Any],
    lowered: Graph | None = None, policy: PlannedPolicy | None = None,
) -> Bundle:
    """Write a bundle to the folder `out`, whole or not at all; an older bundle there is replaced.

    golden_inputs: chip input [T, B, *input shape] of some samples. metadata: plain values for the manifest; `data`,
    `seed`, `accuracy` and `early_exit` get places of their own. lowered: the real-valued network written as
    `model.nir`; without it the integer network is. A network that NIR has no words for (recurrent, delays of its own,
    sigma-delta) goes without that file, and the manifest says why. policy: SEENN-II's, whose file goes with it. Raises
    UsageError when `out` cannot be written, when the placement is for another target, or when its neurons do not compute as the
    network's.
    """
    if plan.target != profile.name:
        raise UsageError(f"the placement was made for {plan.target!r}", limit=f"Exporting to {profile.name}",
                         remedy="Place the network on this target")
    net = for_target(net, profile)
    vectors = golden.record(net, golden_inputs)
    with written_whole(Path(out)) as folder:
        artifacts = _WRITERS[profile.arithmetic.neuron](net, folder, profile.name)
        reason = write_model_nir(net if lowered is None or isinstance(lowered, IntGraph) else lowered, folder / NIR)
        golden.save(vectors, folder / golden.GOLDEN)
        write_policy(policy, folder)
        nir = {"nir": {"file": NIR if reason is None else None, "reason": reason}}
        write_manifest(folder, {**_describe(net, plan, profile, vectors, metadata), **artifacts, **nir})
    return Bundle(Path(out))


def write_policy(policy: object, folder: Path) -> None:
    """Write the file of SEENN-II's policy; any other policy is in the manifest alone."""
    if isinstance(policy, PlannedPolicy):
        (folder / FILE).write_bytes(policy.to_bytes())


def write_model_nir(graph: Graph, path: Path) -> str | None:
    """Write `model.nir`; returns why NIR cannot hold the network, where it cannot."""
    try:
        write_nir(graph, path)
    except NeurodeployError as error:
        if error.error_code != "not_nir":
            raise
        return f"{error.where}: {error.what}"
    return None


def _describe(
    net: IntGraph, plan: Placement, profile: Profile, vectors: golden.Golden, metadata: dict[str, Any]
) -> dict[str, Any]:
    entry = net.inputs[0]
    return {
        "target": profile.name,
        "profile": {"digest": profile.digest, "content": profile.model_dump(mode="json")},
        **{name: metadata.get(name) for name in OWN_FIELDS},
        "metadata": {k: v for k, v in metadata.items() if k not in OWN_FIELDS},
        "input": {
            "name": entry.name, "kind": entry.kind, "shape": list(entry.shape), "max_value": entry.max_value,
            "value_scale": entry.value_scale, "on_host": net.host is not None, "encoding": net.metadata.get("encoding"),
        },
        "n_timesteps": net.n_timesteps,
        "n_chip_steps": net.n_chip_steps,
        "quantization": as_given(net),
        "placement": plan.to_dict(),
        "golden": {"n_samples": int(vectors.x.shape[1]), "n_spikes": vectors.n_spikes},
        "versions": tool_versions(),
    }


def tool_versions() -> dict[str, str]:
    """Versions of what decides the bytes of a bundle."""
    return {
        "python": platform.python_version(),
        **{name: packages.version(name) for name in ("neurodeploy", "numpy", "torch", "h5py", "nir")},
    }
