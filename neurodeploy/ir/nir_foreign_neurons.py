"""Neurons and integrators of others' NIR graphs as Lif and Li: NIR's continuous time by forward Euler in steps of dt.

As where we write NIR (`nir_nodes.py`): the state is updated with the input of the same timestep, then compared or put out; it
starts at v_reset, an integrator's at v_leak, a current at 0. With x what arrives:

IF       dv/dt = r x                       v += r dt x                                    Lif, inv_tau = 0
LIF      tau dv/dt = (v_leak - v) + r x    v += ((v_leak - v) + r x) dt/tau               Lif, inv_tau = dt/tau
             = -(v - v_reset) dt/tau + [r dt/tau] x + [(v_leak - v_reset) dt/tau]
CubaLIF  tau_syn di/dt = -i + w_in x       i += (w_in x - i) dt/tau_syn                   Li `name.current`, behind it as LIF;
         tau_mem dv/dt = (v_leak - v) + r i                                               no Li where tau_syn = dt: i = w_in x
Threshold  z = [x > threshold]             v = x: a Lif with inv_tau = 1, fire `>`, hard reset to 0
LI       tau dv/dt = (v_leak - v) + r x    puts out v                                     Li, inv_tau = dt/tau, gain = r dt/tau
CubaLI   as CubaLIF, without the spikes    puts out v                                     Li `name.current`, then Li
I        dv/dt = r x                       puts out v                                     Li, inv_tau = 0; a vector that is the
                                           network's end: Vote of groups of one, whose outputs r dt x the host sums over time

The factor of x is 1 (within 1e-6: files hold float32), or dt/tau (decay_input), or goes into the weights in front, the
constant into their bias. An Li holds both itself: gain, and v_leak for a current that adds a constant. A Lif has one threshold,
reset and time constant; where a file has several thresholds or resets in a layer, its states are counted from v_reset, in units
of v_threshold - v_reset: the same neurons but for rounding.

A threshold that is subtracted a timestep late, behind the decay (reset `late`), is v_threshold / (1 - inv_tau) at once: a Lif
with this for its threshold, whose rest lies v_threshold / (1 - inv_tau) - v_threshold above its zero.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import nir
import numpy as np

from neurodeploy.ir.nir_foreign_nodes import STATELESS, NodeReader, Read, Reader, collapsed
from neurodeploy.ir.nodes import Array, Li, Lif, Shape, Vote

_CLOSE = 1e-6  # of a factor to 1, relative; files hold float32
_NOUGHT, _ONE = np.zeros(()), np.ones(())


def _span(values: Array) -> str:
    return f"{values.min():g}" if values.min() == values.max() else f"from {values.min():g} to {values.max():g}"


def _one(reader: NodeReader, name: str, values: Array, what: str) -> float:
    values = collapsed(values)
    if values.ndim:
        reader.refuse(name, f"{what} {_span(values)}", "One value for a layer", "Give each value a layer of its own")
    return float(values)


def _rounded(gain: Array) -> Array:
    """1 where it is that as far as float32 can tell."""
    gain = collapsed(np.asarray(gain))
    return _ONE if not gain.ndim and abs(float(gain) - 1) <= _CLOSE else gain


def _threshold(reader: NodeReader, name: str, value: Any, shape: Shape) -> Array:
    values = reader.spread(name, value, "thresholds", shape)
    if not (values > 0).all():
        reader.refuse(name, f"thresholds {_span(values)}", "Above 0")
    return values


def _lost(reader: NodeReader, name: str, tau: Array, what: str) -> Array:
    """dt / tau, the fraction that a timestep takes."""
    dt = reader.conventions["dt"]
    if not (tau > 0).all() or (dt / tau > 1 + _CLOSE).any():
        reader.refuse(name, f"{what} is {_span(tau)}", f"At least the timestep, dt = {dt:g}: a step would overshoot",
                      "State the timestep: --set nir.dt=...")
    return np.asarray(np.minimum(dt / tau, 1.0))


def _lif(
    reader: NodeReader, name: str, node: Any, shape: Shape, inv_tau: float, gain: Array, leak: Array | None,
    current: Li | None = None,
) -> Read:
    """A layer that fires and resets by the conventions; gain: of what arrives; leak: v_leak, None for none."""
    c, v_th = reader.conventions, _threshold(reader, name, node.v_threshold, shape)
    v_reset = reader.spread(name, node.v_reset, "v_reset", shape)
    if v_reset.any() and c["reset"] != "hard":
        reader.refuse(name, f"v_reset is not 0 but {_span(v_reset)}, with a soft reset, which subtracts the threshold",
                      "v_reset = 0", "--set nir.reset=hard resets to v_reset")
    if not (v_reset < v_th).all():
        reader.refuse(name, f"v_reset {_span(v_reset)} is not below the threshold {_span(v_th)}", "It would fire without end")
    floor = {"none": None, "-v_threshold": -v_th}[c["v_min"]] if isinstance(c["v_min"], str) else np.asarray(float(c["v_min"]))
    origin, unit = _NOUGHT, _ONE
    if v_th.ndim or v_reset.ndim:
        origin, unit = v_reset, collapsed(v_th - v_reset)
        unit = unit if unit.ndim else _ONE
    gain, decayed = collapsed(np.asarray(gain / unit)), False
    v_min = None if floor is None else _one(reader, name, (floor - origin) / unit, "floors, in units of the threshold,")
    if current is not None:
        current, gain = replace(current, gain=_plain(_rounded(current.gain * gain))), _ONE
    elif not gain.ndim:
        decayed = inv_tau > 0 and abs(float(gain) / inv_tau - 1) <= _CLOSE and abs(float(gain) - 1) > _CLOSE
        gain = _ONE if decayed else _rounded(gain)
    level = _one(reader, name, (v_th - origin) / unit, "thresholds")
    rest = _one(reader, name, (v_reset - origin) / unit, "v_reset")
    offset = None if leak is None else collapsed((leak - origin) / unit - rest) * (1.0 if decayed else inv_tau)
    if c["reset"] == "late":
        if inv_tau == 1 or c["multi_spike"] or v_min is not None:
            reader.refuse(name, f"a late reset with inv_tau {inv_tau:g}, multi_spike {c['multi_spike']}, v_min {v_min}",
                          "Membranes that keep something, one spike a timestep, no floor")
        rest, level = level / (1 - inv_tau) - level, level / (1 - inv_tau)
    new = Lif(name, shape, inv_tau=inv_tau, decay_input=decayed, v_th=level, v_reset=rest, fire=c["fire"],
              reset="hard" if c["reset"] == "hard" else "soft", multi_spike=c["multi_spike"], v_min=v_min)
    if offset is None or not offset.any():
        return Read(new, gain=gain, front=current)
    if current is not None:
        return Read(new, front=replace(current, v_leak=_plain(offset)))
    return Read(new, gain=gain, offset=offset)


def _plain(values: Array) -> float | Array:
    """A field of an Li."""
    return values if values.ndim else float(values)


def _li(reader: NodeReader, name: str, node: Any, shape: Shape, tau: str, gain: Array, leak: Array = _NOUGHT) -> Li:
    """An integrator with the time constant in field `tau` of node."""
    k = _lost(reader, name, reader.spread(name, getattr(node, tau), tau, shape), tau)
    return Li(name, shape, inv_tau=_plain(k), gain=_plain(_rounded(gain * k)), v_leak=_plain(leak))


def _read_if(reader: NodeReader, name: str, node: Any, shape: Shape, factor: Array) -> Read:
    gain = reader.spread(name, node.r, "r", shape) * reader.conventions.get("dt", 1.0) * factor
    return _lif(reader, name, node, shape, 0.0, gain, None)


def _leaky(reader: NodeReader, name: str, node: Any, shape: Shape, tau: str, gain: Array, current: Li | None = None) -> Read:
    time = _one(reader, name, reader.spread(name, getattr(node, tau), tau, shape), tau)
    inv_tau = float(_lost(reader, name, np.asarray(time), tau))
    gain = reader.spread(name, node.r, "r", shape) * inv_tau * gain
    return _lif(reader, name, node, shape, inv_tau, gain, reader.spread(name, node.v_leak, "v_leak", shape), current)


def _read_lif(reader: NodeReader, name: str, node: Any, shape: Shape, factor: Array) -> Read:
    return _leaky(reader, name, node, shape, "tau", factor)


def _current(reader: NodeReader, name: str, node: Any, shape: Shape, factor: Array) -> tuple[Array, Li | None]:
    """(factor of what reaches the membrane, its current where that has memory)."""
    gain = reader.spread(name, node.w_in, "w_in", shape) * factor
    current = _li(reader, name, node, shape, "tau_syn", gain)
    if (np.abs(np.asarray(current.inv_tau) - 1) <= _CLOSE).all():
        return gain, None
    return _ONE, replace(current, name=f"{name}.current")


def _read_cuba(reader: NodeReader, name: str, node: Any, shape: Shape, factor: Array) -> Read:
    gain, current = _current(reader, name, node, shape, factor)
    return _leaky(reader, name, node, shape, "tau_mem", gain, current)


def _read_threshold(reader: NodeReader, name: str, node: Any, shape: Shape, factor: Array) -> Read:
    v_th = _threshold(reader, name, node.threshold, shape)
    gain, v_th = (factor / v_th, _ONE) if v_th.ndim else (factor, v_th)
    return Read(Lif(name, shape, inv_tau=1.0, v_th=float(v_th), fire=">", reset="hard"), gain=gain)


def _read_li(reader: NodeReader, name: str, node: Any, shape: Shape, factor: Array) -> Read:
    gain, leak = reader.spread(name, node.r, "r", shape) * factor, reader.spread(name, node.v_leak, "v_leak", shape)
    return Read(_li(reader, name, node, shape, "tau", gain, leak))


def _read_cuba_li(reader: NodeReader, name: str, node: Any, shape: Shape, factor: Array) -> Read:
    gain, current = _current(reader, name, node, shape, factor)
    r, leak = (reader.spread(name, v, w, shape) for v, w in ((node.r, "r"), (node.v_leak, "v_leak")))
    return Read(_li(reader, name, node, shape, "tau_mem", r * gain, leak), front=current)


def _read_i(reader: NodeReader, name: str, node: Any, shape: Shape, factor: Array) -> Read:
    gain = _rounded(reader.spread(name, node.r, "r", shape) * reader.conventions["dt"] * factor)
    if name == reader.end and len(shape) == 1:
        return Read(Vote(name, shape[0], 1), gain=gain)
    return Read(Li(name, shape, gain=_plain(gain)))


READERS: dict[type, Reader] = {
    **STATELESS, nir.IF: _read_if, nir.LIF: _read_lif, nir.CubaLIF: _read_cuba, nir.Threshold: _read_threshold,
    nir.LI: _read_li, nir.CubaLI: _read_cuba_li, nir.I: _read_i,
}


def read_node(reader: NodeReader, name: str, node: Any, shape: Shape, factor: Array) -> Read:
    """Our node for one that receives `shape`; factor: what pools and Scales before it left, 0-d or of that shape.

    Raises UnsafeFile naming the node.
    """
    try:
        return READERS[type(node)](reader, name, node, shape, factor)
    except (TypeError, ValueError, AttributeError, KeyError, IndexError, OverflowError) as err:
        reader.refuse(name, f"not a valid {type(node).__name__}", f"{type(err).__name__}: {err}")
