"""Time and energy of a piece of work that is repeated for a while."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import fmean, median
from typing import Protocol

from neurodeploy.errors import UsageError

_SAMPLE_S = 0.02  # between two samples of power, where there is no counter


class Meter(Protocol):
    """What tells the power of a device: `hw.nvml.Nvml`, or a stand-in of a test."""

    name: str
    driver: str

    def power_w(self) -> float:
        """Power now."""
        ...

    def energy_j(self) -> float | None:
        """Energy since some moment, None where the device does not count it."""
        ...


@dataclass(frozen=True)
class Load:
    """Work to repeat. One call is `amount` kernels, bytes or operations and moves `n_bytes`; `finish` waits until it is done.

    calls: repeats between two looks at the clock.
    """

    work: Callable[[], object]
    finish: Callable[[], object]
    amount: float
    n_bytes: float = 0.0
    calls: int = 1


@dataclass(frozen=True)
class Clock:
    """Time in seconds, and how to let it pass."""

    now: Callable[[], float] = time.perf_counter
    rest: Callable[[float], None] = time.sleep


@dataclass(frozen=True)
class Window:
    """Calls of a load in some seconds, and what the device drew meanwhile."""

    n_calls: int
    seconds: float
    joule: float

    @property
    def watt(self) -> float:
        """Mean power."""
        return self.joule / self.seconds


@dataclass(frozen=True)
class Spread:
    """Median, lowest and highest of the windows."""

    value: float
    low: float
    high: float

    @classmethod
    def of(cls, values: list[float]) -> Spread:
        return cls(median(values), min(values), max(values))

    def to_dict(self) -> dict[str, float]:
        """Plain fields, for JSON."""
        return {"low": self.low, "nominal": self.value, "high": self.high}


def windows(meter: Meter, load: Load | None, seconds: float, n: int, clock: Clock) -> list[Window]:
    """`n` windows of at least `seconds` each, of a load after one that warms up, or of rest where load is None.

    Raises UsageError where the counter of energy stands still.
    """
    if load is not None:
        load.work()
        load.finish()
    return [_window(meter, load, seconds, clock) for _ in range(n)]


def _window(meter: Meter, load: Load | None, seconds: float, clock: Clock) -> Window:
    with _Sampled(meter) as sampled:
        before, start, n_calls = meter.energy_j(), clock.now(), 0
        while clock.now() - start < seconds:
            if load is None:
                clock.rest(seconds)
                continue
            for _ in range(load.calls):
                load.work()
            load.finish()
            n_calls += load.calls
        passed, after = clock.now() - start, meter.energy_j()
    if before is None or after is None:
        return Window(n_calls, passed, fmean(sampled.watts) * passed)
    if after <= before:
        raise UsageError(f"the counter of energy stood still for {passed:.3g} s", where=meter.name, code="no_rise",
                         remedy="Measure longer windows: --seconds 5")
    return Window(n_calls, passed, after - before)


class _Sampled:
    """Power sampled from another thread, where the device does not count its energy."""

    def __init__(self, meter: Meter) -> None:
        self._meter = meter
        self.watts: list[float] = []
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True) if meter.energy_j() is None else None

    def _sample(self) -> None:
        while not self._over.wait(_SAMPLE_S):
            self.watts.append(self._meter.power_w())

    def __enter__(self) -> _Sampled:
        if self._thread is not None:
            self.watts.append(self._meter.power_w())  # here, so that what it cannot tell is an error and no dead thread
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        if self._thread is not None:
            self._thread.join()
