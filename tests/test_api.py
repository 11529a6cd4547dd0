"""The public names of `import neurodeploy as nd`: lazy, and functions even where a sub-package has the same name."""

from __future__ import annotations

import importlib
import subprocess
import sys
from types import ModuleType, SimpleNamespace

import neurodeploy as nd
import pytest
from neurodeploy.errors import UsageError


def test_target_loads_a_profile() -> None:
    assert nd.target("loihi").name == "loihi2"
    with pytest.raises(UsageError, match="unknown target"):
        nd.target("nope")


def test_unknown_names_are_attribute_errors() -> None:
    with pytest.raises(AttributeError, match="nonsense"):
        nd.nonsense  # noqa: B018 - the access is the test


def test_dir_lists_the_public_names() -> None:
    assert set(nd.__all__) <= set(dir(nd))
    contract = {"load", "target", "quantize", "place", "simulate", "cost", "export", "validate", "search"}
    assert contract <= set(nd.__all__)


def test_sub_packages_do_not_hide_the_verbs(monkeypatch: pytest.MonkeyPatch) -> None:
    def quantize() -> str:
        return "quantized"

    monkeypatch.setitem(sys.modules, "neurodeploy.pipeline", SimpleNamespace(quantize=quantize))
    monkeypatch.delitem(nd.__dict__, "quantize", raising=False)
    package = importlib.import_module("neurodeploy.quantize")
    nd.quantize = package  # what the import system does
    try:
        assert nd.quantize is quantize
        assert isinstance(importlib.import_module("neurodeploy.quantize"), ModuleType)
    finally:
        nd.__dict__.pop("quantize", None)


def test_importing_imports_nothing_heavy() -> None:
    script = "import sys, neurodeploy; sys.exit(str({'torch', 'numpy', 'pydantic'} & set(sys.modules) or ''))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.stderr.strip() == ""
