"""Evolution for several weights of the spikes in the fitness, all with the supernet of one search.

    python benchmarks/lambda_sweep.py RUN [--lambdas 0 -0.08 -0.16 -0.24] [--spikes-only] [--budget 100] [--seed 0]

RUN is the folder of a finished `neurodeploy search`. An architecture is evaluated once, whichever weights ask for it, and not
again where RUN evaluated it. `--spikes-only` drops energy, latency and terms of one's own from the fitness, as in the paper's
equation 5. After the search of an exhaustive RUN stands whether evolution found the optimum.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from neurodeploy.jobs.known import KnownRun
from neurodeploy.search.evolve import EvolutionSettings, Scored, next_round, parents


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--lambdas", type=float, nargs="+", default=[0.0, -0.08, -0.16, -0.24])
    parser.add_argument("--spikes-only", action="store_true")
    parser.add_argument("--budget", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    run = KnownRun.open(asked.run)
    settings = EvolutionSettings.model_validate(
        {**run.recipe.evolution.model_dump(), "budget": asked.budget, "method": "evolution"}
    )
    is_whole = len(run.known) == run.space.size
    print(f"{'lambda':>7} {'accuracy':>9} {'spikes':>8} {'energy':>10} {'latency':>10}  architecture")
    for exponent in asked.lambdas:
        left_out = {"mu_energy": 0.0, "nu_latency": 0.0, "terms": {}} if asked.spikes_only else {}
        weighed = type(run.recipe.fitness).model_validate(
            {**run.recipe.fitness.model_dump(), **left_out, "lambda_spikes": exponent}
        )
        rounds: list[tuple[Scored, ...]] = []
        while genomes := next_round(run.space, settings, asked.seed, rounds):
            rounds.append(tuple(Scored(genome, run.score(run(genome), weighed)) for genome in genomes))
        best = parents(1, rounds)
        if not best:
            print(f"{exponent:7.2f}  no candidate is feasible")
            continue
        m = run(best[0].genome)
        energy, latency = (f"{m[key]:10.3g}" if m[key] is not None else f"{'-':>10}" for key in ("energy_j", "latency_s"))
        figures = f"{exponent:7.2f} {100 * m['accuracy']:7.2f} % {m['spikes_paper']:8.0f} {energy} {latency}"
        of_all = ""
        if is_whole:
            optimum = max(f for f in (run.score(known, weighed) for known in run.known.values()) if f is not None)
            regret = 1 - (best[0].fitness or 0.0) / optimum
            of_all = f"  regret {100 * regret:.2f} %" if regret else "  the optimum"
        print(f"{figures}  {','.join(best[0].genome)}{of_all}", flush=True)
    print(f"{len(run.new)} architectures were evaluated anew")


if __name__ == "__main__":
    main()
