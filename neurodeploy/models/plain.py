"""Plain JSON values of networks, as files hold them: sizes read back with their types checked, metadata copied."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from neurodeploy.errors import UsageError

T = TypeVar("T")


def read_fields(kind: type[T], fields: Mapping[str, Any], where: str) -> T:
    """A dataclass with a `__pydantic_config__` of its own; raises UsageError naming each field that is
    unknown, missing or mistyped."""
    try:
        return TypeAdapter(kind).validate_json(json.dumps(fields))
    except (TypeError, ValueError, RecursionError) as error:
        if not isinstance(error, ValidationError):
            raise UsageError(
                "its fields are not plain JSON values", where=where, limit=str(error), remedy="Use numbers and strings"
            ) from error
        wrong = "; ".join(f"{'.'.join(map(str, e['loc'])) or where}: {e['msg']}" for e in error.errors())
        raise UsageError(wrong, where=where, remedy="Correct these fields") from error


def plain_metadata(metadata: Mapping[str, Any], taken: Collection[str]) -> dict[str, Any]:
    """A copy in plain JSON values; raises UsageError for others, or for the names in `taken`."""
    if both := set(taken) & metadata.keys():
        raise UsageError(f"metadata holds {sorted(both)}", where="metadata", remedy="These names are the network's own")
    try:
        copy: dict[str, Any] = json.loads(json.dumps(metadata, allow_nan=False))
    except (TypeError, ValueError) as error:
        raise UsageError(
            "metadata is not plain JSON", where="metadata", limit=str(error), remedy="Use strings, numbers, lists, dicts"
        ) from error
    return copy
