"""Typed schemas of the configuration: what may stand in it, and the refusal of everything else.

Hydra composes plain YAML; `validated` turns the composed mapping into these frozen models or raises a
ConfigError that names the key, the value and what is allowed. Nothing here loads torch or detectron2.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from itertools import product
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import ErrorDetails

from ablation import noise as noise_types
from ablation.errors import ConfigError
from ablation.noise.base import Noise

Phase = Literal["train", "eval"]

_NAME = r"^[A-Za-z0-9][A-Za-z0-9._+-]*$"
_DEVICE = r"^(auto|cpu|cuda)$"
_METRIC = r"^((bbox|segm|keypoints)/AP(50|75|s|m|l)?|sem_seg/mIoU)$"
_PATTERNS = {
    _NAME: "letters, digits and . _ + - only, a letter or digit first",
    _DEVICE: "auto, cpu or cuda (which ones: hydra.launcher.gpus=[0,1])",
    _METRIC: "bbox/, segm/ or keypoints/ and AP, AP50, AP75, APs, APm or APl (for example segm/AP), or sem_seg/mIoU",
}
_TYPES = {
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "finite_number": "a finite number",
    "string_type": "text",
    "bool_type": "true or false",
    "list_type": "a list",
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
}
_BOUNDS = {
    "greater_than_equal": ">= {ge}",
    "greater_than": "> {gt}",
    "less_than_equal": "<= {le}",
    "less_than": "< {lt}",
}

# Keys of a detectron2 config that are set or replaced here; an override of them would be silently lost.
_OWNED = {
    "SEED": "use seed",
    "OUTPUT_DIR": "use sweep.root and sweep.name",
    "DATASETS": "use the dataset group",
    "MODEL.WEIGHTS": "use model.weights",
    "MODEL.DEVICE": "use sweep.device",
    "MODEL.ROI_HEADS.NUM_CLASSES": "it follows from the data",
    "MODEL.RETINANET.NUM_CLASSES": "it follows from the data",
    "DATALOADER.NUM_WORKERS": "use sweep.data_workers",
    "SOLVER.CHECKPOINT_PERIOD": "use sweep.checkpoint_period",
    "TEST.EVAL_PERIOD": "the evaluation comes after the training",
    "TEST.AUG": "test-time augmentation is not supported",
    "TEST.PRECISE_BN": "precise batch norm is not supported",
    "train.init_checkpoint": "use model.weights",
    "train.device": "use sweep.device",
    "train.output_dir": "use sweep.root and sweep.name",
    "train.checkpointer": "use sweep.checkpoint_period",
    "train.eval_period": "the evaluation comes after the training",
    "dataloader.train.dataset.names": "use the dataset group",
    "dataloader.train.num_workers": "use sweep.data_workers",
    "dataloader.test.dataset": "use the dataset group",
    "dataloader.evaluator.dataset_name": "use the dataset group",
}

# Those of Michaelis et al., in their order; the package has four more, meant for choosing a method.
CORRUPTIONS = (
    *("gaussian_noise", "shot_noise", "impulse_noise"),
    *("defocus_blur", "glass_blur", "motion_blur", "zoom_blur"),
    *("snow", "frost", "fog", "brightness"),
    *("contrast", "elastic_transform", "pixelate", "jpeg_compression"),
)

_UNSET = "???"  # how YAML for Hydra says that the user must give a value

NAME_LENGTH = 80

Name = Annotated[str, Field(pattern=_NAME, max_length=NAME_LENGTH)]


class _Group(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class ModelConfig(_Group):
    """Which detector: a detectron2 config and the weights it starts from."""

    name: Name
    config: str
    weights: str
    allow_pickle: bool
    imports: list[str]
    overrides: dict[str, Any]

    @model_validator(mode="after")
    def _check_overrides(self) -> ModelConfig:
        for key in flattened(self.overrides):
            owner = next((owner for prefix, owner in _OWNED.items() if f"{key}.".startswith(f"{prefix}.")), None)
            if owner:
                raise ValueError(f"model.overrides.{key} has no effect: {owner}. Leave it out.")
        return self


class ShapesConfig(_Group):
    """The built-in generated data set; sizes in images, image_size in pixels."""

    name: Name
    type: Literal["shapes"]
    seed: Annotated[int, Field(ge=0)]
    train_size: Annotated[int, Field(ge=1)]
    test_size: Annotated[int, Field(ge=1)]
    image_size: Annotated[int, Field(ge=64)]
    folder: str


class _CocoFormat(_Group):
    """What is kept of COCO-format files, and the folder for the files that keeping it needs.

    classes: names of the categories, null for all; train_size, test_size: images drawn by draw_seed, null for all.
    """

    name: Name
    classes: Annotated[list[str], Field(min_length=1)] | None
    train_size: Annotated[int, Field(ge=1)] | None
    test_size: Annotated[int, Field(ge=1)] | None
    draw_seed: Annotated[int, Field(ge=0)]
    folder: str


class CocoConfig(_CocoFormat):
    """The usual tree of COCO: root/annotations/instances_train2017.json, root/train2017, the same for val.

    sem_seg: with the semantic labels of root/panoptic_stuff_train2017.
    """

    type: Literal["coco"]
    root: str
    year: int
    sem_seg: bool


class CocoJsonConfig(_CocoFormat):
    """COCO-format files by path; without a test file, test_share of the images are set apart by draw_seed.

    train_sem_seg, test_sem_seg: folders with a PNG of semantic labels for each image, null for none.
    """

    type: Literal["coco_json"]
    train_json: str
    train_images: str
    test_json: str | None
    test_images: str | None
    train_sem_seg: str | None
    test_sem_seg: str | None
    test_share: Annotated[float, Field(gt=0, lt=1)] | None

    @model_validator(mode="after")
    def _check_test_set(self) -> CocoJsonConfig:
        given = {"dataset.test_json": self.test_json, "dataset.test_images": self.test_images}
        _check_test_set(given, self.test_share, whole="dataset.train_json")
        is_asked = self.train_sem_seg is not None and self.test_share is None
        if (self.test_sem_seg is not None) != is_asked:
            raise ValueError(
                f"dataset.test_sem_seg must be {'given' if is_asked else 'null'} with dataset.train_sem_seg="
                f"{self.train_sem_seg or 'null'} and dataset.test_share={self.test_share or 'null'}, got "
                f"{self.test_sem_seg or 'null'}: both splits have semantic labels, or none has."
            )
        return self


class RegisteredConfig(_CocoFormat):
    """Names in detectron2's DatasetCatalog, which the modules of `imports` put there; test_share as in coco_json."""

    type: Literal["registered"]
    train_name: str
    test_name: str | None
    test_share: Annotated[float, Field(gt=0, lt=1)] | None
    imports: list[str]

    @model_validator(mode="after")
    def _check_test_set(self) -> RegisteredConfig:
        _check_test_set({"dataset.test_name": self.test_name}, self.test_share, whole="dataset.train_name")
        return self


