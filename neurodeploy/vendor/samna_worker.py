"""Runs in the side environment (nothing of neurodeploy): one configuration in a folder, one answer of samna's validator.

    python -I code/samna_worker.py FOLDER

In: `job.json` {protocol, runner}, `speck.json`, `speck_arrays.npz`; beside this file the runner, a copy of the package's own.
Out: `status.json` {ok, verdict, message, module, error, versions}: verdict `accepted`, `rejected`, or `type_error` where the
configuration cannot be built at all. The validator dies of some configurations, and this process with it: it says `checking`
in `progress.json` before it asks. What libraries print goes to stderr.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import traceback
from pathlib import Path
from typing import Any

PROTOCOL = 1


def write(path: Path, fields: dict[str, Any]) -> None:
    part = path.with_suffix(".part")
    part.write_text(json.dumps(fields), encoding="utf-8")
    part.replace(path)


def check(folder: Path, runner: Any) -> dict[str, Any]:
    """The fields of a good status."""
    document, arrays = runner.read_configuration(folder)
    module = runner.find_module(document)
    known = {"module": module.__name__, "versions": runner.versions()}
    write(folder / "progress.json", {"doing": "checking", **known})
    try:
        configuration = runner.build(document, arrays, module)
        runner.add_readout(configuration, document, window=1, threshold=1)
    except (TypeError, ValueError, IndexError) as error:
        return {"ok": True, "verdict": "type_error", "message": f"{type(error).__name__}: {error}"[:2000], **known}
    accepted, message = runner.validate(module, configuration)
    return {"ok": True, "verdict": "accepted" if accepted else "rejected", "message": message[:20000], **known}


def main(folder: Path) -> int:
    os.dup2(2, 1)
    sys.path.insert(0, str(Path(__file__).resolve().parent))
    try:
        job = json.loads((folder / "job.json").read_text(encoding="utf-8"))
        if job["protocol"] != PROTOCOL:
            raise ValueError(f"this worker speaks protocol {PROTOCOL}")
        status = check(folder, importlib.import_module(job["runner"]))
    except Exception as error:
        traceback.print_exc()
        status = {"ok": False, "error": f"{type(error).__name__}: {error}", "versions": {}}
    write(folder / "status.json", status)
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
