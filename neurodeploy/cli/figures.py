"""Numbers as a person reads them: percent, SI prefixes, bands in one unit, counts with separators."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

_PREFIXES = {-5: "f", -4: "p", -3: "n", -2: "u", -1: "m", 0: "", 1: "k", 2: "M", 3: "G"}
MISSING = "-"


def percent(share: float | None) -> str:
    """A share 0..1 in percent.

    >>> percent(0.9725), percent(None)
    ('97.25 %', '-')
    """
    return MISSING if share is None else f"{_no_minus_zero(f'{100 * share:.2f}')} %"


def points(difference: float) -> str:
    """A difference of shares in percentage points, with its sign.

    >>> points(-0.0037), points(0.0)
    ('-0.37', '0.00')
    """
    return _no_minus_zero(f"{100 * difference:+.2f}")


def share_of(n: int, total: int, interval: Sequence[float] | None) -> str:
    """`522 of 540; 94.79 to 97.88 %`: what an accuracy or agreement rests on, with its 95 % interval.

    >>> share_of(522, 540, [0.94793, 0.97881])
    '522 of 540; 94.79 to 97.88 %'
    """
    head = f"{n} of {total}"
    return head if interval is None else f"{head}; {100 * interval[0]:.2f} to {100 * interval[1]:.2f} %"


def count(value: float | None) -> str:
    """A number of events, or the mean number over many samples.

    >>> count(89370.64), count(131.7037), count(0.0), count(None)
    ('89,371', '131.7', '0', '-')
    """
    if value is None:
        return MISSING
    if abs(value) >= 1000 or float(value).is_integer():
        return f"{value:,.0f}"
    return f"{value:.4g}"


def si(value: float | None, unit: str) -> str:
    """A quantity with an SI prefix and four digits.

    >>> si(6.7253e-06, "J"), si(0.0, "s"), si(None, "J")
    ('6.725 uJ', '0 s', '-')
    """
    if value is None or not math.isfinite(value):
        return MISSING if value is None else str(value)
    power = _power(value)
    return f"{value / 1000.0**power:.4g} {_PREFIXES[power]}{unit}"


def band(values: Mapping[str, Any] | None, unit: str) -> str:
    """Nominal value and its band in one unit.

    >>> band({"low": 1e-6, "nominal": 2.5e-6, "high": 14e-6}, "J")
    '2.5 uJ (1 to 14)'
    """
    if values is None:
        return MISSING
    power = _power(values["nominal"] or values["high"])
    low, nominal, high = (_three_digits(values[k] / 1000.0**power) for k in ("low", "nominal", "high"))
    return f"{nominal} {_PREFIXES[power]}{unit} ({low} to {high})"


def relative(found: float | None, predicted: float | None) -> str:
    """How far the first lies from the second.

    >>> relative(1.1, 1.0), relative(1.0, 0.0)
    ('+10.0 %', '-')
    """
    return MISSING if found is None or not predicted else f"{_no_minus_zero(f'{100 * (found / predicted - 1):+.1f}')} %"


def runs(indices: Sequence[int], most: int | None = None) -> str:
    """Whole numbers with runs as first-last, `most` of these.

    >>> runs([3]), runs([4, 5, 6, 9]), runs([1, 3, 5], most=2)
    ('3', '4-6, 9', '1, 3, ...')
    """
    found: list[list[int]] = []
    for index in sorted(indices):
        if found and index == found[-1][-1] + 1:
            found[-1] = [found[-1][0], index]
        else:
            found.append([index, index])
    shown = [f"{a}-{b}" if a != b else str(a) for a, b in found]
    return ", ".join(shown if most is None or len(shown) <= most else [*shown[:most], "..."])


def arch(genome: Sequence[str]) -> str:
    """Blocks as `train --arch` takes them.

    >>> arch(["skip_connect", "SCB_k3"])
    'skip,SCB_k3'
    """
    return ",".join("skip" if block == "skip_connect" else str(block) for block in genome)


def _three_digits(value: float) -> str:
    return f"{value:.3g}" if abs(value) < 999.5 else f"{value:.0f}"


def _no_minus_zero(text: str) -> str:
    return text if float(text) else text.lstrip("+-")


def _power(value: float) -> int:
    return min(max(math.floor(math.log10(abs(value)) / 3), -5), 3) if value else 0
