"""Lines on an early exit that every kind of target has: what decides, what deciding costs, the upper bound."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from neurodeploy.cli.figures import band, percent, si


def rule(policy: Mapping[str, Any]) -> tuple[str, str]:
    """What decides: a threshold on the votes, or a policy that sees the input alone."""
    if policy.get("method") == "policy":
        sees = "the image" if policy["sees"] == "image" else "the events of the first reading"
        choices = ", ".join(str(n) for n in policy["lengths"])
        return "policy", f"sees {sees} and chooses {choices}; beta {policy['beta']:g}, chosen on validation"
    text = f"{policy['metric']} {policy['threshold']:.4f}, temperature {policy['temperature']:g}, chosen on validation"
    return "threshold", text


def with_policy(found: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What a policy costs itself, and what is left of the saving."""
    decider = found.get("decider")
    if decider is None:
        return []
    waits = found["energy_waiting_j"]
    return [
        ("the policy itself", f"{band(decider['energy_j'], 'J')} and {si(decider['latency_s'], 's')} on {decider['where']}, "
                              f"{decider['n_macs']:,} multiply-accumulates, {decider['status']}"),
        *([("  waiting for it", f"{band(waits, 'J')} of the target's own power")] if waits["nominal"] else []),
        ("energy with the policy", f"{band(found['energy_with_policy_j'], 'J')}, latency "
                                   f"{si(found['latency_with_policy_s'], 's')}"),
        ("saved with the policy", percent(found["energy_saved_with_policy"])),
    ]


def oracle(found: Mapping[str, Any]) -> tuple[str, str]:
    """The upper bound of every rule."""
    best = found["oracle"]
    return "no rule does better than", f"{percent(best['accuracy'])} after {best['mean_timesteps']:.2f} (first right answer)"