def _check_test_set(given: Mapping[str, str | None], share: float | None, *, whole: str) -> None:
    """Refuse a test set that is given and split off as well, or neither."""
    missing = [key for key, value in given.items() if value is None]
    if share is None and missing:
        raise ValueError(
            f"{', '.join(missing)} must be given. Add to the command: {'=... '.join(missing)}=..., or "
            f"dataset.test_share=0.2 to split {whole}."
        )
    if share is not None and len(missing) < len(given):
        both = ", ".join(f"{key}={value}" for key, value in given.items() if value is not None)
        raise ValueError(f"dataset.test_share={share} splits {whole}, and {both} is given too; keep one.")


DatasetConfig = ShapesConfig | CocoConfig | CocoJsonConfig | RegisteredConfig


_DATASETS = {"shapes": ShapesConfig, "coco": CocoConfig, "coco_json": CocoJsonConfig, "registered": RegisteredConfig}


class NoiseScheduleConfig(_Group):
    """Strength of the training noise over the iterations; start, full and stop in iterations."""

    shape: Literal["constant", "linear", "cosine"]
    start: Annotated[int, Field(ge=0)]
    full: Annotated[int, Field(ge=1)] | None
    stop: Annotated[int, Field(ge=1)] | None

    @model_validator(mode="after")
    def _check_order(self) -> NoiseScheduleConfig:
        for key, end in (("full", self.full), ("stop", self.stop)):
            if end is not None and end <= self.start:
                raise ValueError(f"noise.schedule.{key} must be after noise.schedule.start={self.start}, got {end}.")
        if self.full is not None and self.stop is not None and self.full > self.stop:
            raise ValueError(
                f"noise.schedule.full must be <= noise.schedule.stop={self.stop}, got {self.full}: the full strength "
                "would never be reached."
            )
        if self.shape == "constant" and self.full is not None:
            raise ValueError(
                f"noise.schedule.full={self.full} has no meaning for noise.schedule.shape=constant; "
                "choose linear or cosine, or leave full at null."
            )
        return self


