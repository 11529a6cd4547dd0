"""A target as data: read a TOML profile, check it, answer questions. No number about a chip lives in code.

Every physical quantity is `{value, unit, source, status}` with an optional band `low`..`high`. `status` says how far to
trust it: measured > published > estimated > assumed. An absent energy term is "not available", never zero.

There are three kinds of profile: `Profile`, of chips with timesteps on a mesh, `EventProfile`, of event-driven chips, and
`GpuProfile`; `arithmetic.neuron` tells them apart. A file may extend another one of its folder and then holds only what is new.
"""

from __future__ import annotations

import tomllib
import warnings
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, overload

from pydantic import ValidationError

from neurodeploy.errors import NeurodeployWarning, UsageError
from neurodeploy.hw.event_profile import EventProfile
from neurodeploy.hw.events import SYNAPSE, Synapses, Zeros
from neurodeploy.hw.gpu_profile import GpuProfile
from neurodeploy.hw.mesh_profile import Arithmetic, Capacity, Partition, Profile
from neurodeploy.hw.nvml import device_name
from neurodeploy.hw.quantity import STATUS_ORDER, Counts, Quantity, Status, weakest
from neurodeploy.resources import folder

__all__ = [
    "STATUS_ORDER", "SYNAPSE", "AnyProfile", "Arithmetic", "Capacity", "Counts", "EventProfile", "GpuProfile", "Partition",
    "Profile", "Quantity", "Status", "Synapses", "Zeros", "any_target", "apply_override", "chip_of", "describe",
    "gpu_named", "kind_of", "names", "parse", "read", "resolve", "target", "weakest",
]

AnyProfile = Profile | EventProfile | GpuProfile
_Kind = type[Profile] | type[EventProfile] | type[GpuProfile]
_KINDS: dict[str, _Kind] = {"cuba_lif": Profile, "iaf": EventProfile, "float": GpuProfile}
_MAX_EXTENDS = 4


def _profile_files() -> dict[str, Path]:
    files = {p.stem: p for p in sorted(folder("hw_profiles").glob("*.toml")) if not p.stem.startswith("_")}
    for entry in entry_points(group="neurodeploy.targets"):  # another package's targets: name -> path of a TOML file
        files.setdefault(entry.name, Path(str(entry.load())))
    return files


def names() -> list[str]:
    """Names of all known targets."""
    return sorted(_profile_files())


def read(path: Path, overrides: dict[str, Any] | None = None) -> AnyProfile:
    """Profile from a TOML file, with dotted overrides (`{"energy.synapse.value": 20}`) applied before checking.

    Raises UsageError naming the entry when the file or an override is invalid.
    """
    raw = _extended(path, _MAX_EXTENDS)
    for key, value in (overrides or {}).items():
        apply_override(raw, key, value, where=path.name)
    try:
        return parse(raw)
    except ValidationError as err:
        what = describe(err)
        with_band = bool(overrides) and "lies outside its band" in what
        remedy = "Set its band too: the same key with .low and .high" if with_band else "See hw_profiles/_template.toml"
        raise UsageError(what, where=str(path), remedy=remedy) from err


def parse(raw: dict[str, Any]) -> AnyProfile:
    """A profile from plain fields; raises pydantic's ValidationError."""
    return kind_of(raw).model_validate(raw)


def kind_of(raw: Any) -> _Kind:
    """The kind of profile that plain fields are of, by `arithmetic.neuron`; Profile where they do not say."""
    arithmetic = raw.get("arithmetic") if isinstance(raw, dict) else None
    neuron = arithmetic.get("neuron") if isinstance(arithmetic, dict) else None
    return _KINDS.get(neuron, Profile) if isinstance(neuron, str) else Profile


def _extended(path: Path, left: int) -> dict[str, Any]:
    """The file's fields over those of the file that it extends."""
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as err:
        raise UsageError("cannot read the profile", where=str(path), limit=str(err.strerror or err)) from err
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as err:
        raise UsageError("the profile is not valid TOML", where=str(path), limit=str(err)) from err
    base = raw.pop("extends", None)
    if base is None:
        return raw
    if not isinstance(base, str) or not base or Path(base).name != base or left == 0:
        raise UsageError(f"extends {base!r}", where=str(path), limit="The name of a profile, without .toml, and no ring")
    beside = path.with_name(f"{base}.toml")
    return _over(_extended(beside if beside.is_file() else folder("hw_profiles") / beside.name, left - 1), raw)


