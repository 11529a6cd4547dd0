"""A run's folder: what was asked, with what, and every intermediate result, so that a killed run goes on from it."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from neurodeploy.errors import UnsafeFile, UsageError
from neurodeploy.hw.profile import Profile
from neurodeploy.search.recipe import Recipe, parse

SCHEMA_VERSION = 1
_REQUEST = "run.json"


def tool_versions() -> dict[str, str]:
    """Versions of what decides results: neurodeploy, Python and the numerical packages."""
    packages = ("neurodeploy", "torch", "numpy", "optuna", "h5py", "nir")
    return {"python": platform.python_version(), **{p: version(p) for p in packages}}


def write_json(path: Path, value: dict[str, Any]) -> None:
    """Write an object so that a reader sees the old file or the new one, never half of one."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump(value, file, indent=1, allow_nan=False)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def read_json(path: Path) -> dict[str, Any]:
    """An object from a file; UnsafeFile where it holds none."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UnsafeFile("cannot be read as JSON", where=str(path), limit=str(error)) from error
    if not isinstance(value, dict):
        raise UnsafeFile("holds no JSON object", where=str(path))
    return value


@dataclass(frozen=True)
class Run:
    """An open run: its folder, its resolved recipe and the target's profile as it was when the run began."""

    path: Path
    command: str
    recipe: Recipe
    profile: Profile

    @classmethod
    def create(cls, command: str, recipe: Recipe, profile: Profile, out: Path | None) -> Run:
        """A new folder (default: runs/<utc>-<command>-<hash>), complete from its first moment.

        Raises UsageError where the folder exists with content, or cannot be written.
        """
        request = {
            "schema_version": SCHEMA_VERSION, "command": command, "recipe": recipe.to_dict(),
            "profile": profile.model_dump(mode="json"), "versions": tool_versions(), "platform": platform.platform(),
        }
        digest = hashlib.sha256(json.dumps(request, sort_keys=True).encode()).hexdigest()[:8]
        path = out or Path("runs") / f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{command}-{digest}"
        if path.exists() and (not path.is_dir() or any(path.iterdir())):
            raise UsageError(
                "the output folder exists and is not empty", where=str(path), code="path",
                remedy=f"Continue it with --resume {path}, or name a new folder",
            )
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}."))
            try:
                temporary.chmod(0o755)  # mkdtemp's folders are private
                write_json(temporary / _REQUEST, request)
                temporary.replace(path)
            except BaseException:
                shutil.rmtree(temporary, ignore_errors=True)
                raise
        except OSError as error:
            raise UsageError(
                "cannot write the output folder", where=str(path), limit=error.strerror or str(error), code="path",
                remedy="Name a folder that can be written with --out",
            ) from error
        return cls(path, command, recipe, profile)

    @classmethod
    def open(cls, path: Path, command: str) -> Run:
        """An existing run of the same command; UsageError where the folder holds none, UnsafeFile for a damaged one."""
        request = path / _REQUEST
        if not request.is_file():
            raise UsageError("holds no run", where=str(path), code="path", remedy=f"Name the folder of a `{command}` run")
        content = read_json(request)
        if content.get("schema_version") != SCHEMA_VERSION or content.get("command") != command:
            raise UsageError(
                f"holds a {content.get('command')!r} run of schema {content.get('schema_version')!r}", where=str(path),
                limit=f"Expected {command!r}, schema {SCHEMA_VERSION}",
            )
        try:
            return cls(path, command, parse(content["recipe"]), Profile.model_validate(content["profile"]))
        except (KeyError, ValueError) as error:
            raise UnsafeFile("is no complete request", where=str(request), limit=str(error)) from error

    def once(self, name: str, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """The object in the run's file `name`; computed and stored the first time."""
        path = self.path / name
        if not path.exists():
            write_json(path, make())
        return read_json(path)