class NoiseConfig(_Group):
    """Which noise, how strong, where and when."""

    type: str
    sigma: float | None
    params: dict[str, Any]
    levels: Literal["all"] | list[str]
    when: Literal["train", "eval", "always"]
    scale: Literal["relative", "absolute"]
    granularity: Literal["element", "channel", "position", "image"] | None
    shared: bool
    destination: Literal["both", "rpn", "roi"]
    probability: Annotated[float, Field(gt=0, le=1)]
    schedule: NoiseScheduleConfig

    @model_validator(mode="after")
    def _check(self) -> NoiseConfig:
        if self.levels != "all" and (not self.levels or len(set(self.levels)) != len(self.levels)):
            raise ValueError(f"noise.levels must be 'all' or a list of distinct levels, got {self.levels}.")
        try:
            noise = self.build()
            if noise is not None and self.schedule.shape != "constant":
                noise.scaled(0.5)  # refuses the types whose strength cannot be set
        except ConfigError as error:
            raise ValueError(str(error)) from error  # so that pydantic goes on and names the other keys too
        if noise is not None and noise.needs_batch and self.when != "train":
            raise ValueError(
                f"noise.type={self.type} mixes the images of a batch, so its result in evaluation would depend on "
                f"the batch size; noise.when must be train, got {self.when}."
            )
        if self.when == "eval" and noise is not None:
            self._check_evaluation_only()
        return self

    def _check_evaluation_only(self) -> None:
        if self.shared:
            raise ValueError(
                "noise.shared=true has no effect with noise.when=eval: an evaluation draws for each image by itself, "
                "so that no result depends on the batch. Leave noise.shared at false."
            )
        if self.schedule != NoiseScheduleConfig(shape="constant", start=0, full=None, stop=None):
            raise ValueError(
                "noise.schedule has no effect with noise.when=eval: it is the strength over the training. "
                "Leave it out, or choose noise.when=train or always."
            )

    def build(self) -> Noise | None:
        """The noise that these keys describe; None when they describe none (type none, or sigma 0)."""
        return noise_types.build(
            self.type,
            sigma=self.sigma,
            scale=self.scale,
            granularity=self.granularity,
            shared=self.shared,
            params=self.params,
        )

    def acts(self, phase: Phase) -> bool:
        """Whether there is noise in this phase."""
        return self.build() is not None and self.when in (phase, "always")


class ScheduleConfig(_Group):
    """The training's length and rate; null leaves it to the model's config."""

    iterations: Annotated[int, Field(ge=0)] | None
    epochs: Annotated[float, Field(gt=0)] | None
    batch_size: Annotated[int, Field(ge=1)] | None
    devices: Annotated[int, Field(ge=1)]
    lr: Annotated[float, Field(gt=0)] | None
    warmup: Annotated[int, Field(ge=0)] | None
    decay: Literal["step", "cosine"] | None
    weight_decay: Annotated[float, Field(ge=0)] | None
    clip_norm: Annotated[float, Field(gt=0)] | None
    amp: bool | None

    @model_validator(mode="after")
    def _check_length(self) -> ScheduleConfig:
        if self.iterations is not None and self.epochs is not None:
            raise ValueError(
                f"schedule.iterations={self.iterations} and schedule.epochs={self.epochs:g} both set the length. "
                "Give one of them."
            )
        if self.batch_size is not None:
            self.share(self.batch_size)
        return self

    def share(self, batch_size: int) -> int:
        """Images of a batch that each device gets.

        Raises:
            ValueError: they cannot be shared out evenly.
        """
        if batch_size % self.devices:
            raise ValueError(
                f"schedule.batch_size must be a multiple of schedule.devices={self.devices}, got {batch_size}: each "
                "device takes an equal share of the batch."
            )
        return batch_size // self.devices

    def length(self, images: int, batch_size: int) -> int | None:
        """Iterations that were asked for, an epoch being once through the images; None for those of the config."""
        if self.epochs is None:
            return self.iterations
        return max(1, math.ceil(self.epochs * images / batch_size))


@dataclass(frozen=True)
class GridCell:
    """One noise of the grid, and which of its independent draws."""

    type: str
    sigma: float
    levels: str | list[str]
    draw: int
    noise: NoiseConfig


