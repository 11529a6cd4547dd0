"""neurodeploy: search, quantize, place, cost, simulate and export spiking networks for neuromorphic chips.

    import neurodeploy as nd
    graph = nd.load("model.safetensors")

Nothing is imported until it is used, so that the command line answers `--help` without torch.
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from neurodeploy.data.own import register_dataset as register_dataset
    from neurodeploy.hw import profile as _profile
    from neurodeploy.jobs.search import search as search
    from neurodeploy.jobs.validate import validate as validate
    from neurodeploy.models.macro import register_block as register_block
    from neurodeploy.pipeline import convert as convert
    from neurodeploy.pipeline import cost as cost
    from neurodeploy.pipeline import export as export
    from neurodeploy.pipeline import from_torch as from_torch
    from neurodeploy.pipeline import load as load
    from neurodeploy.pipeline import lower as lower
    from neurodeploy.pipeline import optimise_placement as optimise_placement
    from neurodeploy.pipeline import place as place
    from neurodeploy.pipeline import quantize as quantize
    from neurodeploy.pipeline import save as save
    from neurodeploy.pipeline import simulate as simulate
    from neurodeploy.pipeline_gpu import cost_on_gpu as cost_on_gpu
    from neurodeploy.pipeline_gpu import export_on_gpu as export_on_gpu
    from neurodeploy.pipeline_gpu import simulate_on_gpu as simulate_on_gpu
    from neurodeploy.search.terms import register_fitness as register_fitness

    target = _profile.any_target

_HOME = {
    "target": "neurodeploy.hw.profile",
    "register_block": "neurodeploy.models.macro",
    "register_dataset": "neurodeploy.data.own",
    "register_fitness": "neurodeploy.search.terms",
    "search": "neurodeploy.jobs.search",
    "validate": "neurodeploy.jobs.validate",
    **dict.fromkeys(
        ("convert", "cost", "export", "from_torch", "load", "lower", "optimise_placement", "place", "quantize", "save",
         "simulate"),
        "neurodeploy.pipeline",
    ),
    **dict.fromkeys(("cost_on_gpu", "export_on_gpu", "simulate_on_gpu"), "neurodeploy.pipeline_gpu"),
}

_NAMED = {"target": "any_target"}  # what goes by another name at home

__all__ = ["__version__", *sorted(_HOME)]


def __getattr__(name: str) -> Any:
    home = _HOME.get(name)
    if home is None:
        raise AttributeError(f"module 'neurodeploy' has no attribute {name!r}")
    value = getattr(import_module(home), _NAMED.get(name, name))
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


class _Api(ModuleType):
    """Keeps the verbs functions: importing the sub-package `neurodeploy.quantize` would else bind `nd.quantize` to it.

    Sub-packages of the same name are reached by `from neurodeploy.quantize import ...`.
    """

    def __setattr__(self, name: str, value: Any) -> None:
        if not (name in _HOME and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Api
