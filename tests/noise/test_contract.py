"""What every noise type promises, checked on every YAML in conf/noise/. A new type needs no edit here."""

from __future__ import annotations

import dataclasses
import math
import random
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf

from ablation.noise import Noise, available, build, load, rms
from ablation.records.errors import ConfigError

FOLDER = Path(__file__).parents[2] / "conf" / "noise"
FILES = sorted(path.stem for path in FOLDER.glob("*.yaml"))
TYPES = [name for name in FILES if name != "none"]
SET_TYPES = [name for name in TYPES if not load(name).realised_only]
GRANULAR = [name for name in TYPES if "granularity" in {field.name for field in dataclasses.fields(load(name))}]
SHARED_KEYS = {"type", "sigma", "params", "granularity", "shared", "probability"}
DTYPES = (torch.float32, torch.float16, torch.bfloat16)


@cache
def yaml(name: str) -> dict[str, Any]:
    return OmegaConf.to_container(OmegaConf.load(FOLDER / f"{name}.yaml"))


def make(name: str, sigma: float = 0.3, **changes: Any) -> Noise:
    """The type with its YAML's values; the strength is filled in where the YAML leaves it open."""
    cfg = yaml(name)
    axes = {key: cfg[key] for key in ("granularity", "shared") if key in cfg} | changes
    noise = build(name, sigma=None if load(name).realised_only else sigma, params=cfg["params"], **axes)
    assert noise is not None
    return noise


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def features(*shape: int, dtype: torch.dtype = torch.float32, seed: int = 7) -> torch.Tensor:
    """Generic features: mean and spread differ between images and channels, and neither is 0 or 1."""
    draws = generator(seed)
    n, c = shape[:2]
    mean = torch.randn(n, c, 1, 1, generator=draws) + 0.5
    std = torch.rand(n, c, 1, 1, generator=draws) + 0.5
    return (torch.randn(shape, generator=draws) * std + mean).to(dtype)


def ratio(noise: Noise, x: torch.Tensor, draws: int = 1) -> float:
    squares = [
        (rms(noise(x, generator(seed)).float() - x.float()) / rms(x)).square().mean().item() for seed in range(draws)
    ]
    return math.sqrt(sum(squares) / draws)


def test_every_type_has_a_yaml_and_every_yaml_a_type():
    assert set(TYPES) == set(available())
    assert "none" in FILES


@pytest.mark.parametrize("name", FILES)
def test_yaml_holds_the_keys_of_the_type_with_its_defaults(name):
    cfg = yaml(name)
    assert cfg["type"] == name
    assert set(cfg) <= SHARED_KEYS
    assert {"type", "sigma", "params"} <= set(cfg)
    if name != "none":
        fields = {field.name: field.default for field in dataclasses.fields(load(name))}
        own = {key: default for key, default in fields.items() if key not in SHARED_KEYS | {"scale"}}
        assert cfg["params"] == own


@pytest.mark.parametrize("name", TYPES)
def test_class_describes_itself(name):
    noise = load(name)
    assert noise.formula and "\n" not in noise.formula
    assert noise.source
    assert dataclasses.is_dataclass(noise) and noise.__dataclass_params__.frozen
    assert noise.native is None or yaml(name)["params"][noise.native] is None


@pytest.mark.parametrize("name", TYPES)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("layout", (torch.contiguous_format, torch.channels_last), ids=("nchw", "nhwc"))
def test_shape_dtype_device_and_layout_are_kept_and_the_input_is_not_changed(name, dtype, layout):
    x = features(3, 8, 12, 10, dtype=dtype).contiguous(memory_format=layout)
    before = x.clone()
    y = make(name)(x, generator())
    assert (y.shape, y.dtype, y.device) == (x.shape, x.dtype, x.device)
    assert y.is_contiguous(memory_format=layout)
    assert torch.equal(x, before)
    assert not torch.equal(y, x)
    assert torch.isfinite(y).all()