class NoiseGridConfig(_Group):
    """Test noise that every trained model meets besides its own: each type at each sigma on each choice of levels."""

    sigmas: list[Annotated[float, Field(ge=0)]]
    types: Annotated[list[str], Field(min_length=1)]
    levels: Annotated[list[Literal["all"] | list[str]], Field(min_length=1)]
    draws: Annotated[int, Field(ge=1)]

    @model_validator(mode="after")
    def _check(self) -> NoiseGridConfig:
        try:
            self.cells()
        except ValidationError as error:
            reason = error.errors()[0]
            raise ValueError(f"evaluation.noise_grid: {reason.get('ctx', {}).get('error', reason['msg'])}") from error
        return self

    def cells(self) -> list[GridCell]:
        """Every cell; one for all draws where there is no noise to draw."""
        return [
            GridCell(type_, sigma, levels, draw, _test_noise(type_, sigma, levels))
            for type_, levels, sigma in product(self.types, self.levels, self.sigmas)
            for draw in range(self.draws if sigma else 1)
        ]


def _test_noise(type_: str, sigma: float, levels: Literal["all"] | list[str]) -> NoiseConfig:
    return NoiseConfig(
        type=type_,
        sigma=sigma,
        params={},
        levels=levels,
        when="eval",
        scale="relative",
        granularity=None,
        shared=False,
        destination="both",
        probability=1.0,
        schedule=NoiseScheduleConfig(shape="constant", start=0, full=None, stop=None),
    )


class EvaluationConfig(_Group):
    """How a trained model is measured."""

    primary_metric: Annotated[str, Field(pattern=_METRIC)]
    batch_size: Annotated[int, Field(ge=1)]
    loss_period: Annotated[int, Field(ge=1)] | None
    noise_grid: NoiseGridConfig
    corruptions: Literal["all"] | list[str]
    severities: Annotated[list[Annotated[int, Field(ge=1, le=5)]], Field(min_length=1)]
    pictures: Annotated[int, Field(ge=0)]

    @model_validator(mode="after")
    def _check_corruptions(self) -> EvaluationConfig:
        for name in self.corruptions if self.corruptions != "all" else ():
            if name not in CORRUPTIONS:
                raise ValueError(
                    f"evaluation.corruptions: {name!r} is not one. {did_you_mean(name, ['all', *CORRUPTIONS])}"
                )
        for key, values in (("corruptions", self.corruptions), ("severities", self.severities)):
            if values != "all" and len(set(values)) < len(values):
                raise ValueError(f"evaluation.{key} must be distinct, got {values}: each counts once in mPC.")
        return self

    def conditions(self) -> list[tuple[str, int]]:
        """Each corruption that is asked for at each severity, in the benchmark's order; empty for none."""
        names = CORRUPTIONS if self.corruptions == "all" else sorted(self.corruptions, key=CORRUPTIONS.index)
        return list(product(names, sorted(self.severities)))


class SweepConfig(_Group):
    """Where results go and how the work is done; never part of an identity."""

    name: Name | None
    root: str
    dry_run: bool
    allow_other_versions: bool
    device: Annotated[str, Field(pattern=_DEVICE)]
    threads: Annotated[int, Field(ge=1)]
    data_workers: Annotated[int, Field(ge=0)]
    checkpoint_period: Annotated[int, Field(ge=1)]
    keep_checkpoints: Annotated[int, Field(ge=0)]
    determinism: Literal["off", "warn", "strict"]
    log_period: Annotated[int, Field(ge=1)]


class RunConfig(_Group):
    """One cell of a grid: everything that decides one run."""

    model: ModelConfig
    dataset: Annotated[DatasetConfig, Field(discriminator="type")]
    noise: NoiseConfig
    schedule: ScheduleConfig
    evaluation: EvaluationConfig
    sweep: SweepConfig
    seed: Annotated[int, Field(ge=0, lt=2**31)]

    @model_validator(mode="after")
    def _check_noise_against_schedule(self) -> RunConfig:
        start, iterations = self.noise.schedule.start, self.schedule.iterations
        if iterations == 0 and self.noise.acts("train"):
            raise ValueError(
                f"schedule.iterations=0 trains nothing, so noise.when={self.noise.when} has no meaning. Choose "
                "noise.when=eval, or noise=none with evaluation.noise_grid.sigmas=[...]."
            )
        if iterations is not None and start >= iterations and self.noise.acts("train"):
            raise ValueError(
                f"noise.schedule.start must be < schedule.iterations={iterations}, got {start}: "
                "the noise would never act."
            )
        full = self.noise.schedule.full
        if iterations is not None and full is not None and full > iterations and self.noise.acts("train"):
            raise ValueError(
                f"noise.schedule.full must be <= schedule.iterations={iterations}, got {full}: the full strength "
                "would never be reached."
            )
        built = self.noise.build()
        size, devices = self.schedule.batch_size, self.schedule.devices
        if built is not None and built.needs_batch and size == devices:
            shared = f" on {devices} devices" if devices > 1 else ""
            raise ValueError(
                f"schedule.batch_size must be >= {2 * devices} for noise.type={self.noise.type}{shared}, got {size}: "
                "it is made of differences between the images of a batch."
            )
        return self

    @property
    def sweep_name(self) -> str:
        """The sweep's folder name; by default <model>-<dataset>, so that a repeated command resumes."""
        return self.sweep.name or f"{self.model.name}-{self.dataset.name}"


