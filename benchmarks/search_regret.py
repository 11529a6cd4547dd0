"""What evolution, NSGA-II and random search miss of a space that was evaluated as a whole.

    python benchmarks/search_regret.py RUN [--budget 100] [--seeds 0 1 2] [--out FILE.json]

RUN is the folder of `neurodeploy search --method exhaustive --out RUN`. Nothing is evaluated again. Regret is what the best
found lacks of the optimum's fitness; the front is that of accuracy, energy, latency and cores (`search/standing.py`).
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from statistics import mean

from neurodeploy.jobs.known import KnownRun
from neurodeploy.search.evolve import EvolutionSettings, Scored
from neurodeploy.search.regret import regrets
from neurodeploy.search.standing import Standing


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--budget", type=int, default=100)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    run = KnownRun.open(asked.run)
    run.require_all()
    standing = Standing(run.recipe.fitness, run.n_classes)
    known = {genome: Scored(genome, run.score(m), *standing(m)) for genome, m in run.known.items()}
    settings = EvolutionSettings.model_validate({**run.recipe.evolution.model_dump(), "budget": asked.budget})
    rows = regrets(run.space, settings, asked.seeds, known)
    feasible = sum(s.fitness is not None for s in known.values())
    print(f"{run.space.size} architectures, {feasible} feasible, {rows[0].n_front} on the front; budget {asked.budget}")
    print(f"{'method':10} {'seed':>4} {'fitness':>8} {'regret':>8} {'rank':>5} {'front met':>9} {'epsilon':>8}")
    for r in rows:
        figures = (f"{'-':>8} {'-':>8} {'-':>5}" if r.best is None or r.regret is None
                   else f"{r.best:8.4f} {100 * r.regret:6.2f} % {r.rank:5}")
        far = f"{'-':>8}" if r.epsilon is None else f"{r.epsilon:8.3f}"
        print(f"{r.method:10} {r.seed:4} {figures} {r.front_found:9} {far}")
    for method in dict.fromkeys(r.method for r in rows):
        of = [r for r in rows if r.method == method]
        regret, epsilon = ([v for r in of if (v := getattr(r, name)) is not None] for name in ("regret", "epsilon"))
        if regret:
            met = mean(r.front_found for r in of)
            print(f"{method:10} mean {'':8} {100 * mean(regret):6.2f} % {'':5} {met:9.1f} {mean(epsilon):8.3f}")
    if asked.out:
        found = {"run": run.recipe.name, "budget": asked.budget, "searches": [r.to_dict() for r in rows]}
        asked.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
