"""A trained network onto the target: lower, quantize (and fine-tune where that loses too much), place, fix the exit."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from neurodeploy.cost.objective import optimise_for
from neurodeploy.data.chip_input import chip_input
from neurodeploy.data.datasets import Dataset
from neurodeploy.early_exit.confidence import ConfidencePolicy
from neurodeploy.errors import DoesNotFit, UsageError
from neurodeploy.hw.profile import Profile
from neurodeploy.ir.graph import Graph, IntGraph
from neurodeploy.ir.nodes import Lif
from neurodeploy.ir.reference import evaluate
from neurodeploy.ir.votes import predictions
from neurodeploy.jobs.exits import choose_policy
from neurodeploy.lower import as_trained, lower, to_chip_neurons
from neurodeploy.models.from_graph import TorchGraph
from neurodeploy.place import Placement, check
from neurodeploy.progress import SILENT, Progress
from neurodeploy.quantize import quantize
from neurodeploy.quantize.qat import QatSettings, fine_tune
from neurodeploy.search.recipe import DeploySettings
from neurodeploy.sim.clocked import simulate
from neurodeploy.train.runtime import threads
from neurodeploy.validate.accuracy import votes_of

PlacementSource = Literal["placed", "optimised", "bundle"]  # made by this command, made to cost less, read from a bundle
_CALIBRATION_BYTES = 2**32
N_TRACED = 32  # samples whose events an optimised placement is made for


@dataclass(frozen=True)
class Deployment:
    """A network on its target. `lowered` is the real-valued network that `net` stands for (after fine-tuning, if any);
    `policy` is None without data; `validation` says what quantization did to the validation split, `optimised` what the
    placement gained where the settings ask for an optimised one, `placement_source` where the placement comes from."""

    lowered: Graph
    net: IntGraph
    plan: Placement
    policy: ConfidencePolicy | None
    validation: dict[str, Any] | None
    optimised: dict[str, Any] | None = None
    placement_source: PlacementSource = "placed"


def lowered_for(graph: Graph, profile: Profile, settings: DeploySettings) -> Graph:
    """A trained graph in the target's primitives, its input coded as the settings ask; with neurons that the target has not
    in the place of its own where they ask for the nearest."""
    lowered = lower(graph, profile, settings.input.kind, input_bits=settings.input.input_bits)
    return to_chip_neurons(lowered, profile) if settings.neurons == "nearest" else lowered


def settings_elsewhere(graph: Graph) -> dict[str, Any]:
    """Settings of a network that was not trained here: the nearest neurons that a chip has and, where neurons send several
    spikes a timestep, several at its input too."""
    several = any(isinstance(n, Lif) and n.multi_spike for n in graph.nodes)
    return {"neurons": "nearest", **({"input": {"kind": "counts"}} if several else {})}


def deploy(
    lowered: Graph, profile: Profile, settings: DeploySettings, data: Dataset | None, progress: Progress = SILENT, *,
    device: str = "cpu",
) -> Deployment:
    """Bring a lowered graph onto the target. Validation data choose scales and exit threshold, training data fine-tune.

    Without data, scales come from the weights alone and there is no early exit. One thread computes, so that the same
    model and settings give the same network everywhere; a search fine-tunes on its own `device`. Raises DoesNotFit with every
    violation.
    """
    with threads(1):
        return _deploy(lowered, profile, settings, data, progress, device)


def _deploy(
    lowered: Graph, profile: Profile, settings: DeploySettings, data: Dataset | None, progress: Progress, device: str
) -> Deployment:
    fit = check(lowered, profile, settings.cost.n_chips)
    if not fit.fits:
        raise DoesNotFit(fit.violations, target=profile.name)
    if data is None:
        net = quantize(lowered, profile)
        return Deployment(lowered, net, placed(net, profile, settings)[0], None, None)
    x, y = data.split("validation")
    progress.start("quantization", 1)
    net = quantize(lowered, profile, x[:: _stride(lowered, len(x))])
    progress.advance("quantization")
    progress.done("quantization")
    report = _compare(lowered, net, x, y)
    trained = lowered
    fine_tuned = report["drop"] > settings.quantize.max_drop or report["agreement"] < settings.quantize.min_agreement
    epochs = settings.quantize.qat_epochs
    if fine_tuned and epochs:
        progress.start("fine-tuning", epochs)
        before = report
        lowered, net = fine_tune(
            lowered, net, profile, data.split("train"), (x, y),
            QatSettings(epochs=epochs, lr=settings.quantize.qat_lr, loss=settings.loss), seed=settings.seed,
            device=device, progress=lambda epoch, accuracy: progress.advance("fine-tuning", accuracy=f"{100 * accuracy:.1f} %"),
        )
        progress.done("fine-tuning")
        report = {**_compare(lowered, net, x, y), "before_fine_tuning": before}
    net.quantization["fine_tuned"] = bool(fine_tuned and epochs)
    votes = report.pop("votes")
    report.get("before_fine_tuning", {}).pop("votes", None)
    policy = choose_policy(settings.early_exit, votes, y)
    note_rates(trained, net, chip_input(net, x[:N_TRACED]))
    plan, optimised = placed(net, profile, settings, x)
    source: PlacementSource = "placed" if optimised is None else "optimised"
    return Deployment(lowered, net, plan, policy, report, optimised, source)


def _stride(lowered: Graph, n: int) -> int:
    """Every how many of n images calibrate, so that all values of the network on them are held at once."""
    n_bytes = 8 * lowered.n_timesteps * sum(math.prod(lowered.shapes[node.name]) for node in lowered.nodes)
    return max(1, -(-n * n_bytes // _CALIBRATION_BYTES))


def placed(
    net: IntGraph, profile: Profile, settings: DeploySettings, images: NDArray[Any] | None = None
) -> tuple[Placement, dict[str, Any] | None]:
    """Cores for an integer network on the system that the settings ask for, and what optimising gained, if it was asked for.

    images [N, C, H, W] give the events to optimise for. Raises DoesNotFit, and UsageError where they are missing.
    """
    fit = check(net, profile, settings.cost.n_chips)
    if fit.placement is None:
        raise DoesNotFit(fit.violations, target=profile.name)
    fit.warn()
    goal = settings.place.optimise
    if goal is None:
        return fit.placement, None
    if images is None:
        raise UsageError(
            f"the placement shall be optimised for {goal}, and nothing says how often neurons fire", where="place.optimise",
            code="missing_data", remedy="Name a dataset with --data, or leave place.optimise unset",
        )
    trace = simulate(net, chip_input(net, images[:N_TRACED]))
    found = optimise_for(
        net, profile, goal, trace, n_chips=settings.cost.n_chips, seed=settings.seed, budget=settings.place.budget
    )
    return found.plan, {"objective": goal, **found.to_dict()}


def _compare(lowered: Graph, net: IntGraph, x: NDArray[Any], y: NDArray[Any]) -> dict[str, Any]:
    """Accuracy of the real-valued and the integer network on the same images, and how often they answer alike."""
    real = predictions(float_votes(lowered, x))[-1]
    votes = votes_of(net, x, chip_input)
    integer = predictions(votes)[-1]
    accuracy_float, accuracy = float((real == y).mean()), float((integer == y).mean())
    return {
        "accuracy_float": accuracy_float, "accuracy_integer": accuracy, "drop": accuracy_float - accuracy,
        "agreement": float((real == integer).mean()), "n": len(y), "votes": votes,
    }


def float_votes(lowered: Graph, images: NDArray[Any], batch_size: int = 512) -> NDArray[np.float64]:
    """Votes [T, N, n_classes] of a lowered real-valued graph for images [N, C, H, W], in float64."""
    module = TorchGraph(lowered, torch.float64)
    output = lowered.output.name
    with torch.inference_mode():
        parts = [
            module(torch.from_numpy(chip_input(lowered, images[i : i + batch_size])))[output]
            for i in range(0, len(images), batch_size)
        ]
    return np.asarray(torch.cat(parts, dim=1).numpy())


def float_rates(lowered: Graph, x: NDArray[Any]) -> dict[str, NDArray[np.float64]]:
    """Mean firing of every layer of a lowered real-valued graph, and of its inputs, on chip input x: [T, *shape] in 0..1."""
    with torch.inference_mode():
        found = TorchGraph(lowered, torch.float64)(torch.from_numpy(x))
    return {n.name: (found[n.name] != 0).double().mean(dim=1).numpy() for n in (*lowered.neurons, *lowered.inputs)}


def note_rates(lowered: Graph, net: IntGraph, x: NDArray[Any]) -> None:
    """Where the chip's neurons are not the network's: `net.quantization["rates"]`, per layer the mean spikes per neuron and
    timestep of the network as it was trained (`float`) and of the chip (`chip`) on the same chip input x [T, B, *input shape].
    """
    if not lowered.metadata.get("lowering", {}).get("neurons"):
        return
    real = evaluate(as_trained(lowered), x * (lowered.inputs[0].value_scale / net.inputs[0].value_scale))
    spikes = simulate(net, x).spikes

    def rate(values: Mapping[str, NDArray[Any]], name: str) -> float:
        return float(values[name][net.latencies[name] :][: len(x)].mean())

    net.quantization["rates"] = [
        {"layer": n.name, "float": rate(real, n.name), "chip": rate(spikes, n.name)} for n in net.neurons
    ]


def accuracy_as_trained(lowered: Graph, images: NDArray[Any], labels: NDArray[Any]) -> dict[str, float]:
    """`as_trained`: the share of right answers with the network's own neurons; empty where they are the chip's."""
    if isinstance(lowered, IntGraph) or not lowered.metadata.get("lowering", {}).get("neurons"):
        return {}
    trained = as_trained(lowered)
    try:
        votes = float_votes(trained, images)
    except UsageError:  # conventions that training has no formula for; slower, by the definition
        d, output = trained.latencies[trained.output.name], trained.output.name
        batches = (chip_input(trained, images[i : i + 256]) for i in range(0, len(images), 256))
        votes = np.concatenate([evaluate(trained, x)[output][d:] for x in batches], axis=1)
    return {"as_trained": float((predictions(votes)[-1] == labels).mean())}


def lowering_note(net: Graph) -> dict[str, Any]:
    """`lowering`: what lowering folded and where the chip's neurons differ, as plain JSON values; empty where nothing is."""
    notes = net.metadata.get("lowering")
    return {"lowering": notes} if notes else {}


def disclaimer(net: Graph, profile: Profile) -> str | None:
    """The profile's own, what the network is not on this chip, and whether it was changed for it."""
    differences = net.metadata.get("lowering", {}).get("differences", [])
    other = f"The network's neurons are not the chip's: {'; '.join(differences)}." if differences else None
    tuned = None
    if isinstance(net, IntGraph) and net.quantization.get("fine_tuned"):
        tuned = (
            "Rounding alone changed too many answers, so the network was fine-tuned on the chip's integers; what is said of it "
            "before quantization is of the fine-tuned one. --set quantize.qat_epochs=0 leaves it as it was trained."
        )
    return " ".join(text for text in (profile.disclaimer, other, tuned) if text) or None
