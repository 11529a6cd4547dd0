"""The pinned side environments: one TOML file each, beside this one."""

from __future__ import annotations

import hashlib
import tomllib
from functools import cache
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from neurodeploy.errors import UsageError


class Lock(BaseModel):
    """What an environment holds.

    tool: the vendor's tool in it, as `--oracle` names it. python: "major.minor" that it runs on. main: the package whose
    version stands for the tool's. imports: modules that must import. worker, runner: files of this package, relative to
    it, that run in the environment. neurons: behaviours of `ir.nodes` that it computes.
    packages: every package, pinned, dependencies included.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    tool: str
    python: str
    main: str
    imports: tuple[str, ...]
    worker: str
    runner: str
    neurons: tuple[str, ...]
    packages: tuple[str, ...]

    @property
    def digest(self) -> str:
        """sha256 over the Python version and the packages."""
        return hashlib.sha256("\n".join((self.python, *sorted(self.packages))).encode()).hexdigest()

    @property
    def pins(self) -> dict[str, str]:
        """Version by package."""
        return {name: version for name, _, version in (p.partition("==") for p in self.packages)}


@cache
def locks() -> dict[str, Lock]:
    """All side environments by name."""
    files = sorted(Path(__file__).parent.glob("*.toml"))
    return {f.stem: Lock(name=f.stem, **tomllib.loads(f.read_text(encoding="utf-8"))) for f in files}


def lock_named(name: str) -> Lock:
    """The environment of that name; raises UsageError for an unknown one."""
    found = locks().get(name)
    if found is None:
        raise UsageError(f"no side environment is called {name!r}", where=name, limit=f"Known: {', '.join(locks())}")
    return found


def lock_of_tool(tool: str) -> Lock:
    """The environment that holds a vendor's tool; raises UsageError for an unknown one."""
    by_tool = {lock.tool: lock for lock in locks().values()}
    if tool not in by_tool:
        raise UsageError(
            f"no vendor tool {tool!r} can check a bundle", where=f"--oracle {tool}", limit=f"Known: {', '.join(by_tool)}"
        )
    return by_tool[tool]
