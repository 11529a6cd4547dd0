"""The verdict over a bundle for GPUs: every check, from the files alone."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from neurodeploy.early_exit.confidence import ConfidencePolicy, exit_steps, oracle_outcome, outcome
from neurodeploy.early_exit.planned import PlannedPolicy
from neurodeploy.early_exit.policy import Images
from neurodeploy.errors import Mismatch, NeurodeployError, UsageError
from neurodeploy.export.golden_gpu import LOGIT_TOLERANCE
from neurodeploy.export.gpu import FILES
from neurodeploy.export.write import NIR
from neurodeploy.ir.graph import Graph
from neurodeploy.ir.nir import read_nir
from neurodeploy.ir.nodes import Array, Conv2d, Linear
from neurodeploy.ir.votes import predictions
from neurodeploy.progress import SILENT, Progress
from neurodeploy.sim.gpu_input import Float32, latency, n_steps
from neurodeploy.sim.gpu_reference import run_reference
from neurodeploy.sim.gpu_run import GpuTrace, run
from neurodeploy.validate.compare import golden_mismatch, silent_golden
from neurodeploy.validate.gpu_bundle import GpuBundle, open_gpu_bundle
from neurodeploy.validate.gpu_compare import Comparison, compare
from neurodeploy.validate.gpu_onnx import NAME, OnnxOracle
from neurodeploy.validate.verdict import Check, Verdict, accuracy_check, files_check, policy_check

_BATCH = 256
_REFERENCE_MACS = 4e9  # that plain numpy does in some five seconds; the reference plays as many golden samples, at least one


def validate_gpu_bundle(
    bundle: Path | GpuBundle, x: Array | Iterable[Array] | None = None, labels: NDArray[Any] | None = None, *,
    views: Images | None = None, max_drop: float = 0.5, float_accuracy: float | None = None,
    early_exit: Callable[[Sequence[int]], dict[str, Any]] | None = None, oracle: Literal["onnxruntime"] | None = None,
    trace: bool = False, progress: Progress = SILENT,
) -> Verdict:
    """Check a bundle and, where labelled inputs x [T, N, *input shape] or batches of them are given, its accuracy.

    Golden spikes are computed again by both simulators; the ONNX forms are written again from `graph.npz` and must be those
    in the bundle. oracle: onnxruntime plays the golden inputs and x in every form, spike by spike (`gpu_compare` has the rule
    for spikes at the threshold), and leaves early where the bundle has a policy. views: what a policy of SEENN-II sees of the
    samples; without them there is no early exit. early_exit: further figures from the histogram of exit steps. trace: list
    golden spikes of each layer and timestep. Raises UnsafeFile where a file was changed, UsageError for inputs that do not fit;
    what disagrees is in `errors`.
    """
    opened = bundle if isinstance(bundle, GpuBundle) else open_gpu_bundle(bundle)
    where, graph, golden = str(opened.path), opened.graph, opened.golden
    errors: list[NeurodeployError] = []
    checks = [files_check(opened.manifest)]
    x_golden = golden.x[: graph.n_timesteps]
    ours = run(graph, x_golden, membranes=True)
    few = run_reference(graph, x_golden[:, : max(1, int(_REFERENCE_MACS / (1 + n_steps(graph) * _macs(graph))))])
    results = [_golden(opened, name, found, ours, errors, checks) for name, found in (("float32", ours), ("reference", few))]
    if graph.neurons and not any(golden.n_spikes.values()):
        errors.append(silent_golden(where))
    checks.append(_artifacts(opened, errors))
    checks += policy_check(opened.path, opened.manifest, errors)
    planned = opened.policy if isinstance(opened.policy, PlannedPolicy) else None
    steps = None if planned is None or views is None else planned.steps(views)
    asked = None
    if oracle is not None:
        sound = {form: payload for form, payload in opened.forms.items() if form not in opened.differing}
        asked = OnnxOracle(graph, sound, opened.policy)
        asked.ask(x_golden, ours, None if planned is None else planned.steps(planned.golden[: x_golden.shape[1]]))
    found: dict[str, float | None] = {
        "float": (opened.manifest.get("accuracy") or {}).get("float") if float_accuracy is None else float_accuracy,
        "quantized": None, "simulator": None,
    }
    exits = None
    if x is not None and labels is not None:
        votes = _votes(opened, x, labels, asked, steps, progress)
        found["simulator"] = float((predictions(votes)[-1] == labels).mean())
        if isinstance(opened.policy, ConfidencePolicy):
            steps = exit_steps(votes, opened.policy)  # type: ignore[arg-type]
        if opened.policy is not None and steps is not None:
            exits = exit_report(votes, labels, opened.policy, steps, latency(graph))
            if early_exit is not None:
                exits |= early_exit(exits["histogram"])
        if found["float"] is not None:
            checks.append(accuracy_check(where, found, max_drop, errors))
    divergence = next((r.divergence for r in results if r.divergence is not None), None)
    if asked is not None:
        errors += asked.errors(where)
        checks += [Check(f"{NAME}, {r.file}", r.ok, asked.what(form)) for form, r in asked.routes.items()]
        if asked.n_exits:
            same = f"{asked.n_exits - asked.n_other_exits} of {asked.n_exits} samples stop at the timestep where they do here"
            checks.append(Check(f"{NAME}, early exit", not asked.n_other_exits, same))
        divergence = divergence or asked.divergence
    n_compared = sum(r.n_compared for r in results)
    return Verdict(
        bundle=where, target=opened.profile.name, accuracy=found,
        agreement=1 - sum(r.n_differences for r in results) / max(1, n_compared), n_compared=n_compared,
        n_spikes=sum(golden.n_spikes.values()), n_samples=None if labels is None else len(labels),
        first_divergence=divergence, early_exit=exits, oracle=None if asked is None else asked.to_dict(),
        errors=tuple(errors), checks=tuple(checks), trace=_trace(opened, ours) if trace else None, time_unit="timestep",
    )


def exit_report(
    votes: Float32, labels: NDArray[Any], policy: ConfidencePolicy | PlannedPolicy, steps: NDArray[np.int64], latency: int
) -> dict[str, Any]:
    """What leaving after `steps` [N], as a policy says, gives on votes [T, N, n], beside running all T timesteps; energies are
    for the caller to add."""
    correct = predictions(votes) == labels  # of float32 votes: `ir.votes` settles ties by the type
    point = outcome(correct, steps)
    fixed = correct.mean(axis=1).tolist()
    return {
        "policy": policy.to_dict(), "threshold": policy.threshold if isinstance(policy, ConfidencePolicy) else None,
        "accuracy": point.accuracy, "n": len(labels),
        "mean_timesteps": point.mean_timesteps, "mean_chip_timesteps": point.mean_timesteps + latency,
        "pipeline_timesteps": latency, "histogram": list(point.histogram), "exit_steps": steps.tolist(),
        "oracle": oracle_outcome(correct), "accuracy_fixed": fixed,
        "accuracy_fixed_at_mean": float(np.interp(point.mean_timesteps, np.arange(1, len(fixed) + 1), fixed)), "energy_j": None,
    }  # fmt: skip


def _golden(
    opened: GpuBundle, name: str, found: GpuTrace, ours: GpuTrace, errors: list[NeurodeployError], checks: list[Check]
) -> Comparison:
    """Golden spikes against those of one of our simulators; a flip is judged by our own membranes."""
    n_samples = found.votes.shape[1]
    golden = {name: raster[:, :n_samples] for name, raster in opened.golden.spikes.items()}
    result = compare(opened.graph, golden, found.spikes, ours.membranes, n_samples=n_samples)
    if not opened.graph.neurons:  # a network with ReLU has logits alone
        checks.append(_logits(opened, name, found, errors))
        return result
    n_spikes = sum(int(raster.sum()) for raster in golden.values())
    flips = f", {len(result.flips)} flipped at the threshold" if result.flips else ""
    checks.append(Check(
        f"golden spikes, {name} simulator", result.divergence is None and n_spikes > 0,
        f"{result.n_compared - result.n_differences:,} of {result.n_compared:,} values equal{flips}: {n_samples} "
        f"sample{'s' if n_samples != 1 else ''}, {n_spikes:,} spikes",
    ))
    if result.divergence is not None:
        errors.append(golden_mismatch(name, result.divergence, result.n_differences, result.n_compared, str(opened.path),
                                      values="values"))
    return result


def _logits(opened: GpuBundle, name: str, found: GpuTrace, errors: list[NeurodeployError]) -> Check:
    """Golden logits of a network without neurons against those of one of our simulators."""
    wanted = opened.golden.votes[:, : found.votes.shape[1]].astype(np.float64)
    apart = np.abs(found.votes - wanted)
    ok = bool((apart <= LOGIT_TOLERANCE * np.maximum(1, np.abs(wanted))).all())
    largest = f"{float(apart.max(initial=0)):.1e}"
    if not ok:
        errors.append(Mismatch(
            f"the {name} simulator gives other logits than the golden ones", where=str(opened.path), code="golden_mismatch",
            limit=f"They differ by {largest}, at most {LOGIT_TOLERANCE:g} is rounding", remedy="Export again",
        ))
    return Check(f"golden logits, {name} simulator", ok, f"within {largest}: {found.votes.shape[1]} samples, no neurons")


def _macs(graph: Graph) -> int:
    """Multiply-accumulates of one timestep of one sample."""
    synapses = [n for n in graph.nodes if isinstance(n, Conv2d | Linear)]
    return sum(n.weight.size * int(np.prod(graph.shapes[n.name][1:])) for n in synapses)


def _artifacts(opened: GpuBundle, errors: list[NeurodeployError]) -> Check:
    if NIR in opened.manifest["files"]:
        read_nir(opened.path / NIR)  # raises where it is damaged
    for form in opened.differing:
        errors.append(Mismatch(
            f"{FILES[form]} is not the {form} form of graph.npz", where=str(opened.path), code="artifact_mismatch",
            limit="It was not run", remedy="Export again",
        ))
    what = f"{', '.join(FILES.values())} are the forms of graph.npz"
    if NIR not in opened.manifest["files"]:
        what += f"; no {NIR}: {opened.manifest['nir']['reason']}"
    return Check("artifacts", not opened.differing, what)


def _batches(x: Array | Iterable[Array]) -> Iterator[Array]:
    if not isinstance(x, np.ndarray):
        yield from x
        return
    for first in range(0, x.shape[1], _BATCH):
        yield x[:, first : first + _BATCH]


def _votes(
    opened: GpuBundle, x: Array | Iterable[Array], labels: NDArray[Any], asked: OnnxOracle | None,
    steps: NDArray[np.int64] | None, progress: Progress,
) -> Float32:
    """Votes [T, N, n] of all inputs; onnxruntime is asked about each batch on the way, with `steps` [N] known beforehand."""
    task = "validation" if asked is None else f"validation, {NAME}"
    progress.start(task, len(labels))
    votes: list[Float32] = []
    first = 0
    for part in _batches(x):
        found = run(opened.graph, part, membranes=asked is not None)
        votes.append(found.votes)
        if asked is not None:
            asked.ask(part, found, None if steps is None else steps[first : first + part.shape[1]])
        first += part.shape[1]
        progress.advance(task, part.shape[1])
    progress.done(task)
    if first != len(labels):
        raise UsageError(f"{first} inputs and {len(labels)} labels", where=str(opened.path), limit="One label each")
    return np.concatenate(votes, axis=1)


def _trace(opened: GpuBundle, now: GpuTrace) -> dict[str, Any]:
    """Spikes of every layer in every timestep over the golden samples: as stored, and as simulated now."""

    def per_step(raster: Array) -> list[int]:
        return [int(n) for n in raster.reshape(len(raster), -1).sum(axis=1)]

    return {
        name: {"expected": per_step(raster), "got": per_step(now.spikes[name])} for name, raster in opened.golden.spikes.items()
    }
