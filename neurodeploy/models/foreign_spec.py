"""The text of `--arch`: what a state_dict does not say about its network.

One line, layers in the order of the data, separated by `|`; the first part is the input, the timesteps and, where all neurons
agree, their conventions:

    1x8x8 T=16 v_th=1 fire=>= reset=soft | conv2d padding=1 | batchnorm | if | avgpool 2 | flatten | linear | if | vote 10

or a TOML file with `input`, `timesteps`, `layers` (a list of such texts) and, where wanted, `neurons` (a table), `data`,
`encoding`. `from=NAME` names the module whose weights a layer takes; without it modules follow each other as in the file.
`docs/models.md` lists every layer with its keys. AutoSNN networks: `autosnn BLOCKS key=value ...` (or a name of
`published`) or a TOML or JSON file with `macro` and `arch`.
"""

from __future__ import annotations

import json
import re
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from neurodeploy.errors import UsageError
from neurodeploy.models.published import ARCHITECTURES

_EXAMPLE = "For example --arch '1x8x8 T=16 | conv2d padding=1 | if v_th=1 fire=>= reset=soft | flatten | linear | vote 10'"
_HEAD = {"input", "T", "timesteps", "data", "encoding"}
_ENCODINGS = ("direct", "rate", "events")  # of the data that the network was trained on
_MAX_TEXT = 2**18


@dataclass(frozen=True)
class Item:
    """One layer of a spec: its kind, its keys, the module that it names, itself as text; `shared`: keys of all neurons."""

    kind: str
    keys: dict[str, Any]
    source: str | None
    text: str
    shared: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Spec:
    """A chain of layers; or, where `autosnn` is given, `macro` and `arch` of one of our own networks, without their layers."""

    text: str
    input_shape: tuple[int, ...] = ()
    n_timesteps: int = 1
    items: tuple[Item, ...] = ()
    metadata: dict[str, Any] = field(default_factory=dict)
    autosnn: dict[str, Any] | None = None


def fail(what: str, where: str = "--arch", limit: str = "", remedy: str = _EXAMPLE) -> UsageError:
    return UsageError(what, where=where, limit=limit, remedy=remedy, code="arch")


def read_spec(text: str) -> Spec:
    """The spec in a text, or in the TOML or JSON file of that name. Raises UsageError naming the part that is wrong."""
    path = Path(text) if len(text) < 4096 and "|" not in text else None
    if path is not None and path.suffix.lower() in (".toml", ".json"):
        return _from_file(path)
    head, *layers = [part.strip() for part in text.split("|")]
    if head.split(" ")[0].lower() == "autosnn":
        return _autosnn(text, head)
    words = head.split()
    shape = [w for w in words if "=" not in w]
    if len(shape) != 1 or not layers:
        raise fail(f"{text[:80]!r} is no architecture", limit="INPUT T=STEPS | LAYER | LAYER ..., or a .toml or .json file")
    keys = dict(_pair(w, head) for w in words if "=" in w)
    known = {"input": shape[0], **{k: keys.pop(k) for k in tuple(keys) if k in _HEAD}}
    return _spec(text, known, keys, layers)


def _from_file(path: Path) -> Spec:
    where = f"--arch {path}"
    if not path.is_file():
        raise fail("no such file", where)
    if path.stat().st_size > _MAX_TEXT:
        raise fail(f"the file has {path.stat().st_size} bytes", where, f"At most {_MAX_TEXT}")
    try:
        text = path.read_text("utf-8")
        content = json.loads(text) if path.suffix.lower() == ".json" else tomllib.loads(text)
    except (ValueError, RecursionError, OSError) as error:
        raise fail("the file cannot be read", where, str(error)[:200]) from error
    if isinstance(content, dict) and "macro" in content:
        return _own(str(path), content, where)
    neurons = content.pop("neurons", {}) if isinstance(content, dict) else None
    layers = content.pop("layers", None) if isinstance(content, dict) else None
    if not isinstance(layers, list) or not isinstance(neurons, dict) or not all(isinstance(item, str) for item in layers):
        raise fail("`layers` is no list of texts, or `neurons` no table", where,
                   'layers = ["conv2d padding=1", "flatten", ...]')
    return _spec(str(path), content, neurons, layers)


