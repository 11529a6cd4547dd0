"""Event files written byte by byte in the published formats, without the package that reads them."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path

Event = tuple[int, int, int, int]  # (t, c, y, x)


def random_events(rng, n: int, side: int, end: int) -> list[Event]:
    """n events in the order of their times, on a square sensor, the first at time 0."""
    times = sorted([0, *(int(t) for t in rng.randint(0, end, n - 1))])
    return [(t, int(rng.randint(2)), int(rng.randint(side)), int(rng.randint(side))) for t in times]


def nmnist(path: Path, events: Sequence[Event]) -> None:
    """5 bytes an event: x, y, polarity above 23 bits of time."""
    path.parent.mkdir(parents=True, exist_ok=True)
    content = bytearray()
    for t, c, y, x in events:
        content += bytes([x, y]) + (c << 23 | t).to_bytes(3, "big")
    path.write_bytes(content)


def aedat2(path: Path, events: Sequence[Event], start: int = 0, header: bytes | None = None) -> None:
    """Big-endian address and time. Rows are counted from the bottom in bits 1-7, columns from the right in bits 8-14."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if header is None:
        header = b"#!AER-DAT2.0\r\n# This is a raw AE data file - do not edit\r\n# Timestamps tick is 1 us\r\n"
    content = bytearray(header)
    for t, c, y, x in events:
        address = (0 if c else 1) + 2 * (127 - y) + 256 * (127 - x)
        content += struct.pack(">ii", address, start + t)
    path.write_bytes(content)


def aedat3(path: Path, events: Sequence[Event], packet: int = 7, invalid: Sequence[int] = (), other: bool = True) -> None:
    """Packets of polarity events, little-endian, with a packet of another type in between."""
    path.parent.mkdir(parents=True, exist_ok=True)
    content = bytearray(b"#!AER-DAT3.1\r\n#Format: RAW\r\n#Source 1: DVS128\r\n#Start-Time: 2016-01-01\r\n#!END-HEADER\r\n")
    for first in range(0, len(events), packet):
        part = events[first : first + packet]
        overflow = part[0][0] >> 31
        assert all(t >> 31 == overflow for t, *_ in part), "a packet has one overflow counter"
        content += struct.pack("<hhiiiiii", 1, 1, 8, 4, overflow, len(part), len(part), len(part))
        for i, (t, c, y, x) in enumerate(part, start=first):
            content += struct.pack("<II", (i not in invalid) | c << 1 | y << 2 | x << 17, t & 0x7FFFFFFF)
        if other:
            content += struct.pack("<hhiiiiii", 0, 1, 12, 4, overflow, 2, 2, 2) + b"\xff" * 24
    path.write_bytes(content)


def gestures(folder: Path, part: str, name: str, trials: Sequence[tuple[int, int, int]], events: Sequence[Event]) -> None:
    """One file of DVS128-Gesture with its table of trials (class 1..11, start, end), added to the list of its part."""
    aedat3(folder / f"{name}.aedat", events)
    lines = ["class,startTime_usec,endTime_usec", *(",".join(map(str, trial)) for trial in trials)]
    (folder / f"{name}_labels.csv").write_text("\n".join(lines) + "\n")
    with (folder / f"trials_to_{part}.txt").open("a") as file:
        file.write(f"{name}.aedat\n")
