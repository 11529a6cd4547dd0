"""What `check` shows of full cores and of an optimised placement, drawn from a real network."""

from __future__ import annotations

import json
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
from neurodeploy.cli.render_deploy import show_check
from neurodeploy.errors import UsageError
from neurodeploy.ir import serialize
from neurodeploy.ir.graph import Edge, IntGraph
from neurodeploy.ir.nodes import CubaLif, Input, Linear
from neurodeploy.jobs.check import check
from rich.console import Console

from commands import run, run_json
from small_nets import int_chain


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "small.npz"
    serialize.save(int_chain(weight=2), path)
    return path


def drawn(data: dict) -> list[str]:
    shown = StringIO()
    show_check(Console(file=shown, width=140), data)
    return [" ".join(line.split()) for line in shown.getvalue().splitlines()]


def test_check_tells_what_limits_each_layer(model: Path) -> None:
    data = check(model, ["loihi2"]).to_dict()
    assert json.loads(json.dumps(data)) == data
    (layer,) = data["utilisation"]["layers"]
    assert (layer["layer"], layer["limiting"], layer["n_cores"]) == ("fc.n", "neurons", 1)
    lines = drawn(data)
    assert "fc.n 1 neurons 0.05 % 0.02 % 0.02 % 0.00 % 12.50 % 0" in lines
    assert "In all 1 of 120 cores (neurons 1)" in " ".join(lines)


def test_check_optimises_and_shows_both_figures(model: Path) -> None:
    code, answer = run_json("check", str(model), "--target", "loihi2", "--optimise", "latency", "--rate", "0.5")
    assert code == 0
    found = answer["data"]["optimised"]
    assert found["objective"] == "latency" and found["rate"] == 0.5 and found["n_tried"] >= 1
    assert found["after"]["latency_s"] <= found["before"]["latency_s"]
    assert answer["data"]["n_cores"] == found["after"]["n_cores"] == len(answer["data"]["placement"]["cores"])
    code, text = run("check", str(model), "--target", "loihi2", "--set", "place.optimise=energy", "--rate", "0.5")
    assert code == 0 and "Placement for energy" in text and "assumed: 0.5" in text


def test_a_split_layer_says_how_many_cores_it_needs(tmp_path: Path) -> None:
    path = tmp_path / "wide.npz"
    nodes = (
        Input("x", shape=(400,), kind="spikes"), Linear("fc", weight=np.full((500, 400), 2)),
        CubaLif("fc.n", shape=(500,), v_th=3),
    )
    serialize.save(IntGraph(nodes, (Edge("x", "fc", 1), Edge("fc", "fc.n")), 4, target="loihi2"), path)
    data = check(path, ["loihi2"], optimise="latency", rate=0.5).to_dict()
    assert data["n_cores"] > 1 and any("(needs 4)" in line for line in drawn(data))


def test_without_events_nothing_can_be_optimised(model: Path) -> None:
    with pytest.raises(UsageError, match="how often"):
        check(model, ["loihi2"], optimise="latency")
    with pytest.raises(UsageError, match="nothing is optimised"):
        check(model, ["loihi2"], rate=0.5)
    with pytest.raises(UsageError, match="at once"):
        check(model, ["loihi2"], optimise="latency", rate=0.5, data="digits")
