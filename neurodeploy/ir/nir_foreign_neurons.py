"""Neurons of others' NIR graphs as our Lif: NIR's continuous time by forward Euler in steps of dt.

As where we write NIR (`nir_nodes.py`): the state is updated with the input of the same timestep, then compared; it starts at
v_reset. With x what arrives:

IF       dv/dt = r x                       v += r dt x                                    Lif, inv_tau = 0
LIF      tau dv/dt = (v_leak - v) + r x    v += ((v_leak - v) + r x) dt/tau               Lif, inv_tau = dt/tau
             = -(v - v_reset) dt/tau + [r dt/tau] x + [(v_leak - v_reset) dt/tau]
CubaLIF  tau_syn di/dt = -i + w_in x       i += (w_in x - i) dt/tau_syn                   as LIF with r w_in, where
         tau_mem dv/dt = (v_leak - v) + r i                                               tau_syn = dt: then i = w_in x
Threshold  z = [x > threshold]             v = x: a Lif with inv_tau = 1, fire `>`, hard reset to 0
I        dv/dt = r x, v is the output      at the very end: Vote of groups of one, whose outputs r dt x are summed over time

The factor of x is 1 (within 1e-6: files hold float32), or dt/tau (decay_input), or goes into the weights in front, and the
constant into their bias. Thresholds, time constants and resets are one value a layer, as a Lif has them. LI and CubaLI put out
their state, for which there is no node, and a CubaLIF whose current has memory would need a second state.
"""

from __future__ import annotations

from typing import Any

import nir
import numpy as np

from neurodeploy.ir.nir_foreign_nodes import STATELESS, NodeReader, Read, Reader, collapsed
from neurodeploy.ir.nodes import Array, Lif, Shape, Vote

_CLOSE = 1e-6  # of a factor to 1, relative; files hold float32

WITHOUT: dict[type, tuple[str, str]] = {
    nir.LI: ("a leaky integrator puts out its state, and no node here does",
             "End the network with spiking neurons, or with an I, whose state is the sum of what arrives"),
    nir.CubaLI: ("a leaky integrator puts out its state, and no node here does",
                 "End the network with spiking neurons, or with an I, whose state is the sum of what arrives"),
}


def _one(reader: NodeReader, name: str, value: Any, what: str, shape: Shape) -> float:
    values = reader.spread(name, value, what, shape)
    if values.ndim:
        reader.refuse(name, f"{what} from {values.min():g} to {values.max():g}", "One value for a layer",
                      "Give each value a layer of its own")
    return float(values)


def _threshold(reader: NodeReader, name: str, value: Any, shape: Shape) -> float:
    values = reader.spread(name, value, "thresholds", shape)
    if values.ndim or not values > 0:
        reader.refuse(name, f"thresholds from {values.min():g} to {values.max():g}", "One value above 0 for a layer")
    return float(values)


def _lif(reader: NodeReader, name: str, node: Any, shape: Shape, inv_tau: float, gain: Array, leak: float | None) -> Read:
    """A layer that fires and resets by the conventions; gain: of what arrives; leak: v_leak, None for none."""
    v_th, c = _threshold(reader, name, node.v_threshold, shape), reader.conventions
    v_reset = _one(reader, name, node.v_reset, "v_reset", shape)
    if v_reset != 0 and c["reset"] == "soft":
        reader.refuse(name, f"v_reset is not 0 everywhere but {v_reset:g}, with a soft reset, which subtracts the threshold",
                      "v_reset = 0", "--set nir.reset=hard resets to v_reset")
    if v_reset >= v_th:
        reader.refuse(name, f"v_reset {v_reset:g} is not below the threshold {v_th:g}", "It would fire without end")
    v_min = {"none": None, "-v_threshold": -v_th}[c["v_min"]] if isinstance(c["v_min"], str) else float(c["v_min"])
    gain, decayed = collapsed(np.asarray(gain)), False
    if not gain.ndim:
        decayed = inv_tau > 0 and abs(float(gain) / inv_tau - 1) <= _CLOSE and abs(float(gain) - 1) > _CLOSE
        if decayed or abs(float(gain) - 1) <= _CLOSE:
            gain = np.ones(())
    offset = None if leak is None or leak == v_reset else np.asarray((leak - v_reset) * inv_tau)
    new = Lif(name, shape, inv_tau=inv_tau, decay_input=decayed, v_th=v_th, v_reset=v_reset, fire=c["fire"], reset=c["reset"],
              multi_spike=c["multi_spike"], v_min=v_min)
    return Read(new, gain=gain, offset=None if offset is None else offset / (inv_tau if decayed else 1.0))


