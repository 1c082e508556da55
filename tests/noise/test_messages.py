"""What a user reads when the noise part of a configuration is wrong."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
from conftest import HANGS

from ablation.noise import available, build, load
from ablation.records.errors import ConfigError

NAMES = ", ".join(available())

MESSAGES: list[tuple[str, dict[str, Any], str]] = [
    ("gaussian", {"sigma": -0.1}, "noise.sigma must be >= 0, got -0.1."),
    ("gaussian", {"sigma": "big"}, "noise.sigma must be a finite number >= 0, got 'big'."),
    ("gaussian", {"sigma": float("nan")}, "noise.sigma must be a finite number >= 0, got nan."),
    ("gaussian", {"sigma": True}, "noise.sigma must be a finite number >= 0, got True."),
    ("gaussian", {"sigma": None}, "gaussian needs a strength, got none. Give noise.sigma."),
    (
        "dropout",
        {"sigma": None},
        "dropout needs a strength, got none. Give noise.sigma or noise.params.p.",
    ),
    (
        "dropout",
        {"sigma": 0.1, "params": {"p": 0.5}},
        "noise.sigma=0.1 and noise.params.p=0.5 are both given; keep one.",
    ),
    ("dropout", {"sigma": None, "params": {"p": 1}}, "noise.params.p must be >= 0 and < 1, got 1."),
    ("dropblock", {"sigma": None, "params": {"p": -0.5}}, "noise.params.p must be >= 0 and < 1, got -0.5."),
    (
        "dropblock",
        {"sigma": 0.1, "params": {"block_size": 0}},
        "noise.params.block_size must be >= 1, got 0.",
    ),
    (
        "dropblock",
        {"sigma": 0.1, "params": {"block_size": 2.5}},
        "noise.params.block_size must be a whole number, got 2.5.",
    ),
    (
        "dropblock",
        {"sigma": 0.1, "params": {"blok_size": 3}},
        "noise.params.blok_size is not a parameter of dropblock. It has: block_size, p. Did you mean 'block_size'?",
    ),
    (
        "gaussian",
        {"sigma": 0.1, "params": {"p": 0.1}},
        "noise.params.p is not a parameter of gaussian. It has no parameters; use {}.",
    ),
    (
        "uniform",
        {"sigma": None, "params": {"half_width": -1}},
        "noise.params.half_width must be >= 0, got -1.",
    ),
    (
        "mixstyle",
        {"sigma": None, "params": {"alpha": 0}},
        "noise.params.alpha must be > 0, got 0.",
    ),
    (
        "quantization",
        {"sigma": None, "params": {"bits": 17}},
        "noise.params.bits must be >= 1 and <= 16, got 17.",
    ),
    (
        "saliency_dropout",
        {"sigma": None, "params": {"threshold_low": 0.9, "threshold_high": 0.6}},
        "noise.params.threshold_low must be <= noise.params.threshold_high=0.6, got 0.9. Swap the two.",
    ),
    (
        "dsu",
        {"sigma": 0.1},
        "noise.sigma must be null or 0 (off) for dsu, got 0.1: its strength follows from the features and is "
        "measured. Leave noise.sigma out.",
    ),
    (
        "dropblock",
        {"sigma": 0.1, "granularity": "channel"},
        "noise.granularity=channel makes no sense for dropblock: it drops blocks of positions; "
        "noise.params.block_size sets their size. Set noise.granularity=null.",
    ),
    (
        "speckle",
        {"sigma": 0.1, "scale": "absolute"},
        "noise.scale=absolute makes no sense for speckle: it multiplies the features, so its strength is "
        "relative to them already. Set noise.scale=relative.",
    ),
    (
        "channel_stats",
        {"sigma": 0.1, "shared": True},
        "noise.shared=true makes no sense for channel_stats: it draws for each image, as the paper does. "
        "Set noise.shared=false.",
    ),
    (
        "gaussian",
        {"sigma": 0.1, "granularity": "pixel"},
        "noise.granularity must be one of element, channel, position, image, or null for the type's own, got 'pixel'.",
    ),
    ("gaussian", {"sigma": 0.1, "scale": "db"}, "noise.scale must be relative or absolute, got 'db'."),
    ("gaussian", {"sigma": 0.1, "shared": "yes"}, "noise.shared must be true or false, got 'yes'."),
    (
        "gausian",
        {"sigma": 0.1},
        f"noise.type: 'gausian' is not a noise type. Available: {NAMES}, none. Did you mean 'gaussian'?",
    ),
    ("base", {"sigma": 0.1}, f"noise.type: 'base' is not a noise type. Available: {NAMES}, none."),
]


@pytest.mark.parametrize(("type_", "arguments", "message"), MESSAGES)
def test_message(type_, arguments, message):
    with pytest.raises(ConfigError) as error:
        build(type_, **arguments)
    assert str(error.value) == message


@pytest.mark.parametrize("sigma", (0, None))
def test_wrong_parameters_are_refused_also_when_the_noise_is_off(sigma):
    with pytest.raises(ConfigError, match=r"noise\.params\.bits"):
        build("quantization", sigma=sigma, params={"bits": 0})


@pytest.mark.parametrize("type_", available())
def test_every_axis_is_supported_or_refused_with_a_reason(type_):
    fields = load(type_).__dataclass_fields__
    for axis in ("scale", "granularity", "shared"):
        assert (axis in fields) != (axis in load(type_).refusals)


def test_a_strength_of_none_on_construction_names_the_key():
    with pytest.raises(ConfigError, match=r"^gaussian needs a strength, got none. Give noise.sigma.$"):
        load("gaussian")()


def test_planning_loads_no_torch():
    code = (
        "import sys\n"
        "from ablation.noise import available, build, load\n"
        "for name in available():\n"
        "    build(name, sigma=None if load(name).realised_only else 0.1)\n"
        "heavy = {'torch', 'numpy', 'detectron2', 'omegaconf'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=HANGS)
