"""The verdict over a bundle of an event-driven chip: every check, from the files alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from neurodeploy.data.event_dataset import EventDataset
from neurodeploy.early_exit.event_windows import EventExitPolicy, PlannedExit
from neurodeploy.errors import NeurodeployError
from neurodeploy.ir.nodes import Array
from neurodeploy.progress import SILENT, Progress
from neurodeploy.sim.event_runs import EventRuns, IntArray, run_streams
from neurodeploy.validate.event_bundle import EventBundle, open_event_bundle
from neurodeploy.validate.event_chip import artifacts_check, placement_check, rules_check
from neurodeploy.validate.event_golden import replay
from neurodeploy.validate.verdict import Verdict, accuracy_check, files_check, policy_check

EventExit = Callable[[EventExitPolicy | PlannedExit, EventRuns, Sequence[Array], IntArray], dict[str, Any]]


def validate_event_bundle(
    bundle: Path | EventBundle, data: EventDataset | None = None, *, split: str = "test", max_drop: float = 0.5,
    float_accuracy: float | None = None, early_exit: EventExit | None = None, trace: bool = False,
    progress: Progress = SILENT,
) -> Verdict:
    """Check a bundle and, where data are given, its accuracy on their `split`, event by event.

    Golden spikes are computed again by both simulators; the cores are derived again from the profile in the manifest, the
    configuration from both; the vendor's rules are asked. max_drop: accepted loss of accuracy against the real-valued
    network, in percentage points. early_exit: figures from the bundle's policy, where it has one, the runs of the
    split, its streams and labels. trace: list the golden spikes of each layer and sample. Raises UnsafeFile where a file
    was changed, UsageError for data of another kind; what disagrees is in `errors` (Mismatch, DoesNotFit).
    """
    opened = bundle if isinstance(bundle, EventBundle) else open_event_bundle(bundle)
    errors: list[NeurodeployError] = []
    replayed = replay(opened)
    errors += replayed.errors
    checks = [
        files_check(opened.manifest), *replayed.checks, placement_check(opened, errors), artifacts_check(opened, errors),
        rules_check(opened, errors), *policy_check(opened.path, opened.manifest, errors),
    ]
    claimed = opened.manifest.get("accuracy") or {}
    found: dict[str, float | None] = {
        "float": claimed.get("float") if float_accuracy is None else float_accuracy,
        "quantized": claimed.get("quantized"), "simulator": None,
    }
    exits, labels = None, None
    if data is not None:
        streams, labels = data.split(split)
        runs = run_streams(opened.net, streams, duration_us=data.duration_us, progress=progress)
        found["simulator"] = float((runs.predictions == labels).mean())
        if early_exit is not None and opened.policy is not None:
            exits = early_exit(opened.policy, runs, streams, labels)
        if found["float"] is not None:
            note = f"; {runs.n_silent} of {len(labels)} samples without an output spike" if runs.n_silent else ""
            checks.append(accuracy_check(str(opened.path), found, max_drop, errors, note=note))
    return Verdict(
        bundle=str(opened.path), target=opened.net.target, accuracy=found,
        agreement=1 - replayed.n_differ / max(1, replayed.n_compared), n_compared=replayed.n_compared,
        n_spikes=sum(opened.golden.n_spikes.values()), n_samples=None if labels is None else len(labels),
        first_divergence=replayed.divergence, early_exit=exits, oracle=None, errors=tuple(errors), checks=tuple(checks),
        trace=_trace(opened, replayed.simulated) if trace else None, time_unit="us",
    )


def _trace(opened: EventBundle, now: Any) -> dict[str, Any]:
    """Golden spikes of every layer in every sample: as stored, and as simulated now."""
    return {
        name: {"expected": [len(table) for table in tables], "got": [len(table) for table in now[name]]}
        for name, tables in opened.golden.spikes.items()
    }
