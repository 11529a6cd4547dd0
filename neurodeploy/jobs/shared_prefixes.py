"""Architectures that begin alike, evaluated without computing twice what they share.

What a layer puts out, in estimating its batch norms as in being judged, depends on the layers before it and on nothing behind.
So of one architecture everything is kept, and the next is computed from the first block that differs. The order in which
"exhaustive" asks for a space leaves the last block alone, four times of five. Metrics are those of the evaluator, bit for bit:
the same operations on the same numbers in the same order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from neurodeploy.errors import NeurodeployError
from neurodeploy.jobs.candidate import ImageEvaluator, Rates
from neurodeploy.models.autosnn import AutoSnn
from neurodeploy.models.record import record, spikes_paper
from neurodeploy.search.fitness import Metrics
from neurodeploy.train.batchnorm import averaging


@dataclass(frozen=True)
class _Layer:
    """A layer behind those before it: what it puts out for the batches that estimate and for the parts of the validation
    split, there also as spikes [N] of each of its neuron layers and their mean rates."""

    block: str
    module: nn.Module
    estimating: list[Tensor]
    judging: list[Tensor]
    spikes: list[Tensor]
    rates: Rates


class SharedPrefixes:
    """Calls give what `evaluator` gives; the first call computes it both ways. Raises NeurodeployError where they differ."""

    def __init__(self, evaluator: ImageEvaluator) -> None:
        self._evaluator = evaluator
        self._batches, self._parts = evaluator.estimating(), list(evaluator.judging())
        self._known: list[_Layer] = []
        self._is_checked = False

    def __call__(self, arch: Sequence[str]) -> dict[str, Any]:
        found = self.metrics(arch).to_dict()
        if not self._is_checked:
            alone = self._evaluator(arch)
            if found != alone:
                wrong = ", ".join(sorted(key for key in alone if found[key] != alone[key]))
                raise NeurodeployError(f"{wrong} of {','.join(arch)} differ when layers are shared", where="exhaustive search",
                                       remedy="Report this; the other methods share nothing")
            self._is_checked = True
        return found

    def metrics(self, arch: Sequence[str]) -> Metrics:
        """Metrics of an architecture on the validation split."""
        network = self._evaluator.child(arch)
        config = network.config
        blocks = ["", *("" if p.index is None else network.arch[p.index] for p in config.positions), ""]
        modules = [network.stem, *network.layers, network.classifier]
        n_shared = 0
        while n_shared < len(self._known) and self._known[n_shared].block == blocks[n_shared]:
            n_shared += 1
        del self._known[n_shared:]
        for block, module in list(zip(blocks, modules, strict=True))[n_shared:]:
            self._known.append(self._computed(network, block, module))
        known = [layer.module for layer in self._known]
        for name, part in (("stem", known[0]), ("layers", nn.ModuleList(known[1:-1])), ("classifier", known[-1])):
            network.add_module(name, part)
        spikes = torch.stack([s for layer in self._known for s in layer.spikes]).sum(dim=0)
        rates = {name: rate for layer in self._known for name, rate in layer.rates.items()}
        votes = torch.cat(self._known[-1].judging, dim=1).cpu().numpy()
        return self._evaluator.metrics_of(network, votes, spikes, rates)

    def _computed(self, network: AutoSnn, block: str, module: nn.Module) -> _Layer:
        inputs = self._known[-1].estimating if self._known else self._batches
        with averaging(module):
            estimating = [module(x) for x in inputs]
        with torch.inference_mode(), record(network) as recorded:
            judging: list[Tensor] = []
            spikes: dict[str, list[Tensor]] = {}
            fired: dict[str, NDArray[np.float64]] = {}
            for x in self._known[-1].judging if self._known else self._parts:
                judging.append(module(x))
                for name, s in recorded.items():
                    spikes.setdefault(name, []).append(spikes_paper({name: s}))
                    fired[name] = fired.get(name, 0.0) + s.sum(dim=1, dtype=torch.float64).cpu().numpy()
            n = sum(x.shape[1] for x in judging)
            rates = {name: total / n for name, total in fired.items()}
            return _Layer(block, module, estimating, judging, [torch.cat(s) for s in spikes.values()], rates)
