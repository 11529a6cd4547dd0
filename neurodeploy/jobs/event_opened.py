"""A model as event-driven targets take it: lowered to cores, with its streams of events, deployed."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np

from neurodeploy.data.event_dataset import EventDataset
from neurodeploy.errors import DoesNotFit, NeurodeployError, NeurodeployWarning, UsageError
from neurodeploy.hw.profile import EventProfile
from neurodeploy.ir.graph import Graph, IntGraph
from neurodeploy.jobs.data import load_event_data, part_of, require_same
from neurodeploy.jobs.deploy import PlacementSource
from neurodeploy.jobs.event_deploy import EventDeployment, deploy_events
from neurodeploy.jobs.event_exit import choose_event_exit
from neurodeploy.jobs.event_validate import event_data
from neurodeploy.jobs.exits import require_data
from neurodeploy.jobs.opened import Opened
from neurodeploy.lower.event_cores import lower_to_events
from neurodeploy.place.core_plan import CorePlan
from neurodeploy.place.event_cores import CoreCheck, check
from neurodeploy.progress import SILENT, Progress
from neurodeploy.quantize.passing import for_target
from neurodeploy.search.recipe import DeploySettings
from neurodeploy.validate.event_bundle import EventBundle
from neurodeploy.validate.event_chip import placement_check


def lowered_to_cores(opened: Opened, profile: EventProfile) -> Graph:
    """What the target would hold: the lowered graph, or the integer network itself, never requantized.

    Raises DoesNotFit with everything that the target cannot do, UsageError for another arithmetic.
    """
    if isinstance(opened.graph, IntGraph):
        return for_target(opened.graph, profile)
    if opened.graph.metadata.get("input") == "events":
        return opened.graph
    return lower_to_events(opened.graph, profile)


def events_for(opened: Opened, data: str | None) -> EventDataset | None:
    """The recordings given, or those that the model names; None without either, and where it names images.

    Raises UsageError where the sensor or the classes are not those of the network.
    """
    if isinstance(opened.bundle, EventBundle):
        return event_data(opened.bundle, data)
    if data is None and opened.graph.metadata.get("encoding") != "events":
        return None
    source = opened.source(data)
    if source is None:
        return None
    stored = opened.graph.metadata.get("data") if data is None else None
    found = load_event_data(part_of(stored, source))
    n_outputs = opened.graph.shapes[opened.graph.output.name]
    require_same(found, tuple(opened.graph.inputs[0].shape), int(np.prod(n_outputs)))
    return found


def checked_cores(opened: Opened, lowered: Graph, profile: EventProfile) -> tuple[CoreCheck, CorePlan | None, PlacementSource]:
    """(whether the lowered network fits, its cores, where those come from); a bundle keeps its own on its own chip.

    Raises Mismatch where the bundle's placement is none of the profile's.
    """
    found, bundle = check(lowered, profile), opened.bundle
    if isinstance(bundle, EventBundle) and found.fits and bundle.profile.name == profile.name:
        if bundle.profile.capacity == profile.capacity:
            errors: list[NeurodeployError] = []
            placement_check(bundle, errors)
            if errors:  # the hashes are right, so somebody wrote them anew
                raise errors[0]
            return found, bundle.plan, "bundle"
        warnings.warn(NeurodeployWarning(
            f"the limits of {profile.name} are not those that the bundle was made for, and the network is placed again",
            code="placed_again", where=str(opened.path),
            remedy="The figures are those of the new placement, not of the bundle",
        ), stacklevel=3)
    return found, found.plan, "placed"


def deployed_on_cores(
    opened: Opened, profile: EventProfile, settings: DeploySettings, data: EventDataset | None, progress: Progress = SILENT
) -> tuple[EventDeployment, PlacementSource]:
    """The network on the target; an integer one as it is. Raises DoesNotFit with every violation."""
    lowered = lowered_to_cores(opened, profile)
    if not isinstance(lowered, IntGraph):
        return deploy_events(lowered, profile, settings, data, progress), "placed"
    found, plan, source = checked_cores(opened, lowered, profile)
    if plan is None:
        raise DoesNotFit(found.violations, target=profile.name)
    found.warn()
    policy = opened.bundle.policy if isinstance(opened.bundle, EventBundle) else None
    if opened.asks_for_another_exit(settings):
        require_data(settings, data)
        policy = None if data is None else choose_event_exit(lowered, data, settings, progress=progress)
    return EventDeployment(lowered, lowered, plan, policy, None), source


def refuse_timesteps(profile: EventProfile, asked: dict[str, Any]) -> None:
    """Raise UsageError where an option was given (is not None) that means nothing without timesteps, or without a mesh."""
    given = [name for name, value in asked.items() if value is not None]
    if given:
        raise UsageError(
            f"{' and '.join(given)} on an event-driven chip", where=profile.name, code="other_arithmetic",
            limit="It has no timesteps, one core a layer, and one chip", remedy="Leave it out for this target",
        )


def say_uncalibrated(path: Path) -> None:
    """Warn that scales come from the weights alone."""
    warnings.warn(
        NeurodeployWarning("no recordings: scales come from the weights alone, accuracy is unknown", code="uncalibrated",
                           where=str(path), remedy="Give some with --data"), stacklevel=3,
    )