def _spec(text: str, head: dict[str, Any], neurons: dict[str, Any], layers: list[str]) -> Spec:
    unknown = set(head) - _HEAD
    steps = head.get("timesteps", head.get("T"))
    if unknown or "input" not in head:
        raise fail(f"unknown {', '.join(sorted(unknown))}" if unknown else "the input's shape is missing",
                   limit=f"Known: {', '.join(sorted(_HEAD))}")
    if type(steps) is not int or steps < 1:
        raise fail("the number of timesteps is missing" if steps is None else f"T is {steps!r}", limit="A whole number, T=16")
    metadata: dict[str, Any] = {}
    if "data" in head:
        metadata["data"] = {"name": str(head["data"])}
    if "encoding" in head:
        if head["encoding"] not in _ENCODINGS:
            raise fail(f"encoding is {head['encoding']!r}", limit=f"Known: {', '.join(_ENCODINGS)}")
        metadata["encoding"] = head["encoding"]
    items = tuple(_item(layer, i, neurons) for i, layer in enumerate(layers, start=1))
    return Spec(text, _shape(head["input"]), steps, items, metadata)


def _shape(value: Any) -> tuple[int, ...]:
    sizes = re.fullmatch(r"\d{1,6}(x\d{1,6}){0,2}", value) and value.split("x") if isinstance(value, str) else value
    if not isinstance(sizes, list):
        raise fail(f"an input of shape {value!r}", limit="CxHxW, or N for a vector")
    return tuple(int(n) for n in sizes)


def _item(text: str, place: int, neurons: dict[str, Any]) -> Item:
    kind, *words = text.split() or [""]
    where = f"--arch, layer {place} ({text or 'empty'})"
    if "?" in text:
        raise fail("a `?` is left", where, "The state_dict does not say it", "Put in what the network has there")
    bare = [w for w in words if "=" not in w]
    keys = dict(_pair(w, text) for w in words if "=" in w)
    if len(bare) > 1:
        raise fail(f"{' and '.join(bare)} without names", where, "One bare value a layer, all others as key=value")
    source = keys.pop("from", None)
    if bare:
        keys["value"] = _value(bare[0])
    return Item(kind, keys, None if source is None else str(source), f"layer {place} ({text})", neurons)


def _pair(word: str, text: str) -> tuple[str, Any]:
    key, _, value = word.partition("=")
    if not key or not value:
        raise fail(f"{word!r} in {text[:60]!r}", limit="key=value, without spaces around =")
    return key, _value(value)


def _value(text: str) -> Any:
    if re.fullmatch(r"\d+x\d+", text):
        return [int(n) for n in text.split("x")]
    try:
        return json.loads(text)
    except ValueError:
        return {"True": True, "False": False, "None": None, "none": None}.get(text, text)


def _autosnn(text: str, head: str) -> Spec:
    words = head.split()[1:]
    blocks = [w for w in words if "=" not in w]
    if len(blocks) != 1:
        raise fail(f"{len(blocks)} lists of blocks", f"--arch {text[:60]}", "autosnn BLOCK,BLOCK,... key=value ...",
                   "For example --arch 'autosnn skip,SCB_k3,skip,skip,SCB_k3 in_channels=1 image_size=8x8 n_classes=10'")
    macro = dict(_pair(w, head) for w in words if "=" in w)
    data = macro.pop("data", None)
    content = {"macro": macro, "arch": blocks[0], **({} if data is None else {"data": data})}
    return _own(text, content, "--arch")


def _own(text: str, content: dict[str, Any], where: str) -> Spec:
    arch, data = content.get("arch"), content.get("data")
    if isinstance(arch, str):
        arch = list(ARCHITECTURES.get(arch, ())) or [
            {"skip": "skip_connect"}.get(block.strip(), block.strip()) for block in arch.split(",")
        ]
    if set(content) - {"macro", "arch", "data", "schema_version"} or not isinstance(content["macro"], dict):
        raise fail("it is not macro and arch", where, "macro: a table of sizes; arch: a list of blocks; data: a dataset's name")
    if not isinstance(arch, list) or not all(isinstance(block, str) for block in arch):
        raise fail("arch is no list of blocks", where)
    name = data.get("name") if isinstance(data, dict) else data
    metadata = {} if name is None else {"data": {"name": str(name)}}
    return Spec(text, metadata=metadata, autosnn={"macro": content["macro"], "arch": arch})
