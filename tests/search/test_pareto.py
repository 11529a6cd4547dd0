import math

import numpy as np
import pytest
from neurodeploy.errors import UsageError
from neurodeploy.search.pareto import OBJECTIVES, pareto_front


def candidate(
    accuracy: float, energy_j: float, latency_s: float = 1.0, spikes: float = 1.0, n_cores: int = 1
) -> dict[str, float]:
    return {
        "accuracy": accuracy,
        "energy_j": energy_j,
        "latency_s": latency_s,
        "spikes": spikes,
        "n_cores": n_cores,
    }


def test_by_hand() -> None:
    candidates = [
        candidate(0.90, 2.0),
        candidate(0.90, 3.0),  # beaten by 0: as accurate, dearer
        candidate(0.95, 3.0),
        candidate(0.80, 2.0),  # beaten by 0: less accurate, as dear
        candidate(0.80, 9.0, n_cores=0),  # the fewest cores
        candidate(0.95, 3.0),  # equal to 2
    ]
    assert pareto_front(candidates) == (0, 2, 4, 5)
    assert pareto_front(candidates, {"accuracy": "max"}) == (2, 5)
    assert pareto_front([]) == ()


def test_against_the_definition() -> None:
    rng = np.random.default_rng(0)
    rows = rng.integers(0, 6, size=(150, 5))
    candidates = [dict(zip(OBJECTIVES, map(int, row), strict=True)) for row in rows]

    def beats(a: dict[str, int], b: dict[str, int]) -> bool:
        pairs = [(a[k], b[k]) if o == "min" else (-a[k], -b[k]) for k, o in OBJECTIVES.items()]
        return all(x <= y for x, y in pairs) and any(x < y for x, y in pairs)

    expected = tuple(i for i, c in enumerate(candidates) if not any(beats(o, c) for o in candidates))
    assert 1 < len(expected) < 150
    assert pareto_front(candidates) == expected


@pytest.mark.parametrize("value", [None, math.nan, math.inf, "1", True])
def test_a_missing_figure_is_refused(value: object) -> None:
    with pytest.raises(UsageError, match=r"latency_s is .*candidate 1|candidate 1: latency_s"):
        pareto_front([candidate(0.9, 1.0), {**candidate(0.9, 1.0), "latency_s": value}])
