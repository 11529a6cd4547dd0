"""Profiles of chips with timesteps whose cores sit on a mesh of routers: Loihi's kind."""

from __future__ import annotations

from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from neurodeploy.hw.digest import digest_of
from neurodeploy.hw.events import Synapses, Zeros, check_entries, check_sync
from neurodeploy.hw.quantity import Quantity, Status, Strict


class Arithmetic(Strict):
    """What a neuron and a synapse of the chip can hold; `neuron` names the behaviour that `ir.nodes` implements.

    `bias_exp` is the exponent that networks made here get, `message_bits` the width of their graded input. What the chip
    itself takes is wider where a profile says so: `bias_exp_min`..`bias_exp_max`, `payload_bits`, `weight_exp_min`..
    `weight_exp_max` (scale of a synapse's sum), `weight_one_sign_max` (magnitude of weights that all have one sign),
    `sigma_delta_exp_max` (None: no sigma-delta neurons), `v_readout_on_spike` (see `sim.trace.spike_readout`).
    """

    added: ClassVar[frozenset[str]] = frozenset({
        "bias_exp_min", "bias_exp_max", "payload_bits", "weight_exp_min", "weight_exp_max", "weight_one_sign_max",
        "sigma_delta_exp_max", "v_readout_on_spike",
    })

    neuron: Literal["cuba_lif"]
    fire: Literal[">", ">="]
    reset: Literal["hard", "soft"]
    state_bits: int
    state_shift: int
    weight_min: int
    weight_max: int
    weight_step: int
    bias_bits: int
    bias_exp: int
    v_th_bits: int
    decay_bits: int
    message_bits: int
    synapse_latency: int
    delay_max: int
    source: str
    status: Status
    bias_exp_min: int | None = None
    bias_exp_max: int | None = None
    payload_bits: int | None = None
    weight_exp_min: int = 0
    weight_exp_max: int = 0
    weight_one_sign_max: int | None = None
    sigma_delta_exp_max: int | None = None
    v_readout_on_spike: Quantity | None = None

    @property
    def bias_exps(self) -> tuple[int, int]:
        """(lowest, highest) bias exponent."""
        low, high = self.bias_exp_min, self.bias_exp_max
        return (self.bias_exp if low is None else low, self.bias_exp if high is None else high)

    @property
    def payload_max(self) -> int:
        """Largest graded message without a sign; with one, the bits hold half as much."""
        return int(2 ** (self.message_bits if self.payload_bits is None else self.payload_bits) - 1)

    @property
    def bias_max(self) -> int:
        """Largest bias mantissa (signed, symmetric)."""
        return int(2 ** (self.bias_bits - 1) - 1)

    @property
    def v_th_max(self) -> int:
        """Largest threshold mantissa (unsigned)."""
        return int(2**self.v_th_bits - 1)

    @property
    def decay_one(self) -> int:
        """The decay that forgets everything."""
        return int(2**self.decay_bits)


class Capacity(Strict):
    """Hard limits of one chip."""

    cores_per_chip: Quantity
    cores_per_tile: Quantity
    mesh_width: Quantity
    mesh_height: Quantity
    neurons_per_core: Quantity
    synapse_words_per_core: Quantity
    synapse_word_bits: Quantity
    axons_in_per_core: Quantity
    axons_out_per_core: Quantity
    neuron_groups_per_core: Quantity


class Partition(Strict):
    """How layers are cut into cores. `conv_width_inexact`: width of a map from which the vendor's compiler warns that
    convolutions may not be exact (None: it does not)."""

    added: ClassVar[frozenset[str]] = frozenset({"conv_width_inexact"})

    rule: Literal["halving"]
    compiler: str
    compilers: dict[str, int]
    dense_synapse_bits: int
    dense_axon_bits: int
    conv_weight_bits: int
    conv_overhead_bits: int
    conv_width_inexact: int | None = None
    source: str
    status: Status

    @model_validator(mode="after")
    def _known_compiler(self) -> Self:
        if self.compiler not in self.compilers:
            raise ValueError(f"compiler {self.compiler!r} is none of {', '.join(sorted(self.compilers))}")
        return self

    @property
    def synapse_words(self) -> int:
        """Synapse words a core that the chosen compiler fills."""
        return self.compilers[self.compiler]


class Profile(Strict):
    """One target. Energy and time tables map an event name to its quantity; see `cost/events.py` for what each event is.

    `sync` adds a time to every step, by the number of tiles in use: the entry with the largest key that does not exceed it.
    """

    added: ClassVar[frozenset[str]] = frozenset({"synapses", "sync"})

    schema_version: Literal[1]
    name: str
    title: str
    aliases: tuple[str, ...] = ()
    disclaimer: str = ""
    arithmetic: Arithmetic
    capacity: Capacity
    partition: Partition
    systems: dict[str, int]
    energy: dict[str, Quantity]
    time: dict[str, Quantity]
    power: dict[str, Quantity]
    synapses: Synapses | None = None
    sync: dict[str, Quantity] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        tiles = self.capacity.mesh_width.count * self.capacity.mesh_height.count
        if self.capacity.cores_per_chip.count > tiles * self.capacity.cores_per_tile.count:
            raise ValueError(
                f"capacity.cores_per_chip {self.capacity.cores_per_chip.count} exceeds the mesh: {tiles} tiles of "
                f"{self.capacity.cores_per_tile.count} cores"
            )
        if 1 not in self.systems.values():
            raise ValueError("systems names no single-chip system")
        for table, wanted in ((self.energy, "J"), (self.time, "s"), (self.sync, "s"), (self.power, "W/chip")):
            for name, quantity in table.items():
                if not quantity.unit.endswith(wanted):
                    raise ValueError(f"{name} has unit {quantity.unit}, expected one of {wanted}")
        check_entries(self.energy, self.time, self.power, self.synapses)
        check_sync(self.sync)
        return self

    @property
    def zeros(self) -> Zeros:
        """What becomes of weights that are zero."""
        return self.synapses.zeros if self.synapses is not None else "stored"

    def sync_of(self, n_tiles: int) -> tuple[str, Quantity] | None:
        """Key and time added to every step with `n_tiles` >= 1 tiles in use, None where the profile has no such table."""
        keys = [int(key) for key in self.sync if int(key) <= n_tiles]
        return (str(max(keys)), self.sync[str(max(keys))]) if keys else None

    @property
    def n_chips(self) -> int:
        """Chips of the smallest system; place() may be given more."""
        return min(self.systems.values())

    @property
    def digest(self) -> str:
        """sha256 of the profile's content (order-independent)."""
        return digest_of(self)
