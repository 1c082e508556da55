"""Ids of trainings and runs: hashes of everything that decides a result, and of nothing else.

The output folder, the device, worker counts and batch sizes of the evaluation are left out.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from ablation.config.keys import flatten
from ablation.config.noise import Phase
from ablation.config.schemas import RunConfig
from ablation.data.dataset import Dataset
from ablation.models.locate import model_fingerprint


@dataclass(frozen=True)
class Identity:
    """Ids of one configuration.

    Attributes:
        training_id: names the training, which several runs may share.
        run_id: names the training and its evaluation.
        model: short hash of the content of the model's files.
        data: short hash of the content of the data set.
    """

    training_id: str
    run_id: str
    model: str
    data: str


def identify(config: RunConfig, dataset: Dataset) -> Identity:
    """Compute the ids of a configuration.

    Raises:
        AblationError: a file that the configuration names is missing or unreadable.
    """
    noise = config.noise
    default_keys = {"devices"} if config.schedule.devices == 1 else None  # newer than many ids
    training_content = {
        "model": model_fingerprint(config.model),
        "schedule": config.schedule.model_dump(exclude_none=True, exclude=default_keys),
        "data": dataset.fingerprint("train"),
        "seed": config.seed,
        "noise": _noise_content(config, "train"),
    }
    training_id = f"{_slug(config, noise.acts('train'))}-{_digest(training_content)}"
    run_content: dict[str, Any] = {
        "training": training_id,
        "data": dataset.fingerprint("test"),
        "noise": _noise_content(config, "eval"),
    }
    if config.evaluation.noise_grid.sigmas:
        run_content["grid"] = config.evaluation.noise_grid.model_dump()
    if conditions := config.evaluation.conditions():
        run_content["corruptions"] = conditions
    when = f"-{noise.when}" if noise.acts("eval") else ""
    slug = _slug(config, noise.acts("train") or noise.acts("eval"))
    return Identity(
        training_id,
        f"{slug}{when}-{_digest(run_content)}",
        model=_digest({"model": training_content["model"]}),
        data=_digest({"train": training_content["data"], "test": run_content["data"]}),
    )


def _noise_content(config: RunConfig, phase: Phase) -> Mapping[str, Any] | None:
    noise, built = config.noise, config.noise.built
    if built is None or not noise.acts(phase):
        return None
    content = {
        "type": noise.type,
        "parameters": asdict(built),
        "levels": noise.levels if noise.levels == "all" else sorted(noise.levels),
        "destination": noise.destination,
        "probability": noise.probability,
    }
    return content | ({"schedule": noise.schedule.model_dump()} if phase == "train" else {})


def _slug(config: RunConfig, has_noise: bool) -> str:
    if not has_noise:
        return f"baseline-s{config.seed}"
    noise = config.noise
    strength = {"sigma": noise.sigma} if noise.sigma is not None else {}
    parameters = strength | {k: v for k, v in flatten(noise.params).items() if v is not None}
    levels = "" if noise.levels == "all" else "-" + "".join(sorted(noise.levels))
    numbers = "".join(f"-{key}{value:g}" for key, value in parameters.items() if isinstance(value, (int, float)))
    return f"{noise.type}{numbers}{levels}-s{config.seed}"


def _digest(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:8]
