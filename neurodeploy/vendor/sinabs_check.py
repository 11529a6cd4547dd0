"""Whether sinabs, given a bundle's network, makes the configuration that the bundle holds: every integer of it."""

from __future__ import annotations

import tempfile
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from neurodeploy.errors import NeurodeployError
from neurodeploy.export.speck_document import differences, read_document, read_speck, write_document
from neurodeploy.hw.event_profile import EventProfile
from neurodeploy.place.dynapcnn_config import ChipConfig
from neurodeploy.vendor.environments import Environment
from neurodeploy.vendor.speck_job import fields_of, run_worker, versions_of


@dataclass(frozen=True)
class Rebuilt:
    """sinabs' own configuration beside ours.

    difference: the first field that differs, None where all are equal. valid: whether its validator took it; where not,
    there is nothing to compare, and `message` says why.
    """

    valid: bool
    difference: str | None
    message: str
    versions: dict[str, str]
    wall_s: float

    @property
    def equal(self) -> bool:
        """Whether sinabs makes the same integers."""
        return self.valid and self.difference is None

    def to_dict(self) -> dict[str, Any]:
        """Plain fields, for JSON."""
        return {**asdict(self), "equal": self.equal}


def check_rebuilt(environment: Environment, folder: Path, profile: EventProfile, *, timeout_s: float = 300.0) -> Rebuilt:
    """Let sinabs (`vendor.find("sinabs")`) rebuild the network of a folder with `speck.json`, and compare.

    Which layers are monitored is left out of the comparison. Raises VendorFailure where it hangs, dies, answers nonsense or
    cannot hold the network (code `vendor_unsupported`), for the folder what `read_speck` does.
    """
    mine = read_speck(folder)
    document, arrays = read_document(folder)
    document["vendor"] = profile.vendor.model_dump(mode="json")  # the profile's to say, not the file's
    with tempfile.TemporaryDirectory(prefix="neurodeploy-", ignore_cleanup_errors=True) as name:
        work = Path(name)
        write_document(work, document, arrays)
        done = run_worker(environment, work, timeout_s)
        done.status()
        status = fields_of(work / "status.json", {"valid": bool, "message": str, "versions": dict})
        if status is None:
            raise done.failure("answered with a status that is none", "vendor_garbage")
        if not status["valid"]:
            return Rebuilt(False, None, status["message"], versions_of(status), done.wall_s)
        try:
            other = read_speck(work / "result")
        except NeurodeployError as error:
            raise done.failure(f"wrote a result that cannot be read: {error}", "vendor_garbage") from error
    found = differences(_unmonitored(mine), _unmonitored(other))
    return Rebuilt(True, found, "", versions_of(status), done.wall_s)


def _unmonitored(config: ChipConfig) -> ChipConfig:
    return ChipConfig({core: replace(layer, monitor_enable=False) for core, layer in config.cores.items()})
