"""A run's folder: what was asked, with what, and every intermediate result, so that a killed run goes on from it."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import platform
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from neurodeploy import __version__
from neurodeploy.data import public
from neurodeploy.data.own import DATASETS, PACKAGED
from neurodeploy.errors import UnsafeFile, UsageError
from neurodeploy.hw.profile import AnyProfile
from neurodeploy.hw.profile import parse as parse_profile
from neurodeploy.ir import archive
from neurodeploy.search.recipe import Recipe
from neurodeploy.search.snas_recipe import AnyRecipe, parse_any
from neurodeploy.train.ranks import Ranks

SCHEMA_VERSION = 1
_REQUEST, _LOCK = "run.json", "run.lock"
# Files of a search's run; BUNDLE is a folder.
JOURNAL, REFERENCES, CANDIDATES, RESULT, BUNDLE = (
    "journal.log", "references.json", "candidates.json", "result.json", "bundle",
)
# Temporary names of files and folders that are moved into place when they are whole; a killed process leaves them.
_UNFINISHED = (".*.json.*", ".*.safetensors.*", ".bundle.*", "*.ckpt*.part")


def tool_versions() -> dict[str, str]:
    """Versions of what decides results: neurodeploy, Python and the numerical packages."""
    packages = ("torch", "numpy", "optuna", "h5py", "nir")
    return {"python": platform.python_version(), "neurodeploy": __version__, **{p: version(p) for p in packages}}


def write_json(path: Path, value: dict[str, Any]) -> None:
    """Write an object so that a reader sees the old file or the new one, never half of one."""
    archive.write(path, json.dumps(value, indent=1, allow_nan=False).encode())


def read_json(path: Path) -> dict[str, Any]:
    """An object from a file; UnsafeFile where it holds none."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UnsafeFile("cannot be read as JSON", where=str(path), limit=str(error)) from error
    if not isinstance(value, dict):
        raise UnsafeFile("holds no JSON object", where=str(path))
    return value


def located(data: str) -> str:
    """A dataset's name as a run or bundle keeps it: the absolute path of a file or folder, so that it is found from anywhere.
    The name of a packaged, public or registered dataset stays one, whatever lies in the working folder."""
    if (named := public.split_name(data)) is not None:
        return public.located(*named)
    path = Path(data)
    return str(path.resolve()) if path.exists() and data not in PACKAGED and data not in DATASETS else data


@dataclass(frozen=True)
class Run:
    """An open run: its folder, its resolved recipe (`settings`, of either family), and where one is involved the target's
    profile as it was when the run began; `arguments` are what else was asked."""

    path: Path
    command: str
    settings: AnyRecipe
    target: AnyProfile | None
    arguments: dict[str, Any]

    @property
    def recipe(self) -> Recipe:
        """The recipe of a run of AutoSNN; UsageError for one of SNASNet."""
        if not isinstance(self.settings, Recipe):
            raise UsageError("holds a run of SNASNet", where=str(self.path), code="other_family",
                             limit="This takes those of AutoSNN", remedy="Name another run")
        return self.settings

    @property
    def profile(self) -> AnyProfile:
        """The target's profile; UnsafeFile where the run has none."""
        if self.target is None:
            raise UnsafeFile("holds no target's profile", where=str(self.path / _REQUEST))
        return self.target

    @classmethod
    def create(
        cls, command: str, recipe: AnyRecipe, target: AnyProfile | None, out: Path | None,
        arguments: dict[str, Any] | None = None,
    ) -> Run:
        """A new folder (default: runs/<utc>-<command>-<hash>), complete from its first moment.

        A dataset in a file is kept by its absolute path. Raises UsageError where the folder exists with content, or
        cannot be written.
        """
        recipe = recipe.model_copy(update={"data": recipe.data.model_copy(update={"name": located(recipe.data.name)})})
        arguments = arguments or {}
        request = {
            "schema_version": SCHEMA_VERSION, "command": command, "recipe": recipe.to_dict(), "arguments": arguments,
            "profile": None if target is None else target.model_dump(mode="json"), "versions": tool_versions(),
            "platform": platform.platform(),
        }
        digest = hashlib.sha256(json.dumps(request, sort_keys=True).encode()).hexdigest()[:8]
        path = out or Path("runs") / f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{command}-{digest}"
        if path.exists() and (not path.is_dir() or any(path.iterdir())):
            is_search = (path / _REQUEST).is_file() and command == "search"
            raise UsageError(
                "the output folder exists and is not empty" if path.is_dir() else "the output folder is a file",
                where=str(path), code="path",
                remedy=f"{f'Continue it with --resume {path}, or name' if is_search else 'Name'} a new folder",
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
            raise _unwritable(path, error) from error
        return cls(path, command, recipe, target, arguments)

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
            profile = content["profile"]
            return cls(
                path, command, parse_any(content["recipe"]), None if profile is None else parse_profile(profile),
                dict(content["arguments"]),
            )
        except (KeyError, ValueError, TypeError, UsageError) as error:
            raise UnsafeFile("is no complete request", where=str(request), limit=str(error)) from error

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keeps every other process but workers out of the run; what a killed one left half written is removed.

        The kernel holds the lock, so it ends with its holder. Raises UsageError where another process has it.
        """
        try:
            descriptor = os.open(self.path / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise _unwritable(self.path, error) from error
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                remedy = f", or help it with `neurodeploy worker --run {self.path}`" if self.command == "search" else ""
                raise UsageError(
                    "another process works on this run", where=str(self.path), code="busy", remedy=f"Wait for it{remedy}"
                ) from error
            for pattern in _UNFINISHED:
                for left in self.path.glob(pattern):
                    shutil.rmtree(left) if left.is_dir() else left.unlink()
            yield
        finally:
            os.close(descriptor)

    def once(self, name: str, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """The object in the run's file `name`; computed and stored the first time."""
        path = self.path / name
        if not path.exists():
            write_json(path, make())
        return read_json(path)


def opened(here: Ranks, command: str, begin: Callable[[], Run]) -> Run:
    """The run that `begin` creates or opens, which of several processes the first calls; the others open its folder."""
    run = begin() if here.is_first else None
    path = Path(here.shared(run and str(run.path.resolve())) if here.n > 1 else "")
    return run or Run.open(path, command)


def _unwritable(path: Path, error: OSError) -> UsageError:
    return UsageError(
        "cannot write the output folder", where=str(path), limit=error.strerror or str(error), code="path",
        remedy="Name a folder that can be written with --out",
    )
