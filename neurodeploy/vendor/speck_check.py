"""What the vendor's validator says of a configuration: one process a check, because it dies of some."""

from __future__ import annotations

import signal
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from neurodeploy.export.speck_document import encode, read_document, read_speck, write_document
from neurodeploy.hw.event_profile import EventProfile
from neurodeploy.place.dynapcnn_config import ChipConfig
from neurodeploy.vendor.environments import Environment
from neurodeploy.vendor.speck_job import fields_of, run_worker, versions_of

Said = Literal["accepted", "rejected", "type_error", "crash"]
_FAULTS = frozenset({signal.SIGSEGV, signal.SIGFPE, signal.SIGABRT, signal.SIGBUS, signal.SIGILL})  # what a program dies of


@dataclass(frozen=True)
class VendorVerdict:
    """`accepted`, `rejected` with the validator's message, `type_error` where a value fits no field, `crash` where it died.

    module: whose validator it was; versions by package; wall_s: of the whole process.
    """

    verdict: Said
    message: str
    module: str
    versions: dict[str, str]
    wall_s: float

    @property
    def accepted(self) -> bool:
        """Whether the vendor's tools take the configuration."""
        return self.verdict == "accepted"

    def to_dict(self) -> dict[str, Any]:
        """Plain fields, for JSON."""
        return asdict(self)


def check_configuration(
    environment: Environment, source: Path | ChipConfig, profile: EventProfile, *, timeout_s: float = 60.0
) -> VendorVerdict:
    """Ask the vendor's validator in a side environment (`vendor.find("speck")`) about a configuration.

    source: a folder with `speck.json` and its arrays, or the configuration itself, sound or not. That the validator dies is
    a verdict. Raises VendorFailure where it hangs, cannot be asked, or answers nonsense, for a folder what `read_speck` does.
    """
    if isinstance(source, ChipConfig):
        fields, arrays = encode(source, {})
        document: dict[str, Any] = {**fields, "target": profile.name, "readout": None}
    else:
        read_speck(source)
        document, arrays = read_document(source)
    # Which module and class are asked is the profile's to say, not the file's.
    document["vendor"] = profile.vendor.model_dump(mode="json")
    with tempfile.TemporaryDirectory(prefix="neurodeploy-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        write_document(folder, document, arrays)
        return _ask(environment, folder, timeout_s)


def _ask(environment: Environment, folder: Path, timeout_s: float) -> VendorVerdict:
    done = run_worker(environment, folder, timeout_s)
    began = fields_of(folder / "progress.json", {"module": str, "versions": dict})
    if -done.code in _FAULTS and began is not None:
        return _verdict("crash", f"the validator {done.describe()}", began, done.wall_s)
    status = done.status()
    answer = fields_of(folder / "status.json", {"verdict": str, "message": str, "module": str, "versions": dict})
    if answer is None or status != answer or answer["verdict"] not in ("accepted", "rejected", "type_error"):
        raise done.failure("answered with a status that is none", "vendor_garbage")
    return _verdict(answer["verdict"], answer["message"], answer, done.wall_s)


def _verdict(said: Said, message: str, fields: dict[str, Any], wall_s: float) -> VendorVerdict:
    return VendorVerdict(said, message, fields["module"], versions_of(fields), wall_s)
