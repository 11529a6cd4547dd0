"""A bundle of an event-driven chip shown to the vendor's own tools: does its validator take the configuration, and does
sinabs make the same integers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from neurodeploy.errors import Mismatch, NeurodeployError, UsageError, VendorFailure
from neurodeploy.export.speck import DOCUMENT
from neurodeploy.jobs.oracle import Oracle
from neurodeploy.place import dynapcnn_rules
from neurodeploy.place.event_cores import limits_of
from neurodeploy.progress import SILENT, Progress
from neurodeploy.validate import EventBundle, Verdict
from neurodeploy.validate.verdict import Check
from neurodeploy.vendor.sinabs_check import check_rebuilt
from neurodeploy.vendor.speck_check import check_configuration


@dataclass(frozen=True)
class _Said:
    """What a tool answered: its fields in the verdict, a sentence for the list of checks, the error where it disagrees."""

    fields: dict[str, Any]
    what: str
    versions: dict[str, str]
    error: NeurodeployError | None


def check_rebuildable(opened: EventBundle, tool: str) -> None:
    """Raise UsageError where it is known beforehand that the tool cannot hold the bundle's network."""
    reason = opened.manifest["sinabs"].get("reason")
    if tool == "sinabs" and reason is not None:
        raise UsageError(f"sinabs cannot rebuild this network: {reason}", where="--oracle sinabs", code="vendor_unsupported",
                         remedy="Ask the validator itself: --oracle samna")


def ask_event_oracle(opened: EventBundle, oracle: Oracle, verdict: Verdict, progress: Progress = SILENT) -> Verdict:
    """The verdict with what the tool says, one process of its own.

    A refusal, a validator that dies, and other integers are a Mismatch; a tool that hangs or answers nonsense is a
    VendorFailure: both are in the verdict's `errors`.
    """
    tool = oracle.lock.tool
    task = f"{tool} in its own process"
    progress.start(task, 1)
    try:
        said = _TOOLS[tool](opened, oracle)
    except VendorFailure as error:
        said = _Said({"status": "failed", "message": error.what}, error.what, oracle.environment.versions, error)
    progress.advance(task)
    progress.done(task)
    found = {
        "name": tool, "version": said.versions.get(oracle.lock.main), **said.fields,
        "environment": oracle.environment.to_dict(), "versions": said.versions,
    }
    errors = () if said.error is None else (said.error,)
    check = Check(f"{tool}, {DOCUMENT}", said.error is None, said.what)
    return replace(verdict, oracle=found, checks=(*verdict.checks, check), errors=(*verdict.errors, *errors))


def _samna(opened: EventBundle, oracle: Oracle) -> _Said:
    answer = check_configuration(oracle.environment, opened.path, opened.profile, timeout_s=oracle.timeout_s)
    predicted = dynapcnn_rules.verdict(dynapcnn_rules.check(opened.config, limits_of(opened.profile)))
    fields = {"status": answer.verdict, "message": answer.message, "module": answer.module, "predicted": predicted,
              "wall_s": answer.wall_s}
    verb = {"accepted": "accepts", "rejected": "rejects", "type_error": "has no field for", "crash": "dies of"}[answer.verdict]
    what = f"the validator of {answer.module} {verb} the configuration"
    quoted = f"{what}: {answer.message.strip()}" if answer.message.strip() else what
    error = None if answer.accepted else Mismatch(
        quoted, where=str(opened.path), code=f"oracle_{answer.verdict}", limit=f"The rules known here say: {predicted}",
        remedy="Change the network, or its placement, where the validator says so, and export again",
    )
    return _Said(fields, quoted, answer.versions, error)


def _sinabs(opened: EventBundle, oracle: Oracle) -> _Said:
    answer = check_rebuilt(oracle.environment, opened.path, opened.profile, timeout_s=oracle.timeout_s)
    status = "equal" if answer.equal else "differs" if answer.valid else "rejected"
    fields = {"status": status, "message": answer.message, "difference": answer.difference, "wall_s": answer.wall_s}
    if answer.equal:
        n = sum(layer.weights.size for layer in opened.config.cores.values())
        equal = f"its own configuration is equal: {len(opened.config.cores)} cores, {n:,} weights"
        return _Said(fields, equal, answer.versions, None)
    what = (
        f"sinabs makes another configuration: {answer.difference}" if answer.valid
        else f"sinabs finds its own configuration invalid: {answer.message.strip()}"
    )
    code = "oracle_mismatch" if answer.valid else "oracle_rejected"
    error = Mismatch(what, where=str(opened.path), code=code, remedy="Report it with this bundle")
    return _Said(fields, what, answer.versions, error)


_TOOLS: dict[str, Callable[[EventBundle, Oracle], _Said]] = {"samna": _samna, "sinabs": _sinabs}
