"""A GPU with round numbers, for vectors worked by hand."""

from __future__ import annotations

from typing import Any

from neurodeploy.hw.profile import GpuProfile, parse


def q(value: float, unit: str, low: float | None = None, high: float | None = None) -> dict[str, Any]:
    """A quantity as a profile's file has it."""
    return {"value": value, "unit": unit, "status": "assumed", "source": "a round number", "low": low, "high": high}


def round_gpu(**changes: dict[str, Any]) -> GpuProfile:
    """1 Top/s, 1 GB/s, 10 MB of cache, 4 multiprocessors, tiles of 100; 2 pJ/op of which 1 pJ pays the memory (0.025 values an
    operation, 10 pJ/byte, 4 bytes a value); launches of 10 us without gap; 1 W idle, 2 W while waiting."""
    raw: dict[str, Any] = {
        "schema_version": 1, "name": "round", "title": "Round numbers", "boundary": "board",
        "arithmetic": {"neuron": "float", "precisions": ["fp32"], "source": "a round number", "status": "assumed"},
        "capacity": {"memory": q(1, "GB"), "cache": q(10, "MB"), "multiprocessors": q(4, "multiprocessor")},
        "rates": {"fp32": q(1, "Top/s"), "bandwidth": q(1, "GB/s")},
        "energy": {"op_fp32": q(2, "pJ"), "byte": q(10, "pJ")},
        "time": {"launch": q(10, "us"), "gap": q(0, "us")},
        "power": {"idle": q(1, "W"), "launch": q(2, "W")},
        "factors": {
            "eta_fp32": q(1, "share"), "values_per_op": q(0.025, "value/op"), "tile": q(100, "value"), "fusion": q(1, "kernel"),
        },
    }
    for table, entries in changes.items():
        raw[table] = {k: v for k, v in {**raw[table], **entries}.items() if v is not None}
    profile = parse(raw)
    assert isinstance(profile, GpuProfile)
    return profile
