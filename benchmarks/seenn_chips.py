"""SEENN-I, SEENN-II, fixed lengths and the oracle on one network and any target: accuracy against length and energy.

    python benchmarks/seenn_chips.py [MODEL] --target loihi2|speck2f|orin-nano|... [--set early_exit.policy.KEY=VALUE ...]
                                     [--test N] [--out FILE.json] [--plot FILE.png]

MODEL is a model file or a bundle (default: the packaged digits bundle of the target's kind). Lengths are timesteps, on
event-driven chips readings of the vote. Thresholds are chosen on validation samples; a policy of each beta is trained on
training samples, and all are shown, with the wishes for which validation prefers them. Rows are of test samples (--test: the
first N) on the target's simulator; energies are **estimated**, of one sample at a time. "with the policy" adds one pass of it
on its host and the target's own power meanwhile; "at least" adds arithmetic alone (4.6 pJ a multiply-accumulate, Horowitz
2014), the least that any host pays. One thread; no randomness but the seeds. JSON goes to benchmarks/results/.
"""

from __future__ import annotations

import argparse
import json
from abc import ABC, abstractmethod
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from neurodeploy.cost.policy_cost import decider_of, policy_on_host, runs_on, waiting, with_decider
from neurodeploy.data.chip_input import chip_input
from neurodeploy.early_exit.confidence import ConfidencePolicy, IntArray, choose, choose_threshold, exit_steps, oracle_steps
from neurodeploy.early_exit.event_windows import EventExitPolicy
from neurodeploy.early_exit.planned import PlannedPolicy
from neurodeploy.early_exit.plot import plot_exits
from neurodeploy.early_exit.policy import PolicyConfig, lengths, train_for
from neurodeploy.hw.profile import AnyProfile, EventProfile, GpuProfile, any_target
from neurodeploy.hw.quantity import Quantity
from neurodeploy.ir.votes import predictions
from neurodeploy.jobs import event_exit, gpu_exit
from neurodeploy.jobs.event_opened import deployed_on_cores, events_for
from neurodeploy.jobs.exits import few_to_train
from neurodeploy.jobs.gpu_energy import OnGpu
from neurodeploy.jobs.gpu_opened import Samples, lowered_for_gpu, samples_for
from neurodeploy.jobs.gpu_run import run_split
from neurodeploy.jobs.measure import early_exit_report, measure
from neurodeploy.jobs.opened import Opened, open_model
from neurodeploy.jobs.planned_exit import planned_exit_report
from neurodeploy.resources import folder
from neurodeploy.search.recipe import DeploySettings
from neurodeploy.sim.event_exit import read_votes
from neurodeploy.sim.event_runs import run_streams
from neurodeploy.train.runtime import threads
from neurodeploy.validate.accuracy import votes_of
from neurodeploy.validate.gpu_verdict import exit_report

LEAST_PRICE = Quantity(value=4.6, unit="pJ", status="published", source="Horowitz, ISSCC 2014: fp32 multiply-add, 45 nm")
SPLITS = ("train", "validation", "test")
BUNDLES = {EventProfile: "digits-speck2f", GpuProfile: "digits-orin-nano"}
RESULTS = Path(__file__).resolve().parent / "results"


def few_test(data: Any, n: int | None) -> Any:
    """The data with the first n test samples."""
    return data if n is None else replace(data, splits={**data.splits, "test": data.splits["test"][:n]})


class Case(ABC):
    """A deployed network with its data: votes [T, N, n], labels, and what a policy sees, by split; figures of exits on the test
    split. `sees` as in `early_exit.planned`."""

    profile: AnyProfile
    sees: Any = "image"
    unit = "timesteps"
    n_chips = 1

    def __init__(self) -> None:
        self.votes: dict[str, Any] = {}
        self.labels: dict[str, Any] = {}
        self.views: dict[str, Any] = {}

    @abstractmethod
    def figures(self, steps: IntArray | None, threshold: ConfidencePolicy) -> dict[str, Any]:
        """Of samples that run `steps`, known beforehand, or (None) until their votes are confident."""

    @property
    def n_timesteps(self) -> int:
        return max(len(v) for v in self.votes.values())

    def right(self, split: str) -> Any:
        """[T, N]: behind the end of the longest sample of a split its answers stay."""
        found = predictions(self.votes[split]) == self.labels[split]
        return np.concatenate([found, np.repeat(found[-1:], self.n_timesteps - len(found), axis=0)])

    def latency_s(self, found: dict[str, Any]) -> float:
        return float(found.get("latency_s", found.get("mean_time_s")))


