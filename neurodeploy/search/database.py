"""A search's storage in a database: what of its URL may be kept in files, and how it is opened.

A password never stands in a URL that is kept: the driver finds it itself (`~/.pgpass`, `PGPASSWORD`), or the URL names the
environment variable that holds it (`postgresql://lab:$DB_PASSWORD@host/db`, or `$STORAGE` for a whole URL).
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from optuna.exceptions import StorageInternalError
from optuna.storages import BaseStorage, RDBStorage, get_storage

from neurodeploy.errors import Unreachable, UsageError

if TYPE_CHECKING:
    from sqlalchemy import URL

_WHERE = "search storage"
_TRIES = 3  # several searches that make the tables of one empty database at once


def is_database(storage: str | Path) -> bool:
    """Whether a storage is a database: a URL, or the name of an environment variable that holds one."""
    return isinstance(storage, str) and ("://" in storage or storage.startswith("$"))


def kept_storage(storage: str) -> str:
    """A journal's path or a database's URL as a run's folder may keep it: found from anywhere, and without a password.

    Raises UsageError for a URL that is none or of a database in memory, and for a password in it.
    """
    if not is_database(storage):
        return str(Path(storage).resolve())
    if storage.startswith("$"):
        _variable(storage)
        return storage
    url = _parsed(storage)
    given = url.password or ""
    if (given and not given.startswith("$")) or any("passw" in key.lower() for key in url.query):
        raise UsageError(
            "a password in the URL", where=f"{_WHERE} {_shown(url)}",
            limit="It would stay in the run's folder and in the list of processes",
            remedy="Leave it to ~/.pgpass or PGPASSWORD, or name a variable in its place: '...:$DB_PASSWORD@...'",
        )
    if url.get_backend_name() == "sqlite":
        if not url.database or url.database == ":memory:":
            raise UsageError("a database in memory ends with its process", where=f"{_WHERE} {storage}", remedy="Name a file")
        return url.set(database=str(Path(url.database).resolve())).render_as_string(hide_password=False)
    return storage


def open_database(storage: str) -> BaseStorage:
    """The storage at a URL, its tables made where absent.

    Raises UsageError where it cannot be opened, Unreachable where its server does not let us in; the password is masked.
    """
    # Half a second that a journal need not pay.
    from sqlalchemy.exc import IntegrityError, OperationalError, ProgrammingError, SQLAlchemyError

    url = _parsed(_variable(storage) if storage.startswith("$") else storage)
    if url.password and url.password.startswith("$"):
        url = url.set(password=_variable(url.password))
    for tries_left in reversed(range(_TRIES)):
        try:
            # Connections are tried before use: a server that was restarted between two of them is not noticed.
            opened = RDBStorage(url.render_as_string(hide_password=False), {"pool_pre_ping": True})
            # With Optuna's cache of finished trials: without it every look at the storage reads all of them anew.
            return get_storage(opened)
        except (ImportError, ValueError, SQLAlchemyError, StorageInternalError) as error:
            if tries_left and isinstance(error, IntegrityError | ProgrammingError):
                continue
            is_away = isinstance(error, OperationalError) and url.get_backend_name() != "sqlite"
            raise (Unreachable if is_away else UsageError)(
                f"cannot open the database: {_masked(error, url)}", where=f"{_WHERE} {_shown(url)}",
                remedy="Start its server, or mend the URL or the password" if is_away else
                "Give a URL of a database, and install its driver (PostgreSQL: pip install 'neurodeploy[db]')",
            ) from None  # a driver's text may hold the password
    raise AssertionError


@contextmanager
def telling_loss() -> Iterator[None]:
    """What a lost database raises, in whatever layer it is met, becomes Unreachable."""
    try:
        yield
    except _losses() as error:
        origin = error.__cause__ or error
        origin = getattr(origin, "orig", None) or origin
        raise Unreachable(f"the database fails: {' '.join(str(origin).split())}", where=_WHERE) from error


def _losses() -> tuple[type[Exception], ...]:
    sqlalchemy = sys.modules.get("sqlalchemy.exc")
    return (StorageInternalError, *(() if sqlalchemy is None else (sqlalchemy.SQLAlchemyError,)))


def _parsed(text: str) -> URL:
    from sqlalchemy import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        return make_url(text)
    except (ArgumentError, ValueError):
        raise UsageError(
            "not a database's URL", where=_WHERE, limit="Expected dialect://user@host:port/database",
            remedy="For example postgresql://lab@db.example.org/searches",
        ) from None  # what was given may hold a password


def _variable(reference: str) -> str:
    name = reference.removeprefix("$").removeprefix("{").removesuffix("}")
    value = os.environ.get(name)
    if not value:
        raise UsageError(f"the environment variable {name} is not set", where=_WHERE, remedy=f"Set it: export {name}=...")
    return value


def _shown(url: URL) -> str:
    return url.set(query={}).render_as_string(hide_password=True)


def _masked(error: Exception, url: URL) -> str:
    text = " ".join(str(getattr(error, "orig", None) or error.__cause__ or error).split())
    return text.replace(url.password, "***") if url.password else text
