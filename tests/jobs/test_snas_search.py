"""`--method sahd` by the command line: cells scored untrained, the best deployed; killed, shared, resumed it ends the same."""

from __future__ import annotations

import io
import json
import os
import shutil
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from neurodeploy.cost.model import cost
from neurodeploy.data.datasets import load
from neurodeploy.errors import UsageError
from neurodeploy.hw.profile import Profile, any_target
from neurodeploy.jobs import snas_candidate
from neurodeploy.jobs.data import load_data
from neurodeploy.jobs.deploy import lowered_for
from neurodeploy.jobs.run import Run
from neurodeploy.jobs.snas_candidate import CellEvaluator
from neurodeploy.jobs.snas_search import check_cells_fit
from neurodeploy.models.files import load_module
from neurodeploy.models.networks import to_graph
from neurodeploy.models.snas_cell import RELEASED, is_recurrent
from neurodeploy.models.snasnet import SnasNet
from neurodeploy.place import check
from neurodeploy.search.sahd import first_weights, score, scoring_batches
from neurodeploy.search.snas_recipe import SnasRecipe, read_any
from neurodeploy.train.runtime import threads

from commands import bare, run, run_json
from fork_server import ForkServer
from tiny_search import Tiny, without_seconds, write_dataset, write_recipe

BUDGET = 24
RECIPE = """
schema_version = 1
name = "tiny_cells"
seed = 3

[data]
name = "{data}"

[network]
family = "snasnet"
cells = "forward"
width = 4
n_timesteps = 3
group = 4
hidden = 24
linear_std = 0.5
dropout = 0.1
ends = "spikes"

[sahd]
budget = {budget}
pool = 6
batch = 24
images = 12
n_references = 3

[fitness]
mu_energy = -0.5

[train]
epochs = 30
batch_size = 20
lr = 0.02
loss = "prefix_mse"

[quantize]
qat_epochs = 1
"""


def searched(folder: Path, target: str, *more: str) -> Tiny:
    from neurodeploy.cli.main import main

    dataset = write_dataset(folder)
    recipe = write_recipe(folder, dataset, BUDGET, RECIPE)
    out = io.StringIO()
    asked = ("--method", "sahd", "--target", target, "--recipe", str(recipe), "--out", str(folder / "run"), "--json", *more)
    code = main(["search", *asked], out)
    answer = json.loads(out.getvalue())
    assert code == 0, answer["errors"]
    return Tiny(recipe, folder / "run", answer["data"], dataset, target)


