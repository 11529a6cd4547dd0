"""One target's refusal hides no other target's answer, whatever kind of error it is; a bad file ends everything."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from neurodeploy.errors import Interrupted, NeurodeployError, UnsafeFile
from neurodeploy.ir.graph import Graph
from neurodeploy.ir.nir import write_nir
from neurodeploy.ir.nodes import Flatten, Input, Linear, SumPool2d, Vote
from neurodeploy.jobs import check as check_job
from neurodeploy.jobs import energy as energy_job
from neurodeploy.jobs.check import check
from neurodeploy.jobs.energy import energy
from tests.event_nets import chain, lif

TARGETS = ["loihi2", "speck2f"]


def pooled() -> Graph:
    """Of no stated encoding, its input right at neurons: event-driven cores make a synapse of that, counts of events on a chip
    with timesteps need one."""
    graph = chain(
        Input("input", (2, 4, 4)), lif("n1", 2, 4, 4), SumPool2d("pool", kernel=(2, 2)), Flatten("flat"),
        Linear("fc", np.full((2, 8), 0.5)), lif("out", 2), Vote("vote", 2, 1),
    )  # fmt: skip
    return replace(graph, metadata={})


@pytest.fixture
def model(tmp_path: Path) -> Path:
    write_nir(pooled(), tmp_path / "pooled.nir")
    return tmp_path / "pooled.nir"


@pytest.mark.parametrize("targets", [TARGETS, TARGETS[::-1]], ids=["first", "last"])
def test_a_network_that_cannot_be_lowered_for_one_target(model: Path, targets: list[str]) -> None:
    checked = check(model, targets)
    assert checked.targets["speck2f"]["fits"] and not checked.targets["loihi2"]["fits"]
    assert "n1: graded input must enter through a synapse" in checked.targets["loihi2"]["reason"]
    assert [e.error_code for e in checked.errors] == ["cannot_lower"]
    found = energy(model, targets, rate=0.1, interval_s=0.1)
    assert found.targets["speck2f"]["energy_j"]["nominal"] > 0 and found.targets["loihi2"]["energy_j"] is None
    assert found.targets["loihi2"]["reason"] == checked.targets["loihi2"]["reason"]


def test_of_one_target_it_is_the_answer(model: Path) -> None:
    for ask in (lambda: check(model, ["loihi2"]), lambda: energy(model, ["loihi2"], rate=0.1)):
        with pytest.raises(NeurodeployError, match="n1: graded input must enter"):
            ask()


@pytest.mark.parametrize("error", [UnsafeFile("torn"), Interrupted("stopped")], ids=["file", "interruption"])
def test_a_bad_file_and_an_interruption_end_everything(
    model: Path, error: NeurodeployError, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object, **__: object) -> None:
        raise error

    for job in (check_job, energy_job):
        monkeypatch.setattr(job, "_entry", fails)
    with pytest.raises(type(error)):
        check(model, TARGETS)
    with pytest.raises(type(error)):
        energy(model, TARGETS, rate=0.1)
