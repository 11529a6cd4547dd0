"""Runs in the side environment (nothing of neurodeploy): sinabs makes its own configuration of a bundle's network.

    python -I code/sinabs_worker.py FOLDER

In: `job.json` {protocol, runner}, `speck.json`, `speck_arrays.npz`; beside this file the runner, a copy of the package's own.
Out: `result/speck.json` and `result/speck_arrays.npz` with the integers of sinabs' configuration, then `status.json`
{ok, valid, message, error, versions}. valid: whether sinabs, asking samna, found its configuration so. What libraries print
goes to stderr.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import traceback
import zipfile
from pathlib import Path
from typing import Any

PROTOCOL = 1


def make(folder: Path, runner: Any) -> dict[str, Any]:
    """The fields of a good status."""
    import numpy as np

    document, arrays = runner.read_configuration(folder)
    cores = [core for core, _ in runner.chain(document)]
    try:
        configuration = runner.make_config(document, arrays)
    except ValueError as error:  # what sinabs raises for a configuration that the validator rejects
        return {"ok": True, "valid": False, "message": str(error)[:2000], "versions": runner.versions()}
    entries, made = runner.describe(configuration, cores)
    result = folder / "result"
    result.mkdir()
    head = {"format": document["format"], "schema_version": 1, "arrays": runner.ARRAYS}
    fields = {**head, "cnn_layers": entries, "dvs_layer": None}
    (result / runner.DOCUMENT).write_text(json.dumps(fields), encoding="utf-8")
    np.savez(result / runner.ARRAYS, **made)
    with zipfile.ZipFile(result / runner.ARRAYS, "a") as out:  # the document that every archive of neurodeploy has
        out.writestr("graph.json", json.dumps({"format": "neurodeploy speck arrays", "schema_version": 1}))
    return {"ok": True, "valid": True, "message": "", "versions": runner.versions()}


def main(folder: Path) -> int:
    os.dup2(2, 1)
    sys.path.insert(0, str(Path(__file__).resolve().parent))
    try:
        job = json.loads((folder / "job.json").read_text(encoding="utf-8"))
        if job["protocol"] != PROTOCOL:
            raise ValueError(f"this worker speaks protocol {PROTOCOL}")
        status = make(folder, importlib.import_module(job["runner"]))
    except Exception as error:
        traceback.print_exc()
        kind = "unsupported" if type(error).__name__ == "RunnerError" else "crashed"
        status = {"ok": False, "kind": kind, "error": f"{type(error).__name__}: {error}", "versions": {}}
    (folder / "status.part").write_text(json.dumps(status), encoding="utf-8")
    (folder / "status.part").replace(folder / "status.json")
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