def validated(composed: Mapping[str, Any]) -> RunConfig:
    """The typed configuration of a composed mapping.

    Raises:
        ConfigError: naming every key that is missing, unknown, of the wrong type or out of range.
    """
    if unset := [key for key, value in flattened(composed).items() if value == _UNSET]:
        raise ConfigError(f"{', '.join(unset)} must be given. Add to the command: {'=... '.join(unset)}=...")
    try:
        return RunConfig.model_validate(composed)
    except ValidationError as error:
        raise ConfigError("\n".join(_explained(error.errors(), composed))) from error


def flattened(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mappings as one mapping of dotted keys; lists stay values, an empty mapping vanishes."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            flat |= flattened(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def did_you_mean(wrong: str, allowed: list[str]) -> str:
    """A hint for a misspelt name or dotted key, or the list of what is allowed when nothing is near."""
    last_parts = {name.rpartition(".")[2]: name for name in allowed}
    near = get_close_matches(wrong.rpartition(".")[2], last_parts, n=1)
    return f"Did you mean {last_parts[near[0]]}?" if near else f"Allowed: {', '.join(allowed)}."


def _explained(errors: list[ErrorDetails], composed: Mapping[str, Any]) -> list[str]:
    """One line for each key; the arms of a union (all, or a list of levels) share theirs."""
    by_key: dict[str, list[ErrorDetails]] = {}
    for error in errors:
        by_key.setdefault(_dotted(error, composed), []).append(error)
    return [_line(key, found, composed) for key, found in by_key.items()]


def _dotted(error: ErrorDetails, composed: Mapping[str, Any]) -> str:
    # The discriminator's tag (shapes, coco_json) and the arms of a union stand in pydantic's path; users never
    # typed them, so only the keys that really lead into the configuration are kept.
    key, node = [], composed
    for part in error["loc"]:
        if isinstance(part, str) and isinstance(node, Mapping) and (part in node or error["type"] == "missing"):
            key.append(part)
            node = node.get(part, {})
    if error["type"] in ("union_tag_invalid", "union_tag_not_found"):
        key.append("type")
    return ".".join(key)


def _line(key: str, errors: list[ErrorDetails], composed: Mapping[str, Any]) -> str:
    first = errors[0]
    if first["type"] == "value_error":
        return str(first["ctx"]["error"])
    if first["type"] in ("missing", "union_tag_not_found"):
        return f"{key} is missing. Add to the command: +{key}=..."
    if first["type"] == "extra_forbidden":
        return f"{key} is not a key. {did_you_mean(key, _known_beside(key, composed))}"
    allowed = " or ".join(dict.fromkeys(_allowed(error) for error in errors))
    given = _value_at(composed, key)
    return f"{key} must be {allowed}, got {'null' if given is None else repr(given)}."


def _allowed(error: ErrorDetails) -> str:
    kind, context = error["type"], error.get("ctx", {})
    if kind in _BOUNDS:
        return _BOUNDS[kind].format(**context).removesuffix(".0")
    if kind == "literal_error":
        return str(context["expected"])
    if kind == "union_tag_invalid":
        return str(context["expected_tags"]).replace(", ", " or ")
    if kind == "string_pattern_mismatch":
        return _PATTERNS[context["pattern"]]
    if kind == "string_too_long":
        return f"at most {context['max_length']} characters long"
    is_item = isinstance(error["loc"][-1], int)
    return f"a list of {_TYPES[kind]}" if is_item else _TYPES.get(kind, error["msg"])


def _value_at(composed: Mapping[str, Any], key: str) -> Any:
    node: Any = composed
    for part in key.split("."):
        node = node.get(part)
    return node


def _known_beside(key: str, composed: Mapping[str, Any]) -> list[str]:
    """The keys that the schema has where an unknown one stands."""
    parent, _, _ = key.rpartition(".")
    schema: Any = RunConfig
    for part in parent.split(".") if parent else []:
        schema = schema.model_fields[part].annotation
        if part == "dataset":
            schema = _DATASETS[_value_at(composed, "dataset.type")]
    return [f"{parent}.{name}" if parent else name for name in schema.model_fields]
