"""The ONNX forms of a bundle on onnxruntime, in this process: every spike of every form, and early exit that stops."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from neurodeploy.early_exit.confidence import ConfidencePolicy
from neurodeploy.early_exit.planned import PlannedPolicy
from neurodeploy.errors import Mismatch, NeurodeployError, VendorFailure
from neurodeploy.export.golden_gpu import LOGIT_TOLERANCE
from neurodeploy.export.gpu import FILES
from neurodeploy.export.onnx_forms import step_states
from neurodeploy.export.onnx_ops import INT64
from neurodeploy.ir.graph import Graph
from neurodeploy.ir.nodes import Array
from neurodeploy.sim.gpu_input import Float32, latency, timed
from neurodeploy.sim.gpu_run import GpuTrace, run_until, until
from neurodeploy.validate.compare import Divergence
from neurodeploy.validate.gpu_compare import Flip, compare

NAME = "onnxruntime"
PROVIDERS = ["CPUExecutionProvider"]
_REMEDY = "Report it with this bundle"


def session_of(payload: bytes) -> onnxruntime.InferenceSession:
    """A session on the CPU; VendorFailure where onnxruntime does not take the model."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors: its warnings go to the terminal, past everything
    try:
        return onnxruntime.InferenceSession(payload, options, providers=PROVIDERS)
    except Exception as err:  # of its own types, which it does not publish
        raise VendorFailure("onnxruntime does not load the model", where=NAME, limit=str(err)[:500]) from err


class OnnxSteps:
    """`batch` samples of the step form before their first timestep: the `sim.gpu_run.Steps` of onnxruntime."""

    def __init__(self, session: onnxruntime.InferenceSession, graph: Graph, batch: int) -> None:
        self._session = session
        self._outputs = [o.name for o in session.get_outputs()]
        self._specs = step_states(graph)
        self._states: dict[str, Array] = {}
        for spec in self._specs:
            kind = np.int64 if spec.dtype == INT64 else np.float32
            self._states[spec.name] = np.zeros((batch, *spec.shape), kind) + np.asarray(spec.initial, kind)
        self.spikes: dict[str, Array] = {}

    def step(self, x: Float32) -> Float32:
        found = dict(zip(self._outputs, self._session.run(None, {"x": x, **self._states}), strict=True))
        self._states = {spec.name: found[spec.output] for spec in self._specs}
        self.spikes = {name.removeprefix("spikes/"): v for name, v in found.items() if name.startswith("spikes/")}
        return np.asarray(found["votes"]).reshape(len(x), -1)

    def keep(self, rows: NDArray[np.bool_]) -> None:
        self._states = {name: state[rows] for name, state in self._states.items()}


def run_form(form: str, session: onnxruntime.InferenceSession, graph: Graph, x: Float32) -> GpuTrace:
    """What a form puts out for x [T', B, *input shape], as `gpu_input.timed` makes it."""
    if form == "step":
        network = OnnxSteps(session, graph, x.shape[1])
        votes, steps = [], []
        for x_t in x:
            votes.append(network.step(x_t))
            steps.append(network.spikes)
        spikes = {name: np.stack([s[name] for s in steps]) for name in network.spikes}
        return GpuTrace(spikes, {}, np.stack(votes[latency(graph):]))
    names = [o.name for o in session.get_outputs()]
    found = dict(zip(names, session.run(None, {"x": x}), strict=True))
    spikes = {name.removeprefix("spikes/"): v for name, v in found.items() if name.startswith("spikes/")}
    return GpuTrace(spikes, {}, found["votes"][latency(graph):].reshape(graph.n_timesteps, x.shape[1], -1))


@dataclass
class _Route:
    """What one form came to, over everything it was asked."""

    file: str
    n_compared: int = 0
    n_differences: int = 0
    flips: list[Flip] = field(default_factory=list)
    divergence: Divergence | None = None
    logits: float = 0.0
    logits_ok: bool = True

    @property
    def ok(self) -> bool:
        return self.divergence is None and self.logits_ok

    def to_dict(self) -> dict[str, Any]:
        return {
            "file": self.file, "status": "equal" if self.ok else "differs", "n_compared": self.n_compared,
            "n_differences": self.n_differences, "n_flips": len(self.flips), "largest_logit_difference": self.logits,
            "first_divergence": None if self.divergence is None else self.divergence.to_dict(),
        }