def _lost(reader: NodeReader, name: str, tau: float, what: str) -> float:
    """dt / tau, the fraction that a timestep takes."""
    dt = reader.conventions["dt"]
    fraction = dt / tau if tau > 0 else np.inf
    if fraction > 1 + _CLOSE:
        reader.refuse(name, f"{what} is {tau:g}", f"At least the timestep, dt = {dt:g}: a step would overshoot",
                      "State the timestep: --set nir.dt=...")
    return min(fraction, 1.0)


def _read_if(reader: NodeReader, name: str, node: Any, shape: Shape, factor: Array) -> Read:
    gain = reader.spread(name, node.r, "r", shape) * reader.conventions.get("dt", 1.0) * factor
    return _lif(reader, name, node, shape, 0.0, gain, None)


def _read_lif(reader: NodeReader, name: str, node: Any, shape: Shape, factor: Array) -> Read:
    inv_tau = _lost(reader, name, _one(reader, name, node.tau, "tau", shape), "tau")
    gain = reader.spread(name, node.r, "r", shape) * inv_tau * factor
    return _lif(reader, name, node, shape, inv_tau, gain, _one(reader, name, node.v_leak, "v_leak", shape))


def _read_cuba(reader: NodeReader, name: str, node: Any, shape: Shape, factor: Array) -> Read:
    kept = _lost(reader, name, _one(reader, name, node.tau_syn, "tau_syn", shape), "tau_syn")
    if abs(kept - 1) > _CLOSE:
        reader.refuse(
            name, f"a CubaLIF whose current remembers: a timestep takes {kept:.3g} of it", "Neurons in real numbers have one "
            "state, the membrane; tau_syn = dt is read", "Use LIF neurons, or bring the network as a lava-dl .net, in integers",
        )
    inv_tau = _lost(reader, name, _one(reader, name, node.tau_mem, "tau_mem", shape), "tau_mem")
    gain = reader.spread(name, node.r, "r", shape) * reader.spread(name, node.w_in, "w_in", shape) * inv_tau * factor
    return _lif(reader, name, node, shape, inv_tau, gain, _one(reader, name, node.v_leak, "v_leak", shape))


def _read_threshold(reader: NodeReader, name: str, node: Any, shape: Shape, factor: Array) -> Read:
    v_th = _threshold(reader, name, node.threshold, shape)
    return Read(Lif(name, shape, inv_tau=1.0, v_th=v_th, fire=">", reset="hard"), gain=factor)


def _read_i(reader: NodeReader, name: str, node: Any, shape: Shape, factor: Array) -> Read:
    if len(shape) != 1:
        reader.refuse(name, f"an integrator of shape {shape}", "A vector, one element for each class", "Flatten before it")
    gain = collapsed(np.asarray(reader.spread(name, node.r, "r", shape) * reader.conventions["dt"] * factor))
    close = not gain.ndim and abs(float(gain) - 1) <= _CLOSE
    return Read(Vote(name, shape[0], 1), gain=np.ones(()) if close else gain)


READERS: dict[type, Reader] = {
    **STATELESS, nir.IF: _read_if, nir.LIF: _read_lif, nir.CubaLIF: _read_cuba, nir.Threshold: _read_threshold, nir.I: _read_i,
}


def read_node(reader: NodeReader, name: str, node: Any, shape: Shape, factor: Array) -> Read:
    """Our node for one that receives `shape`; factor: what pools and Scales before it left, 0-d or of that shape.

    Raises UnsafeFile naming the node.
    """
    try:
        return READERS[type(node)](reader, name, node, shape, factor)
    except (TypeError, ValueError, AttributeError, KeyError, IndexError, OverflowError) as err:
        reader.refuse(name, f"not a valid {type(node).__name__}", f"{type(err).__name__}: {err}")
