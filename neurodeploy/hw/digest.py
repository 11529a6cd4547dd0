"""sha256 of a profile's content; fields that a later version added change no digest while they hold their default."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from neurodeploy.hw.quantity import Strict


def digest_of(model: Strict) -> str:
    """sha256 as hexadecimal text, independent of the order of keys."""
    return hashlib.sha256(json.dumps(_digested(model), sort_keys=True).encode()).hexdigest()


def _digested(model: Strict) -> dict[str, Any]:
    """Plain content of a model, without the fields `added` to it that hold their default."""
    found: dict[str, Any] = model.model_dump(mode="json")
    for name, field in type(model).model_fields.items():
        value = getattr(model, name)
        if name in type(model).added and value == field.get_default(call_default_factory=True):
            del found[name]
        elif isinstance(value, Strict):
            found[name] = _digested(value)
    return found