@pytest.fixture(scope="module")
def cells(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    return searched(tmp_path_factory.mktemp("cells"), "loihi2")


def candidates(tiny: Tiny) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((tiny.run_dir / "candidates.json").read_text())["candidates"]
    return found


def evaluator(tiny: Tiny) -> CellEvaluator:
    run = Run.open(tiny.run_dir, "search")
    assert isinstance(run.settings, SnasRecipe) and isinstance(run.profile, Profile)
    return CellEvaluator(load(run.settings.data.name), run.settings, run.profile)


def test_the_fittest_is_trained_and_every_other_cell_has_its_figures_or_its_reason(cells: Tiny) -> None:
    data, found = cells.data, candidates(cells)
    assert len(found) == BUDGET == data["n_evaluated"] == len({c["cell"] for c in found}) and data["method"] == "sahd"
    judged = [c for c in found if c["fitness"] is not None]
    assert len(judged) == data["n_feasible"] > 3 and data["best"] == max(judged, key=lambda c: c["fitness"])
    assert all(c["score"] < 0 < c["spikes"] and c["energy_j"] > 0 and c["n_cores"] > 1 and c["why_not"] is None for c in judged)
    left = [c for c in found if c["fitness"] is None]
    assert left and sum(data["refused"].values()) == len(left)
    assert all(c["score"] is None and (c["refused"] or c["violations"]) and c["why_not"] in data["refused"] for c in left)
    assert any("4" in c["cell"] for c in judged), "pools too have a form"
    assert "untrained" in data["untrained"] and data["test"]["accuracy"]["simulator"] > 0.6
    assert data["test"]["cost"]["pipelined"]["counts"]["spikes"] > 0
    module = load_module(cells.model)
    assert isinstance(module, SnasNet) and list(module.arch) == data["best"]["genome"]
    assert all(c["score"] > data["best"]["score"] or c["energy_j"] < data["best"]["energy_j"] or c == data["best"]
               for c in data["pareto"])


def test_scores_are_those_of_the_library_and_references_those_of_cells(cells: Tiny) -> None:
    judge = evaluator(cells)
    s, x = judge.recipe.sahd, load(str(cells.dataset)).split("train")[0]
    cell = tuple(cells.data["best"]["genome"])
    with threads(1):
        batches = scoring_batches(x, s.batch, s.n_batches, 3)
        config = judge.recipe.network.sizes((1, 8, 8), 3)
        assert score(first_weights(config, cell, 3), batches) == cells.data["best"]["score"]
        assert judge(cell) == {k: cells.data["best"][k] for k in judge(cell)}
    references = cells.data["references"]
    assert references["score_deviation"] > 0 and references["energy_j"] > references["energy_dynamic_j"] > 0


def test_loops_are_counted_and_counts_agree_with_rates(cells: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    """What networks with loops would take: the same network counted in integers costs what its rates say, up to rounding."""
    judge, cell = evaluator(cells), tuple(cells.data["best"]["genome"])
    expected = judge.metrics(cell)
    monkeypatch.setattr(snas_candidate, "no_window", lambda graph: "it is said to be recurrent")
    counted = judge.metrics(cell)
    assert expected.spikes and counted.spikes and counted.score == expected.score
    assert counted.spikes == pytest.approx(expected.spikes, rel=0.05) and counted.spikes != expected.spikes
    profile = judge.profile
    assert isinstance(profile, Profile) and counted.energy_dynamic_j and counted.latency_s
    lowered = lowered_for(to_graph(judge.network(cell)), profile, judge.recipe.deploy)
    plan = check(lowered, profile, None).placement
    assert plan is not None
    single = cost(judge._expected(lowered, plan, profile), plan, profile, "single")
    assert counted.energy_dynamic_j == pytest.approx(single.energy_dynamic_j.nominal, rel=0.05)
    assert counted.latency_s == pytest.approx(single.latency_s.nominal, rel=0.05)


def test_a_cell_with_feedback_is_judged_and_deployed_on_a_chip(cells: Tiny, tmp_path: Path) -> None:
    """Seed 1's first cell loops through two layers: its costs are counted, and it has no pipeline of samples."""
    code, answer = run_json("search", "--recipe", str(cells.recipe), "--target", "loihi2", "--budget", "1", "--seed", "1",
                            "--set", "network.cells=backward", "--set", "network.feedback=loop", "--set", "fitness.mu_energy=0",
                            "--out", str(tmp_path / "run"))
    assert code == 0, answer["errors"]
    data = answer["data"]
    assert is_recurrent(tuple(data["best"]["genome"])) and data["best"]["spikes"] > 0 and data["best"]["energy_j"] > 0
    assert data["schedule"] == "single" and list(data["test"]["cost"]) == ["single"]
    assert data["test"]["cost"]["single"]["counts"]["spikes"] > 0 and data["test"]["early_exit"] is not None
    code, shown = run("search", "--resume", str(tmp_path / "run"))
    assert code == 0 and "single: one sample alone" in bare(shown)


def check_equals(run_dir: Path, cells: Tiny) -> None:
    result = json.loads((run_dir / "result.json").read_text())
    assert without_seconds(result) == without_seconds(cells.data)
    for name in ("model.safetensors", "references.json", "candidates.json", "bundle/manifest.json", "bundle/golden.npz"):
        assert (run_dir / name).read_bytes() == (cells.run_dir / name).read_bytes(), name


def test_killed_shared_and_resumed_it_ends_the_same(cells: Tiny, tmp_path: Path) -> None:
    run_dir, log = tmp_path / "run", tmp_path / "log"
    with ForkServer() as server:
        begin = ("search", "--method", "sahd", "--target", "loihi2", "--recipe", cells.recipe, "--out", run_dir)
        pid = server.start(*begin, log=log)
        journal = run_dir / "journal.log"
        end = time.monotonic() + 60
        while not journal.exists() or journal.read_text().count('"metrics"') < 5:
            assert time.monotonic() < end and server.wait(pid, 0) is None, log.read_text()
            time.sleep(0.005)
        os.kill(pid, signal.SIGKILL)
        assert server.wait(pid) == -signal.SIGKILL
        assert not (run_dir / "candidates.json").exists()
        answer = tmp_path / "worker"
        assert server.wait(server.start("worker", "--run", run_dir, "--json", log=answer)) == 0, answer.read_text()
        text = answer.read_text()
        assert 0 < json.loads(text[text.index("{\n") :])["data"]["n_evaluated"] < BUDGET, "what was finished stays"
        assert server.wait(server.start("search", "--resume", run_dir, "--workers", "2", log=log)) == 0, log.read_text()
    check_equals(run_dir, cells)


def test_resumed_behind_the_search_it_ends_the_same(cells: Tiny, tmp_path: Path) -> None:
    drop = shutil.ignore_patterns("model*", "bundle", "result.json", "run.lock")
    shutil.copytree(cells.run_dir, tmp_path / "run", ignore=drop)
    code, _ = run_json("search", "--resume", str(tmp_path / "run"))
    assert code == 0
    check_equals(tmp_path / "run", cells)


def test_a_person_sees_it(cells: Tiny) -> None:
    code, shown = run("search", "--resume", str(cells.run_dir))
    words = ("Found:", "cells (", "untrained networks", "Left out:", "score", "Searched: the untrained cell", "Early exit")
    assert code == 0 and all(word in bare(shown) for word in words), bare(shown)


def test_every_command_takes_its_model(cells: Tiny, tmp_path: Path) -> None:
    model, bundle = str(cells.model), str(tmp_path / "bundle")
    code, checked = run_json("check", model, "--target", "loihi2,orin-nano,speck2f")
    assert {name: e["fits"] for name, e in checked["data"]["targets"].items()} == {
        "loihi2": True, "orin-nano": True, "speck2f": False}, checked
    code, exported = run_json("export", model, "--target", "loihi2", "--out", bundle)
    assert code == 0 and run_json("validate", bundle)[0] == 0, exported
    code, energy = run_json("energy", model, "--target", "loihi2")
    wanted = cells.data["test"]["accuracy"]["simulator"]
    assert code == 0 and energy["data"]["targets"]["loihi2"]["accuracy"]["simulator"] == wanted, energy
    np.savez(tmp_path / "x.npz", input=load(str(cells.dataset)).split("test")[0][:4])
    given = ("--layout", "images", "--input", str(tmp_path / "x.npz"), "--out", str(tmp_path / "spikes.npz"))
    code, simulated = run_json("simulate", model, "--target", "loihi2", *given)
    assert code == 0 and np.load(tmp_path / "spikes.npz")["spikes/entry.neuron"].any(), simulated
    code, compared = run_json("compare", model, "--target", "loihi2,orin-nano")
    assert code == 0, compared


def test_a_gpu_takes_pools_and_feedback_too(tmp_path: Path) -> None:
    more = ("--set", "network.cells=backward", "--set", "network.ends=released", "--budget", "6")
    found = searched(tmp_path, "orin-nano", *more)
    assert found.data["n_evaluated"] == found.data["n_feasible"] == 6 and found.data["refused"] == {}
    assert sum(is_recurrent(tuple(c["genome"])) for c in candidates(found)) > 1
    assert all(c["spikes"] > 0 and c["n_cores"] is None for c in candidates(found))
    code, answer = run_json("validate", str(found.bundle), "--oracle", "onnxruntime", "--out", str(tmp_path / "v"))
    assert code == 0 and answer["data"]["oracle"]["status"] == "equal" and answer["data"]["n_spikes"] > 0
    code, shown = run("search", "--resume", str(found.run_dir))
    assert code == 0 and "cells (" in bare(shown)


def test_a_released_cell_by_name_trains_and_goes_on(cells: Tiny, tmp_path: Path) -> None:
    asked = ("train", "--recipe", str(cells.recipe), "--arch", "snasnet_cifar10", "--set", "train.epochs=2",
             "--out", str(tmp_path / "run"))
    code, first = run_json(*asked)
    module = load_module(tmp_path / "run" / "model.safetensors")
    assert code == 0 and module.arch == RELEASED["snasnet_cifar10"] and first["data"]["accuracy"] > 0
    assert run_json(*asked)[1]["data"] == first["data"]
    code, again = run_json(*asked[:4], "0303,0030,2002,0200", *asked[5:])
    assert code == 0 and again["data"] == first["data"], "the same cell by its rows"
    code, refused = run_json(*asked[:4], "0003 0000 0000 0000", *asked[5:])
    assert code == 2 and "another arch" in refused["errors"][0]["what"]
    code, refused = run_json(*asked[:4], "skip,SCB_k3", "--out", str(tmp_path / "other"))
    assert code == 2 and "is no cell" in refused["errors"][0]["what"] and not (tmp_path / "other").exists()


@pytest.mark.parametrize(("more", "code", "said"), [
    (("--target", "speck2f"), 2, "event-driven chip"),
    (("--target", "loihi2", "--set", "network.ends=released"), 2, "network.ends = 'spikes'"),
    (("--target", "loihi2", "--set", "profile.capacity.neurons_per_core.value=4"), 3, "128 of them for entry.neuron"),
    (("--target", "loihi2", "--set", "sahd.batch=500"), 2, "Lower batch"),
    (("--target", "loihi2", "--method", "nsga2"), 2, "scored untrained (sahd)"),
    (("--target", "loihi2", "--set", "network.pool=9"), 2, "vanish"),
    (("--target", "loihi2", "--until", "supernet"), 2, "no stage 'supernet'"),
])
def test_what_cannot_be_searched_is_refused_before_a_folder_is_made(
    cells: Tiny, tmp_path: Path, more: tuple[str, ...], code: int, said: str
) -> None:
    found, answer = run_json("search", "--recipe", str(cells.recipe), "--out", str(tmp_path / "run"), *more)
    assert found == code and said in json.dumps(answer["errors"][0]) and not (tmp_path / "run").exists(), answer["errors"]


def test_no_cell_that_fits_ends_with_the_reasons(cells: Tiny, tmp_path: Path) -> None:
    code, answer = run_json("search", "--recipe", str(cells.recipe), "--target", "loihi2", "--budget", "2", "--seed", "11",
                            "--set", "fitness.mu_energy=0", "--set", "network.cells=backward", "--out", str(tmp_path / "run"))
    listed = json.loads((tmp_path / "run" / "candidates.json").read_text())
    assert listed["refused"] and all(c["score"] is None for c in listed["candidates"])
    (error,) = answer["errors"]
    assert code == 1 and error["code"] == "no_candidate" and "cell " in error["limit"] and "candidates.json" in error["remedy"]


def test_the_run_of_cells_is_no_run_of_architectures(cells: Tiny) -> None:
    with pytest.raises(UsageError, match="holds a run of SNASNet"):
        assert Run.open(cells.run_dir, "search").recipe
    code, dry = run_json("search", "--method", "sahd", "--target", "loihi2", "--dry-run", "--set", "sahd.budget=9")
    recipe = dry["data"]["recipe"]
    assert code == 0 and recipe["sahd"]["budget"] == 9 and recipe["network"]["family"] == "snasnet"
    code, dry = run_json("search", "--resume", str(cells.run_dir), "--dry-run")
    assert code == 0 and dry["data"]["recipe"]["name"] == "tiny_cells"


def test_the_small_recipe_of_cifar10_judges_a_cell(tmp_path: Path) -> None:
    """On noise of its shape: the chip takes the network, the sizes fit, the layers fire."""
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, (200, 3, 32, 32), dtype=np.uint8)
    np.savez(tmp_path / "noise.npz", x=x, y=np.arange(200) % 10, n_levels=256)
    few = {"data.name": str(tmp_path / "noise.npz"), "data.per_class": None, "sahd.batch": 16, "sahd.images": 4}
    recipe = read_any("cifar10_snasnet_small", few)
    profile = any_target("loihi2")
    assert isinstance(recipe, SnasRecipe) and isinstance(profile, Profile)
    check_cells_fit(recipe, profile)
    data = load_data(recipe.data, recipe.input.kind)
    with threads(1):
        found = CellEvaluator(data, recipe, profile).metrics(("0003", "0000", "0000", "0000"))  # type: ignore[arg-type]
    assert found.fits and found.score is not None and found.spikes and found.n_cores
