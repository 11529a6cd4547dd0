"""The early-exit policy that a bundle carries, read from its files alone, and whether it still decides as it did."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from neurodeploy.early_exit.confidence import ConfidencePolicy, IntArray
from neurodeploy.early_exit.planned import FILE, PlannedPolicy, golden_steps_error
from neurodeploy.errors import NeurodeployError, UnsafeFile, UsageError
from neurodeploy.export.bundle import MANIFEST


def is_planned(entry: Mapping[str, Any] | None) -> bool:
    """Whether a manifest's `early_exit` describes a policy of SEENN-II."""
    return entry is not None and entry.get("method") == "policy"


def read_planned(path: Path, manifest: Mapping[str, Any], n_timesteps: int | None) -> tuple[PlannedPolicy, IntArray]:
    """(the policy of SEENN-II in a bundle whose files were checked, the decisions that its file keeps).

    n_timesteps: of the network beside it, None where it has none. Raises UnsafeFile for a damaged one, or another network's.
    """
    where = str(path / MANIFEST)
    if FILE not in manifest["files"]:
        raise UnsafeFile(f"{FILE} is not among the files of the bundle", where=where, remedy="Export again")
    policy, kept = PlannedPolicy.read(manifest["early_exit"], (path / FILE).read_bytes(), where)
    if n_timesteps is not None and policy.n_timesteps != n_timesteps:
        raise UnsafeFile(f"its policy is one of {policy.n_timesteps} timesteps", where=where, remedy="Export again",
                         limit=f"The network has {n_timesteps}")
    return policy, kept


def read_policy(path: Path, manifest: Mapping[str, Any], n_timesteps: int) -> ConfidencePolicy | PlannedPolicy | None:
    """The policy of a bundle of a target with timesteps, None where it has none; UnsafeFile for a damaged one."""
    stored = manifest.get("early_exit")
    if stored is None:
        return None
    if is_planned(stored):
        return read_planned(path, manifest, n_timesteps)[0]
    try:
        return ConfidencePolicy(**stored)
    except (TypeError, ValueError, UsageError) as err:
        raise UnsafeFile("early_exit is no policy", where=str(path / MANIFEST), limit=str(err), remedy="Export again") from err


def planned_decides(path: Path, manifest: Mapping[str, Any], errors: list[NeurodeployError]) -> tuple[bool, str] | None:
    """(whether the policy of SEENN-II in a bundle decides as its file says, with what that was found), None for any other."""
    if not is_planned(manifest.get("early_exit")):
        return None
    policy, kept = read_planned(path, manifest, None)
    error = golden_steps_error(policy, kept, str(path))
    if error is not None:
        errors.append(error)
    return error is None, f"as {FILE} says on {len(kept)} samples" if error is None else str(error.limit)
