"""An optimised placement from the deployment settings into a bundle that `validate` accepts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from neurodeploy.data.datasets import load as load_data
from neurodeploy.errors import UsageError
from neurodeploy.hw.profile import target
from neurodeploy.ir.graph import Graph
from neurodeploy.jobs.deploy import float_rates, placed
from neurodeploy.lower import lower
from neurodeploy.pipeline import export, load
from neurodeploy.place import place
from neurodeploy.resources import folder
from neurodeploy.search.recipe import parse_deploy
from neurodeploy.validate import validate

from deployable import ARCHS, autosnn, images

LOIHI2 = target("loihi2")


def test_settings_optimise_and_the_bundle_is_valid(tmp_path: Path) -> None:
    net = load(folder("exports") / "digits-loihi2")
    x = load_data("digits").split("validation")[0]
    settings = parse_deploy({}, {"place.optimise": "edp", "place.budget": 12})
    plan, gain = placed(net, LOIHI2, settings, x)  # type: ignore[arg-type]
    assert gain is not None and gain["objective"] == "edp" and plan != place(net, LOIHI2)
    assert gain["after"]["edp_js"] < gain["before"]["edp_js"] and gain["after"]["n_cores"] == plan.n_cores
    assert placed(net, LOIHI2, settings, x)[0] == plan  # type: ignore[arg-type]
    bundle = export(net, plan, LOIHI2, tmp_path / "bundle", golden_images=x[:2])  # type: ignore[arg-type]
    verdict = validate(bundle.path)
    assert verdict.ok and verdict.n_spikes > 0


def test_without_settings_or_images() -> None:
    net = load(folder("exports") / "digits-loihi2")
    plan, gain = placed(net, LOIHI2, parse_deploy({}))  # type: ignore[arg-type]
    assert gain is None and plan == place(net, LOIHI2)
    with pytest.raises(UsageError, match=r"place\.optimise"):
        placed(net, LOIHI2, parse_deploy({}, {"place.optimise": "latency"}))  # type: ignore[arg-type]
    with pytest.raises(UsageError):
        parse_deploy({}, {"place.optimise": "beauty"})


def test_rates_of_a_network_in_real_numbers() -> None:
    lowered: Graph = lower(autosnn(ARCHS[0]), LOIHI2)
    x = np.repeat(images(6)[None], lowered.n_timesteps, axis=0)
    rates = float_rates(lowered, x * lowered.inputs[0].value_scale)
    assert set(rates) == {n.name for n in (*lowered.neurons, *lowered.inputs)}
    assert all(rate.shape == (lowered.n_timesteps, *lowered.shapes[name]) for name, rate in rates.items())
    assert all(rate.min() >= 0 and rate.max() <= 1 for rate in rates.values())
    assert sum(rates[n.name].sum() for n in lowered.neurons) > 0
