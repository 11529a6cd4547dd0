"""The vendor's own validator and sinabs, in their side environments, on configurations that this package writes.

Skipped where no environment is there: `neurodeploy env create speck` makes the validator's in seconds, `env create sinabs`
the other one (2 GB). NEURODEPLOY_ALL_VERDICTS=1 asks about every recorded case instead of every fourth.
"""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from neurodeploy import vendor
from neurodeploy.errors import EnvironmentMissing, NeurodeployError, VendorFailure
from neurodeploy.export.speck import write_artifacts
from neurodeploy.export.speck_document import differences, read_speck
from neurodeploy.ir.event_layers import read_cores
from neurodeploy.ir.graph import Graph, IntGraph
from neurodeploy.place.dynapcnn_config import ChipConfig
from neurodeploy.place.dynapcnn_rules import check, verdict
from neurodeploy.place.event_cores import configuration, limits_of, place
from neurodeploy.vendor.sinabs_check import check_rebuilt
from neurodeploy.vendor.speck_check import check_configuration
from tests.event_nets import residual
from tests.export.speck_bundles import classifier, deployed, profile, uneven, write

import speck_nets
import speck_static

TARGETS = {"samna_0.7.1_speck2b": "speck2f", "samna_0.7.1_dynapcnn": "dynapcnn"}


def absent(name: str) -> str | None:
    """Why a tool cannot be asked here, None where it can."""
    try:
        vendor.find(name)
    except NeurodeployError as error:
        assert isinstance(error, EnvironmentMissing)
        return f"{error.what}. {error.remedy}"
    return None


samna = pytest.mark.skipif(absent("speck") is not None, reason=str(absent("speck")))
sinabs = pytest.mark.skipif(absent("sinabs") is not None, reason=str(absent("sinabs")))
EVERY = 1 if os.environ.get("NEURODEPLOY_ALL_VERDICTS") else 4


def sampled() -> list[tuple[str, dict[str, Any]]]:
    """(module, case): of those accepted or rejected some, a crash or a value that fits no field always."""
    found = []
    for i, case in enumerate(speck_static.load({"config", "verdicts"})):
        for k, (module, wanted) in enumerate(case["verdicts"].items()):
            if (i + 2 * k) % EVERY == 0 or wanted["verdict"] in ("crash", "type_error"):
                found.append((module, case))
    return found


CASES = sampled()


@samna
@pytest.mark.parametrize(("module", "case"), CASES, ids=[f"{m[12:]}-{speck_static.named(c)}" for m, c in CASES])
def test_recorded_verdicts(module: str, case: dict[str, Any]) -> None:
    """What samna says today, of the configuration as this package writes it, is what was recorded: verdict and message."""
    wanted = case["verdicts"][module]
    found = check_configuration(vendor.find("speck"), speck_static.chip_config(case["config"]), profile(TARGETS[module]))
    assert found.verdict == wanted["verdict"], found.message
    assert found.module == f"samna.{module.rpartition('_')[2]}"
    if wanted["verdict"] == "rejected" and vendor.find("speck").kind == "created":
        assert found.message.strip() == wanted["message"].strip()


@samna
@pytest.mark.parametrize("target", ["speck2e", "speck2f", "dynapcnn"])
@pytest.mark.parametrize("name", ["classifier", "uneven", "residual"])
def test_exported_networks_are_accepted(name: str, target: str, tmp_path: Path) -> None:
    graph = {"classifier": classifier, "uneven": uneven, "residual": residual}[name]()
    made = write(graph, tmp_path / "b", target)
    found = check_configuration(vendor.find("speck"), made.path, profile(target))
    assert (found.verdict, found.message, found.versions["samna"]) == ("accepted", "", "0.7.1.0")
    script = subprocess.run(
        [str(vendor.find("speck").python), f"run_on_{target}.py"], cwd=made.path, capture_output=True, text=True, check=False,
        timeout=120,
    )
    assert script.returncode == 0 and f"accepted by {found.module} of samna 0.7.1.0" in script.stdout


@samna
def test_channels_padded_for_the_readout_are_accepted(tmp_path: Path) -> None:
    made = write(classifier(), tmp_path / "b", padded=True)
    assert check_configuration(vendor.find("speck"), made.path, profile()).accepted


@samna
def test_a_broken_configuration_is_not() -> None:
    """The check can fail, and our rules say so beforehand."""
    _, plan, config = deployed(residual())
    core = plan.core_of("n3")
    shifted = replace(config.cores[plan.core_of("n1")], destinations=tuple(
        replace(d, feature_shift=3) if d.layer == core else d for d in config.cores[plan.core_of("n1")].destinations
    ))
    broken = ChipConfig({**config.cores, plan.core_of("n1"): shifted})
    found = check_configuration(vendor.find("speck"), broken, profile())
    assert found.verdict == verdict(check(broken, limits_of(profile()))) == "rejected"
    assert "Gap between" in found.message or "Overlap between" in found.message or "start from 0" in found.message


