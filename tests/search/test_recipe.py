"""Recipes: what they hold, what overrides change, what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from neurodeploy.errors import UsageError
from neurodeploy.search.recipe import names, parse, parse_deploy, read
from neurodeploy.search.snas_recipe import parse_any, read_any

MINIMAL: dict[str, Any] = {
    "schema_version": 1, "name": "mine", "data": {"name": "digits"}, "network": {"width": 4, "n_timesteps": 4},
    "supernet": {"epochs": 1}, "train": {"epochs": 2},
}


def with_(**tables: Any) -> dict[str, Any]:
    return {**MINIMAL, **tables}


def test_every_packaged_recipe_parses_and_survives_its_own_fields() -> None:
    assert "digits" in names()
    for name in names():
        recipe = read_any(name)
        assert recipe.name == name
        assert parse_any(recipe.to_dict()) == recipe
        deploy = recipe.deploy
        assert (deploy.input, deploy.quantize, deploy.early_exit, deploy.cost, deploy.seed, deploy.loss) == (
            recipe.input, recipe.quantize, recipe.early_exit, recipe.cost, recipe.seed, recipe.train.loss
        )  # fmt: skip
        assert parse_deploy(deploy.model_dump(mode="json")) == deploy


def test_a_recipe_is_found_by_path_too(tmp_path: Path) -> None:
    path = tmp_path / "own.toml"
    path.write_text(
        'schema_version = 1\nname = "own"\n[data]\nname = "digits"\n[network]\nwidth = 4\nn_timesteps = 3\n'
        "[supernet]\nepochs = 1\n[train]\nepochs = 2\n"
    )
    assert read(path).network.n_timesteps == read(str(path)).network.n_timesteps == 3
    with pytest.raises(UsageError, match=r"unknown recipe 'digit'.*Packaged recipes: .*digits") as caught:
        read("digit")
    assert caught.value.error_code == "unknown_recipe" and caught.value.exit_code == 2
    with pytest.raises(UsageError, match="cannot read the recipe"):
        read(tmp_path / "none.toml")
    for content in (b"name = [", b"\xff\xfe"):
        path.write_bytes(content)
        with pytest.raises(UsageError, match="not valid TOML"):
            read(path)


@pytest.mark.parametrize(("raw", "message"), [
    (with_(budgets=3), "budgets: Extra inputs"), (with_(network={"width": 4, "n_timesteps": 4, "widht": 8}), "network.widht"),
    (with_(network={"width": 0, "n_timesteps": 4}), "network.width"), (with_(evolution={"budget": 0}), "evolution.budget"),
    (with_(input={"kind": "pulses"}), "input.kind"), (with_(input={"input_bits": 0}), "input.input_bits"),
    (with_(schema_version=2), "schema_version"), (with_(early_exit={"temperature": 0.0}), "early_exit.temperature"),
    (with_(early_exit={"temperature": -1}), "early_exit.temperature"),
    (with_(early_exit={"temperature": "hot"}), "early_exit.temperature"),
    (with_(early_exit={"max_drop": 1.0}), "early_exit.max_drop"),
    (with_(network={"width": 4, "n_timesteps": 4, "tau0": 1.0}), "network.tau0"),
    (with_(quantize={"max_drop": float("nan")}), "quantize.max_drop"),
    ({k: v for k, v in MINIMAL.items() if k != "train"}, "train"),
    (with_(fitness={"mu_energy": 0.1}), "fitness.mu_energy"), (with_(cost={"schedule": "both"}), "cost.schedule"),
])  # fmt: skip
def test_what_is_wrong_is_named_by_its_key(raw: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse(raw, where="mine.toml")
    assert message in str(caught.value) and str(caught.value).startswith("mine.toml: ")
    assert caught.value.exit_code == 2


def test_overrides_reach_fields_that_the_file_leaves_out() -> None:
    recipe = parse(MINIMAL, {"evolution.budget": 7, "early_exit.temperature": "calibrate", "input.input_bits": 3, "seed": 5})
    assert (recipe.evolution.budget, recipe.early_exit.temperature) == (7, "calibrate")
    assert (recipe.input.input_bits, recipe.seed) == (3, 5)
    assert parse(MINIMAL).evolution.budget != 7
    for key, message in (("evolution.bugdet", "no key 'bugdet'"), ("trian.epochs", "no key 'trian'"), ("seed.x", "no key 'x'")):
        with pytest.raises(UsageError, match=message) as caught:
            parse(MINIMAL, {key: 1})
        assert "Known there" in str(caught.value)
    with pytest.raises(UsageError, match=r"evolution\.budget"):
        parse(MINIMAL, {"evolution.budget": 0})
    assert read("digits", {"train.epochs": 2}).train.epochs == 2


def test_input_coding_and_training_must_agree() -> None:
    rate = {"epochs": 1, "encoding": "rate"}
    assert parse(with_(input={"kind": "rate"}, supernet=rate, train=rate)).input.kind == "rate"
    for raw, key in (
        (with_(input={"kind": "rate"}), "supernet.encoding is 'direct'"),
        (with_(input={"kind": "rate"}, supernet=rate), "train.encoding is 'direct'"),
        (with_(train=rate), "train.encoding is 'rate'"), (with_(input={"kind": "bias"}, supernet=rate), "supernet.encoding"),
    ):
        with pytest.raises(UsageError, match=key):
            parse(raw)


def test_deployment_settings_are_checked_alike() -> None:
    assert parse_deploy({}, {"input.kind": "bias"}).input.kind == "bias"
    for raw, overrides, message in (
        ({"inputs": {}}, {}, "inputs"), ({}, {"input.kin": "bias"}, "no key 'kin'"),
        ({}, {"early_exit.temperature": 0}, "temperature"),
    ):
        with pytest.raises(UsageError, match=message):
            parse_deploy(raw, overrides)


def test_settings_younger_than_files_are_written_where_they_say_something() -> None:
    plain = parse(MINIMAL).to_dict()
    assert plain["data"] == {"name": "digits"} and "blocks" not in plain["network"] and "terms" not in plain["fitness"]
    assert not {"accuracy", "mean_timesteps"} & (set(plain["early_exit"]) | set(parse(MINIMAL).deploy.to_dict()["early_exit"]))
    wish = parse(MINIMAL, {"early_exit.mean_timesteps": 1.5})
    assert wish.to_dict()["early_exit"]["mean_timesteps"] == wish.deploy.to_dict()["early_exit"]["mean_timesteps"] == 1.5
    changes = {"data.size": [8, 6], "data.channels": 1, "network.blocks": ["SRB_k3", "mine"], "fitness.terms.mine": -0.5}
    recipe = parse(MINIMAL, changes)
    assert recipe.data.size == (8, 6) and recipe.network.blocks == ("SRB_k3", "mine") and recipe.fitness.terms == {"mine": -0.5}
    full = recipe.to_dict()
    assert full["data"] == {"name": "digits", "size": [8, 6], "channels": 1} and full["fitness"]["terms"] == {"mine": -0.5}
    assert parse(full) == recipe
    assert parse(full, {"fitness.terms.mine": -1, "fitness.terms.other": 2}).fitness.terms == {"mine": -1.0, "other": 2.0}


@pytest.mark.parametrize(("overrides", "message"), [
    ({"network.blocks": []}, "network.blocks"), ({"network.blocks": ["SRB_k3", "SRB_k3"]}, "each block once"),
    ({"data.size": 0}, "height, width"), ({"data.size": [8, 1025]}, "height, width"), ({"data.channels": 2}, "data.channels"),
    ({"early_exit.accuracy": 0.9, "early_exit.mean_timesteps": 2}, "one of them"), ({"early_exit.accuracy": 1.1}, "accuracy"),
    ({"early_exit.mean_timesteps": 0.5}, "mean_timesteps"),
    ({"fitness.terms.mine": "much"}, r"fitness\.terms\.mine"), ({"fitness.term.mine": -1}, "no key 'term'"),
])
def test_such_settings_that_are_refused(overrides: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        parse(MINIMAL, overrides)


def test_where_candidates_are_evaluated_is_kept_only_where_it_was_chosen() -> None:
    assert "executor" not in read("digits").to_dict()
    chosen = read("digits", {"executor.kind": "ray", "executor.address": "lab:6379"})
    assert chosen.to_dict()["executor"] == {"kind": "ray", "address": "lab:6379"}
    assert parse(chosen.to_dict()) == chosen
    with pytest.raises(UsageError, match=r"executor\.kind"):
        read("digits", {"executor.kind": "dask"})
