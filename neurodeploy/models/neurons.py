"""Multi-step PLIF, LIF and IF neurons: one charge equation, one surrogate gradient, no state between calls.

Every neuron starts at v_mem = v_reset in every call. With k = 1/tau, the fraction of the membrane lost per timestep:

    decay_input:      v_pre = v + (x - (v - v_reset)) * k        (AutoSNN as released)
    not decay_input:  v_pre = v + (x - (v - v_reset) * k)        (k = 0 is the IF neuron)
    s = [v_pre fire v_th];  hard: v = v_reset where s, else v_pre;  soft: v = v_pre - v_th * s
    multi_spike: s = floor(v_pre / v_th) where that is positive, else 0;  then v = max(v, v_min) unless that is None

The last line is for neurons without leak and with soft reset, as event-driven chips have them; it is sinabs' IAF.

Gradients take ds/dv_pre = (alpha/2) / (1 + (pi/2 * alpha * (v_pre - v_th))^2) (ATan) or another of `surrogates`, and treat
the s inside the reset as a constant ("detached") unless detach_reset is False; with multi_spike the slope stays alpha/2 above
v_th, where each further v_th is one spike more; at the floor the state forgets, and so does its gradient; the slope never falls
below surrogate_least. `scan_slow` is the definition; `scan` must equal it, and is what training runs.
SEENN's neuron is Lif(Dynamics(decay_input=False, fire=">", surrogate="triangle", detach_reset=False), tau=2): its release
writes v_pre = v/2 + x.
Sources: Na et al., AutoSNN, ICML 2022; Fang et al., PLIF, ICCV 2021; Li et al., SEENN, NeurIPS 2023.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, get_args

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from neurodeploy.errors import UsageError
from neurodeploy.ir.nodes import Fire, Reset
from neurodeploy.models.surrogates import Surrogate
from neurodeploy.models.surrogates import slope as slope_of


@dataclass(frozen=True)
class Dynamics:
    """Every convention in which spiking neurons differ. Raises UsageError for values that define no neuron.

    surrogate_alpha is the sharpness of `surrogates` (alpha, b), surrogate_width their width (g, r).
    """

    decay_input: bool = True
    v_th: float = 1.0
    v_reset: float = 0.0
    fire: Fire = ">="
    reset: Reset = "hard"
    surrogate_alpha: float = 2.0
    multi_spike: bool = False
    v_min: float | None = None
    surrogate_least: float = 0.0
    surrogate: Surrogate = "atan"
    surrogate_width: float = 1.0
    detach_reset: bool = True

    def __post_init__(self) -> None:
        if self.fire not in (">=", ">"):
            raise UsageError(f"fire is {self.fire!r}", limit="Known: '>=', '>'", remedy="Choose one of them")
        if self.reset not in ("hard", "soft"):
            raise UsageError(f"reset is {self.reset!r}", limit="Known: 'hard', 'soft'", remedy="Choose one of them")
        if self.surrogate not in get_args(Surrogate):
            raise UsageError(f"surrogate is {self.surrogate!r}", limit=f"Known: {', '.join(get_args(Surrogate))}",
                             remedy="Choose one of them")
        for name in ("v_th", "v_reset", "surrogate_alpha", "surrogate_width"):
            if not math.isfinite(getattr(self, name)):
                raise UsageError(f"{name} is {getattr(self, name)}", limit="A finite number", remedy="Change it")
        if not self.v_th > self.v_reset:
            raise UsageError(
                f"v_th is {self.v_th} and v_reset {self.v_reset}", limit="v_th must exceed v_reset", remedy="Raise v_th"
            )
        if not 0 <= self.surrogate_least <= 1:
            raise UsageError(f"surrogate_least is {self.surrogate_least}", limit="0 to 1", remedy="0 leaves the slope as it is")
        if self.surrogate_least and not self.floored:
            raise UsageError(f"surrogate_least is {self.surrogate_least}", limit="Neurons with multi_spike or v_min have it",
                             remedy="Leave it out")
        if not self.surrogate_alpha > 0:
            raise UsageError(f"surrogate_alpha is {self.surrogate_alpha}", limit="Above 0", remedy="The paper uses 2")
        if not self.surrogate_width > 0:
            raise UsageError(f"surrogate_width is {self.surrogate_width}", limit="Above 0", remedy="SEENN uses 1")
        if self.floored:
            if self.surrogate != "atan" or not self.detach_reset:
                raise UsageError(
                    f"surrogate {self.surrogate!r}, detach_reset {self.detach_reset}",
                    limit="Neurons with multi_spike or v_min have 'atan' and a detached reset", remedy="Leave them out",
                )
            if self.decay_input or self.reset != "soft" or self.fire != ">=" or self.v_reset != 0:
                raise UsageError(
                    f"multi_spike {self.multi_spike}, v_min {self.v_min}, with reset {self.reset!r}, fire {self.fire!r}, "
                    f"v_reset {self.v_reset}, decay_input {self.decay_input}",
                    limit="Several spikes a timestep and a floor need soft reset from 0, fire '>=' and no decay of the input",
                    remedy="Set these, or leave multi_spike and v_min out",
                )
            if self.v_min is not None and not -math.inf < self.v_min <= 0:
                raise UsageError(f"v_min is {self.v_min}", limit="0 or below", remedy="Use for example minus the threshold")

    @property
    def floored(self) -> bool:
        """Whether these are the neurons of event-driven chips."""
        return self.multi_spike or self.v_min is not None


def scan_slow(
    x: Tensor, k: Tensor, dynamics: Dynamics, v: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """The definition: currents x [T, ...] and scalar k -> (spikes, v_pre, v_post), each [T, ...], by plain autograd.

    v: membranes [...] that loops have from the timestep before.
    """
    d = dynamics
    v = torch.full_like(x[0], d.v_reset) if v is None else v
    spikes, before, after = [], [], []
    for current in x:
        v_pre = v + (current - (v - d.v_reset)) * k if d.decay_input else v + (current - (v - d.v_reset) * k)
        over = v_pre >= d.v_th if d.fire == ">=" else v_pre > d.v_th
        # The value of `smooth - smooth.detach()` is exactly zero, its gradient is the surrogate's.
        if d.surrogate == "atan":
            smooth = torch.atan(math.pi / 2 * d.surrogate_alpha * (v_pre - d.v_th)) / math.pi
        else:
            smooth = slope_of(v_pre.detach() - d.v_th, d.surrogate, d.surrogate_alpha, d.surrogate_width) * v_pre
        n = over.to(x.dtype)
        if d.multi_spike:
            n = torch.floor(v_pre.detach() / d.v_th).clamp(min=0)
            smooth = torch.where(over, d.surrogate_alpha / 2 * (v_pre - d.v_th), smooth)
        if d.surrogate_least:
            slope = d.surrogate_alpha / 2 / (1 + (math.pi / 2 * d.surrogate_alpha * (v_pre - d.v_th)) ** 2)
            above = over if d.multi_spike else torch.zeros_like(over)
            smooth = torch.where((slope < d.surrogate_least) & ~above, d.surrogate_least * v_pre, smooth)
        spikes.append(n + (smooth - smooth.detach()))
        if d.detach_reset:
            v = torch.where(over, d.v_reset, v_pre) if d.reset == "hard" else v_pre - d.v_th * n
        else:
            s = spikes[-1]
            v = v_pre * (1 - s) + d.v_reset * s if d.reset == "hard" else v_pre - d.v_th * s
        if d.v_min is not None:
            v = torch.where(v < d.v_min, torch.full_like(v, d.v_min), v)
        before.append(v_pre)
        after.append(v)
    return torch.stack(spikes), torch.stack(before), torch.stack(after)


class _Scan(Function):
    """`scan_slow`'s spikes with a backward pass written by hand: no graph of T small steps is built.

    Masks are numbers in x's dtype, not booleans: on a CPU those kernels are five times faster.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, k: Tensor, dynamics: Dynamics) -> Tensor:
        d = dynamics
        compare = torch.ge if d.fire == ">=" else torch.gt
        v_pre, spikes = torch.empty_like(x), torch.empty_like(x)
        # dv_pre[t]/dk at a fixed state, its sign flipped where the input is not decayed.
        drive = torch.empty_like(x) if ctx.needs_input_grad[1] else None
        v = torch.full_like(x[0], d.v_reset)
        for t in range(len(x)):
            h, s = v_pre[t], spikes[t]
            lost = v - d.v_reset if d.v_reset else v
            if d.decay_input:
                torch.sub(x[t], lost, out=h)
                if drive is not None:
                    drive[t] = h
                h.mul_(k).add_(v)
            else:
                if drive is not None:
                    drive[t] = lost
                torch.sub(x[t], torch.mul(lost, k, out=h), out=h).add_(v)
            compare(h, d.v_th, out=s)
            if d.reset == "soft":
                v = torch.sub(h, s, alpha=d.v_th)
            else:
                v = torch.addcmul(h, h, s, value=-1)
                if d.v_reset:
                    v.add_(s, alpha=d.v_reset)
        ctx.save_for_backward(v_pre, spikes, k, drive)
        ctx.dynamics = d
        return spikes

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        (grad_spikes,) = grads
        v_pre, spikes, k, drive = ctx.saved_tensors
        d: Dynamics = ctx.dynamics
        if d.surrogate == "atan" and d.detach_reset:
            slope = (v_pre - d.v_th).mul_(math.pi / 2 * d.surrogate_alpha).square_().add_(1.0)
            g = torch.div(grad_spikes, slope, out=slope).mul_(d.surrogate_alpha / 2)
        else:
            slope = slope_of(v_pre - d.v_th, d.surrogate, d.surrogate_alpha, d.surrogate_width)
            g = grad_spikes * slope
        if d.detach_reset:
            kept = torch.sub(1, spikes).mul_(1 - k) if d.reset == "hard" else (1 - k).expand_as(spikes)
        elif d.reset == "hard":
            kept = (v_pre - d.v_reset).mul_(slope).add_(spikes).neg_().add_(1.0).mul_(1 - k)
        else:
            kept = (1 - d.v_th * slope) * (1 - k)
        for t in range(len(g) - 2, -1, -1):
            g[t].addcmul_(g[t + 1], kept[t])
        grad_k = None
        if drive is not None:
            total = torch.dot(g.reshape(-1), drive.reshape(-1))
            grad_k = (total if d.decay_input else -total).reshape(k.shape)
        return (g.mul_(k) if d.decay_input else g), grad_k, None


