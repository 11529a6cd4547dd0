"""One core of integrate-and-fire neurons before and after quantization, and what the integers say about themselves.

A core has one scale: weight, bias, threshold, floor and state are all multiplied by it, so only their ratios count.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from neurodeploy.errors import DoesNotFit, NeurodeployWarning, UsageError, Violation

IntArray = NDArray[np.int64]
Float32Array = NDArray[np.float32]

STARVED_LEVELS = 4  # a weight of fewer levels is off by more than an eighth of itself


@dataclass(frozen=True)
class IafFormats:
    """Signed widths in bits. What sinabs writes is 8, 8, 16; the chip's bias field itself has 16."""

    weight_bits: int
    bias_bits: int
    state_bits: int


@dataclass(frozen=True, eq=False)
class FloatCore:
    """A trained core: weight float32 [c_out, c_in, k_y, k_x], bias [c_out] or None, threshold, floor and state.

    `v_min` None is a state without a floor; `v_mem` (any shape) is a state left over from a simulation, None where it was
    reset. Raises UsageError for values that are not finite, a threshold that is not above 0, a floor above 0, a bias of
    another length.
    """

    name: str
    weight: Float32Array
    bias: Float32Array | None
    v_th: float
    v_min: float | None
    v_mem: Float32Array | None = None

    def __post_init__(self) -> None:
        for field in ("weight", "bias", "v_mem"):
            value = getattr(self, field)
            if value is not None:
                array = np.asarray(value, dtype=np.float32)
                if not array.size or not np.isfinite(array).all():
                    remedy = "Train again, or repair the file"
                    raise UsageError(f"{field} is empty or not finite", where=self.name, remedy=remedy)
                object.__setattr__(self, field, array)
        if not 0 < np.float32(self.v_th) < np.inf:
            raise UsageError(f"the threshold is {self.v_th}", where=self.name, limit="it must be above 0")
        if self.v_min is not None and not -np.inf < np.float32(self.v_min) <= 0:
            raise UsageError(f"the floor of the state is {self.v_min}", where=self.name, limit="it must be 0 or below")
        if self.bias is not None and self.bias.shape != self.weight.shape[:1]:
            raise UsageError(f"bias {list(self.bias.shape)} for weights {list(self.weight.shape)}", where=self.name,
                             remedy="Give one bias per channel out, or None")


@dataclass(frozen=True, eq=False)
class IntCore:
    """The integers of a core (int64 arrays of the float ones' shapes) and the scale that gave them."""

    weight: IntArray
    bias: IntArray | None
    v_th: int
    v_min: int
    v_mem: IntArray | None
    scale: float

    @property
    def n_over_threshold(self) -> int:
        """Weights above the threshold: one update gives one spike on the chip, what is left over comes late."""
        return int(np.count_nonzero(self.weight > self.v_th))

    @property
    def silent(self) -> bool:
        """Nothing excites: no positive weight and no positive bias."""
        return not (self.weight > 0).any() and (self.bias is None or not (self.bias > 0).any())

    @property
    def saturated(self) -> bool:
        """Every exciting weight reaches the threshold: the sizes of the weights no longer matter."""
        exciting = self.weight[self.weight > 0]
        return bool(exciting.size) and int(exciting.min()) >= self.v_th


