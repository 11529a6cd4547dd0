"""AEDAT files: version 2.0 of CIFAR10-DVS, 3.1 of DVS128-Gesture with its table of trials.

Both begin with lines that start with `#`. 2.0: 8 bytes an event, big-endian address and signed time in us. 3.1: packets with a
header of 28 bytes, little-endian; a polarity event is a word (bit 0 valid, 1 polarity, 2-16 y, 17-31 x) and its time.
"""

from __future__ import annotations

import csv
import struct
from pathlib import Path
from typing import NoReturn

import numpy as np
from numpy.typing import NDArray

from neurodeploy.data.camera import Stream
from neurodeploy.errors import UnsafeFile, UsageError
from neurodeploy.ir import archive

SENSOR = (2, 128, 128)
N_GESTURES = 11
_POLARITY, _PACKET = 1, struct.Struct("<hhiiiiii")  # type, source, size, time offset, overflow, capacity, number, valid
_HEADER_END = b"#!END-HEADER"
_COLUMNS = ("class", "startTime_usec", "endTime_usec")


def _refuse(what: str, where: str, limit: str = "") -> NoReturn:
    raise UnsafeFile(what, where=where, limit=limit, remedy="Unpack the archive of the dataset again")


def _lines(content: bytes, version: bytes, where: str) -> tuple[list[bytes], int]:
    """(lines of the header, where the data start)."""
    if not content.startswith(b"#!AER-DAT" + version):
        found = content[:16].partition(b"\n")[0].strip().decode("ascii", "replace")
        _refuse(f"begins with {found!r}", where, f"An AEDAT {version.decode()} file begins with #!AER-DAT{version.decode()}")
    found_lines, start = [], 0
    while content[start : start + 1] == b"#":
        stop = content.find(b"\n", start)
        if stop < 0:
            _refuse("the header does not end", where)
        found_lines.append(content[start:stop].strip())
        start = stop + 1
        if found_lines[-1] == _HEADER_END:
            break
    return found_lines, start


def read_2(path: Path) -> Stream:
    """The events of an AEDAT 2.0 file of a DVS128 as the published images stand upright, times from the first event.

    Bit 0 of an address is 1 for OFF; bits 1-7 count rows from the bottom and 8-14 columns from the right, as users of
    CIFAR10-DVS read it. Bit 15 marks external signals, which are left out. Raises UnsafeFile for a damaged file, UsageError for
    addresses of a larger sensor.
    """
    content, where = archive.read(path), str(path)
    _, start = _lines(content, b"2.0", where)
    n, rest = divmod(len(content) - start, 8)
    if rest or not n:
        _refuse(f"event {n} is cut off" if rest else "the file holds no event", where, "An event takes 8 bytes")
    address, t = np.frombuffer(content, ">i4", offset=start).reshape(n, 2).T.astype(np.int64)
    larger = np.flatnonzero((address < 0) | (address >= 2**16))
    if len(larger):
        raise UsageError(
            f"address {address[larger[0]] % 2**32:#x}; {len(larger)} of {n} events lie outside the sensor",
            where=f"{where}, event {larger[0]}", limit="A DVS128 has 128 x 128 pixels, addresses of 16 bits",
            code="event_outside",
            remedy="Only recordings of a DVS128 can be read; convert those of other cameras to an .npz event file",
        )
    events = np.stack([t - t[0], 1 - (address & 1), 127 - (address >> 1 & 127), 127 - (address >> 8 & 127)], axis=1)
    return events[address < 2**15]


def read_3(path: Path) -> Stream:
    """The valid polarity events of an AEDAT 3.1 file with the camera's own times. Raises UnsafeFile for a damaged file."""
    content, where = archive.read(path), str(path)
    header, at = _lines(content, b"3.1", where)
    coding = next((line.partition(b":")[2].strip() for line in header if line.startswith(b"#Format:")), b"RAW")
    if coding != b"RAW":
        _refuse(f"the events are coded as {coding.decode('ascii', 'replace')}", where, "Only RAW can be read")
    found: list[NDArray[np.int64]] = [np.zeros((0, 4), dtype=np.int64)]
    n_packets = 0
    while at < len(content):
        if len(content) - at < _PACKET.size:
            _refuse(f"the header of packet {n_packets} is cut off", where, f"It takes {_PACKET.size} bytes")
        kind, _, size, _, overflow, _, number, _ = _PACKET.unpack_from(content, at)
        at += _PACKET.size
        if size < 0 or number < 0 or overflow < 0 or len(content) - at < size * number:
            _refuse(f"packet {n_packets} says it has {number} events of {size} bytes", where,
                    f"{len(content) - at} bytes are left")
        if kind == _POLARITY:
            if size != 8:
                _refuse(f"packet {n_packets} has polarity events of {size} bytes", where, "They have 8 bytes")
            word, t = np.frombuffer(content, "<u4", 2 * number, at).reshape(number, 2).T.astype(np.int64)
            events = np.stack([t + (overflow << 31), word >> 1 & 1, word >> 2 & 0x7FFF, word >> 17], axis=1)
            found.append(events[word & 1 == 1])
        at += size * number
        n_packets += 1
    return np.concatenate(found)


def trials(path: Path) -> list[tuple[int, int, int]]:
    """(label 0..10, start, end) of every trial in a `_labels.csv`, in us of the camera. Raises UsageError for a bad table."""
    where = str(path)
    try:
        rows = list(csv.reader(archive.read(path).decode("utf-8", "replace").splitlines()))
    except csv.Error as error:
        raise UsageError("is no table of trials", where=where, limit=str(error)) from error
    if not rows or tuple(cell.strip() for cell in rows[0]) != _COLUMNS:
        raise UsageError("is no table of trials", where=where, limit=f"Its first line is {','.join(_COLUMNS)}")
    found = []
    for i, row in enumerate(rows[1:], start=2):
        try:
            label, start, end = map(int, row)
        except ValueError as error:
            raise UsageError(f"line {i} reads {','.join(row)[:60]!r}", where=where,
                             limit="Three whole numbers a line") from error
        if not 1 <= label <= N_GESTURES or not 0 <= start < end:
            raise UsageError(f"line {i}: class {label}, from {start} to {end} us", where=where,
                             limit=f"Classes are 1 to {N_GESTURES}; a trial ends after its start")
        found.append((label - 1, start, end))
    return found
