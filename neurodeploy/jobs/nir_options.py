"""What a `.nir` of another tool leaves open, as `--set nir.key=value`."""

from __future__ import annotations

import json
import math
from typing import Any

from pydantic import TypeAdapter, ValidationError

from neurodeploy.errors import UsageError
from neurodeploy.hw.profile import describe
from neurodeploy.ir.nir_foreign import NirOptions

PREFIX = "nir."


def nir_options(overrides: dict[str, Any]) -> tuple[NirOptions | None, dict[str, Any]]:
    """(the conventions among the overrides, None without any; the other overrides). UsageError for what is none.

    >>> nir_options({"nir.reset": "hard", "seed": 1})[1]
    {'seed': 1}
    """
    given = {k.removeprefix(PREFIX): v for k, v in overrides.items() if k.startswith(PREFIX)}
    rest = {k: v for k, v in overrides.items() if not k.startswith(PREFIX)}
    if not given:
        return None, rest
    known = NirOptions.__dataclass_fields__
    for name in given:
        if name not in known:
            raise UsageError(f"no convention {name!r} of a .nir", where=f"--set {PREFIX}{name}",
                             limit=f"Known: {', '.join(known)}")
    try:
        found = TypeAdapter(NirOptions).validate_json(json.dumps(given), strict=True)
    except ValidationError as error:
        raise UsageError(describe(error), where="--set nir", remedy="See docs/nir.md") from error
    for name in ("n_timesteps", "n_classes"):
        value = getattr(found, name)
        if value is not None and value < 1:
            raise UsageError(f"{name} is {value}", where=f"--set {PREFIX}{name}", limit="At least 1")
    if found.dt is not None and not (found.dt > 0 and math.isfinite(found.dt)):
        raise UsageError(f"dt is {found.dt}", where=f"--set {PREFIX}dt", limit="Above 0, in the file's unit of time")
    return found, rest
