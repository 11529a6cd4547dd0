"""Logs of the power of a board's supply rails: read, checked, in watt and seconds.

`.csv` with a header, or `.npz` with one array [n] a column: `t_s`, `t_ms` or `t_us`, each rail by its name (watt) or with
a unit (`ram_mw`, `ram_uw`), and where the run's activity is known `synops_per_s`, or `synops`, counted from the row before.
`.npy`: [rails, n, 2] with (microsecond, watt) as LENS publishes them, rails in the order of the profile. Nothing is unpickled.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neurodeploy.data.one_array import read_named
from neurodeploy.errors import UnsafeFile, UsageError

Floats = NDArray[np.float64]
_TIMES = {"t_s": 1.0, "t_ms": 1e-3, "t_us": 1e-6}
_POWERS = {"": 1.0, "_w": 1.0, "_mw": 1e-3, "_uw": 1e-6}
_ACTIVITIES = ("synops_per_s", "synops")
_MAX_CSV = 2**28  # bytes
_MAX_VALUE = 1e15  # of any column: more would overflow in the fit
_REMEDY = "Write a .csv with a header of t_s, one column a rail in watt, and synops_per_s"


@dataclass(frozen=True, eq=False)
class PowerLog:
    """t_s [n], rising; power_w [n] by rail; synops_per_s [n] or None. `ignored`: columns that mean nothing here."""

    path: Path
    t_s: Floats
    power_w: dict[str, Floats]
    synops_per_s: Floats | None
    ignored: tuple[str, ...]

    @property
    def n(self) -> int:
        """Rows."""
        return len(self.t_s)

    @property
    def duration_s(self) -> float:
        """From the first row to the end of the last."""
        return float(self.t_s[-1] - self.t_s[0]) * self.n / (self.n - 1)


def read_power_log(path: Path, rails: Sequence[str], needed: Sequence[str]) -> PowerLog:
    """The log at `path`. `rails` are the names that a profile knows, in its order, `needed` those that must be there.

    Raises UsageError where there is no such file, a column is missing, times run backwards or less than three rows are
    left, UnsafeFile for a file that is damaged, too large or holds anything but numbers.
    """
    where = str(path)
    if not path.is_file():
        what = "no regular file (a folder, a pipe or a device)" if path.exists() else "no such file"
        raise UsageError(what, where=where, code="path", remedy="Name a .csv, .npz or .npy file")
    readers = {".csv": _csv, ".npz": _npz, ".npy": _lens}
    if path.suffix.lower() not in readers:
        raise UsageError(f"a {path.suffix or 'file without a suffix'}", where=where, limit="Known: .csv, .npz, .npy",
                         remedy=_REMEDY)
    try:
        columns = readers[path.suffix.lower()](path, rails)
    except UnsafeFile as error:
        raise UnsafeFile(error.what, where=error.where or where, limit=error.limit, remedy=_REMEDY) from error
    return _checked(path, columns, rails, needed)


def _csv(path: Path, _: Sequence[str]) -> dict[str, Floats]:
    where = str(path)
    if path.stat().st_size > _MAX_CSV:
        raise UnsafeFile(f"the file has {path.stat().st_size} bytes", where=where, limit=f"At most {_MAX_CSV}")
    try:
        rows = [row for row in csv.reader(io.StringIO(path.read_text(encoding="utf-8-sig"))) if row]
    except (UnicodeDecodeError, csv.Error) as error:
        raise UnsafeFile("the file is no table in text", where=where, limit=str(error)) from error
    header = [name.strip() for name in rows[0]] if rows else []
    if not header or len(set(header)) != len(header):
        raise UsageError(f"the header is {', '.join(header) or 'empty'}", where=where, limit="Names, each once", remedy=_REMEDY)
    values = np.empty((len(rows) - 1, len(header)))
    for i, row in enumerate(rows[1:]):
        try:
            values[i] = [float(cell) for cell in row]  # a row of another length does not fit either
        except ValueError as error:
            raise UnsafeFile("a row that is no row of numbers", where=f"{where}, row {i + 2}", limit=str(error)) from error
    return {name: values[:, i].copy() for i, name in enumerate(header)}


def _npz(path: Path, rails: Sequence[str]) -> dict[str, Floats]:
    names = [*_TIMES, *_ACTIVITIES, *(f"{rail}{unit}" for rail in rails for unit in _POWERS)]
    return {name: np.asarray(values, dtype=np.float64) for name, values in read_named(path, names).items()}


def _lens(path: Path, rails: Sequence[str]) -> dict[str, Floats]:
    try:  # mapped, not read: a header that claims more than the file holds allocates nothing
        found = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, OSError, EOFError, SyntaxError, OverflowError) as error:
        raise UnsafeFile("the file is no array", where=str(path), limit=str(error)) from error
    if not isinstance(found, np.ndarray) or found.dtype.kind not in "iuf":
        raise UnsafeFile("the file is no array of numbers", where=str(path))
    values = np.array(found, dtype=np.float64)
    if values.ndim != 3 or values.shape[::2] != (len(rails), 2):
        raise UsageError(f"an array of shape {values.shape}", where=str(path),
                         limit=f"[{len(rails)}, n, 2]: (microsecond, watt) of {', '.join(rails)}", remedy=_REMEDY)
    if values.shape[1] and float(np.ptp(values[:, :, 0], axis=0).max()) > float(np.diff(values[0, :, 0]).max(initial=0.0)):
        raise UsageError("the rails were not read at the same times", where=str(path), limit="Rows less than a row apart",
                         remedy=_REMEDY)
    return {"t_us": values[0, :, 0], **{rail: values[i, :, 1] for i, rail in enumerate(rails)}}


def _checked(path: Path, columns: dict[str, Floats], rails: Sequence[str], needed: Sequence[str]) -> PowerLog:
    where = str(path)
    shapes = {name: values.shape for name, values in columns.items()}
    if len(set(shapes.values())) > 1 or any(len(shape) != 1 for shape in shapes.values()):
        raise UsageError(f"columns of shapes {sorted(set(shapes.values()))}", where=where, limit="One length [n] for all",
                         remedy=_REMEDY)
    powers: dict[str, Floats] = {}
    used: list[str] = []
    for rail in rails:
        found = [(f"{rail}{unit}", factor) for unit, factor in _POWERS.items() if f"{rail}{unit}" in columns]
        if len(found) > 1:
            raise UsageError(f"{rail} stands there as {' and '.join(name for name, _ in found)}", where=where, limit="Once")
        for name, factor in found:
            powers[rail] = columns[name] * factor
            used.append(name)
    time = next((name for name in _TIMES if name in columns), None)
    missing = [*(["t_s"] if time is None else []), *(rail for rail in needed if rail not in powers)]
    if missing or time is None:
        raise UsageError(f"no column {', '.join(missing)}", where=where, limit=f"It has {', '.join(columns)}", remedy=_REMEDY)
    activity = next((name for name in _ACTIVITIES if name in columns), None)
    kept = [time, *used, *([] if activity is None else [activity])]
    t = columns[time] * _TIMES[time]
    if len(t) < 3:
        raise UsageError(f"{len(t)} rows", where=where, limit="At least 3, each the mean of its time window")
    for name in kept:
        if not (np.abs(columns[name]) < _MAX_VALUE).all():
            raise UsageError(f"{name} holds values that are no numbers", where=where,
                             limit=f"Finite numbers below {_MAX_VALUE:g} in every row")
    late = np.flatnonzero(np.diff(t) <= 0)
    if len(late):
        i = int(late[0]) + 1
        raise UsageError(f"time {t[i]:g} s after {t[i - 1]:g} s", where=f"{where}, row {i}", limit="Times rise from row to row",
                         remedy="Sort the rows by time, and leave repeated ones out")
    synops = None if activity is None else columns[activity]
    if synops is not None and synops.min() < 0:
        raise UsageError(f"{activity} of {synops.min():g}", where=where, limit="Counts from 0")
    if activity == "synops" and synops is not None:  # the first row's window is taken to be as long as the second's
        synops = synops / np.diff(t, prepend=2 * t[0] - t[1])
    return PowerLog(path, t - t[0], powers, synops, tuple(n for n in columns if n not in kept))


def describe_log(log: PowerLog) -> dict[str, Any]:
    """Plain facts of a log, for a report."""
    return {
        "file": str(log.path), "n": log.n, "duration_s": log.duration_s, "rails": list(log.power_w),
        "has_synops": log.synops_per_s is not None, "ignored": list(log.ignored),
    }
