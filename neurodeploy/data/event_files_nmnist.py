"""N-MNIST's `.bin` files (Orchard et al. 2015): 5 bytes an event.

Byte 0 is x, byte 1 is y; bit 7 of byte 2 is the polarity, 1 for ON; the other 23 bits, most significant byte first, are the
time in us. A y of 240 is no event: it marks an overflow of the recorder's clock, and 2**13 us are added to the times of all
later events, as the dataset's own Matlab reader does. Anything else that runs backwards is an error.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from neurodeploy.data.camera import Stream
from neurodeploy.errors import UnsafeFile
from neurodeploy.ir import archive

SENSOR = (2, 34, 34)
EVENT_BYTES = 5
OVERFLOW_Y, OVERFLOW_US = 240, 2**13


def read(path: Path) -> Stream:
    """The events of one file, in its order. Raises UnsafeFile where it is cut off or empty."""
    content = archive.read(path)
    n, rest = divmod(len(content), EVENT_BYTES)
    if rest or not n:
        what = f"{len(content)} bytes; event {n} is cut off" if rest else "the file is empty"
        raise UnsafeFile(what, where=str(path), limit=f"An event takes {EVENT_BYTES} bytes",
                         remedy="Unpack the archive of the dataset again")
    x, y, high, middle, low = np.frombuffer(content, np.uint8).reshape(n, EVENT_BYTES).T.astype(np.int64)
    marker = y == OVERFLOW_Y
    t = ((high & 0x7F) << 16 | middle << 8 | low) + OVERFLOW_US * np.cumsum(marker)
    events: Stream = np.stack([t, high >> 7, y, x], axis=1)[~marker]
    return events
