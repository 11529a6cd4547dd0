"""What packages and scripts of others add by name: datasets, blocks of networks, terms of the fitness.

A package lists a name in an entry point group of its metadata, a script registers one with a decorator. Recipes, files and
command lines only ever name things: what a name means was decided by whoever installed the package or wrote the script, and
no package is imported before one of its names is used.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Generic, TypeVar, cast

from neurodeploy.errors import UsageError

T = TypeVar("T")
S = TypeVar("S")
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,63}")


class Registry(Generic[T]):
    """The things of one kind, by name.

    kind: "block"; group: of the entry points; decorator: as a script writes it; check: raises UsageError for what is no such
    thing, given its name and where it came from; reserved: names that are the project's own, and always mean that.
    """

    def __init__(
        self, kind: str, group: str, decorator: str, check: Callable[[str, Any, str], None], reserved: Iterable[str] = ()
    ) -> None:
        self.kind, self.group, self.decorator = kind, group, decorator
        self._check, self._reserved = check, frozenset(reserved)
        self._registered: dict[str, T] = {}
        self._loaded: dict[str, T] = {}

    def register(self, name: str) -> Callable[[S], S]:
        """A decorator that gives a thing its name in this process. UsageError for a name that is taken or unsuitable.

        The same definition may be registered again, as a notebook does that runs a cell twice, and so may one that its
        package lists as an entry point.
        """

        def add(thing: S) -> S:
            before = self._registered.get(name)
            if before is not None and _definition(before) != _definition(thing):
                raise self._error(f"{self.kind} {name!r} is registered already", "Choose another name",
                                  limit=f"It is {_definition(before)}")
            if any(entry.value.replace(":", ".") != _definition(thing) for entry in self._installed(name)):
                raise self._error(f"an installed package has a {self.kind} {name!r}", "Choose another name")
            self._accept(name, thing, _definition(thing))
            self._registered[name] = cast("T", thing)  # as `check` has found
            return thing

        return add

    def names(self) -> tuple[str, ...]:
        """Every name, sorted; imports nothing."""
        installed = {entry.name for entry in entry_points(group=self.group)} - self._reserved
        return tuple(sorted({*self._registered, *installed}))

    def __contains__(self, name: str) -> bool:
        return name in self._registered or name in self._loaded or bool(self._installed(name))

    def get(self, name: str) -> T:
        """The thing of that name, its package imported at first use. UsageError where there is none, or it is unsuitable."""
        if name in self._registered:
            return self._registered[name]
        if name not in self._loaded:
            found = self._installed(name)
            if not found:
                raise self._error(f"no {self.kind} {name!r}", f"Check the name, or {self.remedy}", limit=self.known())
            packages = [entry.dist.name if entry.dist else entry.value for entry in found]
            if len(set(packages)) > 1:
                raise self._error(f"{self.kind} {name!r} is in the packages {', '.join(packages)}", "Uninstall all but one")
            where = f"{found[0].value} of package {packages[0]}"
            try:
                thing = found[0].load()
            except Exception as error:  # whatever a stranger's module raises
                raise self._error(
                    f"{self.kind} {name!r} cannot be imported ({type(error).__name__}: {error})",
                    f"Mend or uninstall {packages[0]}", limit=f"It is {where}",
                ) from error
            self._accept(name, thing, where)
            self._loaded[name] = thing
        return self._loaded[name]

    def known(self) -> str:
        """One sentence with the names that there are."""
        return f"Registered: {', '.join(self.names()) or 'none'}"

    @property
    def remedy(self) -> str:
        """How a name becomes known, to be read after "or"."""
        return (f"install the package that lists it in the entry point group {self.group}, or run the script that registers it "
                f"with {self.decorator}")

    def only_in_this_process(self, names: Iterable[str]) -> tuple[str, ...]:
        """Those of the names that other processes would not know."""
        return tuple(name for name in names if name in self._registered and not self._installed(name))

    def _installed(self, name: str) -> list[EntryPoint]:
        return [] if name in self._reserved else list(entry_points(group=self.group, name=name))

    def _accept(self, name: str, thing: Any, where: str) -> None:
        if name in self._reserved or not _NAME.fullmatch(name):
            raise self._error(f"{name!r} cannot name a {self.kind}", "Choose another name",
                              limit="A letter, then letters, digits, _ and -, 64 at most, and no name of neurodeploy's own")
        self._check(name, thing, where)

    def _error(self, what: str, remedy: str, *, limit: str = "") -> UsageError:
        return UsageError(what, where=self.group, limit=limit, remedy=remedy, code="unknown_extension")


def _definition(thing: Any) -> str:
    return f"{getattr(thing, '__module__', '?')}.{getattr(thing, '__qualname__', repr(thing))}"


def require_callable(kind: str, takes: str) -> Callable[[str, Any, str], None]:
    """A check of `Registry`: a thing must be callable."""

    def check(name: str, thing: Any, where: str) -> None:
        if not callable(thing):
            raise UsageError(f"is a {type(thing).__name__}", where=f"{kind} {name!r} ({where})", limit=f"It must be {takes}")

    return check


def failure(kind: str, name: str, error: Exception, where: str = "") -> UsageError:
    """The error for an extension of somebody else's that raised one."""
    return UsageError(
        f"raised {type(error).__name__}: {error}", where=f"{kind} {name!r}{where}", code="extension_failed",
        remedy=f"Mend the {kind}",
    )
