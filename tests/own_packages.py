"""Packages of others as an installer leaves them: a module, and a folder of metadata with its entry points."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from neurodeploy.data.own import DATASETS
from neurodeploy.models.macro import OWN_BLOCKS
from neurodeploy.search.terms import TERMS

REGISTRIES = (DATASETS, OWN_BLOCKS, TERMS)

SINGLE = '''
from torch import nn

class Single(nn.Module):
    def __init__(self, c_in, c_out, layers):
        super().__init__()
        self.conv, self.bn, self.neuron = layers.conv(c_in, c_out, 3), layers.norm(c_out), layers.neuron()

    def forward(self, x):
        return self.neuron(self.bn(self.conv(x)))

    def to_graph(self, graph, name, source):
        at = graph.bn(f"{name}.bn", self.bn, graph.conv(f"{name}.conv", self.conv, source))
        return graph.neuron(f"{name}.neuron", self.neuron, at)

def weights(metrics, graph):
    return sum(node.weight.size for node in graph.nodes if node.is_synapse)
'''
ENTRY_POINTS = {"neurodeploy.blocks": {"single_k3": "Single"}, "neurodeploy.fitness": {"weights": "weights"}}


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
