"""A model as the commands take it: any file or bundle, ready to be placed on a target."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from neurodeploy.data.datasets import Dataset
from neurodeploy.data.datasets import load as load_data
from neurodeploy.data.event_dataset import EventDataset
from neurodeploy.early_exit.confidence import ConfidencePolicy
from neurodeploy.errors import DoesNotFit, Interrupted, NeurodeployError, NeurodeployWarning, UnsafeFile, UsageError
from neurodeploy.hw.profile import Profile
from neurodeploy.ir.graph import Graph, IntGraph
from neurodeploy.ir.net import read_network
from neurodeploy.ir.nir import read_nir
from neurodeploy.ir.nir_foreign import NirOptions
from neurodeploy.ir.nodes import Vote
from neurodeploy.jobs.deploy import Deployment, PlacementSource, deploy, lowered_for, placed, settings_elsewhere
from neurodeploy.jobs.net_options import NetOptions
from neurodeploy.jobs.nir_options import nir_options
from neurodeploy.jobs.run import located
from neurodeploy.models.files import load_model
from neurodeploy.models.foreign_state import SUFFIXES, refuse_arch
from neurodeploy.models.networks import Network, to_graph
from neurodeploy.pipeline import load
from neurodeploy.place import Check, Placement, check, derive
from neurodeploy.progress import SILENT, Progress
from neurodeploy.quantize.passing import for_target
from neurodeploy.search.recipe import DataSettings, DeploySettings, parse_deploy
from neurodeploy.validate.bundle import OpenBundle
from neurodeploy.validate.event_bundle import EventBundle, open_any
from neurodeploy.validate.gpu_bundle import GpuBundle


@dataclass(frozen=True)
class Opened:
    """A network from a file: `module` where the file holds a trained one, `bundle` where it is a bundle, `policy` where that
    has one for a chip with timesteps. What of it goes onto event-driven chips: `jobs.event_opened`."""

    path: Path
    graph: Graph
    module: Network | None
    policy: ConfidencePolicy | None
    data_name: str | None
    bundle: OpenBundle | EventBundle | GpuBundle | None = None

    def settings(self, overrides: dict[str, Any] | None = None) -> DeploySettings:
        """How the model wants to be deployed (the recipe it was trained by), with overrides; see `settings_elsewhere`."""
        return parse_deploy(self.graph.metadata.get("deploy") or settings_elsewhere(self.graph), overrides)

    def source(self, data: str | None = None) -> str | None:
        """Name or absolute path of the dataset given, or of the one that the model names; None without either."""
        return self.data_name if data is None else located(data)

    def dataset(self, data: str | None = None) -> Dataset | None:
        """The dataset that `source` names; of the model's own, as many images of each class as the recipe took."""
        name = self.source(data)
        return None if name is None else data_for(self.graph, name, own=data is None)

    def lowered(self, profile: Profile, settings: DeploySettings) -> Graph:
        """What the target would hold: the lowered graph, or the integer network itself."""
        if isinstance(self.graph, IntGraph):
            return self.integer(profile)
        if self.graph.metadata.get("input") and self.graph.metadata["input"] != "events":
            return self.graph
        return lowered_for(self.graph, profile, settings)

    def integer(self, profile: Profile) -> IntGraph:
        """The integer network of the file as one of the target; raises UsageError for one in real numbers."""
        if not isinstance(self.graph, IntGraph):
            raise UsageError("holds a network in real numbers", where=str(self.path), remedy="Export it first")
        return for_target(self.graph, profile)

    def deployed(
        self, profile: Profile, settings: DeploySettings, data: Dataset | None, progress: Progress = SILENT
    ) -> Deployment:
        """The network on the target; an integer network is placed as it is, on the cores that its bundle says where they
        hold for this target (`stored_plan`). Raises DoesNotFit with every violation."""
        lowered = self.lowered(profile, settings)
        if isinstance(lowered, IntGraph):
            stored = self.stored_plan(profile, settings)
            if stored is not None:
                return Deployment(lowered, lowered, stored, self.policy, None, None, "bundle")
            images = None if data is None else data.split("validation")[0]
            plan, optimised = placed(lowered, profile, settings, images)
            return Deployment(
                lowered, lowered, plan, self.policy, None, optimised, "placed" if optimised is None else "optimised"
            )
        return deploy(lowered, profile, settings, data, progress)

    def stored_plan(self, profile: Profile, settings: DeploySettings) -> Placement | None:
        """The placement in the bundle, which may be an optimised one: the same blocks on the same cores, counted anew.

        None for any other file, another target, settings that ask for another placement (`--set place...`,
        `cost.n_chips`), and where it breaks a limit of the profile as it is now (`--set profile.capacity...`), which a
        warning says (`placed_again`). Raises UnsafeFile where it is no placement of the network beside it.
        """
        bundle = self.bundle
        if not isinstance(bundle, OpenBundle) or profile.name != bundle.profile.name:
            return None
        made = self.settings()
        if (settings.cost.n_chips, settings.place) != (made.cost.n_chips, made.place):
            return None
        try:
            return derive(bundle.net, profile, bundle.plan, settings.cost.n_chips)
        except DoesNotFit as error:
            warnings.warn(NeurodeployWarning(
                f"the bundle's own placement breaks a limit of {profile.name}, and the network is placed again: "
                f"{error.violations[0]}", code="placed_again", where=str(self.path),
                remedy="The figures are those of the new placement, not of the bundle",
            ), stacklevel=2)
            return None
        except NeurodeployError as error:
            raise UnsafeFile("its placement is not one of its network", where=str(self.path), limit=str(error),
                             remedy="Export again") from error

    def checked(self, lowered: Graph, profile: Profile, settings: DeploySettings) -> tuple[Check, PlacementSource]:
        """Whether the lowered network fits, with its placement, and where that comes from: a bundle keeps its own."""
        stored = self.stored_plan(profile, settings)
        if stored is None:
            return check(lowered, profile, settings.cost.n_chips), "placed"
        fit = check(lowered, profile, settings.cost.n_chips or stored.n_chips)
        return replace(fit, fits=True, placement=stored, violations=(), n_cores=stored.n_cores), "bundle"

    def check_runs_on_spikes(self, data: Dataset | EventDataset | None) -> None:
        """Raise UsageError for a network in real numbers that no dataset could quantize: it has no spikes to count."""
        if not isinstance(self.graph, IntGraph) and data is None:
            raise UsageError(
                "holds a network in real numbers, and no dataset to quantize it with", where=str(self.path),
                code="not_quantized", limit="A chip's spikes are those of the integer network",
                remedy="Name a dataset with --data, or export it first and give the bundle: "
                       f"`neurodeploy export {self.path} --target TARGET --data DATA`",
            )