class OnMesh(Case):
    def __init__(self, opened: Opened, profile: Any, settings: DeploySettings, n_test: int | None) -> None:
        super().__init__()
        data = opened.dataset()
        assert data is not None, "the model names no dataset"
        found = opened.deployed(profile, settings, data)
        data = few_test(few_to_train(data, settings), n_test)
        self.profile, self.net, self.plan, self.n_chips = profile, found.net, found.plan, found.plan.n_chips
        for split in SPLITS:
            self.views[split], self.labels[split] = data.split(split)
            if split != "test":
                self.votes[split] = votes_of(self.net, self.views[split], chip_input)
        self.full = measure(self.net, self.plan, self.views["test"], zeros=profile.zeros)
        self.votes["test"] = self.full.votes

    def figures(self, steps: IntArray | None, threshold: ConfidencePolicy) -> dict[str, Any]:
        rest = self.views["test"], self.labels["test"], self.full
        if steps is None:
            return early_exit_report(self.net, self.plan, self.profile, threshold, *rest)  # type: ignore[arg-type]
        return planned_exit_report(self.net, self.plan, self.profile, steps, *rest)  # type: ignore[arg-type]


class OnCores(Case):
    unit = "readings"

    def __init__(self, opened: Opened, profile: EventProfile, settings: DeploySettings, n_test: int | None) -> None:
        super().__init__()
        data = events_for(opened, None)
        assert data is not None, "the model names no recordings"
        found, _ = deployed_on_cores(opened, profile, settings, data)
        data = few_test(few_to_train(data, settings), n_test)
        self.profile, self.net, self.plan = profile, found.net, found.plan
        first = run_streams(self.net, data.split("validation")[0], duration_us=data.duration_us)
        until = float(first.n_events.mean()) if settings.early_exit.by == "event" else float(data.duration_us)
        step = max(1, round(until / settings.early_exit.windows))
        self.readings = EventExitPolicy(settings.early_exit.by, step, ConfidencePolicy(1.0))
        self.sees = event_exit.what_it_sees(data)
        for split in SPLITS:
            streams, self.labels[split] = data.split(split)
            runs = first if split == "validation" else run_streams(self.net, streams, duration_us=data.duration_us)
            self.votes[split], _ = read_votes(runs, streams, self.readings)
            self.views[split] = event_exit.views_of(data, split, self.readings, self.sees)
        self.runs, self.streams = runs, streams
        self.unit = f"readings of {step} {'events' if self.readings.by == 'event' else 'us'}"

    def figures(self, steps: IntArray | None, threshold: ConfidencePolicy) -> dict[str, Any]:
        policy = replace(self.readings, confidence=threshold)
        return event_exit.event_exit_report(
            self.net, self.plan, self.profile, policy, self.runs, self.streams, self.labels["test"],  # type: ignore[arg-type]
            steps=steps,
        )


class OnOneGpu(Case):
    def __init__(self, opened: Opened, profile: GpuProfile, settings: DeploySettings, n_test: int | None) -> None:
        super().__init__()
        graph = lowered_for_gpu(opened)
        samples = samples_for(opened, graph, None)
        assert samples is not None, "the model names no data"
        samples = Samples(graph, few_test(few_to_train(samples.data, settings), n_test))
        self.profile, self.on = profile, OnGpu.of(graph, profile, settings)
        for split in SPLITS:
            runs = run_split(samples, split)
            self.votes[split], self.labels[split], self.latency = runs.votes, runs.labels, runs.latency
            self.views[split] = gpu_exit.views_of(samples, split, self.sees)

    def figures(self, steps: IntArray | None, threshold: ConfidencePolicy) -> dict[str, Any]:
        steps = exit_steps(self.votes["test"], threshold) if steps is None else steps
        found = exit_report(self.votes["test"], self.labels["test"], threshold, steps, self.latency)
        return {**found, **self.on.early_exit(found["histogram"], threshold)}


def row(kind: str, wish: str, found: dict[str, Any]) -> dict[str, Any]:
    length = {"mean_events": found["mean_events"]} if "mean_events" in found else {}
    return {
        "kind": kind, "wish": wish, "accuracy": found["accuracy"], "mean_timesteps": found["mean_timesteps"], **length,
        "histogram": found["histogram"], "energy_j": found["energy_j"], "energy_full_j": found["energy_full_j"],
    }


