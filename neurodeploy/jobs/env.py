"""`neurodeploy env`: the side environments of vendor tools."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from neurodeploy import vendor
from neurodeploy.progress import SILENT, Progress
from neurodeploy.vendor import Environment


@dataclass(frozen=True)
class EnvResult:
    """The environments that are there after a command, and those it made, added or removed. `known`: what can be made."""

    envs: tuple[Environment, ...]
    changed: tuple[Environment, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain fields, for JSON."""
        return {
            "envs": [e.to_dict() for e in self.envs], "changed": [e.to_dict() for e in self.changed],
            "known": {name: lock.tool for name, lock in vendor.locks().items()},
        }


def _now(*changed: Environment) -> EnvResult:
    return EnvResult(tuple(vendor.environments()), changed)


def env_list() -> EnvResult:
    """Every side environment; the first of a name is the one that is used."""
    return _now()


def env_plan(name: str) -> dict[str, Any]:
    """What `env_create` would do. Raises UsageError for an unknown name, EnvironmentMissing without the right Python."""
    return vendor.planned(name)


def env_create(name: str, progress: Progress = SILENT) -> EnvResult:
    """Make a pinned environment, unless it is there; errors as `vendor.create`."""
    return _now(vendor.create(name, progress))


def env_add(name: str, python: Path) -> EnvResult:
    """Use an interpreter of one's own; errors as `vendor.add`."""
    return _now(vendor.add(name, python))


def env_remove(name: str) -> EnvResult:
    """Remove what was made for a name, and forget what was added; UsageError where there is nothing."""
    gone = vendor.remove(name)
    return _now(*gone)
