"""`neurodeploy validate`: everything a bundle claims, recomputed from its files alone."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neurodeploy import resources
from neurodeploy.data.datasets import Dataset
from neurodeploy.data.event_dataset import EventDataset
from neurodeploy.errors import UsageError
from neurodeploy.export.bundle import Bundle
from neurodeploy.ir.graph import IntGraph
from neurodeploy.ir.nir import read_nir
from neurodeploy.ir.votes import predictions
from neurodeploy.jobs.deploy import float_votes
from neurodeploy.jobs.event_oracle import ask_event_oracle, check_rebuildable
from neurodeploy.jobs.event_validate import validate_events
from neurodeploy.jobs.gpu_validate import validate_on_gpu
from neurodeploy.jobs.measure import early_exit_report, measure
from neurodeploy.jobs.opened import data_for, stored_policy
from neurodeploy.jobs.oracle import DEFAULT_TIMEOUT_S, ask_oracle, find_oracle
from neurodeploy.jobs.run import write_json
from neurodeploy.progress import SILENT, Progress
from neurodeploy.sim.clocked import simulate
from neurodeploy.validate import EventBundle, OpenBundle, Verdict, open_any
from neurodeploy.validate import validate as validate_bundle
from neurodeploy.validate.gpu_bundle import GpuBundle

VERDICT = "verdict.json"  # one of export.bundle.BESIDE, which are not hashed


def validate(
    bundle: Bundle | Path | str, data: Dataset | EventDataset | str | Path | None = None, *, oracle: str | None = None,
    oracle_timeout_s: float = DEFAULT_TIMEOUT_S, trace: bool = False, max_drop: float = 0.5, out: Path | None = None,
    progress: Progress = SILENT,
) -> Verdict:
    """Hashes, golden spikes on both simulators, placement, artifacts, accuracy on the test split, early exit.

    oracle: a vendor's tool, for at most oracle_timeout_s a process: `lava` plays the golden inputs of a Loihi bundle too,
    `samna` says whether it accepts the configuration of an event-driven chip, `sinabs` makes its own to compare, `onnxruntime`
    runs the forms of a bundle for GPUs, here, in every timestep of every sample.
    Writes `verdict.json` beside the bundle's files, or into `out`; never into a packaged or read-only bundle. Raises
    UnsafeFile where a file was changed, EnvironmentMissing where the tool's environment is not there; what disagrees is in
    the verdict's `errors`.
    """
    path = bundle.path if isinstance(bundle, Bundle) else Path(bundle)
    opened = open_any(path)
    if isinstance(opened, GpuBundle):
        verdict = validate_on_gpu(opened, data, oracle=oracle, trace=trace, max_drop=max_drop, progress=progress)
        _keep(verdict, path, out)
        return verdict
    asked = None
    if oracle is not None:  # before the work, not after it
        if isinstance(opened, EventBundle):
            check_rebuildable(opened, oracle)
        asked = find_oracle(oracle, opened.profile, oracle_timeout_s)
    if isinstance(opened, EventBundle):
        verdict = validate_events(opened, data, trace=trace, max_drop=max_drop, progress=progress)
        if asked is not None:
            verdict = ask_event_oracle(opened, asked, verdict, progress)
    else:
        verdict = _by_timesteps(opened, data, max_drop, progress)
        if asked is not None:
            verdict = ask_oracle(opened, asked, verdict, progress)
        if trace:
            verdict = replace(verdict, trace=_trace(opened))
    _keep(verdict, path, out)
    return verdict


def _by_timesteps(
    opened: OpenBundle, data: Dataset | EventDataset | str | Path | None, max_drop: float, progress: Progress
) -> Verdict:
    """The verdict over a bundle of a chip with timesteps."""
    dataset = _dataset(opened, data)
    if dataset is None:
        return validate_bundle(opened, max_drop=max_drop)
    images, labels = dataset.split("test")
    real = _float_accuracy(opened, images, labels)
    progress.start("validation", 1)
    verdict = validate_bundle(
        opened, images, labels, max_drop=max_drop, float_accuracy=real,
        early_exit=lambda votes, y: _early_exit(opened, images, y),
    )
    progress.advance("validation")
    progress.done("validation")
    return verdict


def _trace(opened: OpenBundle) -> dict[str, Any]:
    """Spikes of every layer in every chip timestep over the golden samples: as stored, and as simulated now."""
    found = simulate(opened.net, opened.golden.x, opened.net.n_chip_steps).spikes

    def per_step(raster: NDArray[Any]) -> list[int]:
        return [int(n) for n in np.count_nonzero(raster.reshape(len(raster), -1), axis=1)]

    return {
        name: {"expected": per_step(raster), "got": per_step(found[name])} for name, raster in opened.golden.spikes.items()
    }


def _dataset(opened: OpenBundle, data: Dataset | EventDataset | str | Path | None) -> Dataset | None:
    if isinstance(data, EventDataset):
        raise UsageError("streams of events", where=data.name, code="wrong_data", limit=f"{opened.profile.name} takes images")
    if isinstance(data, Dataset):
        return data
    name = data or (opened.manifest.get("data") or {}).get("name")
    return None if name is None else data_for(opened.net, name)


def _float_accuracy(opened: OpenBundle, images: NDArray[Any], labels: NDArray[Any]) -> float | None:
    """Accuracy of the real-valued network in `model.nir`; None where that holds the integers, or there is none."""
    if "model.nir" not in opened.manifest["files"]:
        return None
    graph = read_nir(opened.path / "model.nir")
    if isinstance(graph, IntGraph):
        return None
    return float((predictions(float_votes(graph, images))[-1] == labels).mean())


def _early_exit(opened: OpenBundle, images: NDArray[Any], labels: NDArray[Any]) -> dict[str, Any] | None:
    policy = stored_policy(opened)
    if policy is None:
        return None
    full = measure(opened.net, opened.plan, images, zeros=opened.profile.zeros)
    return early_exit_report(opened.net, opened.plan, opened.profile, policy, images, labels, full)


def _keep(verdict: Verdict, bundle: Path, out: Path | None) -> None:
    if out is not None or _may_hold(bundle):
        _write(verdict, bundle if out is None else out)


def _may_hold(bundle: Path) -> bool:
    """Whether a verdict may lie beside the files of a bundle."""
    return os.access(bundle, os.W_OK) and not bundle.resolve().is_relative_to(resources.folder("exports").resolve())


def _write(verdict: Verdict, folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / VERDICT, verdict.to_dict())
    except OSError as error:
        raise UsageError(
            "cannot write the verdict", where=str(folder), limit=error.strerror or str(error), code="path",
            remedy="Name a folder with --out",
        ) from error
