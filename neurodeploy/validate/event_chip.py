"""What an event-driven bundle says of its chip, derived again: placement, configuration, scripts, the vendor's rules."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from neurodeploy.errors import DoesNotFit, Mismatch, NeurodeployError, Violation
from neurodeploy.export.speck import DOCUMENT, SINABS, differences, read_speck, write_artifacts
from neurodeploy.export.speck_document import read_document
from neurodeploy.export.write import NIR
from neurodeploy.ir.nir import read_nir
from neurodeploy.ir.serialize import difference
from neurodeploy.place import dynapcnn_rules
from neurodeploy.place.core_plan import CoreUse
from neurodeploy.place.dynapcnn_strict import STRICT
from neurodeploy.place.event_cores import check, configuration, limits_of
from neurodeploy.validate.event_bundle import EventBundle
from neurodeploy.validate.verdict import Check

Errors = list[NeurodeployError]
_STRICT = "strict."


def placement_check(opened: EventBundle, errors: Errors) -> Check:
    """Whether the profile gives the same cores, or at least lets each layer lie where it does."""
    found = check(opened.net, opened.profile)
    if found.plan is None:
        errors.append(DoesNotFit(found.violations, target=opened.profile.name))
        return Check("placement", False, f"{len(found.violations)} limits of the profile are broken")
    what = f"{opened.plan.n_cores} cores derived again from the profile"
    if found.plan == opened.plan:
        return Check("placement", True, what)
    for use, derived in zip(opened.plan.cores, found.plan.cores, strict=True):
        reason = _misplaced(opened, use, derived)
        if reason is not None:
            errors.append(Mismatch(
                f"layer {use.node} cannot lie there: {reason}", where=f"core {use.core}", code="placement_mismatch",
                limit=f"The profile gives core {derived.core}", remedy="Export again",
            ))
            return Check("placement", False, what)
    return Check("placement", True, f"{what}: others, but each layer fits where it lies")


def _misplaced(opened: EventBundle, use: CoreUse, derived: CoreUse) -> str | None:
    memories = limits_of(opened.profile).cores
    if not 0 <= use.core < len(memories):
        return f"the chip has cores 0 to {len(memories) - 1}"
    m = memories[use.core]
    there = replace(
        derived, core=use.core, kernel_words_max=m.kernel_words, neuron_words_max=m.neuron_words, bias_words_max=m.bias_words
    )
    for memory in ("kernel", "neuron", "bias"):
        words, most = getattr(there, f"{memory}_words"), getattr(there, f"{memory}_words_max")
        if words > most:
            return f"{words} {memory} words, it has {most}"
    odd = next((name for name, value in vars(there).items() if value != getattr(use, name)), None)
    return None if odd is None else f"{odd} is {getattr(there, odd)}, the manifest says {getattr(use, odd)}"


def artifacts_check(opened: EventBundle, errors: Errors) -> Check:
    """Whether the configuration and all that goes with it come out of `graph.npz` and the placement again."""
    what = f"{DOCUMENT} made again from graph.npz and the placement"
    what += ", padded for the readout block" if opened.padded else ""
    what += f"; {SINABS}" if SINABS in opened.manifest["files"] else f"; no {SINABS}: {opened.manifest['sinabs'].get('reason')}"
    if NIR in opened.manifest["files"]:
        read_nir(opened.path / NIR)  # raises where it is damaged
        what += f"; {NIR} can be read"
    else:
        what += f"; no {NIR}: {opened.manifest['nir']['reason']}"
    odd = _odd(opened)
    if odd is not None:
        errors.append(Mismatch(
            f"{odd[0]} and graph.npz disagree: {odd[1]}", where=str(opened.path), code="artifact_mismatch",
            remedy="Export again",
        ))
    return Check("artifacts", odd is None, what)


def _odd(opened: EventBundle) -> tuple[str, str] | None:
    """(file, the first field in which it differs from the one that would be written now), None where all are equal."""
    with tempfile.TemporaryDirectory(prefix="neurodeploy-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        try:
            config = configuration(opened.net, opened.plan, opened.profile)
            fields = write_artifacts(
                opened.net, opened.plan, opened.profile, config, folder, golden=opened.golden, padded=opened.padded
            )
        except NeurodeployError as error:
            return DOCUMENT, f"this network and placement give none: {error}"
        found = differences(opened.config, read_speck(folder))
        found = found or _first(read_document(opened.path)[0], read_document(folder)[0], "")
        if found is not None:
            return DOCUMENT, found
        found = _first({key: opened.manifest.get(key) for key in fields}, fields, "")
        return None if found is None else ("manifest.json", found)


def _first(stored: Any, now: Any, where: str) -> str | None:
    """The first value in which two documents of plain values differ, by its path."""
    if isinstance(stored, dict) and isinstance(now, dict):
        pairs = [(f"{where}.{key}" if where else key, stored.get(key), now.get(key)) for key in sorted({*stored, *now})]
    elif isinstance(stored, list) and isinstance(now, list) and len(stored) == len(now):
        pairs = [(f"{where}[{i}]", a, b) for i, (a, b) in enumerate(zip(stored, now, strict=True))]
    else:
        found = difference(stored, now)
        return None if found is None else f"{where}: {found}"
    return next((found for at, a, b in pairs if (found := _first(a, b, at)) is not None), None)


def rules_check(opened: EventBundle, errors: Errors) -> Check:
    """Whether the vendor's validator accepts the configuration by its rules as they are known; what stricter rules of ours
    say is listed, and is no error."""
    found = dynapcnn_rules.check(opened.config, limits_of(opened.profile), strict=STRICT)
    broken = tuple(v for v in found if not v.rule.startswith(_STRICT))
    strict = [v for v in found if v.rule.startswith(_STRICT)]
    if broken:
        errors.append(DoesNotFit(broken, target=opened.profile.name))
    what = f"{dynapcnn_rules.verdict(found)}, as its validator is known to answer"
    if not broken:
        what += f"; {len(STRICT) - len({v.rule for v in strict})} of {len(STRICT)} stricter rules of ours hold too"
        what += f", but not: {'; '.join(map(_named, strict))}" if strict else ""
    return Check("vendor's rules", not broken, what)


def _named(violation: Violation) -> str:
    return f"{violation.rule.removeprefix(_STRICT)} ({violation.where} {violation.what})"
