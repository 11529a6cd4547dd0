"""A bundle run by the vendor's own tool, layer by layer against its golden spikes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from neurodeploy.errors import Mismatch, NeurodeployError, UsageError, VendorFailure
from neurodeploy.export.loihi2 import GRAPH, NET
from neurodeploy.hw.profile import AnyProfile
from neurodeploy.progress import SILENT, Progress
from neurodeploy.validate import Divergence, OpenBundle, Verdict, first_divergence
from neurodeploy.validate.compare import n_differences
from neurodeploy.validate.verdict import Check
from neurodeploy.vendor import Environment, Lock, find, lock_of_tool, locks
from neurodeploy.vendor.worker import Answer, play

DEFAULT_TIMEOUT_S = 600.0


@dataclass(frozen=True)
class Oracle:
    """A vendor's tool that is there to be asked: `find_oracle` makes one."""

    lock: Lock
    environment: Environment
    timeout_s: float


@dataclass(frozen=True, eq=False)
class _Route:
    """What one way to load the network came to."""

    file: str
    status: str
    n_compared: int
    n_differences: int
    divergence: Divergence | None
    error: NeurodeployError | None
    answer: Answer | None

    def to_dict(self) -> dict[str, Any]:
        return {
            "file": self.file, "status": self.status, "n_compared": self.n_compared, "n_differences": self.n_differences,
            "first_divergence": None if self.divergence is None else self.divergence.to_dict(),
            "wall_s": None if self.answer is None else list(self.answer.wall_s),
        }


def find_oracle(tool: str, profile: AnyProfile, timeout_s: float = DEFAULT_TIMEOUT_S) -> Oracle:
    """The tool in its side environment, for bundles of this target.

    Raises UsageError for an unknown tool and for one that does not compute the target's neurons, EnvironmentMissing with the
    way out.
    """
    if not timeout_s > 0:
        raise UsageError(f"a time limit of {timeout_s:g} s", where="--oracle-timeout", remedy="Give seconds, more than 0")
    lock, neuron = lock_of_tool(tool), profile.arithmetic.neuron
    if neuron not in lock.neurons:
        others = [other.tool for other in locks().values() if neuron in other.neurons]
        raise UsageError(
            f"{lock.tool} does not compute neurons of {profile.name}", where=f"--oracle {lock.tool}",
            limit=f"It knows {', '.join(lock.neurons)}, the target has {neuron}",
            remedy=f"Ask {' or '.join(others)}" if others else "",
        )
    return Oracle(lock, find(lock.name), timeout_s)


def ask_oracle(opened: OpenBundle, oracle: Oracle, verdict: Verdict, progress: Progress = SILENT) -> Verdict:
    """The verdict with what the tool says: the golden inputs played from `graph.npz`, and from `network.net` by the
    vendor's loader where the bundle has one; outputs of every neuron layer compared with the golden ones.

    A disagreement (Mismatch) or a tool that failed (VendorFailure) is in the verdict's `errors`.
    """
    files = [GRAPH, *([NET] if NET in opened.manifest["files"] else [])]
    task = f"{oracle.lock.tool} in its own process"
    progress.start(task, len(files))
    routes = []
    for file in files:
        routes.append(_route(opened, oracle, file))
        progress.advance(task)
        if isinstance(routes[-1].error, VendorFailure):
            break  # the next would fail, or wait, in the same way
    progress.done(task)
    checks = [Check(f"{oracle.lock.tool}, {r.file}", r.error is None, _what(opened, r)) for r in routes]
    errors = [r.error for r in routes if r.error is not None]
    return replace(
        verdict, oracle=_summary(opened, oracle, routes), checks=(*verdict.checks, *checks), errors=(*verdict.errors, *errors),
        first_divergence=next((r.divergence for r in routes if r.divergence), None) or verdict.first_divergence,
    )


def _route(opened: OpenBundle, oracle: Oracle, file: str) -> _Route:
    net, golden = opened.net, opened.golden
    tool = oracle.lock.tool
    try:
        answer = play(
            oracle.environment, opened.path / GRAPH, golden.x, net.n_chip_steps,
            {n.name: tuple(net.shapes[n.name]) for n in net.neurons}, timeout_s=oracle.timeout_s,
            net=opened.path / NET if file == NET else None, net_kwargs=(opened.manifest.get("netx") or {}).get("kwargs"),
        )
    except VendorFailure as error:
        return _Route(file, "failed", 0, 0, None, error, None)
    found = first_divergence(net, golden.spikes, answer.outputs)
    n_differ, n_compared = n_differences(golden.spikes, answer.outputs)
    if found is None:
        return _Route(file, "equal", n_compared, 0, None, None, answer)
    mismatch = Mismatch(
        f"{tool} computes other spikes from {file}, first at {found}", where=str(opened.path), code="oracle_mismatch",
        limit=f"{n_differ} of {n_compared} values differ",
        remedy="Compare the layer's constants with the tool's documentation; report it with this bundle",
    )
    return _Route(file, "differs", n_compared, n_differ, found, mismatch, answer)


def _what(opened: OpenBundle, route: _Route) -> str:
    if route.answer is None:
        return route.error.what if route.error is not None else ""
    n_spikes = sum(opened.golden.n_spikes.values())
    equal = f"{route.n_compared - route.n_differences:,} of {route.n_compared:,} values equal"
    return f"{equal}: {opened.golden.x.shape[1]} samples, {n_spikes:,} spikes"


def _summary(opened: OpenBundle, oracle: Oracle, routes: list[_Route]) -> dict[str, Any]:
    status = next((s for s in ("failed", "differs") if any(r.status == s for r in routes)), "equal")
    versions = next((r.answer.versions for r in routes if r.answer is not None), oracle.environment.versions)
    return {
        "name": oracle.lock.tool, "version": versions.get(oracle.lock.main), "status": status,
        "environment": oracle.environment.to_dict(), "versions": versions,
        "n_samples": int(opened.golden.x.shape[1]), "n_compared": sum(r.n_compared for r in routes),
        "n_differences": sum(r.n_differences for r in routes), "routes": [r.to_dict() for r in routes],
    }

