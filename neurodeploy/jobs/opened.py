"""A model as the commands take it: any file or bundle, ready to be placed on a target."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from neurodeploy.data.datasets import Dataset
from neurodeploy.data.datasets import load as load_data
from neurodeploy.early_exit.confidence import ConfidencePolicy
from neurodeploy.errors import UnsafeFile, UsageError
from neurodeploy.hw.profile import Profile
from neurodeploy.ir.graph import Graph, IntGraph
from neurodeploy.jobs.deploy import Deployment, deploy, lowered_for, placed
from neurodeploy.jobs.run import located
from neurodeploy.models.autosnn import AutoSnn
from neurodeploy.models.convert import to_graph
from neurodeploy.models.files import load_module
from neurodeploy.pipeline import load
from neurodeploy.progress import SILENT, Progress
from neurodeploy.search.recipe import DeploySettings, parse_deploy
from neurodeploy.validate import OpenBundle, open_bundle


@dataclass(frozen=True)
class Opened:
    """A network from a file: `module` where the file holds a trained one, `policy` where it is a bundle with one."""

    path: Path
    graph: Graph
    module: AutoSnn | None
    policy: ConfidencePolicy | None
    data_name: str | None

    def settings(self, overrides: dict[str, Any] | None = None) -> DeploySettings:
        """How the model wants to be deployed (the recipe it was trained by), with overrides."""
        return parse_deploy(self.graph.metadata.get("deploy") or {}, overrides)

    def source(self, data: str | None = None) -> str | None:
        """Name or absolute path of the dataset given, or of the one that the model names; None without either."""
        return self.data_name if data is None else located(data)

    def dataset(self, data: str | None = None) -> Dataset | None:
        """The dataset that `source` names."""
        name = self.source(data)
        return None if name is None else data_for(self.graph, name)

    def lowered(self, profile: Profile, settings: DeploySettings) -> Graph:
        """What the target would hold: the lowered graph, or the integer network itself."""
        if isinstance(self.graph, IntGraph):
            if self.graph.target != profile.name:
                raise UsageError(
                    f"holds an integer network for {self.graph.target}", where=str(self.path),
                    limit=f"Asked for {profile.name}", remedy="Give the trained model; integer networks are never requantized",
                )
            return self.graph
        if self.graph.metadata.get("input"):
            return self.graph
        return lowered_for(self.graph, profile, settings)

    def deployed(
        self, profile: Profile, settings: DeploySettings, data: Dataset | None, progress: Progress = SILENT
    ) -> Deployment:
        """The network on the target; an integer network is placed as it is. Raises DoesNotFit with every violation."""
        lowered = self.lowered(profile, settings)
        if isinstance(lowered, IntGraph):
            return Deployment(lowered, lowered, placed(lowered, profile, settings), self.policy, None)
        return deploy(lowered, profile, settings, data, progress)


def open_model(path: Path) -> Opened:
    """The network in a model file, `.nir`, `.npz` or bundle; errors as `pipeline.load`."""
    path = Path(path)
    if path.suffix in (".safetensors", ".pt") and not path.is_dir():
        module = load_module(path)
        graph = to_graph(module)
        return Opened(path, graph, module, None, _data_name(graph))
    if path.is_dir():
        bundle = open_bundle(path)
        name = (bundle.manifest.get("data") or {}).get("name")
        return Opened(path, bundle.net, None, stored_policy(bundle), name)
    graph = load(path)
    return Opened(path, graph, None, None, _data_name(graph))


def data_for(graph: Graph, source: str | Path) -> Dataset:
    """A dataset that a network can be run on; UsageError where its images or classes are not those of the network."""
    data = load_data(source)
    shape = (graph if graph.host is None else graph.host).inputs[0].shape
    (n_classes,) = graph.shapes[graph.output.name]
    if (data.image_shape, data.n_classes) != (tuple(shape), n_classes):
        raise UsageError(
            f"images {list(data.image_shape)} of {data.n_classes} classes", where=str(source), code="wrong_data",
            limit=f"The network takes {list(shape)} and tells {n_classes} classes apart",
            remedy="Give the kind of data that the network was trained on",
        )
    return data


def stored_policy(bundle: OpenBundle) -> ConfidencePolicy | None:
    """The early-exit policy that a bundle carries, None where it has none; UnsafeFile for a damaged one."""
    stored = bundle.manifest.get("early_exit")
    if stored is None:
        return None
    try:
        return ConfidencePolicy(**stored)
    except (TypeError, ValueError, UsageError) as error:
        raise UnsafeFile("early_exit is no policy", where=str(bundle.path), limit=str(error)) from error


def _data_name(graph: Graph) -> str | None:
    name = (graph.metadata.get("data") or {}).get("name")
    return None if name is None else str(name)