def open_with(path: Path, net: NetOptions | None, overrides: dict[str, Any] | None) -> tuple[Opened, dict[str, Any]]:
    """(`open_model` with what the overrides say of the file, `arch`, `net.key` and `nir.key`; the other overrides)."""
    options, changes = (net or NetOptions()).overridden(overrides or {})
    conventions, changes = nir_options(changes)
    arch = changes.pop("arch", None)
    return open_model(path, options, conventions, None if arch is None else str(arch)), changes


def open_model(
    path: Path, net: NetOptions | None = None, nir: NirOptions | None = None, arch: str | None = None
) -> Opened:
    """The network in a model file, `.nir`, `.npz`, lava-dl `.net` or bundle; errors as `pipeline.load`. `nir`: conventions of
    another tool's `.nir`, UsageError for any other file. `arch`: of a state_dict (`models.foreign_spec`)."""
    path = Path(path)
    refuse_arch(path, arch)
    if nir is not None:
        graph = read_nir(path, nir) if path.suffix == ".nir" and not path.is_dir() else None
        if graph is None or "nir" not in graph.metadata:
            raise UsageError("its conventions cannot be set", where=str(path),
                             limit="Only another tool's .nir leaves them open", remedy="Leave nir.* out")
        return Opened(path, graph, None, None, None)
    options = NetOptions() if net is None else net
    options.check(path)
    if path.suffix == ".net" and not path.is_dir():
        return Opened(path, read_network(path, **options.given), None, None, None)
    if path.suffix.lower() in SUFFIXES and not path.is_dir():
        model = load_model(path, arch)
        graph = model if isinstance(model, Graph) else to_graph(model)
        name = _data_name(graph, path)
        if arch is not None and name is not None:
            name = located(name)  # as for --data: it may be a path from here
        return Opened(path, graph, None if isinstance(model, Graph) else model, None, name)
    if path.is_dir():
        bundle = open_any(path)
        name = (bundle.manifest.get("data") or {}).get("name")
        policy = stored_policy(bundle) if isinstance(bundle, OpenBundle) else None
        return Opened(path, bundle.net, None, policy, name, bundle)
    graph = load(path)
    return Opened(path, graph, None, None, _data_name(graph, path))


def refuses_one_target(error: NeurodeployError, targets: Sequence[str]) -> bool:
    """Whether an error met at one of several targets is an answer about that one, and the others are asked all the same: any
    but a bad file and an interruption. Of a single target it is the answer to the command."""
    return len(targets) > 1 and not isinstance(error, UnsafeFile | Interrupted)


def foremost(errors: Sequence[NeurodeployError]) -> NeurodeployError:
    """Of what several targets say, the first that is not only that they compute otherwise."""
    return next((e for e in errors if e.error_code != "other_arithmetic"), errors[0])


def counted(errors: Sequence[NeurodeployError], skip_foreign: bool) -> list[NeurodeployError]:
    """The errors that count, where every target was asked for: that some compute otherwise is no fault then."""
    return [e for e in errors if not (skip_foreign and e.error_code == "other_arithmetic")]


def data_for(graph: Graph, source: str | Path, own: bool = False) -> Dataset:
    """A dataset that a network can be run on; UsageError where its images or classes are not those of the network. own: the
    one that the network was made with, of which it may have taken a part (`data.per_class`)."""
    if not isinstance(graph.output, Vote):
        raise UsageError(
            "this network tells no classes apart: nothing says how its output neurons are read", where=graph.output.name,
            code="no_classes", limit="Accuracy and early exit need a read-out (Vote)",
            remedy="Leave --data out; give the spikes that enter the network with --input",
        )
    shape = (graph if graph.host is None else graph.host).inputs[0].shape
    stored = graph.metadata.get("data") if own else None
    per_class = stored.get("per_class") if isinstance(stored, dict) else None
    try:
        part = None if per_class is None else DataSettings(name="", per_class=per_class).per_class
    except ValidationError as error:
        raise UnsafeFile("data.per_class is no number", where=str(source), limit=f"It is {per_class!r:.60}") from error
    data = load_data(source, like=shape, per_class=part)
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


def _data_name(graph: Graph, path: Path) -> str | None:
    stored = graph.metadata.get("data") or {}
    name = stored.get("name") if isinstance(stored, dict) else stored
    if not isinstance(name, str | None):
        raise UnsafeFile("the dataset that it names is no name", where=str(path), limit=f"It is {name!r:.60}")
    return name