class _ScanCompiled(Function):
    """`_Scan` without writes in place, for torch.compile, which makes one loop over memory of each direction.

    Kept are the currents, not the membranes, which the way back computes again: arithmetic is cheaper there than memory.
    Whether a neuron fired is read off its spikes, so both directions agree on it.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, k: Tensor, dynamics: Dynamics) -> Tensor:
        d = dynamics
        v, fired = torch.full_like(x[0], d.v_reset), []
        for current in x:
            h = v + _drive(v, current, k, d)
            fired.append((h >= d.v_th if d.fire == ">=" else h > d.v_th).to(x.dtype))
            v = _after(h, fired[-1], d)
        spikes = torch.stack(fired)
        ctx.save_for_backward(x, spikes, k)
        ctx.dynamics = d
        return spikes

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        x, spikes, k = ctx.saved_tensors
        d: Dynamics = ctx.dynamics
        v, states, before = torch.full_like(x[0], d.v_reset), [], []
        for current, s in zip(x, spikes, strict=True):
            states.append(v)
            before.append(v + _drive(v, current, k, d))
            v = _after(before[-1], s, d)
        g, grad_x = torch.zeros_like(x[0]), []
        grad_k: Tensor | float = 0.0
        for t in range(len(before) - 1, -1, -1):
            h, s = before[t], spikes[t]
            slope = slope_of(h - d.v_th, d.surrogate, d.surrogate_alpha, d.surrogate_width)
            if d.detach_reset:
                kept = 1 - s if d.reset == "hard" else torch.ones_like(s)
            else:
                kept = 1 - s - (h - d.v_reset) * slope if d.reset == "hard" else 1 - d.v_th * slope
            g = grads[0][t] * slope + g * (kept * (1 - k))
            grad_x.append(g * k if d.decay_input else g)
            lost = states[t] - d.v_reset
            grad_k = grad_k + (g * (x[t] - lost if d.decay_input else -lost)).sum()
        assert isinstance(grad_k, Tensor)  # there is a first timestep
        return torch.stack(grad_x[::-1]), grad_k.reshape(k.shape) if ctx.needs_input_grad[1] else None, None


def _drive(v: Tensor, current: Tensor, k: Tensor, d: Dynamics) -> Tensor:
    return (current - (v - d.v_reset)) * k if d.decay_input else current - (v - d.v_reset) * k


def _after(v_pre: Tensor, spikes: Tensor, d: Dynamics) -> Tensor:
    return torch.where(spikes > 0, d.v_reset, v_pre) if d.reset == "hard" else v_pre - d.v_th * spikes


class _ScanFloored(Function):
    """The same for neurons without leak that may send several spikes a timestep and stop at a floor."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, dynamics: Dynamics) -> Tensor:
        d = dynamics
        v_pre, spikes = torch.empty_like(x), torch.empty_like(x)
        kept = None if d.v_min is None else torch.empty_like(x)
        v = torch.zeros_like(x[0])
        for t in range(len(x)):
            h = torch.add(v, x[t], out=v_pre[t])
            if d.multi_spike:
                torch.floor(h if d.v_th == 1 else h / d.v_th, out=spikes[t]).clamp_(min=0)
            else:
                torch.ge(h, d.v_th, out=spikes[t])
            v = torch.sub(h, spikes[t], alpha=d.v_th)
            if kept is not None and d.v_min is not None:
                torch.ge(v, d.v_min, out=kept[t])
                v.clamp_(min=d.v_min)
        ctx.save_for_backward(v_pre, kept)
        ctx.dynamics = d
        return spikes

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        (grad_spikes,) = grads
        v_pre, kept = ctx.saved_tensors
        d: Dynamics = ctx.dynamics
        below = v_pre - d.v_th
        if d.multi_spike:
            below.clamp_(max=0)
        slope = below.mul_(math.pi / 2 * d.surrogate_alpha).square_().add_(1.0)
        slope = slope.reciprocal_().mul_(d.surrogate_alpha / 2)
        g = slope.clamp_(min=d.surrogate_least).mul_(grad_spikes)
        for t in range(len(g) - 2, -1, -1):
            if kept is None:
                g[t].add_(g[t + 1])
            else:
                g[t].addcmul_(g[t + 1], kept[t])
        return g, None


