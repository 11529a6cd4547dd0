"""Runs the command line inside the test's process: exit code, stdout, and the JSON object where one was asked for."""

from __future__ import annotations

import io
import json
import re
from typing import Any

from neurodeploy.cli.main import main

FIELDS = ["schema_version", "command", "ok", "data", "warnings", "errors"]


def run(*args: str) -> tuple[int, str]:
    """Exit code and stdout. Help is printed by the parser on sys.stdout: read it with `capsys`."""
    out = io.StringIO()
    code = main(args, out)
    return code, out.getvalue()


def run_json(*args: str) -> tuple[int, dict[str, Any]]:
    """Exit code and the object of a command called with --json; fails unless stdout is that object alone."""
    code, out = run(*args, "--json")
    answer = json.loads(out)
    assert list(answer) == FIELDS
    assert answer["schema_version"] == 1
    assert answer["ok"] is (code == 0) is (not answer["errors"])
    for error in answer["errors"]:
        assert {"code", "where", "what", "limit", "remedy"} <= set(error)
    return code, answer


def bare(text: str) -> str:
    """The text without colours (GitHub's runners force them) and with single spaces."""
    return re.sub(r"\s+", " ", re.sub(r"\x1b\[[0-9;]*m", "", text))