def rows_of(case: Case, settings: DeploySettings, wishes: list[tuple[str, dict[str, float]]]) -> list[dict[str, Any]]:
    asked, never = settings.early_exit.policy, ConfidencePolicy(1.0)
    n, n_test = case.n_timesteps, len(case.labels["test"])
    rows = [row("fixed", f"{t}", case.figures(np.full(n_test, t), never)) for t in lengths(n, asked.choices)]
    for wish, options in wishes:
        policy = choose_threshold(case.votes["validation"], case.labels["validation"], never, **options)
        rows.append({**row("SEENN-I", wish, case.figures(None, policy)), "threshold": policy.threshold})
    config = PolicyConfig(channels=asked.channels, epochs=asked.epochs, batch_size=asked.batch_size, lr=asked.lr,
                          seed=settings.seed, choices=asked.choices)
    known = {split: (case.views[split], case.right(split)) for split in ("train", "validation")}
    _, trained = train_for(known["train"], known["validation"], asked.betas, config)
    whole = float(known["validation"][1][-1].mean())
    preferred = {
        wish: choose([t.validation for t in trained], whole - options.get("max_drop", 0.0), options.get("mean_timesteps"))
        for wish, options in wishes
    }
    for i, entry in enumerate(trained):
        policy_ = PlannedPolicy(entry.policy, entry.beta, case.sees, case.views["test"][:1], settings.early_exit)
        found, decider = case.figures(policy_.steps(case.views["test"]), never), decider_of(policy_, case.profile)
        waits = waiting(case.profile, case.n_chips, decider.latency_s.scaled(not runs_on(policy_, case.profile)))
        costs = with_decider(found, decider, waits, case.latency_s(found))
        least = policy_on_host(entry.policy, "arithmetic alone", LEAST_PRICE).energy_j.nominal
        rows.append({
            **row("SEENN-II", f"beta {entry.beta:g}", found), "preferred_for": [w for w, k in preferred.items() if k == i],
            "validation": entry.validation.to_dict(), "decider": costs["decider"],
            "energy_waiting_j": costs["energy_waiting_j"], "energy_with_policy_j": costs["energy_with_policy_j"],
            "energy_at_least_j": found["energy_j"]["nominal"] + least, "latency_with_policy_s": costs["latency_with_policy_s"],
        })
    rows.append(row("oracle", "first right answer", case.figures(oracle_steps(case.right("test")), never)))
    return rows


def show(case: Case, name: str, rows: list[dict[str, Any]]) -> None:
    print(f"{name} on {case.profile.name}: {len(case.labels['test'])} test samples, up to {case.n_timesteps} {case.unit}; "
          f"all of them {1e6 * rows[0]['energy_full_j']['nominal']:.2f} uJ")
    for r in rows:
        events = f" {r['mean_events']:7.1f} events" if "mean_events" in r else ""
        line = f"{r['kind']:9}{r['wish']:22}{100 * r['accuracy']:6.2f} % at {r['mean_timesteps']:6.3f}{events}  "
        line += f"{1e6 * r['energy_j']['nominal']:8.2f} uJ"
        if "decider" in r:
            line += f", with the policy {1e6 * r['energy_with_policy_j']['nominal']:.2f}"
            line += f", at least {1e6 * r['energy_at_least_j']:.2f}"
            line += "".join(f"  [{w}]" for w in r["preferred_for"])
        print(line)
    decider = next(r["decider"] for r in rows if "decider" in r)
    print(f"policy: {decider['n_macs']:,} MACs, {1e6 * decider['energy_j']['nominal']:.2f} uJ, "
          f"{1e6 * decider['latency_s']:.1f} us on {decider['where']}; [..]: the wish for which validation prefers it")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, nargs="?")
    parser.add_argument("--target", required=True)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--test", type=int, help="the first N test samples")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--plot", type=Path, help="easiest and hardest test images by SEENN-I without a drop on validation")
    asked = parser.parse_args()
    profile = any_target(asked.target)
    model = asked.model or folder("exports") / BUNDLES.get(type(profile), "digits-loihi2")
    opened = open_model(model)
    settings = opened.settings({k: _value(v) for k, _, v in (text.partition("=") for text in asked.set)})
    with threads(1):
        case: Case
        if isinstance(profile, EventProfile):
            case = OnCores(opened, profile, settings, asked.test)
        elif isinstance(profile, GpuProfile):
            case = OnOneGpu(opened, profile, settings, asked.test)
        else:
            case = OnMesh(opened, profile, settings, asked.test)
        wishes: list[tuple[str, dict[str, float]]] = [
            *((f"drop <= {100 * d:g} points", {"max_drop": d}) for d in (0.0, 0.005, 0.02)),
            *((f"mean <= {s * case.n_timesteps:.3g}", {"mean_timesteps": s * case.n_timesteps}) for s in (0.3, 0.5)),
        ]
        rows = rows_of(case, settings, wishes)
    name = model.parent.name if model.stem == "model" else model.name
    show(case, name, rows)
    if asked.plot:
        votes, labels = case.votes["test"], case.labels["test"]
        policy = choose_threshold(case.votes["validation"], case.labels["validation"], ConfidencePolicy(1.0))
        steps, each = exit_steps(votes, policy), np.arange(len(labels))
        plot_exits(case.views["test"], steps, labels, predictions(votes)[steps - 1, each], len(votes), asked.plot,
                   certainty=policy.confidences(votes)[steps - 1, each])
    out = asked.out or RESULTS / f"seenn_{name}_on_{profile.name}.json"
    report = {
        "model": name, "target": profile.name, "n_test": len(case.labels["test"]), "unit": case.unit,
        "n_timesteps": case.n_timesteps, "policy": settings.early_exit.policy.model_dump(mode="json"), "rows": rows,
    }
    out.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


if __name__ == "__main__":
    main()
