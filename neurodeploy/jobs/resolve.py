"""What `--dry-run` shows of commands that take a model: its deployment settings and the targets' profiles, overridden."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from neurodeploy.hw.profile import any_target as profile_of
from neurodeploy.jobs.net_options import NetOptions
from neurodeploy.jobs.opened import open_with
from neurodeploy.jobs.search import split_overrides


def resolve_deploy(model: Path, targets: list[str], overrides: dict[str, Any]) -> dict[str, Any]:
    """Settings that the model would be deployed with, and each target's profile; overrides of both (`--set`)."""
    options, _ = NetOptions().overridden(overrides)
    opened, changes = open_with(model, None, overrides)
    of_model, of_profile = split_overrides(changes)
    return {
        **({"net": options.given} if options.given else {}),
        "settings": opened.settings(of_model).model_dump(mode="json"),
        "profiles": {name: profile_of(name, of_profile).model_dump(mode="json") for name in targets},
    }