def _over(base: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    """Tables merge key by key; a quantity is replaced whole, or its source would stand behind a number it does not have."""
    merged = dict(base)
    for key, value in new.items():
        old = merged.get(key)
        whole = not isinstance(value, dict) or not isinstance(old, dict) or {"value", "values"} & value.keys()
        merged[key] = value if whole or not isinstance(old, dict) else _over(old, value)
    return merged


def apply_override(raw: dict[str, Any], key: str, value: Any, *, where: str) -> None:
    """Set a dotted key of a nested dict that already has it; raises UsageError naming the unknown part."""
    *path, last = key.split(".")
    table: Any = raw
    for depth, part in enumerate([*path, last]):
        if not isinstance(table, dict) or part not in table:
            known = ", ".join(sorted(table)) if isinstance(table, dict) else "nothing"
            raise UsageError(f"no key {part!r} in {key!r}", where=where, limit=f"Known there: {known}")
        if depth < len(path):
            table = table[part]
    table[last] = value


def describe(error: ValidationError) -> str:
    """All problems of a pydantic error in one line: `energy.synapse.unit: ...; ...`."""
    return "; ".join(
        f"{'.'.join(str(p) for p in e['loc']) or 'file'}: {e['msg'].removeprefix('Value error, ')}" for e in error.errors()
    )


def resolve(name: str) -> str:
    """The profile name behind a name or alias; raises UsageError listing the known ones.

    The alias of a GPU is the GPU of this machine where it has one. Warns (`unknown_gpu`) where that one has no profile.
    """
    files = _profile_files()
    if name in files:
        return name
    for known in files:
        profile = read(files[known])
        if name in profile.aliases:
            return _gpu_here(known) if isinstance(profile, GpuProfile) else known
    raise UsageError(
        f"unknown target {name!r}", code="unknown_target", limit=f"Known targets: {', '.join(sorted(files))}",
        remedy="`neurodeploy targets list` shows them; `neurodeploy targets check FILE` checks an own profile",
    )


def gpu_named(device: str) -> str | None:
    """The profile of a GPU by the name that its driver gives it; the longest part of that name decides, None for no match.

    >>> gpu_named("NVIDIA H100 80GB HBM3"), gpu_named("Orin Nano (nvgpu)"), gpu_named("Quadro K4000")
    ('h100', 'orin-nano', None)
    """
    found = [
        (len(part), name) for name, path in _profile_files().items()
        if isinstance(profile := read(path), GpuProfile) for part in profile.device_names if part.lower() in device.lower()
    ]
    return max(found)[1] if found else None


def _gpu_here(otherwise: str) -> str:
    device = device_name()
    found = None if device is None else gpu_named(device)
    if device is not None and found is None:
        warnings.warn(
            NeurodeployWarning(f"{device} has no profile; {otherwise} stands for it", code="unknown_gpu", where="target",
                               remedy="`neurodeploy targets measure` writes its profile"), stacklevel=3,
        )
    return found or otherwise


def any_target(name: str, overrides: dict[str, Any] | None = None) -> AnyProfile:
    """The profile of a target by name or alias, of any kind. Raises UsageError for an unknown target or a bad override.

    >>> any_target("speck").name
    'speck2f'
    """
    return read(_profile_files()[resolve(name)], overrides)


def target(name: str, overrides: dict[str, Any] | None = None) -> Profile:
    """The profile of a target with timesteps, by name or alias. Raises UsageError as `any_target`, and for other targets.

    >>> target("loihi2").arithmetic.weight_max
    254
    """
    found = any_target(name, overrides)
    if not isinstance(found, Profile):
        kind = "a GPU" if isinstance(found, GpuProfile) else "an event-driven chip"
        raise UsageError(
            f"{found.name} is {kind}", where=name, code="other_arithmetic", limit="This takes a chip with timesteps",
            remedy="Use `any_target`",
        )
    return found


@overload
def chip_of(profile: Profile | GpuProfile) -> Profile: ...
@overload
def chip_of(profile: AnyProfile) -> Profile | EventProfile: ...
def chip_of(profile: AnyProfile) -> Profile | EventProfile:
    """The profile of a neuromorphic chip as it is; raises UsageError for a GPU."""
    if isinstance(profile, GpuProfile):
        raise UsageError(
            f"{profile.name} is a GPU", where=profile.name, code="other_arithmetic",
            limit="Networks are lowered, quantized and placed for neuromorphic chips; a GPU runs them as they are",
            remedy="From Python GPUs have lower, cost_on_gpu, simulate_on_gpu and export_on_gpu",
        )
    return profile
