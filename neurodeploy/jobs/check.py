"""`neurodeploy check`: does the network fit, on each target, and what is the smallest change that fits."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from neurodeploy.cost.assumed import expected_at
from neurodeploy.cost.counts import Expected, expected
from neurodeploy.cost.objective import optimise_for
from neurodeploy.cost.windows import steps_until_settled
from neurodeploy.data.chip_input import chip_input
from neurodeploy.data.spikes import Layout, read_input
from neurodeploy.errors import DoesNotFit, NeurodeployError, UsageError, Violation
from neurodeploy.hw.profile import AnyProfile, EventProfile, GpuProfile, Profile
from neurodeploy.hw.profile import any_target as profile_of
from neurodeploy.ir.graph import Graph, IntGraph
from neurodeploy.jobs.deploy import N_TRACED, float_rates, lowered_for, lowering_note
from neurodeploy.jobs.event_check import check_on_cores
from neurodeploy.jobs.event_opened import refuse_timesteps
from neurodeploy.jobs.gpu_check import check_on_gpu
from neurodeploy.jobs.gpu_opened import refuse_cores
from neurodeploy.jobs.measure import check_length
from neurodeploy.jobs.net_options import NetOptions
from neurodeploy.jobs.opened import Opened, counted, foremost, open_with, refuses_one_target
from neurodeploy.jobs.search import split_overrides
from neurodeploy.models.networks import Network, of_width, to_graph
from neurodeploy.place import Placement, utilisation
from neurodeploy.place import check as check_placement
from neurodeploy.place import suggest as suggest_system
from neurodeploy.place.optimise import Goal
from neurodeploy.search.recipe import DeploySettings
from neurodeploy.sim.clocked import simulate
from neurodeploy.sim.trace import Trace


@dataclass(frozen=True)
class CheckResult:
    """Per target: fits, n_cores, placement (and where it comes from) or violations, utilisation, with `optimise` the figures
    before and after, with `suggest` what would fit; the reason where the network cannot be brought onto it. `errors`: of the
    targets that it does not fit, then of those that it cannot be brought onto."""

    targets: dict[str, dict[str, Any]]
    violations: tuple[Violation, ...]
    errors: tuple[NeurodeployError, ...] = ()

    @property
    def fits(self) -> bool:
        """True where the network fits every target asked for."""
        return all(t["fits"] for t in self.targets.values())

    def to_dict(self) -> dict[str, Any]:
        """Plain fields, for JSON: those of the one target, or of several under `targets`."""
        if len(self.targets) == 1:
            return {"target": next(iter(self.targets)), **next(iter(self.targets.values()))}
        return {"fits": self.fits, "targets": self.targets}


def check(
    model: Path, targets: list[str], *, suggest: bool = False, optimise: Goal | None = None, data: str | None = None,
    rate: float | None = None, given: Path | None = None, layout: Layout = "torch", net: NetOptions | None = None,
    overrides: dict[str, Any] | None = None, skip_foreign: bool = False,
) -> CheckResult:
    """Every rule of each target against the model, and how full its cores are; nothing is trained or quantized.

    optimise: look for the placement with the least latency, energy or edp (default: what the model's settings ask for)
    for the events of images of `data` (default the model's own), of the chip input in the file `given`, or for `rate` spikes
    per neuron and timestep. A bundle keeps
    its own placement where it answers for the target (`Opened.stored_plan`). Of several targets, one that the network
    cannot be brought onto is reported with the reason, the others are complete; skip_foreign: that is no error where the
    target computes otherwise. Raises UsageError where it has no events.
    """
    opened, changes = open_with(model, net, overrides)
    of_model, of_profile = split_overrides(changes)
    settings = opened.settings(of_model)
    goal = optimise or settings.place.optimise
    asked = [name for name, value in (("--data", data), ("--rate", rate), ("--input", given)) if value is not None]
    if goal is None and asked:
        raise UsageError("nothing is optimised", where=asked[0], limit="Events decide nothing about what fits",
                         remedy="Give --optimise latency, energy or edp")
    if len(asked) > 1:
        raise UsageError(f"{' and '.join(asked)} at once", where=asked[1], limit="Events come from one place",
                         remedy="Give one of them")
    found: dict[str, dict[str, Any]] = {}
    violations: list[Violation] = []
    unfit: list[NeurodeployError] = []
    foreign: list[NeurodeployError] = []
    asks = _Asked(optimise, data, rate, given, layout, suggest)
    for name in targets:
        profile = profile_of(name, of_profile)
        try:
            found[name], broken = _entry(opened, profile, settings, asks, of_model)
        except NeurodeployError as error:
            if not refuses_one_target(error, targets):
                raise
            foreign.append(error)
            found[name] = {**dict.fromkeys(_UNKNOWN), "fits": False, "violations": [], "reason": str(error)}
            continue
        violations += broken
        if not found[name]["fits"]:
            unfit.append(DoesNotFit(broken, target=name))
    if len(foreign) == len(targets):
        raise foremost(foreign)  # nothing was found out about any target: the question was wrong
    return CheckResult(found, tuple(violations), (*unfit, *counted(foreign, skip_foreign)))


_UNKNOWN = ("n_cores", "placement", "placement_source", "utilisation")


@dataclass(frozen=True)
class _Asked:
    """What was asked of `check`, with where events come from."""

    optimise: Goal | None
    data: str | None
    rate: float | None
    given: Path | None
    layout: Layout
    suggest: bool


def _entry(
    opened: Opened, profile: AnyProfile, settings: DeploySettings, asks: _Asked, of_model: dict[str, Any]
) -> tuple[dict[str, Any], tuple[Violation, ...]]:
    """(the target's fields, violations); an error where the network cannot be brought onto it."""
    of_mesh = {"--optimise": asks.optimise, **{
        f"--set {key}": of_model.get(key) for key in ("place.optimise", "cost.n_chips")
    }}  # fmt: skip
    if isinstance(profile, EventProfile):
        refuse_timesteps(profile, of_mesh)
        return check_on_cores(opened, profile, suggest=asks.suggest)
    if isinstance(profile, GpuProfile):
        refuse_cores(profile.name, of_mesh)
        return check_on_gpu(opened, profile, settings, suggest=asks.suggest)
    lowered = opened.lowered(profile, settings)
    fit, source = opened.checked(lowered, profile, settings)
    fit.warn()
    plan, goal = fit.placement, asks.optimise or settings.place.optimise
    gain: dict[str, Any] | None = None
    if plan is not None and goal is not None and (asks.optimise is not None or source != "bundle"):
        plan, gain = _optimised(opened, lowered, profile, settings, goal, asks)
        source = "optimised"
    entry = {
        "fits": fit.fits, "n_cores": fit.n_cores if plan is None else plan.n_cores,
        "placement": None if plan is None else plan.to_dict(), "placement_source": None if plan is None else source,
        "violations": [v.to_dict() for v in fit.violations],
        "utilisation": utilisation(lowered, profile, plan, settings.cost.n_chips).to_dict(),
        **({} if gain is None else {"optimised": gain}), **lowering_note(lowered),
    }
    if asks.suggest:
        entry["suggestion"] = None if fit.fits else _suggestion(opened, lowered, profile, settings)
    return entry, fit.violations


def _optimised(
    opened: Opened, lowered: Graph, profile: Profile, settings: DeploySettings, goal: Goal, asks: _Asked
) -> tuple[Placement, dict[str, Any]]:
    """The optimised placement, and its figures beside those of the plain one."""
    found = optimise_for(
        lowered, profile, goal, _events(opened, lowered, asks), n_chips=settings.cost.n_chips,
        seed=settings.seed, budget=settings.place.budget,
    )
    return found.plan, {
        "objective": goal, "rate": asks.rate, "input": None if asks.given is None else str(asks.given), **found.to_dict()
    }


def _events(opened: Opened, lowered: Graph, asks: _Asked) -> Trace | Expected:
    """What fires: counted on validation images or given input where the network is in integers, expected from images where
    it is not."""
    if asks.rate is not None:
        return expected_at(lowered, asks.rate)
    if asks.given is not None:
        return _played(opened, lowered, asks.given, asks.layout)
    dataset = opened.dataset(asks.data)
    if dataset is None:
        raise UsageError(
            "the model names no dataset, and nothing says how often its neurons fire", where=str(opened.path),
            code="missing_data", remedy="Give chip input with --input in.npz, a dataset with --data, or assume a firing rate "
            "with --rate 0.1",
        )
    x = chip_input(lowered, dataset.split("validation")[0][:N_TRACED])
    return simulate(lowered, x) if isinstance(lowered, IntGraph) else expected(lowered, float_rates(lowered, x))


def _played(opened: Opened, lowered: Graph, given: Path, layout: Layout) -> Trace:
    """What an integer network does with the first samples of a file of chip input."""
    if not isinstance(lowered, IntGraph):
        raise UsageError("holds a network in real numbers", where=str(opened.path), code="not_quantized",
                         limit="Chip input is that of an integer network", remedy="Export it first and give the bundle")
    read = read_input(given, lowered, layout)
    net = replace(lowered, n_timesteps=read.n_timesteps(lowered))
    check_length(net)
    return simulate(net, read.x[:, :N_TRACED], steps_until_settled(net))


def _suggestion(opened: Opened, lowered: Graph, profile: Profile, settings: DeploySettings) -> dict[str, Any]:
    """The smallest system that holds the network as it is, and the largest width that fits the system asked for."""
    system = suggest_system(lowered, profile)
    return {
        "system": None if system is None else {"name": system.name, "n_chips": system.n_chips},
        "width": None if opened.module is None else _largest_width(opened.module, profile, settings),
    }


def _largest_width(module: Network, profile: Profile, settings: DeploySettings) -> int | None:
    """Largest width below the module's own whose network fits (wider never needs fewer cores), None where none does."""
    low, high = 0, module.config.width - 1
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if _fits(module, middle, profile, settings) else (low, middle - 1)
    return low or None


def _fits(module: Network, width: int, profile: Profile, settings: DeploySettings) -> bool:
    try:
        lowered = lowered_for(to_graph(of_width(module, width)), profile, settings)
    except UsageError:
        return False
    return check_placement(lowered, profile, settings.cost.n_chips).fits