class OnnxOracle:
    """Collects what onnxruntime says of a graph's forms; `ask` may be called with several batches."""

    def __init__(self, graph: Graph, forms: dict[str, bytes], policy: ConfidencePolicy | PlannedPolicy | None) -> None:
        self.graph, self.policy = graph, policy
        self.sessions = {form: session_of(payload) for form, payload in forms.items()}
        self.routes = {form: _Route(FILES[form]) for form in forms}
        self.n_samples = self.n_spikes = self.n_other_exits = self.n_exits = 0
        self.first_exit: tuple[int, int, int] | None = None  # sample, expected, got

    def ask(self, x: Array, trace: GpuTrace, steps: NDArray[np.int64] | None = None) -> None:
        """Play x [T, B, *input shape] in every form; trace: our own run of it, with membranes. steps [B]: how long each sample
        runs, where a policy says it beforehand."""
        x = timed(self.graph, x)
        agreed = np.ones(x.shape[1], dtype=bool)
        ours = trace.votes.astype(np.float64).cumsum(axis=0)
        for form, session in self.sessions.items():
            route, found = self.routes[form], run_form(form, session, self.graph, x)
            result = compare(self.graph, trace.spikes, found.spikes, trace.membranes, self.n_samples, n_samples=x.shape[1])
            route.n_compared += result.n_compared
            route.n_differences += result.n_differences
            route.flips += result.flips
            route.divergence = route.divergence or result.divergence
            apart = np.abs(found.votes.astype(np.float64).cumsum(axis=0) - ours)[:, result.agreed]
            route.logits = max(route.logits, float(apart.max(initial=0)))
            # Sums of real-valued outputs grow beyond 1, and their roundings with them.
            route.logits_ok &= bool((apart <= LOGIT_TOLERANCE * np.maximum(1, np.abs(ours[:, result.agreed]))).all())
            agreed &= result.agreed
        stop = self.policy if isinstance(self.policy, ConfidencePolicy) else steps
        if stop is not None and "step" in self.sessions:
            self._ask_exit(x, agreed, stop)
        self.n_spikes += sum(int(raster.sum()) for raster in trace.spikes.values())
        self.n_samples += x.shape[1]

    def _ask_exit(self, x: Float32, agreed: NDArray[np.bool_], stop: ConfidencePolicy | NDArray[np.int64]) -> None:
        wanted = run_until(self.graph, x[: self.graph.n_timesteps], stop)
        network = OnnxSteps(self.sessions["step"], self.graph, x.shape[1])
        found = until(network, x, stop, latency(self.graph))
        other = agreed & ((found.exit_steps != wanted.exit_steps) | (found.answers != wanted.answers))
        if other.any() and self.first_exit is None:
            at = int(other.argmax())
            self.first_exit = (self.n_samples + at, int(wanted.exit_steps[at]), int(found.exit_steps[at]))
        self.n_other_exits += int(other.sum())
        self.n_exits += len(other)

    @property
    def divergence(self) -> Divergence | None:
        """The first one of any form."""
        return next((r.divergence for r in self.routes.values() if r.divergence is not None), None)

    def what(self, form: str) -> str:
        """One sentence on a form."""
        route = self.routes[form]
        flips = f", {len(route.flips)} flipped at the threshold" if route.flips else ""
        equal = f"{route.n_compared - route.n_differences:,} of {route.n_compared:,} values equal{flips}"
        return f"{equal}: {self.n_samples} samples, {self.n_spikes:,} spikes; logits within {route.logits:.1e}"

    def errors(self, where: str) -> list[NeurodeployError]:
        """What disagrees."""
        found: list[NeurodeployError] = []
        for route in self.routes.values():
            if route.divergence is not None:
                found.append(Mismatch(
                    f"{NAME} computes other spikes from {route.file}, first at {route.divergence}", where=where,
                    limit=f"{route.n_differences} of {route.n_compared} values differ; the membrane is not at its threshold",
                    code="oracle_mismatch", remedy=_REMEDY,
                ))
            if not route.logits_ok:
                found.append(Mismatch(
                    f"{NAME} computes other logits from {route.file}", where=where, code="oracle_mismatch", remedy=_REMEDY,
                    limit=f"They differ by {route.logits:.2e}, at most {LOGIT_TOLERANCE:g} is rounding",
                ))
        if self.first_exit is not None:
            sample, wanted, got = self.first_exit
            found.append(Mismatch(
                f"{NAME} leaves early at other timesteps, first sample {sample} after {got} instead of {wanted}", where=where,
                limit=f"{self.n_other_exits} of {self.n_exits} samples", code="oracle_mismatch", remedy=_REMEDY,
            ))
        return found

    def to_dict(self) -> dict[str, Any]:
        """Plain fields, for the verdict."""
        routes = list(self.routes.values())
        ok = all(r.ok for r in routes) and not self.n_other_exits
        return {
            "name": NAME, "version": onnxruntime.__version__, "status": "equal" if ok else "differs", "providers": PROVIDERS,
            "n_samples": self.n_samples, "n_spikes": self.n_spikes, "n_compared": sum(r.n_compared for r in routes),
            "n_differences": sum(r.n_differences for r in routes),
            "flips": [{"file": r.file, **flip.to_dict()} for r in routes for flip in r.flips],
            "early_exit": None if self.policy is None else {"n_samples": self.n_exits, "n_differences": self.n_other_exits},
            "routes": [r.to_dict() for r in routes],
        }
