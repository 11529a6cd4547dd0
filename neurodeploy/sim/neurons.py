"""Neuron layers with the states of a batch of samples, advanced over a window of timesteps by the loops of scan.py."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from neurodeploy.errors import NeurodeployError
from neurodeploy.fixedpoint import DECAY_BITS, shift_signed
from neurodeploy.ir.nodes import Array, CubaLif, Delta, Iaf, Sigma, SigmaDelta
from neurodeploy.ir.reference import within_state_bits
from neurodeploy.sim.kernels import largest_of
from neurodeploy.sim.scan import BLOCK, DELTA, SIGMA, SIGMA_DELTA, blocked, in_threads, scan_cuba, scan_delta, scan_iaf
from neurodeploy.sim.series import Series

_NO_FLOOR = -(2**62)
_LARGEST_DRIVE = 2**50  # of one step; beyond it, currents summed over time could leave 64 bits


@dataclass(frozen=True, eq=False)
class Played:
    """What a layer did in a window: sent [W, B, *shape], uint8 0 or 1, or int64 messages; spoke bool [W, B], whether
    anything was sent; at_work bool [W, B, *shape], where a state was not zero before the step (nowhere for an Iaf, which
    has no leak), None if not asked."""

    sent: Tensor
    spoke: NDArray[np.bool_]
    at_work: NDArray[np.bool_] | None


class Layer:
    """A neuron layer of `batch` samples. Its states lie in blocks, [B, blocks, planes, BLOCK] (scan.py).

    `biased` bool [*shape]: neurons updated in every step; `planes`: numbers of the states that a Trace records.
    """

    planes: dict[str, int]
    biased: NDArray[np.bool_]
    takes: torch.dtype  # integers in which sums are handed over, where they are not float32 already

    def __init__(self, node: CubaLif | Delta | Sigma | Iaf, constants: Sequence[Array], dtype: type) -> None:
        self.name, self.shape = node.name, node.shape
        self.n_neurons = int(np.prod(node.shape))
        self._params = blocked(self._full(constants), dtype)
        self._state: Array = np.zeros(0, dtype=dtype)

    def _full(self, values: Sequence[Array | int]) -> NDArray[np.int64]:
        return np.stack([np.broadcast_to(v, self.shape).ravel() for v in values]).astype(np.int64)

    def begin(self, batch: int) -> None:
        """Set `batch` samples to their initial states."""
        raise NotImplementedError

    def play(self, a: Series, t: int, track: bool) -> Played:
        """Advance the timesteps t, t + 1, ... (0-based) of a window with the sums `a`; `track`: ask for `at_work`."""
        raise NotImplementedError

    def play_recording(self, a: Series, t: int, track: bool) -> tuple[Played, dict[str, NDArray[np.int64]]]:
        """As `play`, with the states at the end of each step, [W, B, *shape] by the kinds of a Trace."""
        parts, states = [], {kind: np.empty((*a.rows.shape, *self.shape), dtype=np.int64) for kind in self.planes}
        for w in range(len(a.rows)):
            parts.append(self.play(Series(a.values, a.rows[w : w + 1]).distinct(), t + w, track))
            for kind, values in states.items():
                values[w] = self.read(kind)
        flags = np.concatenate([p.at_work for p in parts if p.at_work is not None]) if track else None
        return Played(torch.cat([p.sent for p in parts]), np.concatenate([p.spoke for p in parts]), flags), states

    def keep(self, samples: NDArray[np.bool_]) -> None:
        """Drop the samples of the batch where the mask [B] is false."""
        self._state = self._state[samples]

    def read(self, name: str) -> NDArray[np.int64]:
        """A state by the name under which it is recorded, [B, *shape]."""
        plane = self._state[:, :, self.planes[name]].reshape(len(self._state), -1)
        return plane[:, : self.n_neurons].reshape(-1, *self.shape).astype(np.int64)

    @property
    def _n_blocks(self) -> int:
        """Of all samples."""
        return int(self._state.shape[0] * self._state.shape[1])

    def _start(self, batch: int, *states: Array | int) -> None:
        one = blocked(self._full(states), self._params.dtype)
        self._state = np.repeat(one[np.newaxis], batch, axis=0)

    def _scan(self, scan: Callable[..., None], a: Series, sent_type: type, track: bool, *rest: Any) -> Played:
        values = a.values.contiguous().numpy().ravel()
        sent = np.empty((*a.rows.shape, *self.shape), dtype=sent_type)
        spoke = np.zeros(a.rows.shape, dtype=np.uint8)
        at_work = np.empty(sent.size if track else 0, dtype=np.uint8)
        in_threads(
            scan, self._n_blocks, sent.size, values, a.rows, np.zeros(BLOCK, dtype=values.dtype), self._state.ravel(),
            self._params.ravel(), sent.ravel(), spoke, at_work, self.n_neurons, *rest,
        )
        flags = at_work.view(np.bool_).reshape(sent.shape) if track else None
        return Played(torch.from_numpy(sent), spoke.view(np.bool_), flags)


class CubaLayer(Layer):
    """A CubaLif; `largest` bounds the magnitude of the sums that reach it, None where unknown."""

    planes: ClassVar[dict[str, int]] = {"i_syn": 0, "v_mem": 1}  # type: ignore[misc]

    def __init__(self, node: CubaLif, largest: int | None) -> None:
        """Raises NeurodeployError for sums that 64 bits may not hold over time."""
        self._bounded = largest is not None
        drive = _LARGEST_DRIVE if largest is None else self._drive(node, largest)
        self._half = 1 << (node.state_bits - 1)
        bias = shift_signed(node.bias_mant, node.bias_exp)
        start = max(int(np.abs(x).max(initial=0)) for x in (node.i_init, node.v_init))
        # Up to a drive of 2 * half one wrap brings the current back into range, so 32 bits hold every intermediate.
        limit = 2 * self._half
        narrow = limit <= 2**24 and drive <= limit and start <= limit // 2 and np.abs(bias).max(initial=0) <= 2**29
        v_th = np.asarray(node.v_th, dtype=np.int64) << node.state_shift
        kept = [2**DECAY_BITS - np.asarray(decay) for decay in (node.i_decay, node.v_decay)]
        constants = (*kept, np.clip(v_th, -(2**30), 2**30) if narrow else v_th, bias)
        super().__init__(node, constants, np.int32 if narrow else np.int64)
        self.node = node
        self.takes = torch.int32 if narrow else torch.int64
        self.biased = np.broadcast_to(bias != 0, node.shape)

    def _drive(self, node: CubaLif, largest: int) -> int:
        drive = largest << node.state_shift
        if drive > _LARGEST_DRIVE:
            raise NeurodeployError(
                f"its input reaches {largest}", where=node.name, limit=f"At most {_LARGEST_DRIVE >> node.state_shift}",
                remedy="Use smaller weights or smaller inputs", code="not_exact",
            )
        return drive

    def begin(self, batch: int) -> None:
        """Set `batch` samples to their initial states."""
        self._start(batch, self.node.i_init, self.node.v_init)

    def play(self, a: Series, t: int, track: bool) -> Played:
        """Advance the timesteps t, t + 1, ... (0-based) of a window with the sums `a`; `track`: ask for `at_work`."""
        node, interval = self.node, self.node.reset_interval
        if not self._bounded:
            self._drive(node, largest_of(a.values))
        narrow_sums = self.takes == torch.int32 and a.values.dtype == torch.float32
        sums = a if narrow_sums else a.like(a.values.to(self.takes))
        steps = t + 1 + np.arange(len(a.rows))
        resets = np.zeros(len(steps), dtype=bool) if interval is None else steps % interval == node.reset_offset % interval
        return self._scan(scan_cuba, sums, np.uint8, track, resets, self._half, node.state_shift)


class SigmaDeltaLayer(Layer):
    """A Delta, SigmaDelta or Sigma."""

    takes = torch.int64

    def __init__(self, node: Delta | Sigma) -> None:
        bias = node.bias_mant if isinstance(node, SigmaDelta) else np.zeros(1, dtype=np.int64)
        v_th = np.asarray(node.v_th if isinstance(node, Delta) else 0, dtype=np.int64)
        self._scale = node.spike_exp + node.state_exp if isinstance(node, Delta) else 0
        self._kind = DELTA if type(node) is Delta else SIGMA if isinstance(node, Sigma) else SIGMA_DELTA
        super().__init__(node, (v_th << self._scale, bias << self._scale), np.int64)
        self.node = node
        self.planes = {"v_mem": 1 if self._kind == DELTA else 0}
        self.biased = np.broadcast_to(bias != 0, node.shape)

    def begin(self, batch: int) -> None:
        """Set `batch` samples to rest."""
        self._start(batch, 0, 0, 0)

    def play(self, a: Series, t: int, track: bool) -> Played:
        """Advance over the window with the sums `a`; these neurons are never reset, so `t` does not matter."""
        node = self.node
        relu = isinstance(node, SigmaDelta) and node.activation == "relu"
        state_exp = node.state_exp if isinstance(node, Delta) else 0
        sums, peaks = a.like(a.values.to(torch.int64)), np.zeros(self._n_blocks, dtype=np.int64)
        played = self._scan(scan_delta, sums, np.int64, track, peaks, self._kind, relu, self._scale, state_exp)
        within_state_bits(node, peaks)
        return played


class IafLayer(Layer):
    """An Iaf."""

    planes: ClassVar[dict[str, int]] = {"v_mem": 0}  # type: ignore[misc]
    takes = torch.int64

    def __init__(self, node: Iaf) -> None:
        super().__init__(node, (node.bias,), np.int64)
        self.node = node
        self.biased = np.broadcast_to(node.bias != 0, node.shape)

    def begin(self, batch: int) -> None:
        """Set `batch` samples to their initial states."""
        self._start(batch, self.node.v_init)

    def play(self, a: Series, t: int, track: bool) -> Played:
        """Advance over the window with the sums `a`; these neurons are never restarted, so `t` does not matter."""
        node, peaks = self.node, np.zeros(self._n_blocks, dtype=np.int64)
        floor = _NO_FLOOR if node.v_min is None else node.v_min
        sums = a.like(a.values.to(torch.int64))
        played = self._scan(scan_iaf, sums, np.int64, track, peaks, node.v_th, floor, node.reset == "hard", node.multi_spike)
        within_state_bits(node, peaks)
        return played


def layer_of(node: CubaLif | Delta | Sigma | Iaf, largest: int | None) -> Layer:
    """The layer of a neuron node; `largest` bounds what reaches it."""
    if isinstance(node, Iaf):
        return IafLayer(node)
    return CubaLayer(node, largest) if isinstance(node, CubaLif) else SigmaDeltaLayer(node)
