"""Early exit by events and by time: windows by hand, thresholds on validation votes, and samples that really stop."""

from __future__ import annotations

import json
from itertools import pairwise

import numpy as np
import pytest
from neurodeploy.early_exit.confidence import ConfidencePolicy
from neurodeploy.early_exit.event_windows import (
    EventExitPolicy,
    exit_report,
    exit_windows,
    n_events_to_decision,
    window_edges,
    windows,
)
from neurodeploy.errors import UsageError
from neurodeploy.ir.graph import Edge, IntGraph
from neurodeploy.ir.nodes import Conv2d, Flatten, Iaf, Input, Linear, Node, Vote
from neurodeploy.sim.event_exit import read_votes, run_until_exit
from neurodeploy.sim.event_runs import run_streams

DURATION = 10_000
NEVER = ConfidencePolicy(1.0)
BOTH = pytest.mark.parametrize("by", ["event", "time"])


def test_policies_go_to_plain_values_and_back():
    policy = EventExitPolicy("time", 500, ConfidencePolicy(0.9, 2.0, "entropy", "mean"))
    assert EventExitPolicy.from_dict(json.loads(json.dumps(policy.to_dict()))) == policy
    for bad in ({}, {"by": "event", "step": 3, "confidence": {"other": 1}}, {"by": "event", "step": "x", "confidence": {}}):
        with pytest.raises(UsageError, match="early exit"):
            EventExitPolicy.from_dict(bad)
    with pytest.raises(UsageError, match="step 0"):
        EventExitPolicy("event", 0, NEVER)
    with pytest.raises(UsageError, match="by 'spike'"):
        EventExitPolicy("spike", 1, NEVER)  # type: ignore[arg-type]


def test_edges_cover_everything_once():
    assert window_edges(EventExitPolicy("event", 4, NEVER), 9, 100).tolist() == [0, 4, 8, 12]
    assert window_edges(EventExitPolicy("event", 4, NEVER), 8, 100).tolist() == [0, 4, 8]
    assert window_edges(EventExitPolicy("event", 4, NEVER), 0, 100).tolist() == [0, 4]
    assert window_edges(EventExitPolicy("time", 40, NEVER), 9, 100).tolist() == [0, 40, 80, 120]


TIMES = [np.asarray([3, 10, 10, 25, 99]), np.asarray([], dtype=np.int64), np.asarray([50, 51])]


def test_windows_of_events_by_hand():
    read = windows(EventExitPolicy("event", 2, NEVER), TIMES, 100)
    assert read.edges.tolist() == [0, 2, 4, 6] and read.n_windows == 3
    assert read.n_events.T.tolist() == [[2, 4, 5], [0, 0, 0], [2, 2, 2]]
    assert read.time_us.T.tolist() == [[10, 25, 100], [100] * 3, [100] * 3]  # nobody knows that 99 and 51 were the last
    assert read.last.tolist() == [3, 1, 1]


def test_windows_of_time_by_hand():
    read = windows(EventExitPolicy("time", 40, NEVER), TIMES, 100)
    assert read.n_events.T.tolist() == [[4, 4, 5], [0, 0, 0], [0, 2, 2]]
    assert read.time_us.T.tolist() == [[40, 80, 100]] * 3
    assert read.last.tolist() == [3, 3, 3]
    exact = windows(EventExitPolicy("time", 10, NEVER), TIMES, 100)
    assert exact.n_events[:3, 0].tolist() == [1, 3, 4]  # an event at an edge belongs to the window that begins there


def votes_by_hand() -> np.ndarray:
    """Sample 0 is sure after two windows, sample 1 has no events, sample 2 is never sure."""
    votes = np.zeros((3, 3, 2))
    votes[:, 0, 1] = [0, 5, 5]
    votes[0, 2] = [1, 1]
    return votes


