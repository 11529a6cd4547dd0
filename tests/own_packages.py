"""What others may bring: a block, a term of the fitness, and packages as an installer leaves them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from neurodeploy.data.own import DATASETS
from neurodeploy.ir.graph import Graph
from neurodeploy.ir.nodes import Conv2d, Linear
from neurodeploy.models.blocks import Layers
from neurodeploy.models.convert import Builder
from neurodeploy.models.macro import OWN_BLOCKS
from neurodeploy.search.fitness import Metrics
from neurodeploy.search.terms import TERMS
from torch import Tensor, nn

REGISTRIES = (DATASETS, OWN_BLOCKS, TERMS)


class Single(nn.Module):
    """A block with one convolution."""

    def __init__(self, c_in: int, c_out: int, layers: Layers) -> None:
        super().__init__()
        self.conv, self.bn, self.neuron = layers.conv(c_in, c_out, 3), layers.norm(c_out), layers.neuron()

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.neuron(self.bn(self.conv(x)))
        return out

    def to_graph(self, graph: Builder, name: str, source: str) -> str:
        at = graph.bn(f"{name}.bn", self.bn, graph.conv(f"{name}.conv", self.conv, source))
        return graph.neuron(f"{name}.neuron", self.neuron, at)


def weights(metrics: Metrics, graph: Graph) -> float:
    """A fitness term: how many weights there are."""
    return sum(node.weight.size for node in graph.nodes if isinstance(node, Conv2d | Linear))


def install(folder: Path, module: str, source: str, groups: Mapping[str, Mapping[str, str]]) -> Path:
    """Put a package's module into `folder`; groups: {entry point group: {name: object in the module}}."""
    info = folder / f"{module}-1.0.dist-info"
    info.mkdir(parents=True)
    (folder / f"{module}.py").write_text(source)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: 1.0\n")
    lines = [line for group, names in groups.items()
             for line in (f"[{group}]", *(f"{name} = {module}:{thing}" for name, thing in names.items()))]
    (info / "entry_points.txt").write_text("\n".join(lines) + "\n")
    return folder
