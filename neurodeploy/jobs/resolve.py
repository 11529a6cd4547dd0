"""What `--dry-run` shows of commands that take a model: its deployment settings and the targets' profiles, overridden."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from neurodeploy.hw.profile import target as profile_of
from neurodeploy.jobs.opened import open_model
from neurodeploy.jobs.search import split_overrides


def resolve_deploy(model: Path, targets: list[str], overrides: dict[str, Any]) -> dict[str, Any]:
    """Settings that the model would be deployed with, and each target's profile; overrides of both (`--set`)."""
    of_model, of_profile = split_overrides(overrides)
    return {
        "settings": open_model(model).settings(of_model).model_dump(mode="json"),
        "profiles": {name: profile_of(name, of_profile).model_dump(mode="json") for name in targets},
    }