def scan(x: Tensor, k: Tensor, dynamics: Dynamics) -> Tensor:
    """Spikes [T, ...] (in x's dtype) of finite currents x [T, ...] and a scalar k: `scan_slow(...)[0]`, faster.

    Raises UsageError for a leak beside multi_spike or a floor.
    """
    if dynamics.floored:
        if bool(k != 0):
            raise UsageError(f"a leak of {float(k)} beside multi_spike or v_min", limit="Neurons without leak have them",
                             remedy="Use If")
        floored: Tensor = _ScanFloored.apply(x, dynamics)  # type: ignore[no-untyped-call]
        return floored
    how = _ScanCompiled if torch.compiler.is_compiling() else _Scan
    spikes: Tensor = how.apply(x, k.to(x.device), dynamics)  # type: ignore[no-untyped-call]
    return spikes


class Neuron(nn.Module):
    """A layer of neurons that share one k = 1/tau: currents [T, B, *shape] in, spikes [T, B, *shape] out."""

    def __init__(self, dynamics: Dynamics) -> None:
        super().__init__()
        self.dynamics = dynamics

    def inv_tau(self, dtype: torch.dtype) -> Tensor:
        """k, a scalar tensor, computed in `dtype`."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        if x.dtype in (torch.bfloat16, torch.float16):  # of a convolution in mixed precision; membranes need more
            x = x.float()
        return scan(x, self.inv_tau(x.dtype), self.dynamics)

    def extra_repr(self) -> str:
        return ", ".join(f"{k}={v}" for k, v in vars(self.dynamics).items())


class Plif(Neuron):
    """Leaky neurons with a learnable time constant: k = sigmoid(w), w a scalar that starts at -ln(tau0 - 1)."""

    def __init__(self, dynamics: Dynamics, tau0: float = 2.0) -> None:
        super().__init__(dynamics)
        if not 1 < tau0 < math.inf:
            raise UsageError(f"tau0 is {tau0}", limit="PLIF needs tau0 > 1", remedy="The paper starts at 2")
        self.w = nn.Parameter(torch.tensor(-math.log(tau0 - 1.0)))

    def inv_tau(self, dtype: torch.dtype) -> Tensor:
        return self.w.to(dtype).sigmoid()


class Lif(Neuron):
    """Leaky neurons with a fixed time constant tau >= 1, in timesteps."""

    def __init__(self, dynamics: Dynamics, tau: float) -> None:
        super().__init__(dynamics)
        if not 1 <= tau < math.inf:
            raise UsageError(f"tau is {tau}", limit="LIF needs tau >= 1", remedy="Use If for a neuron without leak")
        self.tau = tau

    def inv_tau(self, dtype: torch.dtype) -> Tensor:
        return torch.tensor(1.0 / self.tau, dtype=dtype)


class If(Neuron):
    """Neurons without leak: k = 0. The input cannot be decayed, for it would vanish."""

    def __init__(self, dynamics: Dynamics) -> None:
        super().__init__(dynamics)
        if dynamics.decay_input:
            raise UsageError("an IF neuron with decay_input", limit="k = 0 would drop every input",
                             remedy="Set decay_input to False")

    def inv_tau(self, dtype: torch.dtype) -> Tensor:
        return torch.zeros((), dtype=dtype)
