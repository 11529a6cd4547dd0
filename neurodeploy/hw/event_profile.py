"""Profiles of event-driven chips: cores with memories of their own, no timesteps, one addition a synapse and event.

What the numbers limit is written in `place/event_cores.py` and `place/dynapcnn_rules.py`, what the entries of the energy,
time and power tables are multiplied with in `cost/event_cost.py`.
"""

from __future__ import annotations

from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from neurodeploy.hw.digest import digest_of
from neurodeploy.hw.quantity import Counts, Quantity, Status, Strict

Pool = Literal["sum", "average"]
Residual = Literal["none", "concatenation"]


class EventArithmetic(Strict):
    """What a core computes. `neuron` names the behaviour that `ir.nodes` implements; all neurons integrate without leak.

    `bias`: "slow_clock" where a bias is added on ticks of a clock instead of per timestep, "none" where there is none.
    `written_bias_bits` is the width to which the vendor's tool quantizes biases, `bias_bits` that of the field; `byte_bits` and
    `count_bits` are those of the unsigned fields (`place.dynapcnn_config.ChipLimits`).
    `pools`: what may stand between two cores (an average is folded into the next weights). `residual`: how a shortcut gets
    onto the chip.
    """

    neuron: Literal["iaf"]
    fire: Literal[">="]
    resets: tuple[Literal["soft", "hard"], ...]
    weight_bits: int
    bias_bits: int
    written_bias_bits: int
    state_bits: int
    byte_bits: int
    count_bits: int
    bias: Literal["slow_clock", "none"]
    pools: tuple[Pool, ...]
    residual: Residual
    source: str
    status: Status


class EventCapacity(Strict):
    """Hard limits. The three memories and `parallel` have one entry per core; sizes are those of a side of a map."""

    kernel_words: Counts
    neuron_words: Counts
    bias_words: Counts
    kernel_size_max: Quantity
    strides: Counts
    padding_max: Quantity
    input_size_max: Quantity
    output_size_max: Quantity
    channels_max: Quantity
    poolings: Counts
    poolings_accepted: Counts
    feature_shift_max: Quantity
    destinations_per_core: Quantity
    parallel_cores: Counts

    @property
    def n_cores(self) -> int:
        """Cores of the chip."""
        return len(self.kernel_words.values)

    @model_validator(mode="after")
    def _one_entry_per_core(self) -> Self:
        for name in ("neuron_words", "bias_words"):
            n = len(getattr(self, name).values)
            if n != self.n_cores:
                raise ValueError(f"{name} has {n} entries, kernel_words has {self.n_cores}: one for each core")
        odd = [core for core in self.parallel_cores.values if not 0 <= core < self.n_cores]
        if odd:
            raise ValueError(f"parallel_cores names core {odd[0]}, cores are 0 to {self.n_cores - 1}")
        return self


class Sensor(Strict):
    """The event camera on the chip."""

    size: Quantity
    poolings: Counts


class Readout(Strict):
    """The block that turns output spikes into a class: moving average over slow-clock cycles, compared with a threshold.

    `channel_stride`: class n is read from channel channel_stride * (n - 1), an erratum that padded channels answer.
    `destination`: the layer index that stands for it. `windows`: slow-clock cycles of the moving average.
    """

    classes_max: Quantity
    destination: Quantity
    channel_stride: Quantity
    windows: Counts


class Vendor(Strict):
    """How the vendor's package names the chip: `module` of samna, class of its configuration, and of sinabs' device."""

    package: str
    module: str
    configuration: str
    device: str
    validator_module: str
    source: str
    status: Status


class EventProfile(Strict):
    """One event-driven target. `energy`, `time` and `power` map names to quantities; an absent one is "not available".

    energy: `synop`. time: `core` (what an event takes to pass one core), `synop` (of one core, where known).
    power: rails by name. `static_rails` run whatever the network does; `sensor_rails` only where the camera is used.
    `dynamic_split`: share of each rail in the power of synops. rates: `synops_per_core` (per second), where known.
    """

    added: ClassVar[frozenset[str]] = frozenset()

    schema_version: Literal[1]
    name: str
    title: str
    aliases: tuple[str, ...] = ()
    disclaimer: str = ""
    arithmetic: EventArithmetic
    capacity: EventCapacity
    sensor: Sensor
    readout: Readout | None = None
    vendor: Vendor
    energy: dict[str, Quantity]
    time: dict[str, Quantity]
    power: dict[str, Quantity]
    rates: dict[str, Quantity] = Field(default_factory=dict)
    static_rails: tuple[str, ...]
    sensor_rails: tuple[str, ...] = ()
    dynamic_split: dict[str, Quantity] = Field(default_factory=dict)
    errata: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        known = {"energy": {"synop"}, "time": {"core", "synop"}, "rates": {"synops_per_core"}}
        for where, entries in known.items():
            for name in getattr(self, where):
                if name not in entries:
                    raise ValueError(f"{where}.{name} is no entry that anything counts; known: {', '.join(sorted(entries))}")
        for table, wanted in ((self.energy, "J"), (self.time, "s"), (self.power, "W"), (self.rates, "/s")):
            for name, quantity in table.items():
                if not quantity.unit.endswith(wanted):
                    raise ValueError(f"{name} has unit {quantity.unit}, expected one of {wanted}")
        for field in ("static_rails", "sensor_rails", "dynamic_split"):
            for rail in getattr(self, field):
                if rail not in self.power:
                    raise ValueError(f"{field} names {rail!r}, which [power] does not have")
        return self

    @property
    def digest(self) -> str:
        """sha256 of the profile's content (order-independent)."""
        return digest_of(self)
