"""The real numbers given to sinabs, by its own rule, become the integers of the bundle again; and what it cannot hold."""

from __future__ import annotations

import ast
import importlib.util
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from neurodeploy.export import speck_sinabs
from neurodeploy.export.speck_sinabs import rebuilds, sinabs_reason, sinabs_weights
from neurodeploy.ir.event_layers import Destination as Entry
from neurodeploy.place.dynapcnn_config import ChipConfig, CnnLayer
from neurodeploy.quantize.iaf_sinabs import quantize_sinabs
from tests.event_nets import residual
from tests.export.speck_bundles import classifier, deployed, uneven, write

import speck_nets

SCRIPT = Path(speck_sinabs.__file__).with_name("run_on_sinabs.py")


def layer(weights: list[int], v_th: int, v_min: int, bias: int = 0) -> CnnLayer:
    n = len(weights)
    return CnnLayer(
        out_shape=(n, 1, 1), weights=np.array(weights).reshape(n, 1, 1, 1), biases=np.full(n, bias),
        initial_state=np.zeros((n, 1, 1), dtype=np.int64), threshold_high=v_th, threshold_low=v_min,
    )


@given(
    st.lists(st.integers(-128, 127), min_size=1, max_size=40), st.sampled_from([127, -128]), st.integers(1, 32767),
    st.integers(-32768, 0), st.integers(-127, 127),
)
def test_a_weight_at_the_end_brings_the_integers_back(weights: list[int], end: int, v_th: int, v_min: int, bias: int) -> None:
    assume(max(*weights, end) > -128)  # weights that are all -128 become -127
    core = layer([*weights, end], v_th, v_min, bias)
    assert rebuilds(core)
    ints = quantize_sinabs(sinabs_weights(core)).ints
    np.testing.assert_array_equal(ints.weight, core.weights)
    assert (ints.v_th, ints.v_min) == (v_th, v_min)


@given(st.lists(st.integers(-126, 126), min_size=1, max_size=40).filter(any), st.integers(1, 4000))
def test_without_one_they_do_not_come_back(weights: list[int], v_th: int) -> None:
    """The rule stretches the largest weight: quantizing integers again is not the identity."""
    assert not rebuilds(layer(weights, v_th, -v_th))


def test_by_hand() -> None:
    """127 and -100 with a threshold of 60: divided by 128, the scale is 127 / (127 / 128) = 128 again."""
    core = sinabs_weights(layer([127, -100], 60, -60))
    assert core.weight.ravel().tolist() == [0.9921875, -0.78125] and (core.v_th, core.v_min) == (0.46875, -0.46875)
    report = quantize_sinabs(core)
    assert report.ints.scale == 128.0 and report.decided_by == "weight"
    stretched = quantize_sinabs(sinabs_weights(layer([100, -100], 60, -60))).ints
    assert stretched.weight.ravel().tolist() == [127, -127] and stretched.v_th == 76
    assert not rebuilds(layer([-128, -128], 60, -60)), "the largest, -128, is made 127 in size"
    assert rebuilds(layer([-128, -127], 60, -60))
    assert not rebuilds(layer([127], 0, 0)), "a threshold of 0 is none of sinabs'"
    assert not rebuilds(layer([127], 60, -60, bias=200)), "sinabs keeps biases to 8 bits"


def test_what_sinabs_quantized_is_rebuilt() -> None:
    """Every core of every recorded network whose weights decided the scale."""
    n_rebuilt = 0
    for path in speck_nets.paths():
        case = speck_nets.load(path)
        for described in case.layers("int"):
            weights = case.arrays[f"int_w{described['layer']}"].astype(np.int64)
            biases = case.arrays.get(f"int_b{described['layer']}", np.zeros(len(weights))).astype(np.int64)
            v_min = -32768 if described["min_v_mem"] is None else int(described["min_v_mem"])
            core = CnnLayer(
                weights=weights, biases=biases, threshold_high=int(described["threshold"]), threshold_low=v_min,
            )
            at_the_end = weights.max() == 127 or weights.min() == -128
            assert rebuilds(core) or not at_the_end, path.stem
            n_rebuilt += rebuilds(core)
    assert n_rebuilt > 20


def test_what_sinabs_cannot_hold() -> None:
    net, plan, config = deployed(residual())
    entry = [Entry("n1")]
    assert "merges by addition" in str(sinabs_reason(config, entry))
    _, plan, config = deployed(classifier())
    assert sinabs_reason(config, entry) is None
    assert "enter 2 cores" in str(sinabs_reason(config, [*entry, Entry("n2", feature_shift=3)]))
    assert "pooled before" in str(sinabs_reason(config, [Entry("n1", (2, 2))]))
    core = plan.core_of("n1")
    started = replace(config.cores[core], initial_state=np.full((4, 8, 8), 3))
    assert "starts from a state" in str(sinabs_reason(ChipConfig({**config.cores, core: started}), entry))
    twice = replace(config.cores[plan.core_of("n3")], destinations=config.cores[core].destinations)
    assert "concatenated" in str(sinabs_reason(ChipConfig({**config.cores, plan.core_of("n3"): twice}), entry))
    del net


def test_the_manifest_says_it(tmp_path: Path) -> None:
    made = write(residual(), tmp_path / "r")
    assert made.fields["sinabs"]["file"] is None and "addition" in made.fields["sinabs"]["reason"]
    assert not (made.path / "sinabs_model.py").exists()
    made = write(uneven(), tmp_path / "u")
    assert (made.fields["sinabs"]["file"], made.fields["sinabs"]["discretize"]) == ("sinabs_model.py", False)
    assert (made.path / "sinabs_model.py").read_bytes() == SCRIPT.read_bytes()
    assert len(made.fields["sinabs"]["not_at_full_range"]) == 3
    document = json.loads((made.path / "speck.json").read_text())
    assert document["sinabs"]["factor"] == 128.0


def test_the_script_stands_alone() -> None:
    tree = ast.parse(SCRIPT.read_text(encoding="utf-8"), feature_version=(3, 8))
    imported = {a.name.split(".")[0] for n in ast.walk(tree) if isinstance(n, ast.Import) for a in n.names}
    imported |= {(n.module or "").split(".")[0] for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)}
    assert imported <= {"__future__", "argparse", "importlib", "json", "numpy", "pathlib", "sys", "types", "typing"}


def test_the_script_without_sinabs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spec = importlib.util.spec_from_file_location("sinabs_model", SCRIPT)
    assert spec is not None and spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    made = write(uneven(), tmp_path / "u")
    document, _ = script.read_configuration(made.path)
    assert script.chain(document) == [
        (str(made.plan.core_of("n1")), 2), (str(made.plan.core_of("n2")), 1), (str(made.plan.core_of("n3")), 1)
    ]
    assert script.main(["--bundle", str(made.path)]) == 5
    assert "samna" in capsys.readouterr().err
    assert script.main(["--bundle", str(write(residual(), tmp_path / "r").path)]) in (2, 5)
