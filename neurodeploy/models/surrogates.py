"""Surrogate gradients: ds/du that training takes in place of the derivative of the step s = [u fires], u = v_pre - v_th.

    atan       (alpha/2) / (1 + (pi/2 * alpha * u)^2)                              alpha: sharpness     AutoSNN
    triangle   max(0, g - |u|) / g^2                                               g: width             SEENN, TET
    dspike     b / (2 tanh(b r) cosh(b u)^2)  where |u| <= r, else 0               b: sharpness, r: width

Each integrates to 1 over u, so none of them changes the size of gradients by its width. Sources: Fang et al., PLIF, ICCV 2021;
Deng et al., TET, ICLR 2022; Li et al., Dspike, NeurIPS 2021, as SEENN's release has them.
"""

from __future__ import annotations

import math
from typing import Literal

from torch import Tensor

Surrogate = Literal["atan", "triangle", "dspike"]


def slope(u: Tensor, kind: Surrogate, sharpness: float, width: float) -> Tensor:
    """ds/du at u, of u's shape and dtype."""
    if kind == "triangle":
        return (width - u.abs()).clamp(min=0) / width**2
    if kind == "dspike":
        curve = sharpness / (2 * math.tanh(sharpness * width)) / (sharpness * u).cosh().square()
        return curve * (u.abs() <= width)
    return sharpness / 2 / (1 + (math.pi / 2 * sharpness * u) ** 2)