@dataclass(frozen=True, eq=False)
class CoreReport:
    """A quantized core beside the float one.

    `decided_by` is the quantity that bounds the scale: weight, bias, threshold, floor or state. `n_clipped` counts weights
    that were cut before rounding, `variant` says how the core was treated (empty: as it is).
    """

    core: FloatCore
    ints: IntCore
    decided_by: str
    n_clipped: int = 0
    variant: str = ""

    @property
    def n_dead(self) -> int:
        """Weights that were not 0 and became 0."""
        return int(np.count_nonzero((self.core.weight != 0) & (self.ints.weight == 0)))

    @property
    def typical_levels(self) -> float:
        """The median weight (zeros aside) in steps of the integer grid, 0 without weights."""
        sizes = np.abs(self.core.weight[self.core.weight != 0])
        return float(np.median(sizes)) * self.ints.scale if sizes.size else 0.0

    def require_usable(self) -> None:
        """Raises DoesNotFit where the threshold rounded to 0: simulators divide by it, the chip fires at every update."""
        if self.ints.v_th == 0:
            lost = Violation(
                "iaf_threshold_lost",
                self.core.name,
                f"the threshold {self.core.v_th:g} rounds to 0 at the scale {self.ints.scale:g}, set by {self.decided_by}",
                "the threshold is an integer of at least 1",
                "Keep weights at or below the threshold in training, or let the scale search limit them",
            )
            raise DoesNotFit((lost,), target="a core of integers")

    def warnings(self) -> tuple[NeurodeployWarning, ...]:
        """What the user should know; the caller hands them on."""
        where = self.core.name
        return tuple(NeurodeployWarning(what, code=code, where=where, remedy=remedy) for code, what, remedy in self._found())

    def to_dict(self) -> dict[str, object]:
        """Plain values for a report."""
        ints = self.ints
        return {
            "layer": self.core.name, "scale": ints.scale, "decided_by": self.decided_by,
            "variant": self.variant, "v_th": ints.v_th, "v_min": ints.v_min,
            "weight": [int(ints.weight.min()), int(ints.weight.max())], "n_weights": ints.weight.size, "n_dead": self.n_dead,
            "n_clipped": self.n_clipped, "n_over_threshold": ints.n_over_threshold, "typical_levels": self.typical_levels,
            "silent": ints.silent, "saturated": ints.saturated, "threshold_lost": ints.v_th == 0,
        }

    def _found(self) -> Iterator[tuple[str, str, str]]:
        core, ints = self.core, self.ints
        if core.v_min is None:
            yield ("iaf_no_floor", "the state has no floor, which counts as -32768 and caps the scale at 1",
                   "Give the neurons a floor (min_v_mem), for example minus their threshold")
        elif core.weight.any() and self.typical_levels < STARVED_LEVELS:
            levels = f"the typical weight has {self.typical_levels:.2g} levels"
            if self.decided_by in ("threshold", "floor", "state"):
                yield ("iaf_state_range", f"the {self.decided_by} set the scale: {levels}", "Bring it nearer to the weights")
            elif self.decided_by == "bias":
                yield ("iaf_bias_range", f"the largest bias set the scale: {levels}", "Train without biases")
            else:
                yield ("iaf_weight_outlier", f"few large weights set the scale: {levels}", "Clip the outliers")
        if ints.v_th == 0:
            yield ("iaf_threshold_lost", "the threshold rounds to 0", "Keep weights at or below the threshold in training")
        if ints.silent:
            yield ("iaf_silent", "no weight excites: the layer never spikes", "Look at the training, or at what set the scale")
        elif ints.v_th and ints.saturated:
            yield ("iaf_saturated", "every exciting weight reaches the threshold: each such event is a spike",
                   "Train with smaller weights or a larger threshold")
        if ints.v_th and ints.n_over_threshold:
            yield ("iaf_over_threshold", f"{ints.n_over_threshold} of {ints.weight.size} weights are above the threshold",
                   "Train with weights at or below the threshold, or limit them")
        if self.n_clipped:
            yield ("iaf_clipped", f"{self.n_clipped} of {ints.weight.size} weights were cut ({self.variant})",
                   "Train with weights at or below the threshold and without outliers")
        if core.v_min is not None and core.v_min * ints.scale < ints.v_min - 1:
            yield ("iaf_floor_held", f"the floor {core.v_min:g} is held at {ints.v_min}, {core.v_min * ints.scale:.0f} in full",
                   "Train with a floor nearer to the threshold")
        if core.v_mem is not None and core.v_mem.any():
            yield ("iaf_state_in_scale", "a state left over from a simulation took part in the scale", "Reset the states first")
