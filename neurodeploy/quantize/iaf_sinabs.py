"""The rule by which sinabs 3.1.3 quantizes a core for DYNAP-CNN, to the last bit of its float32 arithmetic.

    s = min over weight, bias, (floor, threshold) and an initialised state of scale(values, bits)
    scale = |hi / max| if |min| <= |max| * |lo / hi| else |lo / min|,  lo = -2^(bits-1), hi = 2^(bits-1) - 1
    every quantity = round(x * s), half to even, nothing is clipped

A floor of None counts as -32768, a bias of None as zeros (scale infinite). torch divides a number by a float32 as number
times reciprocal, two roundings, and so is it done here. Source: sinabs 3.1.3, backend/dynapcnn/discretize.py.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from neurodeploy.quantize.iaf_core import CoreReport, Float32Array, FloatCore, IafFormats, IntArray, IntCore

FORMATS = IafFormats(weight_bits=8, bias_bits=8, state_bits=16)
NO_FLOOR = -32768.0  # what sinabs takes for a floor of None


def fold_average_pools(weight: Float32Array, kernels: Sequence[tuple[int, int]]) -> Float32Array:
    """Weights behind average pools of these kernels (k_y, k_x) when the pools become sums; the bias stays as it is.

    Source: sinabs 3.1.3, the factor is a product in double precision.
    """
    factor = 1.0
    for k_y, k_x in kernels:
        factor *= 1.0 / (k_y * k_x)
    return np.asarray(weight, dtype=np.float32) if factor == 1.0 else np.asarray(weight, np.float32) * np.float32(factor)


def scale(values: Float32Array, bits: int) -> np.float32:
    """The factor that stretches the values to a signed format; infinite for zeros.

    >>> float(scale(np.array([-1.0, 0.5], np.float32), 8))
    128.0
    """
    low, high = np.float32(-(2 ** (bits - 1))), np.float32(2 ** (bits - 1) - 1)
    smallest, largest = values.min(), values.max()
    ratio = np.float32(2 ** (bits - 1) / (2 ** (bits - 1) - 1))
    with np.errstate(divide="ignore"):
        if abs(smallest) <= abs(largest) * ratio:
            return np.float32(abs(high * (np.float32(1) / largest)))
        return np.float32(abs(low * (np.float32(1) / smallest)))


def candidates(core: FloatCore) -> dict[str, np.float32]:
    """The scale that each quantity allows: weight, bias, thresholds, and state where there is one."""
    bias = core.bias if core.bias is not None else np.zeros(core.weight.shape[0], dtype=np.float32)
    found = {
        "weight": scale(core.weight, FORMATS.weight_bits),
        "bias": scale(bias, FORMATS.bias_bits),
        "thresholds": scale(_thresholds(core), FORMATS.state_bits),
    }
    if core.v_mem is not None:
        found["state"] = scale(core.v_mem, FORMATS.state_bits)
    return found


def quantize_sinabs(core: FloatCore) -> CoreReport:
    """The integers that sinabs gives, traps included: look at `warnings()` and `require_usable()` of the report."""
    found = candidates(core)
    decided_by = min(found, key=lambda name: found[name])  # the first of equal ones, as Python's min over the tensors
    s = found[decided_by]
    v_min, v_th = _rounded(_thresholds(core), s)
    if decided_by == "thresholds":
        decided_by = "threshold" if abs(_thresholds(core)[0]) <= core.v_th else "floor"
    ints = IntCore(
        weight=_rounded(core.weight, s),
        bias=None if core.bias is None else _rounded(core.bias, s),
        v_th=int(v_th),
        v_min=int(v_min),
        v_mem=None if core.v_mem is None else _rounded(core.v_mem, s),
        scale=float(s),
    )
    return CoreReport(core, ints, decided_by)


def _thresholds(core: FloatCore) -> Float32Array:
    return np.array([NO_FLOOR if core.v_min is None else core.v_min, core.v_th], dtype=np.float32)


def _rounded(values: Float32Array, s: np.float32) -> IntArray:
    rounded: IntArray = np.rint(values * s).astype(np.int64)
    return rounded
