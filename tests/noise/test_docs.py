"""The documentation page names what exists, and its example of a new type works as printed."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf

from ablation import noise

PAGE = (Path(__file__).parents[2] / "docs" / "noise-types.md").read_text(encoding="utf-8")


@pytest.fixture
def example(tmp_path, monkeypatch):
    """The example's values, with its module next to the real ones."""
    code = re.search(r"```python\n(.*?)```", PAGE, re.DOTALL)
    values = re.search(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    (tmp_path / "laplace.py").write_text(code[1], encoding="utf-8")
    monkeypatch.setattr(noise, "__path__", [*noise.__path__, str(tmp_path)])
    noise.available.cache_clear()
    noise.load.cache_clear()
    yield OmegaConf.create(values[1])
    noise.available.cache_clear()
    noise.load.cache_clear()


def test_the_example_is_found_and_acts_as_strong_as_it_says(example):
    assert "laplace" in noise.available()
    built = noise.build(example.type, sigma=example.sigma, params=example.params)
    x = torch.randn(2, 16, 64, 64) + 1
    y = built(x, torch.Generator().manual_seed(0))
    assert (noise.rms(y - x) / noise.rms(x)).mean().item() == pytest.approx(0.1, rel=0.03)
    with pytest.raises(noise.base.ConfigError, match=r"noise\.params\.cutoff must be >= 1, got 0\."):
        noise.build(example.type, sigma=0.1, params={"cutoff": 0})


# A type of your own passes all tests without a row of this page.
SHIPPED = (
    "gaussian",
    "speckle",
    "uniform",
    "dropout",
    "channel_dropout",
    "dropblock",
    "channel_stats",
    "dsu",
    "mixstyle",
    "saliency_dropout",
    "quantization",
)


@pytest.mark.parametrize("name", SHIPPED)
def test_every_type_is_listed_with_its_parameters_and_its_source(name):
    row, source = re.findall(rf"^\| `{name}` \|.*$", PAGE, re.MULTILINE)
    numbers = re.findall(r"arXiv:(\d{4}\.\d{5})", noise.load(name).source)
    assert all(number in source for number in numbers)
    own = {field.name for field in dataclasses.fields(noise.load(name))} - {
        "sigma",
        "scale",
        "granularity",
        "shared",
    }
    assert all(f"`{parameter}`" in row for parameter in own)
