"""Where the events of an energy report come from."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from neurodeploy.data.datasets import Dataset
from neurodeploy.data.event_dataset import EventDataset
from neurodeploy.data.spikes import Layout
from neurodeploy.errors import UsageError
from neurodeploy.jobs.event_opened import events_for
from neurodeploy.jobs.gpu_opened import Samples, lowered_for_gpu, samples_for
from neurodeploy.jobs.gpu_run import GpuRuns, run_split
from neurodeploy.jobs.opened import Opened


@dataclass(frozen=True)
class Activity:
    """A dataset, a file of chip input, or an assumed rate of spikes per neuron and timestep; exactly one of them.

    `data` names the dataset, None the model's own. `interval_s`: the time between inferences where it is known.
    """

    opened: Opened
    data: str | None
    given: Path | None
    layout: Layout
    rate: float | None
    n_timesteps: int | None
    interval_s: float | None

    @property
    def from_dataset(self) -> bool:
        """Whether events are those of a dataset."""
        return self.given is None and self.rate is None

    @cached_property
    def images(self) -> Dataset:
        """The dataset, for a chip with timesteps. Raises UsageError where there is none, or it is not the network's."""
        found = self.opened.dataset(self.data)
        if found is None:
            raise _missing(self.opened)
        return found

    @cached_property
    def events(self) -> EventDataset:
        """The dataset, for an event-driven chip. Raises UsageError as `images`."""
        found = events_for(self.opened, self.data)
        if found is None:
            raise _missing(self.opened)
        return found

    @cached_property
    def float_samples(self) -> Samples | None:
        """The dataset, for a network in real numbers; None where the model names none."""
        return samples_for(self.opened, lowered_for_gpu(self.opened), self.data)

    @cached_property
    def float_runs(self) -> dict[str, GpuRuns]:
        """What the network in real numbers does on the validation and the test split; the same for every GPU."""
        assert self.float_samples is not None  # the caller looked
        return {split: run_split(self.float_samples, split) for split in ("validation", "test")}


def asked_activity(
    opened: Opened, *, data: str | None, rate: float | None, given: Path | None, layout: Layout, n_timesteps: int | None,
    interval_s: float | None, needed: bool = True,
) -> Activity:
    """The activity that was asked for. Raises UsageError where events come from nowhere or from two places; where none are
    `needed`, nowhere is a place too."""
    if interval_s is not None and not 0 < interval_s < float("inf"):
        raise UsageError(f"an interval of {interval_s} s", where="--interval", limit="A positive number of seconds",
                         remedy="Give the time between two inferences, for example 1/296 s as --interval 0.00338")
    asked = [name for name, value in (("--data", data), ("--rate", rate), ("--input", given)) if value is not None]
    if len(asked) > 1:
        raise UsageError(f"{' and '.join(asked)} at once", where=asked[1], limit="Events come from one place",
                         remedy="Give one of them")
    found = Activity(opened, data, given, layout, rate, n_timesteps, interval_s)
    has_data = found.from_dataset and opened.source(data) is not None
    if needed and found.from_dataset and not has_data:
        raise _missing(opened)
    if n_timesteps is not None and has_data:
        raise UsageError("a dataset's network has its own number of timesteps", where=f"--timesteps {n_timesteps}",
                         remedy="Leave --timesteps out, or give chip input with --input")
    return found


def _missing(opened: Opened) -> UsageError:
    return UsageError(
        "the model names no dataset", where=str(opened.path), code="missing_data",
        remedy="Give chip input with --input in.npz (exact counts), a dataset with --data, or assume a firing rate with "
        "--rate 0.1; on an event-driven chip with --interval too, the seconds of a sample",
    )
