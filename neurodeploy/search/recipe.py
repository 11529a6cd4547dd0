"""A search recipe: dataset, network family, budgets, fitness, training. TOML, checked; an unknown key is an error."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, PositiveInt, ValidationError, field_validator, model_validator

from neurodeploy.errors import UsageError
from neurodeploy.hw.profile import apply_override, describe
from neurodeploy.models.macro import AUTOSNN, BLOCKS, PoolKind, StemKind
from neurodeploy.resources import folder
from neurodeploy.search.evolve import EvolutionSettings
from neurodeploy.search.fitness import FitnessSettings
from neurodeploy.train.config import DEVICE, LATER, Loss, SupernetConfig, TrainConfig


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class DataSettings(_Strict):
    """Which dataset: a name, or the path of an `.npz` or of a folder of images.

    size: one side or [height, width] that the images of a folder are brought to; channels: 1 makes them grey, 3 coloured.
    per_class: the most images of each class that train and validate, or [train, validation]; the test split stays whole.
    """

    name: str
    size: int | tuple[int, int] | None = None
    channels: Literal[1, 3] | None = None
    per_class: PositiveInt | tuple[PositiveInt, PositiveInt] | None = None

    @field_validator("size")
    @classmethod
    def _sides(cls, size: int | tuple[int, int] | None) -> int | tuple[int, int] | None:
        if size is not None and not all(1 <= side <= 1024 for side in (size if isinstance(size, tuple) else (size,))):
            raise ValueError(f"{size}: one side or [height, width], each from 1 to 1024")
        return size


class NetworkSettings(_Strict):
    """The network family and its size; image size, channels and classes come from the data. See `models.macro.MacroConfig`.

    layout: the width of each position in multiples of `width`, 0 for a pool; strides: 1 or 2 for each of its entries (none: 1);
    n_timesteps: with events, the bins of a sample;
    blocks: what may stand at a position, blocks of one's own among them (`models.macro.register_block`).
    """

    family: Literal["autosnn"] = "autosnn"
    width: int = Field(ge=1, le=1024)
    n_timesteps: int = Field(ge=1, le=256)
    group: int = Field(default=10, ge=1)
    tau0: float = Field(default=2.0, gt=1)
    decay_input: bool = True
    layout: tuple[Annotated[int, Field(ge=0, le=64)], ...] = tuple(w or 0 for w in AUTOSNN)
    neuron: Literal["plif", "if"] = "plif"
    reset: Literal["hard", "soft"] = "hard"
    strides: tuple[Literal[1, 2], ...] = ()
    stem: StemKind = "plain"
    pool: PoolKind = "max"
    global_pool: bool = False
    norm: Literal["batch", "weights", "none"] = "batch"
    multi_spike: bool = False
    v_min: float | None = Field(default=None, le=0)
    w_max: float | None = Field(default=None, gt=0)
    gain: float = Field(default=1.0, gt=0)
    centre: float = Field(default=0.5, ge=0, le=1)
    blocks: tuple[str, ...] = Field(default=BLOCKS, min_length=1)

    @field_validator("blocks")
    @classmethod
    def _once(cls, blocks: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(blocks)) < len(blocks):
            raise ValueError(f"{', '.join(blocks)}: each block once")
        return blocks

    @model_validator(mode="after")
    def _means_reach_the_threshold(self) -> Self:
        if self.decay_input and (self.pool == "average" or self.global_pool):
            raise ValueError("with decay_input, neurons never reach their threshold of 1 by a mean of spikes, and the network "
                             "stays silent: set network.decay_input = false beside pool 'average' or global_pool")
        return self

    @property
    def n_positions(self) -> int:
        """Positions that take a block."""
        return sum(w > 0 for w in self.layout)


class InputSettings(_Strict):
    """How data reach the chip: images as messages, biases or rate-coded spikes, or streams of events as they are or, on chips
    with timesteps, as counts in each.

    input_bits limits a graded message (default: what the data needs).
    """

    kind: Literal["graded", "counts", "bias", "rate", "events"] = "graded"
    input_bits: int | None = Field(default=None, ge=1, le=24)


class SupernetSettings(SupernetConfig):
    """Training of the supernet, how each candidate's batch norms are estimated anew, and, on event-driven chips, for how many
    epochs (at the supernet's `lr`) a candidate adapts the weights it took: without batch norms, layers that shared their inputs
    with others are off in scale, and a short adaptation ranks what the shared weights do not. The fitness divides by the mean
    energy and latency of `n_references` architectures of the supernet's log."""

    adapt_epochs: int = Field(default=0, ge=0)
    n_references: int = Field(default=16, ge=1)

    recalibration_batches: int = Field(default=4, ge=1)
    recalibration_batch_size: int = Field(default=128, ge=2)


class QuantizeSettings(_Strict):
    """Fine-tuning starts when quantization costs more than `max_drop` of validation accuracy, or when fewer than
    `min_agreement` of the answers stay the same (both 0..1).

    rule and calibration_samples are those of event-driven chips, whose scales are chosen by running the chip's order of
    events (`mismatch`) or as sinabs does; nothing is fine-tuned there.
    """

    max_drop: float = Field(default=0.005, ge=0, lt=1)
    min_agreement: float = Field(default=0.99, ge=0, le=1)
    qat_epochs: int = Field(default=15, ge=0)
    qat_lr: float = Field(default=1e-3, gt=0)
    rule: Literal["mismatch", "sinabs"] = "mismatch"
    calibration_samples: int = Field(default=24, ge=1)


class PolicySettings(_Strict):
    """SEENN-II's network and its training (`early_exit.policy.PolicyConfig`), one policy for each of `betas`; who runs it.

    choices: lengths that it chooses from, at most, evenly spaced up to the whole; samples: training samples at most.
    host: the GPU profile that runs it (None: the target where that is a GPU, else `DEFAULT_HOST`), or the name of a machine
    whose price of a multiply-accumulate is stated: `energy_per_mac_j`, `time_per_mac_s` (None: not known) and their `source`.
    """

    channels: tuple[PositiveInt, ...] = Field(default=(8, 16), min_length=1, max_length=16)
    epochs: PositiveInt = 60
    batch_size: PositiveInt = 32
    lr: float = Field(default=0.01, gt=0)
    betas: tuple[Annotated[float, Field(ge=0)], ...] = Field(default=(0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0), min_length=1)
    choices: PositiveInt = 8
    samples: int = Field(default=5000, ge=2)
    host: str | None = None
    energy_per_mac_j: float | None = Field(default=None, gt=0)
    time_per_mac_s: float | None = Field(default=None, gt=0)
    source: str | None = Field(default=None, min_length=1)

    @model_validator(mode="after")
    def _price_has_a_source(self) -> Self:
        stated = self.energy_per_mac_j is not None
        if stated != (self.source is not None) or (self.time_per_mac_s is not None and not stated):
            raise ValueError("energy_per_mac_j and source go together, time_per_mac_s with them")
        return self


DEFAULT_HOST = "orin-nano"  # the smallest GPU that has a profile


class ExitSettings(_Strict):
    """SEENN-I: the threshold is the cheapest whose validation accuracy falls by at most `max_drop` (0..1), or, where
    `accuracy` (0..1) is given, that reaches it; or, with `mean_timesteps`, the most accurate that takes at most so many
    (on event-driven chips: readings of the vote) in the mean. A wish that nothing meets gives what comes nearest and a warning.

    method: "policy" is SEENN-II, a network of its own that says beforehand how long a sample runs (`policy`), chosen by the
    same wishes. Candidates of a search are judged by "confidence" either way.
    logits: confidence of the summed votes (as SEENN's release) or of their mean; "either" takes the cheaper of both.
    by, windows: on event-driven chips the vote is read so many times in a sample, at equal numbers of events (of the mean
    sample) or equal times.
    """

    method: Literal["confidence", "policy"] = "confidence"
    max_drop: float = Field(default=0.0, ge=0, lt=1)
    temperature: Annotated[float, Field(gt=0)] | Literal["calibrate"] = 1.0
    logits: Literal["sum", "mean", "either"] = "sum"
    metric: Literal["confidence", "entropy"] = "confidence"
    by: Literal["event", "time"] = "event"
    windows: int = Field(default=32, ge=1, le=4096)
    accuracy: float | None = Field(default=None, gt=0, le=1)
    mean_timesteps: float | None = Field(default=None, ge=1)
    policy: PolicySettings = PolicySettings()

    @model_validator(mode="after")
    def _one_wish(self) -> Self:
        if self.accuracy is not None and self.mean_timesteps is not None:
            raise ValueError("early_exit.accuracy and early_exit.mean_timesteps: one of them")
        return self


class CostSettings(_Strict):
    """What an inference is: samples that follow each other every T steps ("pipelined"), or one alone ("single").

    synops_per_core: of event-driven chips, the synops per second above which a core is flagged; None: what the profile says.
    """

    schedule: Literal["single", "pipelined"] = "pipelined"
    n_chips: int | None = Field(default=None, ge=1)
    synops_per_core: float | None = Field(default=None, gt=0)


class PlaceSettings(_Strict):
    """What the placement is optimised for, on the events of validation images; None: cores in layer order, fewest of them.

    budget: placements that are tried at most. readout: of event-driven chips, the channels of the last core as they are, or
    "padded": spread out so that the chip's readout block finds each class where it looks for it.
    """

    optimise: Literal["latency", "energy", "edp"] | None = None
    budget: int = Field(default=300, ge=1)
    readout: Literal["channels", "padded"] = "channels"


class GpuSettings(_Strict):
    """How a GPU runs the network: `batch` samples at once (figures stand beside those of one alone), in which arithmetic."""

    batch: int = Field(default=64, ge=1, le=2**20)
    precision: Literal["fp32", "bf16", "int8"] = "fp32"


class ExecutorSettings(_Strict):
    """Where candidates are evaluated, which decides nothing about the result: processes of this machine, or a Ray cluster.

    address: of a Ray cluster, `host:port` or "auto" (the one that this machine belongs to); "local" starts one here for the
    time of the search.
    """

    kind: Literal["processes", "ray"] = "processes"
    address: str = Field(default="local", min_length=1)


class DeploySettings(_Strict):
    """What decides how a trained network comes onto a target; travels with the model file. `loss` serves fine-tuning.

    neurons: chips with timesteps take only networks whose neurons they have ("exact"), or give others the nearest that they
    have ("nearest"), with a warning.
    """

    seed: int = Field(default=0, ge=0)
    input: InputSettings = InputSettings()
    quantize: QuantizeSettings = QuantizeSettings()
    early_exit: ExitSettings = ExitSettings()
    cost: CostSettings = CostSettings()
    place: PlaceSettings = PlaceSettings()
    gpu: GpuSettings = GpuSettings()
    neurons: Literal["exact", "nearest"] = "exact"
    loss: Loss = "mse"

    def to_dict(self) -> dict[str, Any]:
        """Plain fields, all defaults filled in but later ones (`_LATER`), which model files need not name."""
        return plain(self)


class Recipe(_Strict):
    """Everything that decides a search, apart from the target; and where it is evaluated.

    device: where networks are trained and candidates judged: "auto" (a GPU where there is one), "cpu", "cuda" or "cuda:N".
    """

    schema_version: Literal[1]
    name: str
    title: str = ""
    seed: int = Field(default=0, ge=0)
    device: str = Field(default="auto", pattern=DEVICE)
    data: DataSettings
    network: NetworkSettings
    input: InputSettings = InputSettings()
    supernet: SupernetSettings
    evolution: EvolutionSettings = EvolutionSettings()
    fitness: FitnessSettings = FitnessSettings()
    train: TrainConfig
    quantize: QuantizeSettings = QuantizeSettings()
    early_exit: ExitSettings = ExitSettings()
    cost: CostSettings = CostSettings()
    place: PlaceSettings = PlaceSettings()
    gpu: GpuSettings = GpuSettings()
    executor: ExecutorSettings = ExecutorSettings()

    @model_validator(mode="after")
    def _one_coding(self) -> Self:
        if self.input.kind == "counts":
            raise ValueError("input.kind 'counts' is that of networks trained elsewhere, on counts of events")
        wanted = {"rate": "rate", "events": "events"}.get(self.input.kind, "direct")
        for name, config in (("supernet", self.supernet), ("train", self.train)):
            if config.encoding != wanted:
                raise ValueError(f"{name}.encoding is {config.encoding!r}, but input.kind {self.input.kind!r} needs {wanted!r}")
        return self

    @property
    def deploy(self) -> DeploySettings:
        """The part that decides how the trained network comes onto the target."""
        return deploy_part(self, self.train.loss)

    @property
    def encodings(self) -> set[str]:
        """How data reach the networks that are trained."""
        return {self.supernet.encoding, self.train.encoding}

    def to_dict(self) -> dict[str, Any]:
        """Plain fields, all defaults filled in but later ones (`_LATER`)."""
        return plain(self)


def deploy_part(recipe: BaseModel, loss: Loss) -> DeploySettings:
    """The part of a recipe that decides how the trained network comes onto the target: the sections of the same names."""
    shared = DeploySettings.model_fields.keys() & type(recipe).model_fields.keys()
    return DeploySettings(**{name: getattr(recipe, name) for name in shared}, loss=loss)


_TERM = "fitness.terms."
# Settings younger than model files that must stay what they are, byte for byte, with their defaults.
_LATER: dict[str, Any] = {
    "early_exit.method": "confidence", "early_exit.policy": PolicySettings(),
    "executor": ExecutorSettings(),
    "gpu": GpuSettings(), "neurons": "exact", "data.size": None, "data.channels": None, "data.per_class": None,
    "network.blocks": BLOCKS, "network.strides": (), "network.stem": "plain", "network.global_pool": False,
    "fitness.terms": {}, "early_exit.accuracy": None, "early_exit.mean_timesteps": None,
    "device": "auto", **{f"{section}.{name}": value for section in ("supernet", "train") for name, value in LATER.items()},
}


def plain(settings: BaseModel) -> dict[str, Any]:
    """Plain fields of a recipe or of deployment settings without later ones (`_LATER`) that have their defaults."""
    fields = settings.model_dump(mode="json")
    for key, default in _LATER.items():
        *section, name = key.split(".")
        holder = getattr(settings, section[0], None) if section else settings
        if getattr(holder, name, None) == default:
            (fields.get(section[0], {}) if section else fields).pop(name, None)
    return fields


def names() -> list[str]:
    """Names of the packaged recipes."""
    return sorted(p.stem for p in folder("searches").glob("*.toml"))


def read(name_or_path: str | Path, overrides: dict[str, Any] | None = None) -> Recipe:
    """A packaged recipe by name, or one of a TOML file, with dotted overrides (`{"evolution.budget": 20}`).

    Raises UsageError naming the unknown recipe, the key that is misspelt, or the value out of range.
    """
    raw, where = read_toml(name_or_path)
    return parse(raw, overrides, where=where)


def read_toml(name_or_path: str | Path) -> tuple[dict[str, Any], str]:
    """(what a packaged recipe or a TOML file holds, unchecked, its file's name); raises UsageError as `read` does."""
    path = Path(name_or_path)
    if path.suffix != ".toml":
        if str(name_or_path) not in names():
            raise UsageError(
                f"unknown recipe {str(name_or_path)!r}", code="unknown_recipe", limit=f"Packaged recipes: {', '.join(names())}",
                remedy="Name one of them, or give the path of a .toml file",
            )
        path = folder("searches") / f"{name_or_path}.toml"
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as err:
        raise UsageError("cannot read the recipe", where=str(path), limit=str(err.strerror or err)) from err
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as err:
        raise UsageError("the recipe is not valid TOML", where=str(path), limit=str(err)) from err
    return raw, path.name


def parse_deploy(raw: dict[str, Any], overrides: dict[str, Any] | None = None) -> DeploySettings:
    """Deployment settings from plain fields with dotted overrides; raises UsageError as `read` does."""
    try:
        full = DeploySettings.model_validate(raw).model_dump(mode="json")
        for key, value in (overrides or {}).items():
            apply_override(full, key, value, where="deployment settings")
        return DeploySettings.model_validate(full)
    except ValidationError as err:
        raise UsageError(describe(err), where="deployment settings") from err


def parse(raw: dict[str, Any], overrides: dict[str, Any] | None = None, *, where: str = "recipe") -> Recipe:
    """A recipe from plain fields (a TOML table, or `Recipe.to_dict()`); raises UsageError as `read` does."""
    if isinstance(network := raw.get("network"), dict) and network.get("family") == "snasnet":
        raise UsageError("a recipe of SNASNet", where=where, code="other_family", limit="This takes those of AutoSNN",
                         remedy="Name another, such as digits")
    try:
        recipe = Recipe.model_validate(raw)
        if overrides:
            full = recipe.model_dump(mode="json")  # all keys, so that a misspelt one is told from one that has its default
            for key, value in overrides.items():
                if key.startswith(_TERM):
                    full["fitness"]["terms"].setdefault(key.removeprefix(_TERM), 0.0)  # any name: who wrote it registered it
                apply_override(full, key, value, where=where)
            recipe = Recipe.model_validate(full)
    except ValidationError as err:
        raise UsageError(describe(err), where=where, remedy="`--dry-run` prints a recipe with all its keys") from err
    return recipe
