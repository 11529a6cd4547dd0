"""Evaluations a second of the supernet search with one worker, with two, and on a Ray cluster of two where Ray is installed.

    python benchmarks/bench_workers.py [--budget 120] [--out benchmarks/results/workers.json]

The digits recipe on loihi2 with a supernet of few epochs, one run; each way evaluates the same architectures from the same
supernet and must find the same figures (else exit code 1). The rate is that of the time in which all workers are at work: from
the moment when each has finished one evaluation to the end of the last, pauses between rounds included. Other work on the
machine distorts it; the load average at the start is kept with the figures.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from neurodeploy.commands import search
from neurodeploy.search.storage import open_storage
from optuna.trial import FrozenTrial, TrialState

# Short training, before and after what is measured; the space, the data and the evaluation are the recipe's.
SMALL = {"supernet.epochs": 15, "train.epochs": 2, "quantize.qat_epochs": 0}
RAY = {"executor.kind": "ray"}
WAYS: dict[str, tuple[int, dict[str, Any]]] = {"1 worker": (1, {}), "2 workers": (2, {}), "Ray, 2 at once": (2, RAY)}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--budget", type=int, default=120)
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    load = os.getloadavg()[0]
    rows: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory() as folder:
        first = Path(folder) / "first"
        found: set[str] = set()
        for name, (n, executor) in WAYS.items():
            if executor and find_spec("ray") is None:
                print(f"{name:16} Ray is not installed")
                continue
            if not rows:
                run = first
                search("digits", "loihi2", budget=asked.budget, out=run, workers=n, overrides=SMALL)
            else:
                run = Path(folder) / name.replace(" ", "-")
                run.mkdir()
                for part in ("run.json", "supernet.ckpt", "references.json"):
                    shutil.copy(first / part, run)
                search(resume=run, workers=n, overrides=executor or None)
            rows[name] = rate(run, None if executor else n, n)
            rows[name]["ratio"] = round(rows[name]["per_s"] / rows["1 worker"]["per_s"], 3)
            found.add((run / "candidates.json").read_text())
            row = rows[name]
            print(f"{name:16} {row['per_s']:6.2f} evaluations/s  {row['ratio']:5.2f} x  ({row['n']} counted)")
    print(f"{os.cpu_count()} cores, load average {load:.1f} when it began")
    if len(found) > 1:
        print("DIFFERENT: the candidates' figures are not the same")
    if asked.out:
        kept = {"recipe": "digits", "budget": asked.budget, "cores": os.cpu_count(), "load": round(load, 2), "ways": rows}
        asked.out.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
    return int(len(found) > 1)


def rate(run: Path, n_processes: int | None, n: int) -> dict[str, Any]:
    """Evaluations a second once all were at work; n_processes: None where one process asks n others."""
    states = (TrialState.COMPLETE, TrialState.PRUNED)
    trials = open_storage(run / "journal.log").get_all_trials(0, states=states)
    ends = sorted(ended(t) for t in trials)
    if n_processes is None:
        start = ends[n - 1]
    else:
        by_process: dict[int, float] = {}
        for trial in sorted(trials, key=ended):
            by_process.setdefault(trial.user_attrs["lease"]["pid"], ended(trial))
        assert len(by_process) == n_processes, "a worker came too late: take a larger --budget"
        start = max(by_process.values())
    counted = sum(end > start for end in ends)
    return {"n": counted, "seconds": round(ends[-1] - start, 3), "per_s": round(counted / (ends[-1] - start), 3)}


def ended(trial: FrozenTrial) -> float:
    assert trial.datetime_complete is not None
    return trial.datetime_complete.timestamp()


if __name__ == "__main__":
    sys.exit(main())
