"""An integer network of DYNAP-CNN on Loihi: refused by every command and by the run script, naming the neurons."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from neurodeploy import pipeline
from neurodeploy.errors import UsageError
from neurodeploy.export import run_on_loihi2 as script
from neurodeploy.hw.profile import target
from neurodeploy.ir.graph import Edge, IntGraph
from neurodeploy.ir.nodes import Iaf, Input, Linear, Vote
from neurodeploy.ir.serialize import save
from neurodeploy.place import check
from neurodeploy.quantize.passing import for_target

from commands import run_json

NODES = (
    Input("x", shape=(2,), kind="graded", max_value=3), Linear("s", weight=np.array([[2, 4], [4, 6]])),
    Iaf("n", shape=(2,), v_th=4), Vote("v", 2, 1),
)
GRAPH = IntGraph(NODES, (Edge("x", "s", 1), Edge("s", "n"), Edge("n", "v")), 4)


@pytest.fixture(params=["", "loihi1", "loihi2"], ids=["of no target", "named loihi1", "named loihi2"])
def model(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)
    save(replace(GRAPH, target=request.param), tmp_path / "g.npz")
    np.savez(tmp_path / "in.npz", input=np.full((4, 1, 2), 3))
    return "g.npz"


@pytest.mark.parametrize("chip", ["loihi1", "loihi2"])
@pytest.mark.parametrize("command", ["check", "export", "energy", "simulate"])
def test_commands_refuse_it(model: str, chip: str, command: str) -> None:
    rest = {"check": [], "simulate": ["--input", "in.npz", "--out", "out.npz"]}.get(command, ["--input", "in.npz"])
    code, answer = run_json(command, model, "--target", chip, *rest)
    error = answer["errors"][0]
    assert code == 2 and error["code"] == "other_arithmetic" and error["where"] == "n"
    assert "Iaf neurons, the arithmetic of another chip" in error["what"] and error["remedy"]
    assert sorted(p.name for p in Path().iterdir()) == ["g.npz", "in.npz"]


def test_it_runs_where_no_target_is_named(model: str) -> None:
    code, answer = run_json("simulate", model, "--input", "in.npz", "--out", "out.npz")
    assert code == 0 and answer["data"]["spikes_per_layer"] == {"n": 48}
    with np.load("out.npz") as found:
        assert found["spikes/n"].shape == (5, 1, 2)  # the synapse takes a timestep; then 18 and 30 in each
        assert found["spikes/n"][:, 0].tolist() == [[0, 0], [4, 7], [5, 8], [4, 7], [5, 8]]


@pytest.mark.parametrize("chip", ["loihi1", "loihi2"])
def test_arrows_refuse_it(chip: str) -> None:
    for graph in (GRAPH, replace(GRAPH, target=chip)):
        with pytest.raises(UsageError, match="the arithmetic of another chip"):
            for_target(graph, target(chip))
        with pytest.raises(UsageError, match="the arithmetic of another chip"):
            pipeline.quantize(graph, chip)
        found = [v for v in check(graph, target(chip)).violations if v.rule == "neuron_kind"]
        assert [v.where for v in found] == ["n"] and "n is an Iaf, the arithmetic of another chip" in str(found[0])


def test_the_run_script_refuses_it(tmp_path: Path) -> None:
    save(GRAPH, tmp_path / "graph.npz")
    with pytest.raises(script.RunnerError, match="n: Lava has no process for a Iaf"):
        script.check_supported(script.Net(*script.read_archive(tmp_path / "graph.npz")))