@pytest.mark.parametrize("name", TYPES)
def test_a_cropped_view_gets_the_noise_of_its_copy(name):
    x = features(3, 8, 12, 10)
    crop = x[..., :9, :7]
    # Sums over other strides round differently; the draws are the same.
    view, copy = (make(name)(value, generator()) for value in (crop, crop.clone()))
    assert torch.allclose(view, copy, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", TYPES)
def test_gradients_flow_and_equal_finite_differences(name):
    if name == "quantization":
        pytest.skip("its gradient is straight-through by definition; see test_reference")
    if name == "mixstyle":
        pytest.skip("its statistics have no gradient by definition; see test_reference")
    x = features(2, 3, 8, 8)
    direction = features(2, 3, 8, 8, seed=8)
    weight = features(2, 3, 8, 8, seed=9)
    leaf = x.clone().requires_grad_()
    (make(name)(leaf, generator()) * weight).sum().backward()
    if name == "gaussian":  # rms(x) is part of the noise, not of the function that is learnt
        assert torch.equal(leaf.grad, weight)
        return
    step = 1e-2
    up, down = (make(name)(x + sign * step * direction, generator()) for sign in (1, -1))
    numeric = ((up - down) * weight).sum().double() / (2 * step)
    assert (leaf.grad * direction).sum().item() == pytest.approx(numeric.item(), rel=2e-2, abs=2e-2)


@pytest.mark.parametrize("name", TYPES)
def test_a_non_leaf_input_passes_its_gradient_on(name):
    leaf = features(2, 8, 8, 8).requires_grad_()
    make(name)(leaf * 1.0, generator()).square().sum().backward()
    assert leaf.grad is not None and leaf.grad.abs().sum() > 0 and torch.isfinite(leaf.grad).all()


@pytest.mark.parametrize("name", TYPES)
def test_no_grad_is_respected_and_changes_no_value(name):
    x = features(2, 8, 8, 8).requires_grad_()
    with torch.no_grad():
        y = make(name)(x, generator())
    assert not y.requires_grad
    assert torch.equal(y, make(name)(x, generator()).detach())
    assert not make(name)(x.detach(), generator()).requires_grad


@pytest.mark.parametrize("name", TYPES)
def test_global_random_states_are_untouched(name):
    x = features(2, 8, 8, 8)
    states = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()
    make(name)(x, generator())
    assert torch.equal(torch.get_rng_state(), states[0])
    assert np.array_equal(np.random.get_state()[1], states[1])
    assert random.getstate() == states[2]


@pytest.mark.parametrize("name", TYPES)
def test_a_seed_reproduces_and_another_differs(name):
    x = features(3, 8, 8, 8)
    noise = make(name)
    assert torch.equal(noise(x, generator(1)), noise(x, generator(1)))
    # A discrete draw may coincide once (saliency_dropout, mixstyle), not in all of five seeds.
    differs = any(not torch.equal(noise(x, generator(1)), noise(x, generator(seed))) for seed in range(2, 7))
    assert differs != noise.deterministic


@pytest.mark.parametrize("name", [name for name in TYPES if not load(name).deterministic])
def test_successive_calls_differ(name):
    x, noise, draws = features(3, 8, 8, 8), make(name), generator()
    results = [noise(x, draws) for _ in range(6)]
    assert any(not torch.equal(results[0], other) for other in results[1:])


@pytest.mark.parametrize("name", TYPES)
def test_sigma_zero_is_the_input_itself(name):
    x = features(1, 8, 8, 8)
    assert load(name)(sigma=0)(x, generator()) is x
    assert load(name)(sigma=0.0).is_off
    assert build(name, sigma=0, params=yaml(name)["params"]) is None


@pytest.mark.parametrize("name", [name for name in TYPES if load(name).native])
def test_a_native_strength_of_zero_is_off(name):
    assert build(name, sigma=None, params={load(name).native: 0}) is None


def test_none_is_off_at_any_sigma():
    assert build("none", sigma=yaml("none")["sigma"], params=yaml("none")["params"]) is None
    assert build("none", sigma=0.1) is None


@pytest.mark.parametrize("name", TYPES)
@pytest.mark.parametrize("shape", ((2, 8, 1, 1), (2, 1, 8, 8), (2, 1, 1, 1), (2, 3, 2, 5)), ids=str)
@pytest.mark.parametrize("value", (None, 0.0, -1.0), ids=("generic", "zero", "negative"))
def test_small_maps_one_channel_and_constant_features_give_no_nan(name, shape, value):
    x = (features(*shape) if value is None else torch.full(shape, value)).requires_grad_()
    y = make(name)(x, generator())
    y.sum().backward()
    assert y.shape == x.shape
    assert torch.isfinite(y).all() and torch.isfinite(x.grad).all()


@pytest.mark.parametrize("name", TYPES)
def test_a_batch_of_one_works_or_is_refused_with_the_reason(name):
    x, noise = features(1, 8, 8, 8), make(name)
    if noise.needs_batch:
        with pytest.raises(ConfigError, match=f"noise.type={name} .* undefined for a batch of 1"):
            noise(x, generator())
    else:
        assert torch.isfinite(noise(x, generator())).all()


@pytest.mark.parametrize("name", TYPES)
def test_large_half_precision_features_overflow_no_statistic(name):
    base = 6e4 - 1e3 * torch.rand(2, 8, 16, 16, generator=generator())
    y = make(name, sigma=0.01)(base.half(), generator()).float()
    # The noise itself may leave the range of float16 on features like these, but only where the float32
    # result does; a statistic that overflowed would take whole images with it.
    wide = make(name, sigma=0.01)(base.half().float(), generator())
    fits = wide.abs() < 6.5e4
    assert fits.float().mean() > 0.9
    assert torch.isfinite(y[fits]).all()


@pytest.mark.parametrize("name", TYPES)
def test_padding_does_not_influence_the_valid_part(name):
    x = features(3, 8, 12, 10)
    valid = torch.zeros(3, 1, 12, 10, dtype=torch.bool)
    for image, (height, width) in enumerate(((12, 10), (9, 10), (7, 6))):
        valid[image, :, :height, :width] = True
    other = torch.where(valid, x, 1e4)
    one, two = (make(name)(value, generator(), valid) for value in (x, other))
    assert torch.allclose(torch.where(valid, one, 0), torch.where(valid, two, 0), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", TYPES)
def test_an_all_valid_mask_changes_nothing(name):
    x = features(3, 8, 12, 10)
    one = make(name)(x, generator())
    two = make(name)(x, generator(), torch.ones(3, 1, 12, 10, dtype=torch.bool))
    assert torch.allclose(one, two, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", SET_TYPES)
@pytest.mark.parametrize("sigma", (0.1, 0.5))
def test_realised_ratio_is_sigma_within_the_sampling_error(name, sigma):
    x, noise = features(2, 64, 32, 32), make(name, sigma)
    squares = [(rms(noise(x, generator(seed)) - x) / rms(x)).square().mean().item() for seed in range(40)]
    error = np.std(squares, ddof=1) / math.sqrt(len(squares))
    assert abs(np.mean(squares) - sigma**2) < 4 * error
    assert error < 0.2 * sigma**2


@pytest.mark.parametrize("name", SET_TYPES)
@pytest.mark.parametrize("dtype", (torch.float16, torch.bfloat16), ids=str)
def test_realised_ratio_is_sigma_in_half_precision(name, dtype):
    x = features(2, 64, 48, 48, dtype=dtype)
    assert ratio(make(name, 0.3), x, draws=2) == pytest.approx(0.3, rel=0.04)


@pytest.mark.parametrize("name", GRANULAR)
@pytest.mark.parametrize("granularity", ("element", "channel", "position", "image"))
@pytest.mark.parametrize("shared", (False, True))
def test_realised_ratio_and_shape_of_the_draw_follow_the_granularity(name, granularity, shared):
    noise = make(name, 0.4, granularity=granularity, shared=shared)
    x = torch.ones(6, 5, 4, 3)
    delta = (noise(x, generator()) - x).double()
    constant = {"element": (), "channel": (2, 3), "position": (1,), "image": (1, 2, 3)}[granularity]
    constant = constant + ((0,) if shared else ())
    for dimension in range(4):
        spread = (delta - delta.select(dimension, 0).unsqueeze(dimension)).abs().max()
        assert (spread < 1e-6) == (dimension in constant)
    assert ratio(noise, torch.ones(6, 5, 4, 3), draws=400) == pytest.approx(0.4, rel=0.12)


@pytest.mark.parametrize("name", [name for name in TYPES if load(name).realised_only])
def test_measured_types_have_no_set_strength(name):
    noise = make(name)
    assert noise.sigma is None
    assert ratio(noise, features(4, 16, 16, 16)) > 0
    with pytest.raises(ConfigError, match=r"noise\.schedule.shape must be constant"):
        noise.scaled(0.5)


@pytest.mark.parametrize("name", SET_TYPES)
def test_scaled_multiplies_what_was_given(name):
    noise = make(name, 0.4)
    assert noise.scaled(0.5).sigma == pytest.approx(0.2)
    assert noise.scaled(0).is_off
    native = noise.native
    if native:
        given = load(name)(**{native: 0.4})
        assert getattr(given.scaled(0.5), native) == pytest.approx(0.2)
        assert given.scaled(0.5) == load(name)(**{native: 0.2})


def test_gaussian_absolute_is_in_feature_units():
    noise = build("gaussian", sigma=0.3, scale="absolute")
    x = 100 * features(2, 64, 32, 32)
    assert (noise(x, generator()) - x).std().item() == pytest.approx(0.3, rel=0.02)


def test_gaussian_and_rms_stand_infinite_padding():
    x = features(2, 8, 8, 8)
    valid = torch.ones(2, 1, 8, 8, dtype=torch.bool)
    valid[..., 6:] = False
    x[..., 6:] = math.inf
    assert torch.allclose(rms(x, valid), rms(x[..., :6]))
    assert torch.isfinite(make("gaussian")(x, generator(), valid)[..., :6]).all()


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_rms_is_exact_over_parts_and_masks(dtype):
    x = features(2, 40, 128, 256, dtype=dtype)  # several parts of the reduction
    valid = torch.rand(2, 1, 128, 256, generator=generator()) < 0.7
    squares = x.double().square()
    whole = squares.mean(dim=(1, 2, 3), keepdim=True).sqrt().float()
    masked = ((squares * valid).sum((1, 2, 3), keepdim=True) / (40 * valid.sum((1, 2, 3), keepdim=True))).sqrt()
    assert rms(x).shape == (2, 1, 1, 1) and rms(x).dtype == torch.float32
    assert torch.allclose(rms(x), whole, rtol=1e-4)
    assert torch.allclose(rms(x, valid), masked.float(), rtol=1e-4)
    assert rms(x, torch.zeros_like(valid)).tolist() == [[[[0.0]]], [[[0.0]]]]
    assert not rms(x.requires_grad_()).requires_grad


@pytest.mark.parametrize("name", GRANULAR)
def test_one_shared_draw_for_one_image_keeps_the_memory_format(name):
    x = features(1, 8, 6, 5).to(memory_format=torch.channels_last)
    y = make(name, 0.4, shared=True)(x, generator())
    assert y.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("name", TYPES)
@pytest.mark.parametrize("dtype", (torch.float32, torch.float16, torch.bfloat16), ids=str)
@pytest.mark.parametrize("shape", ((2, 8, 1, 1), (2, 1, 6, 5), (2, 8, 6, 5)), ids=str)
@pytest.mark.parametrize("layout", (torch.contiguous_format, torch.channels_last), ids=str)
def test_odd_shapes_and_zeros_are_finite_in_every_dtype_and_layout(name, dtype, shape, layout):
    mask = torch.ones(shape[0], 1, *shape[2:], dtype=torch.bool)
    mask[0, :, 0, -1] = shape[-1] == 1  # a padded corner, where there is more than one position
    for values in (torch.zeros(shape, dtype=dtype), features(*shape, dtype=dtype)):
        x = values.contiguous(memory_format=layout)
        for valid in (None, mask):
            y = make(name)(x, generator(), valid)
            assert (y.dtype, y.shape) == (dtype, x.shape)
            assert torch.isfinite(y).all()


@pytest.mark.parametrize("name", SET_TYPES)
def test_the_noise_has_no_mean(name):
    x, noise = features(4, 32, 16, 16), make(name, 0.3)
    shifts = torch.stack([(noise(x, generator(seed)) - x).mean() for seed in range(60)]).double()
    assert abs(shifts.mean()) < 4 * shifts.std() / math.sqrt(len(shifts)) + 1e-3
