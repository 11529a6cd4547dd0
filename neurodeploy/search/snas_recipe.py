"""A recipe of SNASNet: which cells are drawn and scored, in which network, and how the best one is trained and deployed."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, PositiveInt, ValidationError, model_validator

from neurodeploy.errors import UsageError
from neurodeploy.hw.profile import apply_override, describe
from neurodeploy.models.snas_cell import SnasConfig
from neurodeploy.search.cell_fitness import CellFitnessSettings
from neurodeploy.search.recipe import (
    CostSettings,
    DataSettings,
    DeploySettings,
    ExecutorSettings,
    ExitSettings,
    GpuSettings,
    InputSettings,
    PlaceSettings,
    QuantizeSettings,
    Recipe,
    deploy_part,
    parse,
    plain,
    read_toml,
)
from neurodeploy.search.sahd import Distance
from neurodeploy.search.snas_space import CellType
from neurodeploy.train.config import DEVICE, TrainConfig


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class SnasNetwork(_Strict):
    """Sizes of the network (`models.snas_cell.SnasConfig`, whose defaults are the paper's), and which cells are drawn:
    "forward" ones, or "backward" ones, whose pairs of nodes have a forward or a backward edge."""

    family: Literal["snasnet"]
    cells: CellType = "backward"
    width: PositiveInt
    n_timesteps: PositiveInt
    group: PositiveInt = 5
    hidden: PositiveInt = 1024
    pool: PositiveInt = 2
    stem_stride: PositiveInt = 1
    tau: float = Field(default=4 / 3, ge=1)
    v_th: float = Field(default=1.0, gt=0)
    dropout: float = Field(default=0.5, ge=0, lt=1)
    linear_std: float = Field(default=0.01, gt=0)
    ends: Literal["released", "spikes"] = "released"
    feedback: Literal["released", "loop"] = "released"

    def sizes(self, image_shape: tuple[int, int, int], n_classes: int) -> SnasConfig:
        """The network for images (C, H, W); raises UsageError for sizes that give none."""
        own = self.model_dump(exclude={"family", "cells"})
        return SnasConfig(in_channels=image_shape[0], image_size=image_shape[1:], n_classes=n_classes, **own)


class SahdSettings(_Strict):
    """The search: `budget` different random cells, each scored by `distance` on the same `n_batches` batches of `batch`
    training images (the paper: 5,000 draws on two of 256).

    pool: cells of a round, after which workers meet; images: validation images (at most) that an untrained cell runs for its
    spikes and energy; n_references: cells that the fitness takes its scales from, where costs count in it.
    """

    budget: PositiveInt = 5000
    pool: PositiveInt = 20
    distance: Distance = "sahd"
    batch: int = Field(default=256, ge=2)
    n_batches: PositiveInt = 2
    images: PositiveInt = 64
    n_references: int = Field(default=16, ge=2)


class SnasRecipe(_Strict):
    """Everything that decides a search for a cell, apart from the target."""

    schema_version: Literal[1]
    name: str
    title: str = ""
    seed: int = Field(default=0, ge=0)
    data: DataSettings
    network: SnasNetwork
    input: InputSettings = InputSettings()
    sahd: SahdSettings = SahdSettings()
    fitness: CellFitnessSettings = CellFitnessSettings()
    train: TrainConfig
    quantize: QuantizeSettings = QuantizeSettings()
    early_exit: ExitSettings = ExitSettings()
    cost: CostSettings = CostSettings()
    place: PlaceSettings = PlaceSettings()
    gpu: GpuSettings = GpuSettings()
    executor: ExecutorSettings = ExecutorSettings()
    device: str = Field(default="auto", pattern=DEVICE)

    @model_validator(mode="after")
    def _images(self) -> Self:
        if self.input.kind not in ("graded", "bias") or self.train.encoding != "direct":
            raise ValueError("cells are scored on images as they are: input.kind 'graded' or 'bias', train.encoding 'direct'")
        return self

    @property
    def deploy(self) -> DeploySettings:
        """The part that decides how the trained network comes onto the target."""
        return deploy_part(self, self.train.loss)

    @property
    def encodings(self) -> set[str]:
        """How images reach the networks that are trained."""
        return {self.train.encoding}

    def to_dict(self) -> dict[str, Any]:
        """Plain fields, defaults filled in as those of `Recipe`."""
        return plain(self)


AnyRecipe = Recipe | SnasRecipe


def read_any(name_or_path: str | Path, overrides: dict[str, Any] | None = None) -> AnyRecipe:
    """A recipe of either family; arguments and errors as `recipe.read`."""
    raw, where = read_toml(name_or_path)
    return parse_any(raw, overrides, where=where)


def parse_any(raw: dict[str, Any], overrides: dict[str, Any] | None = None, *, where: str = "recipe") -> AnyRecipe:
    """A recipe of either family from plain fields; errors as `recipe.read`."""
    network = raw.get("network")
    if not isinstance(network, dict) or network.get("family") != "snasnet":
        return parse(raw, overrides, where=where)
    try:
        recipe = SnasRecipe.model_validate(raw)
        if overrides:
            full = recipe.model_dump(mode="json")
            for key, value in overrides.items():
                apply_override(full, key, value, where=where)
            recipe = SnasRecipe.model_validate(full)
    except ValidationError as err:
        raise UsageError(describe(err), where=where, remedy="`--dry-run` prints a recipe with all its keys") from err
    return recipe


def with_short(
    name_or_path: str | Path, overrides: dict[str, Any], method: str | None, budget: int | None = None, seed: int | None = None
) -> AnyRecipe:
    """A recipe with what `--method`, `--budget` and `--seed` say; UsageError where the method is of the other family."""
    raw, where = read_toml(name_or_path)
    of_cells = isinstance(parse_any(raw, where=where), SnasRecipe)
    if method is not None and (method == "sahd") != of_cells:
        raise UsageError(
            f"method {method!r}", where=where, code="other_family",
            limit="It holds cells of SNASNet, which are scored untrained (sahd)" if of_cells else
                  "Only cells of SNASNet are scored untrained; it holds architectures of AutoSNN",
            remedy="Leave --method out, or name a recipe of AutoSNN, such as digits" if of_cells else
                   "Name a recipe of SNASNet, such as digits_snasnet, or another method",
        )
    of_search = {"sahd.budget": budget} if of_cells else {"evolution.method": method, "evolution.budget": budget}
    short = {"seed": seed, **of_search}
    return parse_any(raw, overrides | {k: v for k, v in short.items() if v is not None}, where=where)
