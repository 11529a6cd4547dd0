"""SEENN-I, SEENN-II, fixed timesteps and the oracle on one network: accuracy against mean timesteps and energy on the chip.

    python benchmarks/seenn_digits.py [MODEL] [--target loihi2] [--host orin-nano] [--out FILE.json] [--plot FILE.png]

MODEL is a model file or bundle of a chip with timesteps (default: the packaged digits bundle). SEENN-I's thresholds are chosen
on validation images. SEENN-II's policies, one for each beta, are trained on training images and what the integer network
answers there; all are shown, and the last lines say which of them validation images prefer. Rows are of test images. Energies
are of one sample at a time; the policy's own is that of one pass on `host` and of the chip's waiting for it. One thread, no
randomness but the seeds. The network of docs/early_exit.md whose early answers are worse:

    neurodeploy train --recipe digits --arch skip,SRB_k3,skip,SCB_k3,skip --out runs/mse --set train.loss=mse \\
        --set train.epochs=60 --set network.width=8 --set network.n_timesteps=6
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
from neurodeploy.cost.policy_cost import policy_on_gpu, policy_on_host
from neurodeploy.early_exit.confidence import (
    ConfidencePolicy,
    average_exit_time,
    choose,
    choose_threshold,
    exit_steps,
    fixed_accuracy,
    oracle_steps,
    outcome,
)
from neurodeploy.early_exit.plot import plot_exits
from neurodeploy.early_exit.policy import PolicyConfig, train_for
from neurodeploy.hw.profile import GpuProfile, Profile, any_target
from neurodeploy.hw.quantity import Quantity
from neurodeploy.ir.votes import predictions
from neurodeploy.jobs.measure import early_exit_report, measure
from neurodeploy.jobs.opened import open_model
from neurodeploy.jobs.planned_exit import planned_exit_report
from neurodeploy.resources import folder
from neurodeploy.train.runtime import threads

BETAS = (0.0, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0)
# Arithmetic alone, without memory or control: the least that any host pays (hw_profiles/_proxies.toml).
LEAST_PRICE = Quantity(value=4.6, unit="pJ", status="published", source="Horowitz, ISSCC 2014: fp32 multiply-add, 45 nm")


def row(kind: str, wish: str, found: dict[str, Any], energy_j: float) -> dict[str, Any]:
    return {
        "kind": kind, "wish": wish, "accuracy": found["accuracy"], "mean_timesteps": found["mean_timesteps"],
        "histogram": found["histogram"], "energy_chip_j": found["energy_j"]["nominal"], "energy_j": energy_j,
        "energy_full_j": found["energy_full_j"]["nominal"],
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, nargs="?", default=folder("exports") / "digits-loihi2")
    parser.add_argument("--target", default="loihi2")
    parser.add_argument("--host", default="orin-nano")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--plot", type=Path, help="easiest and hardest test images by SEENN-I without a drop on validation")
    asked = parser.parse_args()
    profile, host = any_target(asked.target), any_target(asked.host)
    assert isinstance(profile, Profile) and isinstance(host, GpuProfile), "a chip with timesteps, and a GPU as host"
    opened = open_model(asked.model)
    data = opened.dataset()
    assert data is not None, "the model names no dataset"
    with threads(1):
        deployed = opened.deployed(profile, opened.settings(), data)
        net, plan = deployed.net, deployed.plan
        sets = {name: data.split(name) for name in ("train", "validation", "test")}
        runs = {name: measure(net, plan, x) for name, (x, _) in sets.items()}
        right = {name: predictions(run.votes) == sets[name][1] for name, run in runs.items()}
        images, labels = sets["test"]
        full = runs["test"]
        wishes: list[tuple[str, dict[str, float]]] = [
            (f"drop <= {100 * d:g} points", {"max_drop": d}) for d in (0.0, 0.005, 0.02)
        ] + [(f"mean T <= {t:g}", {"mean_timesteps": t}) for t in (1.25, 1.5, 2.0) if t < net.n_timesteps]
        rows = []
        for t in range(1, net.n_timesteps + 1):
            found = planned_exit_report(net, plan, profile, np.full(len(labels), t), images, labels, full)
            rows.append(row("fixed", f"{t} of {net.n_timesteps}", found, found["energy_j"]["nominal"]))
        start = ConfidencePolicy(1.0)
        for wish, options in wishes:
            policy = choose_threshold(runs["validation"].votes, sets["validation"][1], start, **options)
            found = early_exit_report(net, plan, profile, policy, images, labels, full)
            rows.append(row("SEENN-I", wish, found, found["energy_j"]["nominal"]))
            if asked.plot and (wish, options) == wishes[0]:
                steps, n = exit_steps(full.votes, policy), np.arange(len(labels))
                plot_exits(images, steps, labels, predictions(full.votes)[steps - 1, n], net.n_timesteps, asked.plot,
                           certainty=policy.confidences(full.votes)[steps - 1, n])
        known = {name: (sets[name][0], right[name]) for name in ("train", "validation")}
        config = PolicyConfig(seed=asked.seed)
        _, trained = train_for(known["train"], known["validation"], BETAS, config)
        full_accuracy = float(right["validation"][-1].mean())

        def preferred(options: dict[str, float]) -> int:
            wanted = full_accuracy - options.get("max_drop", 0.0)
            return choose([t.validation for t in trained], wanted, options.get("mean_timesteps"))

        for entry in trained:
            on_host = policy_on_gpu(entry.policy, host)
            found = planned_exit_report(net, plan, profile, entry.policy.steps(images), images, labels, full, on_host)
            least = policy_on_host(entry.policy, "arithmetic alone", LEAST_PRICE)
            at_least = found["energy_j"]["nominal"] + least.energy_j.nominal
            rows.append({
                **row("SEENN-II", f"beta {entry.beta:g}", found, found["energy_with_policy_j"]["nominal"]),
                "validation": entry.validation.to_dict(), "energy_at_least_j": at_least, "decider": found["decider"],
            })
    fixed = fixed_accuracy(full.votes, labels)
    best = outcome(right["test"], oracle_steps(right["test"]))
    train_fixed = right["train"].mean(axis=1)
    print(f"{asked.model.name} on {profile.name}: {len(labels)} test images, T = {net.n_timesteps}, "
          f"{net.n_chip_steps - net.n_timesteps} steps of pipeline")
    print("on training  " + "  ".join(f"{t}: {100 * a:.2f} %" for t, a in enumerate(train_fixed, start=1)))
    print(f"oracle       {100 * best.accuracy:.2f} % at {best.mean_timesteps:.3f};  AET {average_exit_time(fixed):.3f}")
    print(f"all T        {1e6 * rows[0]['energy_full_j']:.2f} uJ")
    for r in rows:
        extra = ""
        if "decider" in r:
            extra = f", with the policy {1e6 * r['energy_j']:.2f}, at least {1e6 * r['energy_at_least_j']:.2f} uJ"
        print(f"{r['kind']:9}{r['wish']:20}{100 * r['accuracy']:6.2f} % at {r['mean_timesteps']:.3f}  chip "
              f"{1e6 * r['energy_chip_j']:6.2f} uJ{extra}  {r['histogram']}")
    decider = next(r["decider"] for r in rows if "decider" in r)
    print(f"policy: {decider['n_macs']:,} MACs, {decider['n_weights']:,} weights, "
          f"{1e6 * decider['energy_j']['nominal']:.2f} uJ "
          f"and {1e6 * decider['latency_s']:.1f} us on {decider['where']}")
    for wish, options in wishes:
        print(f"of the policies, validation prefers for {wish:19} beta {trained[preferred(options)].beta:g}")
    if asked.out:
        report = {"model": asked.model.name, "target": profile.name, "n_test": len(labels), "fixed": fixed,
                  "oracle": best.to_dict(), "rows": rows}
        asked.out.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
