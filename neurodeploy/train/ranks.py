"""Several processes that train one network together, each on a part of every batch, as torchrun starts them.

Every rank holds the network and makes the same draws (order, paths, augmentation of the whole batch); it computes its part of
the batch, and gradients are summed over ranks, each weighted with its part's share. Batch norms take their statistics over all
parts (`models.shared_norm`). So the outcome is that of one process with the same batches, up to the rounding of sums in another
order; dropout alone, which only SNASNet has, draws other masks. Rank 0 validates, writes and prints.
"""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Any, NoReturn

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from neurodeploy.errors import NeurodeployError, UsageError
from neurodeploy.models.blocks import BatchNorm
from neurodeploy.models.shared_norm import Total, shared_norm
from neurodeploy.train import launch

_PATIENCE = timedelta(days=7)  # ranks wait while rank 0 searches; one that dies ends the others at once


@dataclass(frozen=True)
class Ranks:
    """This process, number `rank` of `n`. Alone, all of it does nothing."""

    rank: int = 0
    n: int = 1
    local_rank: int = 0

    @property
    def is_first(self) -> bool:
        return self.rank == 0

    def part(self, size: int) -> slice:
        """This rank's part of a batch; parts are equal to within one."""
        least, rest = divmod(size, self.n)
        start = self.rank * least + min(self.rank, rest)
        return slice(start, start + least + (self.rank < rest))

    def total(self, x: Tensor) -> Tensor:
        """The sum of x over ranks, in x itself."""
        if self.n > 1:
            _collective(dist.all_reduce, x)
        return x

    def add_gradients(self, module: nn.Module) -> None:
        """Each parameter's gradient becomes the sum over ranks, in one message."""
        gradients = [p.grad for p in module.parameters() if p.grad is not None]
        if self.n > 1 and gradients:
            whole = self.total(torch.cat([g.flatten() for g in gradients]))
            for gradient, summed in zip(gradients, whole.split([g.numel() for g in gradients]), strict=True):  # type: ignore[no-untyped-call]
                gradient.copy_(summed.view_as(gradient))

    def shared(self, value: Any) -> Any:
        """Rank 0's value, plain JSON, in every rank; the others wait for it."""
        if self.n == 1:
            return value
        text = torch.tensor(list(json.dumps(value).encode()) if self.is_first else [], dtype=torch.uint8)
        size = torch.tensor([len(text)])
        _collective(dist.broadcast, size, 0)
        text = text if self.is_first else torch.empty(int(size), dtype=torch.uint8)
        _collective(dist.broadcast, text, 0)
        return json.loads(bytes(text.tolist()))

    def share_weights(self, module: nn.Module) -> None:
        """Every rank's module becomes that of rank 0."""
        if self.n > 1:
            for value in module.state_dict().values():
                _collective(dist.broadcast, value, 0)

    @contextmanager
    def shared_norms(self, module: nn.Module) -> Iterator[None]:
        """Within the block batch norms in training take their statistics over all ranks. UsageError for other norms."""
        if self.n == 1:
            yield
            return
        norms = [(name, part) for name, part in module.named_modules() if isinstance(part, _BatchNorm)]
        for name, part in norms:
            if type(part) not in (BatchNorm, nn.BatchNorm2d):
                raise UsageError(f"a {type(part).__name__}, whose statistics would be of a part of each batch", where=name,
                                 limit="Training on several processes knows BatchNorm2d", remedy="Train on one")
        try:
            for _, part in norms:
                if isinstance(part, BatchNorm):
                    part.total = self.total
                else:
                    part.forward = partial(_normalised, part, self.total)  # type: ignore[method-assign, arg-type]
            yield
        finally:
            for _, part in norms:
                if isinstance(part, BatchNorm):
                    part.total = None
                else:
                    del part.forward


def _normalised(norm: nn.BatchNorm2d, total: Total, x: Tensor) -> Tensor:
    return shared_norm(norm, x, total) if norm.training else nn.BatchNorm2d.forward(norm, x)


ALONE = Ranks()
_current = ALONE


def current() -> Ranks:
    """The ranks that this process has joined; ALONE outside of `joined`."""
    return _current


@contextmanager
def alone() -> Iterator[None]:
    """Trainings within the block are those of this process alone, whatever it has joined."""
    global _current
    before, _current = _current, ALONE
    try:
        yield
    finally:
        _current = before


@contextmanager
def joined() -> Iterator[Ranks]:
    """Within the block this process is one of those that torchrun started, if it did; each of them must come here.

    Raises UsageError where the processes do not find each other, NeurodeployError where one of them ends.
    """
    global _current
    place = launch.place()
    if place is None or _current is not ALONE:
        yield _current
        return
    if torch.cuda.is_available() and place.local_rank < torch.cuda.device_count():
        torch.cuda.set_device(place.local_rank)
    try:
        dist.init_process_group("cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo", timeout=_PATIENCE)
    except (RuntimeError, ValueError) as error:
        raise UsageError("the processes that torchrun started cannot reach each other", where=f"rank {place.rank}",
                         limit=str(error), remedy="See its --master-addr and --master-port") from error
    before = signal.getsignal(signal.SIGTERM)
    try:
        if place.rank == 0:
            signal.signal(signal.SIGTERM, _ended)  # torchrun's word that another process has ended
        with launch.for_itself():
            _current = Ranks(place.rank, place.n, place.local_rank)
            yield _current
        dist.destroy_process_group()  # not after an error: it may wait for a process that is gone
    finally:
        _current = ALONE
        if signal.getsignal(signal.SIGTERM) is _ended:
            signal.signal(signal.SIGTERM, before)


def _ended(*_: object, why: str = "") -> NoReturn:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # said once, to its end, which comes soon
    raise NeurodeployError(
        "another process of this training has ended, or torchrun was stopped", where="torchrun", limit=why, code="rank_lost",
        remedy="Give the same command again (a search: with --resume and its folder): it goes on from its last checkpoint",
    )


def _collective(operation: Any, *args: Any) -> None:
    try:
        operation(*args)
    except RuntimeError as error:  # the connection broke
        _ended(why=str(error).partition("\n")[0])
