"""Datasets of others: a name, and a function without arguments that gives (x, y), a Dataset or an EventDataset."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from neurodeploy.data.public import PUBLIC
from neurodeploy.errors import NeurodeployError
from neurodeploy.extensions import Registry, failure, require_callable

PACKAGED = ("digits", "digits-events")
Make = Callable[[], Any]
F = TypeVar("F", bound=Make)

DATASETS: Registry[Make] = Registry(
    "dataset", "neurodeploy.datasets", "nd.register_dataset",
    require_callable("dataset", "a function without arguments that gives (x, y), a Dataset or an EventDataset"),
    (*PACKAGED, *PUBLIC),
)


def register_dataset(name: str) -> Callable[[F], F]:
    """Names a function of this process a dataset: it takes nothing and gives (x, y) as a `.npz` file holds them (images
    [N, H, W] or [N, C, H, W], labels [N]), a Dataset with splits of its own, or an EventDataset."""
    return DATASETS.register(name)


def call(name: str) -> Any:
    """What the function of a registered dataset gives; UsageError where it fails."""
    try:
        return DATASETS.get(name)()
    except NeurodeployError:
        raise
    except Exception as error:  # whatever a stranger's function raises
        raise failure("dataset", name, error) from error
