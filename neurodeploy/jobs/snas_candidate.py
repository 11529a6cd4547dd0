"""What an untrained cell would be worth on a target: its score, and limits and costs of the network with its first weights."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch

from neurodeploy.cost.counts import Counts, from_rates
from neurodeploy.cost.model import cost
from neurodeploy.cost.windows import no_window
from neurodeploy.data.chip_input import chip_input
from neurodeploy.data.datasets import Dataset
from neurodeploy.errors import DoesNotFit, UsageError
from neurodeploy.hw.profile import GpuProfile, Profile
from neurodeploy.ir.graph import Graph
from neurodeploy.jobs.deploy import float_rates, lowered_for
from neurodeploy.jobs.gpu_energy import OnGpu
from neurodeploy.jobs.measure import measure
from neurodeploy.jobs.training import labelled, sizes_of
from neurodeploy.lower.gpu import lower_to_gpu
from neurodeploy.models.networks import to_graph
from neurodeploy.models.snasnet import SnasNet
from neurodeploy.place import Placement, check
from neurodeploy.quantize import quantize
from neurodeploy.search.cell_fitness import CellMetrics
from neurodeploy.search.sahd import first_weights, score, scoring_batches
from neurodeploy.search.snas_recipe import SnasRecipe
from neurodeploy.train.batchnorm import averaging
from neurodeploy.train.runtime import resolve_device

_N_COUNTED = 16


class CellEvaluator:
    """Calls give the metrics of a cell (`CellMetrics`) as plain JSON values; a pure function of its arguments, on one kind of
    device. Nothing is trained: all weights are the first ones, and batch norms have the statistics of the scoring images.

    A cell that the target has no form of, or whose form breaks a limit, is not scored.
    """

    def __init__(self, data: Dataset, recipe: SnasRecipe, profile: Profile | GpuProfile) -> None:
        s = recipe.sahd
        self.recipe, self.profile, self._device = recipe, profile, resolve_device(recipe.device)
        self._config = sizes_of(recipe, data)
        self._data = {"data": {"name": data.name, "n_levels": data.n_levels}}
        self._batches = scoring_batches(labelled(recipe, data, "train")[0], s.batch, s.n_batches, recipe.seed, self._device)
        self._images = data.split("validation")[0][: s.images]

    def __call__(self, cell: Sequence[str]) -> dict[str, Any]:
        return self.metrics(tuple(cell)).to_dict()

    def metrics(self, cell: tuple[str, ...], *, scored: bool = True) -> CellMetrics:
        """What a cell is worth; its score only if wanted."""
        try:
            net = self.network(cell)
            profile = self.profile
            costs = self._on_gpu(net, profile) if isinstance(profile, GpuProfile) else self._on_mesh(net, profile)
        except DoesNotFit as error:
            return CellMetrics(None, violations=error.violations)
        except UsageError as error:
            if error.error_code != "cannot_lower":
                raise
            return CellMetrics(None, refused=str(error))
        value = score(net.to(self._device), self._batches, self.recipe.sahd.distance) if scored else -math.inf
        return CellMetrics(value if math.isfinite(value) else None, **costs, fits=True)

    def network(self, cell: tuple[str, ...]) -> SnasNet:
        """The network of a cell with its first weights, and batch norms that fit them."""
        net = first_weights(self._config, cell, self.recipe.seed).to(self._device)
        net.metadata = dict(self._data)
        with averaging(net):
            net.dropout.eval()
            for images in self._batches:
                net(images)
        return net.cpu().eval()

    def _on_mesh(self, net: SnasNet, profile: Profile) -> dict[str, Any]:
        lowered = lowered_for(to_graph(net), profile, self.recipe.deploy)
        fit = check(lowered, profile, self.recipe.cost.n_chips)
        if fit.placement is None:
            raise DoesNotFit(fit.violations, target=profile.name)
        has_windows = no_window(lowered) is None
        found = cost(
            (self._expected if has_windows else self._counted)(lowered, fit.placement, profile), fit.placement, profile,
            self.recipe.cost.schedule if has_windows else "single",
        )
        return {
            "spikes": found.counts["spikes"], "synops": found.counts["synops"], "energy_j": found.energy_j.nominal,
            "energy_dynamic_j": found.energy_dynamic_j.nominal, "latency_s": found.latency_s.nominal, "n_cores": found.n_cores,
        }

    def _expected(self, lowered: Graph, plan: Placement, profile: Profile) -> Counts:
        """Mean counts from the rates of the network in real numbers."""
        return from_rates(lowered, plan, float_rates(lowered, chip_input(lowered, self._images)), profile.zeros)

    def _counted(self, lowered: Graph, plan: Placement, profile: Profile) -> Counts:
        """Counts of the network rounded to the chip's integers, for loops, which rates say too little of; on fewer images,
        as it takes long."""
        images = self._images[:_N_COUNTED]
        return measure(quantize(lowered, profile, images), plan, images, zeros=profile.zeros).counts

    def _on_gpu(self, net: SnasNet, profile: GpuProfile) -> dict[str, Any]:
        on = OnGpu.of(lower_to_gpu(to_graph(net)), profile, self.recipe.deploy)
        if broken := on.violations():
            raise DoesNotFit(broken, target=profile.name)
        found = on.cost(1)
        with torch.inference_mode():
            spikes = sum(float(s.sum()) for s in net.spikes(torch.from_numpy(self._images)).values()) / len(self._images)
        return {
            "spikes": spikes, "energy_j": found.energy_j.nominal, "energy_dynamic_j": found.energy_dynamic_j.nominal,
            "latency_s": found.latency_s.nominal,
        }
