"""Profiles of GPUs: memory, rates, and what an operation, a byte and a launch cost.

`cost/gpu_cost.py` says what each number is multiplied with. A GPU has no cores to place neurons on and nothing is lowered
or quantized for it: it runs the network's own floats.
"""

from __future__ import annotations

from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from neurodeploy.hw.digest import digest_of
from neurodeploy.hw.quantity import Quantity, Status, Strict

Precision = Literal["fp32", "bf16", "int8"]
Boundary = Literal["board", "wall"]
VALUE_BYTES: dict[Precision, int] = {"fp32": 4, "bf16": 2, "int8": 1}
_FACTORS = ("values_per_op", "tile", "fusion")
_UNITS = {"rates": "Top/s", "bandwidth": "B/s", "energy": "J", "time": "s", "power": "W"}


class GpuArithmetic(Strict):
    """`precisions` that the profile has numbers for; the first is the one used where none is asked for."""

    neuron: Literal["float"]
    precisions: tuple[Precision, ...] = Field(min_length=1)
    source: str
    status: Status


class GpuCapacity(Strict):
    """Memory that holds weights, states and activations; the last-level `cache` that spares it traffic; `multiprocessors`
    share the tiles of a kernel's outputs."""

    memory: Quantity
    cache: Quantity
    multiprocessors: Quantity


class GpuProfile(Strict):
    """One GPU. Tables map names to quantities; an absent energy or power is "not available", never zero.

    boundary: what powers and energies include, the board alone or everything behind the plug.
    device_names: parts of the names by which the driver calls the device (`hw.nvml`).
    rates: peak operations per second of each precision (a multiply-accumulate is two), `bandwidth` of the memory.
    energy: `op_<precision>`, dynamic and all-in, on work that moves `factors.values_per_op` values an operation: what
    remains of it net of `byte` for those values is the operation's own. `byte`: read from or written to the memory.
    time: `launch` of one kernel by the host; `gap` between two kernels that wait for each other. power: `idle`; `launch`,
    drawn above idle while kernels wait; `maximum` of the boundary.
    factors: `eta_<precision>`, share of the peak that busy multiprocessors reach; `values_per_op`; `tile`, outputs that one
    multiprocessor takes at a time; `fusion`, kernels that one launch starts.
    """

    added: ClassVar[frozenset[str]] = frozenset()

    schema_version: Literal[1]
    name: str
    title: str
    aliases: tuple[str, ...] = ()
    disclaimer: str = ""
    boundary: Boundary
    device_names: tuple[str, ...] = ()
    arithmetic: GpuArithmetic
    capacity: GpuCapacity
    rates: dict[str, Quantity]
    energy: dict[str, Quantity]
    time: dict[str, Quantity]
    power: dict[str, Quantity]
    factors: dict[str, Quantity]

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        for part, unit in (("memory", "GB"), ("cache", "MB"), ("multiprocessors", "multiprocessor")):
            quantity = getattr(self.capacity, part)
            if quantity.unit != unit or quantity.value <= 0:
                raise ValueError(f"capacity.{part} is {quantity.value} {quantity.unit}, expected some {unit}")
        asked = self.arithmetic.precisions
        known = {
            "rates": {*asked, "bandwidth"}, "energy": {*(f"op_{p}" for p in asked), "byte"}, "time": {"launch", "gap"},
            "power": {"idle", "launch", "maximum"}, "factors": {*(f"eta_{p}" for p in VALUE_BYTES), *_FACTORS},
        }
        for where, names in known.items():
            table: dict[str, Quantity] = getattr(self, where)
            for name, quantity in table.items():
                if name not in names:
                    raise ValueError(f"{where}.{name} is no entry that anything counts; known: {', '.join(sorted(names))}")
                unit = _UNITS.get(name, _UNITS.get(where, ""))
                if not quantity.unit.endswith(unit):
                    raise ValueError(f"{name} has unit {quantity.unit}, expected one of {unit}")
        needed = {"rates": known["rates"], "time": known["time"], "factors": {*(f"eta_{p}" for p in asked), *_FACTORS}}
        for where in needed:
            for name in sorted(needed[where]):
                if name not in getattr(self, where):
                    raise ValueError(f"{where}.{name} is missing: without it there is no time")
                if getattr(self, where)[name].band[0] <= 0 and name not in ("values_per_op", "gap"):
                    raise ValueError(f"{where}.{name} must be above zero")
        return self

    @property
    def digest(self) -> str:
        """sha256 of the profile's content (order-independent)."""
        return digest_of(self)