# ---------------------------------------------------------------- networks that sinabs recorded


def recorded() -> list[tuple[str, IntGraph]]:
    """Chains that sinabs quantized, those of the NIR paper among them, as far as they have no bias."""
    cases = [(path.stem, speck_nets.load(path)) for path in speck_nets.paths()]
    cases += [(path.parent.name, speck_nets.load_nir(path)[0]) for path in speck_nets.nir_paths()]
    return [(name, speck_nets.network(case, "int")) for name, case in cases if not speck_nets.merges(case, "int")]


RECORDED = recorded()


def exported(graph: Graph, folder: Path) -> ChipConfig | None:
    """Its bundle's files, None where our rules refuse what the vendor's accept (maps that pools do not divide)."""
    chip = profile()
    assert isinstance(graph, IntGraph)
    try:
        plan = place(graph, chip)
        config = configuration(graph, plan, chip)
    except NeurodeployError:
        return None
    write_artifacts(graph, plan, chip, config, folder)
    return config


@samna
@pytest.mark.filterwarnings("ignore::neurodeploy.errors.NeurodeployWarning")
@pytest.mark.parametrize(("name", "graph"), RECORDED, ids=[name for name, _ in RECORDED])
def test_networks_that_sinabs_quantized_are_accepted(name: str, graph: IntGraph, tmp_path: Path) -> None:
    if exported(graph, tmp_path) is None:
        pytest.skip("our rules are stricter")
    assert check_configuration(vendor.find("speck"), tmp_path, profile()).accepted


@sinabs
@pytest.mark.filterwarnings("ignore::neurodeploy.errors.NeurodeployWarning")
@pytest.mark.parametrize(("name", "graph"), RECORDED, ids=[name for name, _ in RECORDED])
def test_sinabs_makes_the_same_configuration(name: str, graph: IntGraph, tmp_path: Path) -> None:
    """sinabs' own make_config from the real numbers that this package gives it: every integer, every size."""
    config = exported(graph, tmp_path)
    if config is None or read_cores(graph).entry_destinations[0].pool != (1, 1):
        pytest.skip("our rules are stricter")
    found = check_rebuilt(vendor.find("sinabs"), tmp_path, profile())
    assert found.equal, found.difference or found.message
    assert differences(read_speck(tmp_path), config) is None


@sinabs
@pytest.mark.parametrize("discretize", [True, False])
def test_sinabs_rebuilds_ours(discretize: bool, tmp_path: Path) -> None:
    """Both ways: quantized by sinabs where a weight is at the end of its bits, else as integers."""
    net, plan, config = deployed(uneven())
    if discretize:
        config = ChipConfig({core: replace(layer, weights=at_the_end(layer.weights)) for core, layer in config.cores.items()})
    fields = write_artifacts(net, plan, profile(), config, tmp_path)
    assert fields["sinabs"]["discretize"] is discretize
    found = check_rebuilt(vendor.find("sinabs"), tmp_path, profile())
    assert found.equal, found.difference or found.message
    assert found.versions["sinabs"] == "3.1.3"
    script = subprocess.run(
        [str(vendor.find("sinabs").python), "sinabs_model.py"], cwd=tmp_path, capture_output=True, text=True, check=False,
        timeout=300,
    )
    assert script.returncode == 0 and "makes the same configuration: 3 cores" in script.stdout, script.stderr


def at_the_end(weights: Any) -> Any:
    found = weights.copy()
    found[tuple(np.argwhere(np.abs(found) == np.abs(found).max())[0])] = 127
    return np.clip(found, -128, 127)


@sinabs
def test_sinabs_notices_another_weight(tmp_path: Path) -> None:
    """The comparison can fail: told to quantize integers that are not at full range, sinabs stretches them."""
    made = write(uneven(), tmp_path / "b")
    document = json.loads((made.path / "speck.json").read_text())
    document["sinabs"]["discretize"] = True
    (made.path / "speck.json").write_text(json.dumps(document))
    found = check_rebuilt(vendor.find("sinabs"), made.path, profile())
    assert found.valid and not found.equal and ".weights: " in str(found.difference)


@sinabs
def test_sinabs_refuses_a_residual_network(tmp_path: Path) -> None:
    made = write(residual(), tmp_path / "b")
    with pytest.raises(VendorFailure, match="merges by addition") as caught:
        check_rebuilt(vendor.find("sinabs"), made.path, profile())
    assert caught.value.error_code == "vendor_unsupported"
