"""Every rule of a DYNAP-CNN configuration: one that passes, one that trips it. The vendor's verdicts are in the oracles."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from neurodeploy.errors import UsageError
from neurodeploy.place.dynapcnn_config import ChipConfig, CnnLayer, Destination, DvsLayer
from neurodeploy.place.dynapcnn_rules import check, verdict
from neurodeploy.place.dynapcnn_strict import STRICT

from speck_static import LIMITS, causes


def conv(c_in: int = 2, size: int = 16, c_out: int = 4, kernel: int = 3, padding: int = 1, **changes: Any) -> CnnLayer:
    """A layer whose dimensions and arrays agree; `changes` may break that."""
    out = size - kernel + 2 * padding + 1
    whole = CnnLayer(
        in_shape=(c_in, size, size), out_shape=(c_out, out, out), kernel_size=kernel, padding=(padding, padding),
        weights=np.ones((c_out, c_in, kernel, kernel), np.int64), biases=np.zeros(c_out, np.int64),
        initial_state=np.zeros((c_out, out, out), np.int64), threshold_high=100, threshold_low=-100,
    )
    return replace(whole, **changes)


def to(layer: int, **changes: Any) -> Destination:
    return Destination(layer=layer, enable=True, **changes)


def rules(config: ChipConfig, strict: Any = ()) -> set[str]:
    return {violation.rule for violation in check(config, LIMITS, strict=strict)}


def chain(**changes: Any) -> dict[int, CnnLayer]:
    """Core 0 with its changes, and core 1 behind it."""
    return {0: conv(**{"destinations": (to(1),), **changes}), 1: conv(c_in=4)}


def test_a_sound_chain_has_no_violation() -> None:
    assert check(ChipConfig(chain()), LIMITS, strict=STRICT) == ()


@pytest.mark.parametrize(
    ("changes", "wanted"),
    [
        ({"kernel": 17, "padding": 7}, "kernel_size"),
        ({"stride": (3, 1)}, "stride_y"),
        ({"stride": (1, 5)}, "stride_x"),
        ({"kernel": 16, "padding": 8}, "padding_x"),
        ({"size": 129}, "input_size_x"),
        ({"size": 65}, "output_size_y"),
        ({"c_in": 1025, "size": 1, "kernel": 1, "padding": 0, "c_out": 1}, "channels"),
        ({"threshold_high": -1}, "threshold_high"),
        ({"threshold_low": 1}, "threshold_low"),
        ({"weights": np.ones((4, 2, 3, 2), np.int64)}, "weights_shape"),
        ({"biases": np.ones(3, np.int64)}, "biases_shape"),
        ({"initial_state": np.ones((4, 16, 15), np.int64)}, "state_shape"),
        ({"out_shape": (4, 15, 16)}, "output_formula_y"),
        ({"c_out": 600}, "kernel_memory"),
        ({"c_out": 65, "size": 64}, "neuron_memory"),
        ({"destinations": (to(1, pooling=3),)}, "pooling"),
        ({"destinations": (to(1, feature_shift=1024),)}, "feature_shift"),
        ({"destinations": (Destination(layer=9),)}, "destination"),
        ({"destinations": (to(1, feature_shift=2),)}, "range_start"),
        ({"destinations": (to(1), to(1))}, "range_overlap"),
        ({"destinations": (to(1), to(1, feature_shift=5))}, "range_gap"),
        ({"destinations": (to(1), to(1, feature_shift=1023))}, "range_top"),
        ({"c_out": 5}, "range_count"),
        ({"size": 17}, "map_size_x"),
    ],
)
def test_rejected(changes: dict[str, Any], wanted: str) -> None:
    config = ChipConfig(chain(**changes))
    violations = check(config, LIMITS)
    assert wanted in {v.rule for v in violations}
    assert verdict(violations) == "rejected"
    assert all(v.where and v.what and v.limit and v.remedy for v in violations)


@pytest.mark.parametrize(
    ("changes", "rule", "wanted"),
    [
        ({"weights": np.full((4, 2, 3, 3), -129)}, "type.range", "type_error"),
        ({"biases": np.full(4, 32768)}, "type.range", "type_error"),
        ({"threshold_high": 32768}, "type.range", "type_error"),
        ({"stride": (1.0, 1)}, "type.range", "type_error"),
        ({"kernel_size": 256}, "type.range", "type_error"),
        ({"weights": np.ones((4, 2, 9), np.int64)}, "type.array", "type_error"),
        ({"weights": np.ones((4, 2, 3, 3))}, "type.array", "type_error"),
        ({"destinations": (Destination(),) * 3}, "type.destinations", "type_error"),
        ({"weights": np.ones((4, 0, 3, 3), np.int64)}, "crash.array", "crash"),
        ({"destinations": (to(1, pooling=0),)}, "crash.pooling", "crash"),
        ({"destinations": (to(9),)}, "crash.destination", "crash"),
    ],
)
def test_fatal(changes: dict[str, Any], rule: str, wanted: str) -> None:
    violations = check(ChipConfig(chain(**changes)), LIMITS)
    assert {v.rule for v in violations} == {rule}
    assert verdict(violations) == wanted


def test_a_tenth_core_does_not_exist() -> None:
    assert rules(ChipConfig({9: conv()})) == {"type.core"}


@pytest.mark.parametrize(
    ("sensor", "size", "wanted"),
    [
        ({"pooling": (2, 2)}, 64, set()),
        ({"pooling": (2, 2), "merge": True}, 64, {"range_count"}),
        ({"pooling": (2, 2), "cut": (127, 126)}, 64, {"map_size_x"}),
        ({"pooling": (2, 2), "cut": (127, 128)}, 64, {"dvs_cut_x"}),
        ({"origin": (128, 0), "destinations": ()}, 64, {"dvs_origin_y"}),
        ({"pooling": (8, 1), "destinations": ()}, 64, {"dvs_pooling_y"}),
        ({"pooling": (0, 1)}, 64, {"crash.pooling"}),
        ({"pooling": (0, 1), "destinations": ()}, 64, {"dvs_pooling_y"}),
        ({"destinations": (to(12),)}, 64, {"crash.destination"}),
        ({"destinations": (Destination(layer=9),)}, 64, {"destination"}),
        ({"origin": (20, 20), "cut": (10, 10)}, 64, {"map_size_x", "map_size_y"}),
        ({"cut": (256, 1), "destinations": ()}, 64, {"type.range"}),
    ],
)
def test_sensor(sensor: dict[str, Any], size: int, wanted: set[str]) -> None:
    config = ChipConfig({0: conv(size=size)}, DvsLayer(**{"destinations": (to(0),), **sensor}))
    assert rules(config) == wanted


def test_sensor_and_core_concatenate() -> None:
    first = conv(c_out=3, size=64, destinations=(to(0, feature_shift=2),))
    config = ChipConfig({0: conv(c_in=5, size=64), 1: first}, DvsLayer(destinations=(to(0),), pooling=(2, 2)))
    assert not rules(config)
    added = replace(first, destinations=(to(0),))
    assert rules(ChipConfig({**config.cores, 1: added}, config.dvs)) == {"range_overlap"}


@pytest.mark.parametrize(
    ("name", "config"),
    [
        ("pooling", ChipConfig({0: conv(destinations=(to(1, pooling=8),)), 1: conv(c_in=4, size=2)})),
        ("threshold_zero", ChipConfig({0: conv(threshold_high=0, weights=np.zeros((4, 2, 3, 3), np.int64))})),
        ("cycle", ChipConfig({0: conv(c_in=4, destinations=(to(1),)), 1: conv(c_in=4, destinations=(to(0),))})),
        ("cycle", ChipConfig({3: conv(c_in=4, destinations=(to(3),))})),
        ("odd_map", ChipConfig({0: conv(size=17, destinations=(to(1, pooling=2),)), 1: conv(c_in=4, size=8)})),
        ("mirror_diagonal", ChipConfig({}, DvsLayer(cut=(127, 63), mirror_diagonal=True))),
        ("weight_over_threshold", ChipConfig({0: conv(threshold_high=1, weights=np.full((4, 2, 3, 3), 2))})),
        ("bias_without_leak", ChipConfig({0: conv(biases=np.ones(4, np.int64))})),
    ],
)
def test_strict_rules_are_separable(name: str, config: ChipConfig) -> None:
    assert not rules(config)
    assert rules(config, [name]) == {f"strict.{name}"}
    assert rules(config, STRICT) == {f"strict.{name}"}
    assert verdict(check(config, LIMITS, strict=STRICT)) == "accepted"
    assert not rules(config, set(STRICT) - {name})


def test_ring_names_its_cores_only() -> None:
    layers = {core: conv(c_in=4, destinations=(to(after),)) for core, after in ((0, 1), (1, 2), (2, 1))}
    layers[2] = replace(layers[2], destinations=(to(1, feature_shift=4), to(3)))
    layers[1] = conv(c_in=8, destinations=(to(2),))
    layers[3] = conv(c_in=4)
    (violation,) = check(ChipConfig(layers), LIMITS, strict=["cycle"])
    assert violation.where == "core 1, core 2"


def test_unknown_strict_rule() -> None:
    with pytest.raises(UsageError, match="no strict rule"):
        check(ChipConfig({}), LIMITS, strict=["colour"])


def test_everything_at_once() -> None:
    first = conv(kernel=17, padding=8, threshold_high=-1, destinations=(to(1, pooling=3),))
    config = ChipConfig({0: first, 1: conv(stride=(3, 3))})
    assert {"kernel_size", "padding_x", "padding_y", "threshold_high", "pooling", "stride_x", "stride_y"} <= rules(config)


def test_an_unknown_cause_of_the_vendor_is_an_error() -> None:
    assert causes("Stride x must be in {1, 2, 4, 8}. Actual: 3\nLayer[0] is configured incorrectly ^^^^^^\n") == {"stride_x"}
    with pytest.raises(AssertionError):
        causes("Something new")
