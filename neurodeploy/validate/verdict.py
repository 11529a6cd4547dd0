"""The verdict over a bundle: every check, from the files alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from neurodeploy.data.chip_input import chip_input
from neurodeploy.errors import Mismatch, NeurodeployError
from neurodeploy.export.loihi2 import NET
from neurodeploy.export.write import NIR
from neurodeploy.ir.net import differences, net_layers, read_net
from neurodeploy.ir.netx import netx_reason
from neurodeploy.ir.nir import read_nir
from neurodeploy.place import derive
from neurodeploy.sim import clocked, reference
from neurodeploy.validate.accuracy import Encode, accuracy, votes_of
from neurodeploy.validate.bundle import OpenBundle, open_bundle
from neurodeploy.validate.compare import Divergence, first_divergence, golden_mismatch, n_differences, silent_golden
from neurodeploy.validate.event_compare import EventDivergence
from neurodeploy.validate.exit_policy import planned_decides

EarlyExit = Callable[[NDArray[np.float64], NDArray[Any]], dict[str, Any] | None]


@dataclass(frozen=True)
class Check:
    """One thing that was compared: its name, whether it holds, and with what."""

    name: str
    ok: bool
    what: str


@dataclass(frozen=True)
class Verdict:
    """What `validate` found. `errors` is empty where the bundle holds; accuracies are shares 0..1, None where unknown.

    accuracy: float and quantized as the manifest claims them, simulator as computed now. agreement: share of the golden
    spike values that come out again. early_exit and oracle: as handed in by the caller, None where not asked for.
    time_unit: of `timestep` in the divergence, "chip timestep", "us" for event-driven chips, "timestep" for GPUs.
    """

    bundle: str
    target: str
    accuracy: dict[str, float | None]
    agreement: float
    n_compared: int
    n_spikes: int
    n_samples: int | None
    first_divergence: Divergence | EventDivergence | None
    early_exit: dict[str, Any] | None
    oracle: dict[str, Any] | None
    errors: tuple[NeurodeployError, ...]
    checks: tuple[Check, ...]
    trace: dict[str, Any] | None = None
    time_unit: Literal["chip timestep", "timestep", "us"] = "chip timestep"

    @property
    def ok(self) -> bool:
        """True when nothing is wrong."""
        return not self.errors

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {
            "bundle": self.bundle, "target": self.target, "ok": self.ok, "accuracy": self.accuracy,
            "agreement": self.agreement, "n_compared": self.n_compared, "n_spikes": self.n_spikes,
            "n_samples": self.n_samples,
            "first_divergence": None if self.first_divergence is None else self.first_divergence.to_dict(),
            "time_unit": self.time_unit, "early_exit": self.early_exit, "oracle": self.oracle,
            "checks": [vars(c) for c in self.checks],
            "errors": [e.to_dict() for e in self.errors],
            **({} if self.trace is None else {"trace": self.trace}),
        }


def validate(
    bundle: Path | OpenBundle, images: NDArray[Any] | None = None, labels: NDArray[Any] | None = None, *,
    encode: Encode = chip_input, max_drop: float = 0.5, float_accuracy: float | None = None,
    early_exit: EarlyExit | None = None, oracle: dict[str, Any] | None = None,
) -> Verdict:
    """Check a bundle and, where labelled images [N, C, H, W] are given, its accuracy.

    Golden spikes are computed again by both simulators; the placement is derived again from the profile in the manifest;
    `network.net` must hold what `graph.npz` does. max_drop: accepted loss of accuracy against the real-valued network,
    in percentage points; give the images that the manifest names. early_exit: figures from votes [T, N, n_classes] and
    labels. oracle: what a vendor's tool said.
    Raises UnsafeFile where a file was changed; what disagrees is in `errors` (Mismatch, DoesNotFit).
    """
    opened = bundle if isinstance(bundle, OpenBundle) else open_bundle(bundle)
    errors: list[NeurodeployError] = []
    checks = [files_check(opened.manifest)]
    divergence, n_differ, n_compared = _golden(opened, errors, checks)
    checks.append(Check("placement", _placement(opened, errors), f"{opened.plan.n_cores} cores derived again from the profile"))
    checks.append(Check("artifacts", *_artifacts(opened, errors)))
    checks += policy_check(opened.path, opened.manifest, errors)
    claimed = opened.manifest.get("accuracy") or {}
    found: dict[str, float | None] = {
        "float": claimed.get("float") if float_accuracy is None else float_accuracy,
        "quantized": claimed.get("quantized"), "simulator": None,
    }
    exits = None
    if images is not None and labels is not None:
        votes = votes_of(opened.net, images, encode)
        found["simulator"] = accuracy(votes, labels)
        exits = early_exit(votes, labels) if early_exit is not None else None
        if found["float"] is not None:
            checks.append(accuracy_check(str(opened.path), found, max_drop, errors))
    return Verdict(
        bundle=str(opened.path), target=opened.net.target, accuracy=found, agreement=1 - n_differ / n_compared,
        n_compared=n_compared, n_spikes=sum(opened.golden.n_spikes.values()),
        n_samples=None if images is None else len(images), first_divergence=divergence, early_exit=exits, oracle=oracle,
        errors=tuple(errors), checks=tuple(checks),
    )


def files_check(manifest: dict[str, Any]) -> Check:
    """What opening a bundle has checked: the sha256 of every file."""
    files = manifest["files"]
    return Check("files", True, f"sha256 of {len(files)} files: {', '.join(sorted(files))}")


def _golden(
    opened: OpenBundle, errors: list[NeurodeployError], checks: list[Check]
) -> tuple[Divergence | None, int, int]:
    """(first divergence, values that differ, values compared) over both simulators; the fast one is asked first."""
    graph, vectors = opened.net, opened.golden
    if not any(vectors.n_spikes.values()):
        errors.append(silent_golden(str(opened.path)))
    first: Divergence | None = None
    n_differ = n_compared = 0
    for name, simulate in (("fast", clocked.simulate), ("reference", reference.simulate)):
        spikes = simulate(graph, vectors.x, graph.n_chip_steps).spikes
        found = first_divergence(graph, vectors.spikes, spikes)
        differ, compared = n_differences(vectors.spikes, spikes)
        n_differ, n_compared = n_differ + differ, n_compared + compared
        n_spikes, n_samples = sum(vectors.n_spikes.values()), vectors.x.shape[1]
        samples = f"{n_samples} sample{'s' if n_samples != 1 else ''}"
        checks.append(Check(
            f"golden spikes, {name} simulator", found is None and n_spikes > 0,
            f"{compared - differ:,} of {compared:,} values equal: {samples}, {n_spikes:,} spikes",
        ))
        if found is not None:
            first = first or found
            errors.append(golden_mismatch(name, found, differ, compared, str(opened.path), values="values"))
    return first, n_differ, n_compared


def _placement(opened: OpenBundle, errors: list[NeurodeployError]) -> bool:
    try:
        plan = derive(opened.net, opened.profile, opened.plan)
    except NeurodeployError as err:  # DoesNotFit, or cores that are no grid of blocks
        errors.append(err)
        return False
    if plan != opened.plan:
        pairs = zip(plan.cores, opened.plan.cores, strict=False)
        core = next((str(a.index) for a, b in pairs if a != b), f"{min(plan.n_cores, opened.plan.n_cores)}")
        errors.append(Mismatch(
            "the placement is not the one that the profile gives", where=f"core {core}",
            limit=f"{opened.plan.n_cores} cores in the manifest, {plan.n_cores} derived", code="placement_mismatch",
            remedy="Export again",
        ))
    return plan == opened.plan


def _artifacts(opened: OpenBundle, errors: list[NeurodeployError]) -> tuple[bool, str]:
    """Whether the files beside graph.npz agree with it, and what was compared."""
    n_before = len(errors)
    if NIR in opened.manifest["files"]:
        read_nir(opened.path / NIR)  # raises where it is damaged
    reason = netx_reason(opened.net)
    if (reason is None) != (NET in opened.manifest["files"]):
        errors.append(Mismatch(
            f"{NET} is {'missing' if reason is None else 'there'}", where=str(opened.path), limit=reason or "netx can hold it",
            remedy="Export again",
        ))
    elif reason is None:
        found = differences(net_layers(opened.net), read_net(opened.path / NET))
        if found:
            errors.append(Mismatch(
                f"{NET} and graph.npz disagree at {', '.join(found[:4])}", where=str(opened.path), code="artifact_mismatch",
                remedy="Export again",
            ))
    what = f"{NET} holds the layers of graph.npz" if reason is None else f"no {NET}: {reason}"
    if NIR not in opened.manifest["files"]:
        what += f"; no {NIR}: {opened.manifest['nir']['reason']}"
    return len(errors) == n_before, what


def policy_check(path: Path, manifest: dict[str, Any], errors: list[NeurodeployError]) -> list[Check]:
    """Whether a policy of SEENN-II still decides as it did; nothing where a bundle has none."""
    found = planned_decides(path, manifest, errors)
    return [] if found is None else [Check("early-exit policy decides", *found)]


def accuracy_check(
    where: str, found: dict[str, float | None], max_drop: float, errors: list[NeurodeployError], *, note: str = ""
) -> Check:
    """Whether the accuracy `simulator` holds against `float`, both of which are there; shares 0..1, max_drop in points."""
    before, now = found["float"], found["simulator"]
    assert before is not None and now is not None  # the caller has both
    holds = 100 * (before - now) <= max_drop
    if not holds:
        errors.append(Mismatch(
            f"accuracy fell from {100 * before:.2f} % to {100 * now:.2f} %", where=where, limit=f"At most {max_drop:g} points",
            code="accuracy_drop", remedy="Quantize with more calibration samples, or accept it with a larger max_drop",
        ))
    change = f"{100 * (now - before):+.2f} points, at least {-max_drop:g} wanted"
    return Check("accuracy", holds, f"simulator {100 * now:.2f} %, float {100 * before:.2f} %: {change}{note}")