def test_report_by_hand():
    policy = EventExitPolicy("event", 2, ConfidencePolicy(0.9))
    read = windows(policy, TIMES, 100)
    votes, labels = votes_by_hand(), np.asarray([1, 0, 1])
    assert exit_windows(votes, policy, read).tolist() == [2, 1, 1]
    assert n_events_to_decision(votes, policy, read).tolist() == [4, 0, 2]
    at_exit, in_full = np.asarray([40, 0, 20]), np.asarray([60, 0, 20])
    stops = exit_windows(votes, policy, read)
    report = exit_report(votes, labels, policy, read, stops, synops_at_exit=at_exit, synops_in_full=in_full)
    assert report["accuracy"] == pytest.approx(2 / 3) and report["mean_timesteps"] == pytest.approx(4 / 3)
    assert report["mean_events"] == 2 and report["mean_time_s"] == pytest.approx((25 + 100 + 100) / 3 * 1e-6)
    assert report["histogram"] == [2, 1, 0] and report["synops_share"] == 0.75 and report["threshold"] == 0.9
    assert [f["accuracy"] for f in report["fixed"]] == pytest.approx([1 / 3, 2 / 3, 2 / 3])
    assert [f["mean_events"] for f in report["fixed"]] == pytest.approx([4 / 3, 2, 7 / 3])
    assert report["full"]["mean_timesteps"] == pytest.approx(5 / 3) and report["full"]["window"] == 3
    json.dumps(report)
    assert exit_report(votes, labels, policy, read, stops)["synops_share"] is None
    with pytest.raises(UsageError, match="votes of shape"):
        exit_report(votes[:2], labels, policy, read, read.last)
    with pytest.raises(UsageError, match="0 samples"):
        windows(policy, [], 100)


def network() -> IntGraph:
    rng = np.random.default_rng(0)
    nodes: tuple[Node, ...] = (
        Input("x", (2, 6, 6), "graded", 255), Conv2d("c", rng.integers(-9, 20, (3, 2, 3, 3)), stride=(2, 2), padding=(1, 1)),
        Iaf("n", (3, 3, 3), 30, -30), Flatten("f"), Linear("fc", rng.integers(-20, 30, (4, 27))), Iaf("out", (4,), 30, -30),
        Vote("vote", 4),
    )  # fmt: skip
    return IntGraph(nodes, tuple(Edge(a.name, b.name) for a, b in pairwise(nodes)), 1)


@BOTH
def test_stopped_samples_answer_the_same_with_fewer_synops(by):
    rng = np.random.default_rng(2)
    streams = []
    for n in (0, 60, 120, 200, 33, 90):
        t = np.sort(rng.integers(0, DURATION, n))
        streams.append(np.stack([t, *(rng.integers(0, size, n) for size in (2, 6, 6))], axis=1))
    labels = np.asarray([0, 1, 2, 3, 0, 1])
    runs = run_streams(network(), streams, duration_us=DURATION)
    policy = EventExitPolicy(by, 20 if by == "event" else 1500, ConfidencePolicy(0.8, 2.0))
    votes, read = read_votes(runs, streams, policy)
    np.testing.assert_array_equal(votes.sum(axis=0), runs.class_counts)
    found = run_until_exit(network(), streams, labels, policy, runs)
    steps = exit_windows(votes, policy, read)
    assert found.stopped.n_events.tolist() == n_events_to_decision(votes, policy, read).tolist()
    answers = votes.cumsum(axis=0).argmax(axis=2)[steps - 1, np.arange(6)]
    assert found.stopped.predictions.tolist() == answers.tolist()
    assert found.report["accuracy"] == (answers == labels).mean()
    assert found.report["mean_events"] == found.stopped.n_events.mean() < runs.n_events.mean()
    synops = [sum(int(n.sum()) for n in r.n_synops.values()) for r in (found.stopped, runs)]
    assert found.report["synops_share"] == synops[0] / synops[1] and 0 < synops[0] < synops[1]
    assert sum(found.report["histogram"]) == 6
    with pytest.raises(UsageError, match="2 streams for 6 runs"):
        read_votes(runs, streams[:2], policy)
