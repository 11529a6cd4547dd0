"""The folder format: a manifest that names every file with its sha256, and its own.

The manifest's own digest is taken over its bytes with the digest's 64 characters written as zeros, so that a changed
byte anywhere in the folder's hashed files is noticed. Reports, verdicts and lab results lie beside and are not hashed.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from neurodeploy.errors import UnsafeFile, UsageError

SCHEMA_VERSION = 1
FORMAT = "neurodeploy bundle"
MANIFEST = "manifest.json"
BESIDE = frozenset({"report.json", "report.html", "verdict.json"})  # written again by the next report or validation
_BLANK = "0" * 64
_MAX_MANIFEST = 2**28


@dataclass(frozen=True)
class Bundle:
    """An exported bundle: the folder `path`."""

    path: Path

    @property
    def manifest(self) -> dict[str, Any]:
        """The manifest; raises UnsafeFile where it was changed."""
        return read_manifest(self.path)


def digest(payload: bytes) -> str:
    """sha256 as hexadecimal text."""
    return hashlib.sha256(payload).hexdigest()


def write_manifest(folder: Path, fields: dict[str, Any]) -> None:
    """Write the manifest of a folder: `fields` plus format, schema version, the sha256 of every other file, and its own.

    The files hashed are all of the folder but reports, verdicts and the manifest itself.
    """
    names = sorted(p.name for p in folder.iterdir() if p.is_file() and p.name not in BESIDE | {MANIFEST})
    files = {name: digest((folder / name).read_bytes()) for name in names}
    manifest = {**fields, "format": FORMAT, "schema_version": SCHEMA_VERSION, "files": files, "sha256": _BLANK}
    blank = (json.dumps(manifest, sort_keys=True, allow_nan=False, indent=1) + "\n").encode()
    (folder / MANIFEST).write_bytes(blank.replace(_own(_BLANK), _own(digest(blank))))


def _own(value: str) -> bytes:
    return f'\n "sha256": "{value}"'.encode()


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a bundle. Raises UsageError where there is none, UnsafeFile where it was changed or is too new."""
    path = folder / MANIFEST
    if not path.is_file():
        raise UsageError(f"no bundle: {MANIFEST} is missing", where=str(folder), remedy="Name a folder written by export")
    if path.stat().st_size > _MAX_MANIFEST:
        raise UnsafeFile("the manifest is too large", where=str(path), limit=f"At most {_MAX_MANIFEST} bytes")
    payload = path.read_bytes()
    try:
        manifest = json.loads(payload)
    except (ValueError, RecursionError) as err:
        raise _changed(path, f"it is not valid JSON: {err}") from err
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise _changed(path, "it is not the manifest of a bundle")
    if manifest.get("schema_version") != SCHEMA_VERSION:
        raise UnsafeFile(
            f"schema version {manifest.get('schema_version')!r}", where=str(path), limit=f"Known: {SCHEMA_VERSION}",
            remedy="Use the version of neurodeploy that wrote it",
        )
    own = manifest.get("sha256")
    if not isinstance(own, str) or payload.count(_own(own)) != 1 or digest(payload.replace(_own(own), _own(_BLANK))) != own:
        raise _changed(path, "its own sha256 does not match")
    files = manifest.get("files")
    if not isinstance(files, dict) or not all(isinstance(v, str) and Path(k).name == k for k, v in files.items()):
        raise _changed(path, "its list of files is damaged")
    return manifest


def _changed(path: Path, why: str) -> UnsafeFile:
    return UnsafeFile(f"{path.name} was changed: {why}", where=str(path), code="tampered", remedy="Export again")


def check_files(folder: Path, manifest: dict[str, Any]) -> None:
    """Raise UnsafeFile naming the first file of the manifest that is missing or was changed."""
    for name, wanted in sorted(manifest["files"].items()):
        path = folder / name
        if path.is_symlink() or not path.is_file():
            raise UnsafeFile(f"{name} is missing", where=str(path), code="tampered", remedy="Export again")
        found = digest(path.read_bytes())
        if found != wanted:
            raise UnsafeFile(
                f"{name} was changed", where=str(path), limit=f"sha256 {found[:12]}..., the manifest says {wanted[:12]}...",
                code="tampered", remedy="Export again",
            )


@contextmanager
def written_whole(out: Path) -> Iterator[Path]:
    """A temporary folder beside `out` that becomes `out` when the block ends without error, or vanishes.

    Raises UsageError when `out` cannot be written, or holds anything but an older bundle and its reports.
    """
    check_out(out)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(dir=out.parent, prefix=f".{out.name}."))
    except OSError as err:
        raise _unwritable(out, err) from err
    try:
        yield temporary
        try:
            temporary.chmod(0o755)
            check_out(out)  # again: the block may have taken long
            _swap(temporary, out)
        except OSError as err:
            raise _unwritable(out, err) from err
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _unwritable(out: Path, err: OSError) -> UsageError:
    return UsageError("cannot write the bundle", where=str(out), limit=str(err.strerror or err), remedy="Name another folder")


def check_out(out: Path) -> None:
    """Raise UsageError where no bundle can be written to `out`, or where it holds anything but an older one."""
    if not out.exists() and not out.is_symlink():
        above = next(p for p in out.absolute().parents if p.exists())
        if not above.is_dir():
            raise _unwritable(out, NotADirectoryError(errno.ENOTDIR, f"{above} is not a folder"))
        if not os.access(above, os.W_OK | os.X_OK):
            raise _unwritable(out, PermissionError(errno.EACCES, os.strerror(errno.EACCES)))
        return
    if out.is_symlink() or not out.is_dir():
        raise UsageError("not a folder", where=str(out), remedy="Name a folder to write the bundle to")
    try:
        found = {p.name for p in out.iterdir()}
        if not found:
            return
        own = set(json.loads((out / MANIFEST).read_bytes())["files"]) if MANIFEST in found else set()
    except OSError as err:
        raise _unwritable(out, err) from err
    except (ValueError, KeyError, TypeError):
        own = set()
    foreign = sorted(found - own - BESIDE - {MANIFEST}) if own else sorted(found)
    if foreign:
        raise UsageError(
            f"the folder holds {', '.join(foreign[:4])}{', ...' if len(foreign) > 4 else ''}", where=str(out),
            limit="Only an empty folder or a bundle with its reports is replaced", remedy="Name another folder, or move them",
        )


def _swap(new: Path, out: Path) -> None:
    if not out.exists():
        new.rename(out)
        return
    old = Path(tempfile.mkdtemp(dir=out.parent, prefix=f".{out.name}.old."))
    try:
        out.rename(old / "bundle")
        try:
            new.rename(out)
        except OSError:
            (old / "bundle").rename(out)
            raise
    finally:
        shutil.rmtree(old, ignore_errors=True)
