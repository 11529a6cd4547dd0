"""Terms of the fitness that others bring: a name, and a function of a candidate that gives a positive number."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import TypeVar

from neurodeploy.errors import NeurodeployError, UsageError
from neurodeploy.extensions import Registry, failure, require_callable
from neurodeploy.ir.graph import Graph
from neurodeploy.search.fitness import Metrics

Term = Callable[[Metrics, Graph], float]
F = TypeVar("F", bound=Term)

TERMS: Registry[Term] = Registry(
    "fitness term", "neurodeploy.fitness", "nd.register_fitness",
    require_callable("fitness term", "a function (metrics, graph) that gives a positive number"),
)


def register_fitness(name: str) -> Callable[[F], F]:
    """Names a function a term of the fitness, which a recipe uses with an exponent: `name = -0.1` under `[fitness.terms]`.

    It takes the candidate's `Metrics` and its Graph as lowered for the target (real numbers, batch norms folded), and gives a
    positive number. The fitness is multiplied by (number / its mean over the references) ** exponent; with exponent 0 the
    number is only recorded. The same candidate must always give the same number.
    """
    return TERMS.register(name)


def with_terms(metrics: Metrics, graph: Graph, names: Iterable[str], arch: Sequence[str]) -> Metrics:
    """The metrics with the recipe's own terms; without them where the candidate does not fit or never spikes, which has no
    fitness anyway. UsageError, naming term and candidate, where one fails or gives no positive number."""
    if not metrics.fits or metrics.spikes <= 0:
        return metrics
    return replace(metrics, terms={name: _value(name, metrics, graph, arch) for name in names})


def _value(name: str, metrics: Metrics, graph: Graph, arch: Sequence[str]) -> float:
    of = f" of candidate {','.join(arch)}"
    try:
        found = float(TERMS.get(name)(metrics, graph))
    except NeurodeployError:
        raise
    except Exception as error:  # whatever a stranger's function raises
        raise failure("fitness term", name, error, of) from error
    if not math.isfinite(found) or found <= 0:
        raise UsageError(f"is {found}", where=f"fitness term {name!r}{of}", limit="It must be finite, above 0", code="bad_term",
                         remedy="Let the function give what is to be small or, with an exponent above 0, large")
    return found
