"""The search of `stub_search` on a Ray cluster, as a program.

python stub_ray.py ADDRESS STORAGE FIXTURE LOG RESULT SEED BUDGET SLEEP_S: as `stub_search`, but lines of LOG are
`begin PID GENOME` and `end PID GENOME`, of the process that evaluates.
"""

from __future__ import annotations

import json
import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from neurodeploy.jobs.ray_pool import ray_pool
from neurodeploy.search.recipe import ExecutorSettings
from neurodeploy.search.space import Genome
from neurodeploy.search.study import run
from stub_search import OBJECTIVES, load, plain, score, settings


@dataclass(frozen=True)
class Logged:
    """The stub evaluator, which says what it does."""

    fixture: Path
    log: Path
    sleep_s: float

    def __call__(self, genome: Genome) -> dict[str, Any]:
        self._say("begin", genome)
        time.sleep(self.sleep_s)
        metrics = load(self.fixture)[1](genome)
        self._say("end", genome)
        return metrics

    def _say(self, event: str, genome: Genome) -> None:
        # One write of one short line: a kill cannot tear it.
        descriptor = os.open(self.log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(descriptor, f"{event} {os.getpid()} {'-'.join(genome)}\n".encode())
        os.close(descriptor)


def main() -> None:
    address, storage, fixture, log, result, seed, budget, sleep_s = sys.argv[1:]
    from stub_ray import Logged as Importable  # not as part of __main__, which is another module on the cluster

    evaluate = Importable(Path(fixture), Path(log), float(sleep_s))
    space = load(Path(fixture))[0]
    with ray_pool(ExecutorSettings(kind="ray", address=address), evaluate, None) as pool:
        found = run(storage, settings(int(budget)), space, int(seed), pool, score, objectives=OBJECTIVES)
    Path(result).write_text(json.dumps({**plain(found), "n_here": found.n_evaluated_here}))


if __name__ == "__main__":
    main()
