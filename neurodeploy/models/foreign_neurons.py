"""Neurons of spikingjelly 2.0 and snntorch 1.0 in our conventions, exactly, or refused with the reason.

spikingjelly (`activation_based.neuron`): v_threshold, v_reset (None: soft reset), fires at v >= v_threshold, starts at v_reset,
0 where that is None.
    IFNode             v += x
    LIFNode            v += (x - (v - v_reset)) / tau, or without decay_input  v += x - (v - v_reset) / tau
    ParametricLIFNode  the same with 1/tau = sigmoid(w), w in the state_dict

snntorch `Leaky`: fires at mem > threshold, one spike sends graded_spikes_factor, beta is clipped to 0..1, mem starts at 0.
    mem[t] = beta mem[t-1] + x[t] - threshold s[t-1]     subtract: the reset comes a step late
    mem[t] = beta (1 - s[t-1]) mem[t-1] + x[t]           zero: the same as a reset in the step of the spike
A late subtraction of the threshold is one of threshold / beta in the step of the spike: a Lif whose zero lies at
v_reset = threshold / beta - threshold, so that v_th is both the level of the spike and what it subtracts. `reset_delay=False`
subtracts at once, but fires one threshold later while the membrane is still above it: no Lif does that.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from neurodeploy.models.chain import Conventions


class NotExact(Exception):
    """Why a layer has no equal here."""


@dataclass(frozen=True)
class SpikingJelly:
    """Arguments of IFNode (tau None), LIFNode or ParametricLIFNode."""

    v_threshold: float
    v_reset: float | None
    tau: float | None = None
    decay_input: bool = False

    def conventions(self) -> Conventions:
        """Raises NotExact."""
        if self.tau is not None and not 1 <= self.tau < math.inf:
            raise NotExact(f"tau is {self.tau}: at least 1")
        return Conventions(
            self.v_threshold, ">=", "soft" if self.v_reset is None else "hard", self.v_reset or 0.0,
            0.0 if self.tau is None else 1 / self.tau, self.decay_input,
        )


@dataclass(frozen=True)
class Leaky:
    """Arguments of snntorch's Leaky; `reset` is its reset_mechanism."""

    beta: float
    threshold: float
    reset: str
    reset_delay: bool
    inhibition: bool
    graded_spikes_factor: float = 1.0

    def conventions(self) -> Conventions:
        """Raises NotExact."""
        if self.inhibition:
            raise NotExact("inhibition: only the largest membrane of a layer fires, and neurons here do not know each other")
        if self.threshold <= 0:
            raise NotExact(f"threshold is {self.threshold:g}: above 0")
        if self.graded_spikes_factor <= 0:
            raise NotExact(f"graded_spikes_factor is {self.graded_spikes_factor:g}: above 0")
        beta, gain = min(max(self.beta, 0.0), 1.0), self.graded_spikes_factor
        if self.reset == "zero":
            return Conventions(self.threshold, ">", "hard", 0.0, 1 - beta, gain=gain)
        if self.reset != "subtract":
            raise NotExact(f"reset_mechanism is {self.reset!r}: 'subtract' and 'zero' are known, and neurons here reset")
        if not self.reset_delay:
            raise NotExact("reset_delay=False with 'subtract': while the membrane is still above the threshold after a reset, "
                           "it fires one threshold later, which no other neuron does. 'zero', or the default "
                           "reset_delay=True, can be converted")
        if beta == 0:
            raise NotExact("beta is 0 with 'subtract': the late reset subtracts from a membrane that has forgotten its spike")
        step = self.threshold / beta
        return Conventions(step, ">", "soft", step - self.threshold, 1 - beta, gain=gain)
