"""Which core of an event-driven chip holds which layer: a frozen value that a bundle's manifest stores as plain JSON."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from functools import cached_property
from typing import Any, Self

from neurodeploy.errors import NeurodeployError, UnsafeFile


@dataclass(frozen=True)
class CoreUse:
    """One core: the neuron layer on it, and the words that the layer takes of what the core has."""

    core: int
    node: str
    kernel_words: int
    kernel_words_max: int
    neuron_words: int
    neuron_words_max: int
    bias_words: int
    bias_words_max: int


@dataclass(frozen=True)
class CorePlan:
    """A core for every neuron layer of a network, layers in topological order."""

    target: str
    cores: tuple[CoreUse, ...]

    @property
    def n_cores(self) -> int:
        """Cores in use."""
        return len(self.cores)

    @cached_property
    def _by_node(self) -> dict[str, CoreUse]:
        return {use.node: use for use in self.cores}

    def core_of(self, node: str) -> int:
        """The core of a neuron layer; raises NeurodeployError for a layer that was not placed."""
        if node not in self._by_node:
            raise NeurodeployError(
                "the placement has no core for it", where=node, limit=f"Placed: {', '.join(self._by_node)}",
                remedy="Place the network that is costed", code="not_placed",
            )
        return self._by_node[node].core

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values; `from_dict` reads them back."""
        return {"target": self.target, "cores": [asdict(use) for use in self.cores]}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Self:
        """Plan from `to_dict` values. Raises UnsafeFile when they are not one."""
        try:
            uses = tuple(CoreUse(**{f.name: _plain(c[f.name], f.name) for f in fields(CoreUse)}) for c in data["cores"])
            plan = cls(target=str(data["target"]), cores=uses)
        except (KeyError, TypeError, ValueError) as err:
            raise UnsafeFile(
                "not a placement", limit=f"Wanted: cores, each with {', '.join(f.name for f in fields(CoreUse))} ({err})",
                remedy="Export again",
            ) from err
        if len({u.core for u in uses}) != len(uses) or len({u.node for u in uses}) != len(uses):
            raise UnsafeFile("not a placement", limit="a core or a layer stands in it twice", remedy="Export again")
        return plan


def _plain(value: Any, name: str) -> Any:
    return str(value) if name == "node" else int(value)
