"""Each type against the formula of its paper, written here in plain NumPy and float64.

The random numbers are replayed from a generator with the same seed, so results are compared number by number.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torchvision.ops import drop_block2d

from ablation.noise import build, rms

SHAPE = (4, 5, 9, 11)
CLOSE = {"rtol": 1e-4, "atol": 1e-5}


def generator(seed: int = 3) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def features(shape: tuple[int, ...] = SHAPE) -> torch.Tensor:
    draws = generator(11)
    return torch.randn(shape, generator=draws) * 2 + torch.randn(*shape[:2], 1, 1, generator=draws)


def noisy(type_: str, x: torch.Tensor, valid: torch.Tensor | None = None, **arguments: object) -> np.ndarray:
    noise = build(type_, **{"sigma": None, **arguments})
    assert noise is not None
    return noise(x, generator(), valid).detach().numpy()


def masked(x: torch.Tensor) -> tuple[torch.Tensor, list[np.ndarray]]:
    """A mask of which every image keeps a rectangle, and those rectangles of x: N times C×H×W, float64."""
    valid = torch.zeros(len(x), 1, *x.shape[2:], dtype=torch.bool)
    sizes = [(9, 11), (9, 6), (4, 11), (5, 5)]
    for image, (height, width) in enumerate(sizes):
        valid[image, :, :height, :width] = True
    return valid, [x[i, :, :height, :width].double().numpy() for i, (height, width) in enumerate(sizes)]


def standard_normal(draws: torch.Generator, *shape: int) -> np.ndarray:
    return torch.empty(shape).normal_(generator=draws).double().numpy()


@pytest.mark.parametrize(
    ("granularity", "shape"),
    [
        ("element", (4, 5, 9, 11)),
        ("channel", (4, 5, 1, 1)),
        ("position", (4, 1, 9, 11)),
        ("image", (4, 1, 1, 1)),
    ],
)
@pytest.mark.parametrize("shared", (False, True))
@pytest.mark.parametrize("type_", ("gaussian", "speckle", "uniform", "dropout"))
def test_granular_types(type_, granularity, shape, shared):
    x, sigma = features(), 0.4
    shape = (1, *shape[1:]) if shared else shape
    draws = generator()
    expected = x.double().numpy()
    if type_ == "gaussian":
        signal = np.sqrt(np.mean(expected**2, axis=(1, 2, 3), keepdims=True))
        expected = expected + sigma * signal * standard_normal(draws, *shape)
    elif type_ == "speckle":
        expected = expected * (1 + sigma * standard_normal(draws, *shape))
    else:
        u = torch.empty(shape).uniform_(generator=draws).double().numpy()
        if type_ == "uniform":
            half_width = math.sqrt(3) * sigma
            expected = expected * (1 + half_width * (2 * u - 1))
        else:
            p = sigma**2 / (1 + sigma**2)
            expected = expected * (u >= p) / (1 - p)
    result = noisy(type_, x, sigma=sigma, granularity=granularity, shared=shared)
    np.testing.assert_allclose(result, expected, **CLOSE)


def test_gaussian_leaves_padding_out_of_the_rms():
    x = features()
    valid, parts = masked(x)
    z = standard_normal(generator(), *SHAPE)
    result = noisy("gaussian", x, valid, sigma=0.2)
    for image, part in enumerate(parts):
        _, height, width = part.shape
        expected = part + 0.2 * np.sqrt(np.mean(part**2)) * z[image, :, :height, :width]
        np.testing.assert_allclose(result[image, :, :height, :width], expected, **CLOSE)


def test_uniform_of_half_width_a_stays_within_a_and_fills_it():
    x = torch.ones(1, 64, 64, 64)
    result = noisy("uniform", x, params={"half_width": 0.2})
    assert 0.8 <= result.min() < 0.801 and 1.199 < result.max() <= 1.2
    assert np.std(result) == pytest.approx(0.2 / math.sqrt(3), rel=0.01)


def test_uniform_has_the_same_ratio_by_either_parameter():
    by_width = build("uniform", sigma=None, params={"half_width": 0.3})
    assert by_width.sigma == pytest.approx(0.1732, abs=1e-4)


@pytest.mark.parametrize(("type_", "axes"), [("dropout", (0, 1, 2, 3)), ("channel_dropout", (0, 1))])
@pytest.mark.parametrize("p", (0.1, 0.5))
def test_dropout_has_the_law_of_torch(type_, axes, p):
    x = torch.ones(64, 64, 5, 5)
    ours = noisy(type_, x, params={"p": p})
    torch.manual_seed(0)
    theirs = (torch.nn.functional.dropout if type_ == "dropout" else torch.nn.functional.dropout2d)(x, p).numpy()
    np.testing.assert_allclose(np.unique(ours), np.unique(theirs), rtol=1e-6)
    trials = math.prod(x.shape[axis] for axis in axes)
    error = math.sqrt(2 * p * (1 - p) / trials)
    assert abs(np.mean(ours == 0) - np.mean(theirs == 0)) < 4 * error
    if type_ == "channel_dropout":
        assert (ours.reshape(64, 64, -1) == ours[:, :, :1, 0]).all()


def test_dropout_conversions():
    assert build("dropout", sigma=None, params={"p": 0.1}).sigma == pytest.approx(1 / 3)
    assert build("channel_dropout", sigma=None, params={"p": 0.5}).sigma == pytest.approx(1)


def reference_dropblock(x: np.ndarray, u: np.ndarray, p: float, block: int) -> np.ndarray:
    """Algorithm 1 and equation 1 of arXiv 1810.12890; u: N×C×(H-b+1)×(W-b+1) uniform numbers."""
    height, width = x.shape[2:]
    size = min(block, height, width)
    gamma = p / size**2 * (height * width) / ((height - size + 1) * (width - size + 1))
    mask = np.ones_like(x)
    for image, channel, row, column in np.argwhere(u < gamma):
        mask[image, channel, row : row + size, column : column + size] = 0
    return x * mask * mask.size / max(mask.sum(), 1)


@pytest.mark.parametrize("block", (1, 2, 3, 7, 20))
def test_dropblock_is_algorithm_1(block):
    x = features((3, 6, 12, 9))
    size = min(block, 9)
    u = torch.empty(3, 6, 13 - size, 10 - size).uniform_(generator=generator()).numpy()
    result = noisy("dropblock", x, params={"p": 0.3, "block_size": block})
    np.testing.assert_allclose(result, reference_dropblock(x.double().numpy(), u, 0.3, block), **CLOSE)


@pytest.mark.parametrize("p", (0.1, 0.4))
def test_dropblock_equals_torchvision_on_the_same_centres(p, monkeypatch):
    x = features((3, 6, 12, 12))

    def replay(blank: torch.Tensor, gamma: float) -> torch.Tensor:
        u = torch.empty(blank.shape).uniform_(generator=generator())
        return blank.copy_(u < gamma)

    monkeypatch.setattr(torch.Tensor, "bernoulli_", replay)
    theirs = drop_block2d(x, p, block_size=5).numpy()
    np.testing.assert_allclose(noisy("dropblock", x, params={"p": p, "block_size": 5}), theirs, **CLOSE)


def test_dropblock_of_block_one_is_dropout():
    blocks = build("dropblock", sigma=None, params={"p": 0.2, "block_size": 1})
    assert blocks.sigma == pytest.approx(build("dropout", sigma=None, params={"p": 0.2}).sigma)


def test_dropblock_drops_the_fraction_that_its_sigma_says():
    noise = build("dropblock", sigma=0.6, params={"block_size": 7})
    result = noise(torch.ones(1, 32, 128, 128), generator())
    assert (result == 0).float().mean().item() == pytest.approx(0.36 / 1.36, rel=0.04)


@pytest.mark.parametrize("side", (1, 4, 7, 8, 16))
def test_dropblock_has_its_sigma_on_maps_of_the_size_of_a_block_too(side):
    noise = build("dropblock", sigma=1.0, params={"block_size": 7})
    x = torch.ones(8, 128, side, side)
    squares = [(noise(x, generator(seed)) - x).square().mean().item() for seed in range(40)]
    assert np.mean(squares) == pytest.approx(1.0, rel=0.05)


def test_dropblock_counts_only_valid_features_for_its_rescaling():
    x = torch.ones(2, 8, 16, 16)
    valid = torch.zeros(2, 1, 16, 16, dtype=torch.bool)
    valid[:, :, :10, :12] = True
    result = noisy("dropblock", x, valid, params={"p": 0.3, "block_size": 3})
    assert result[:, :, :10, :12].mean() == pytest.approx(1, rel=1e-5)


def test_dropblock_survives_dropping_everything():
    result = noisy("dropblock", torch.ones(1, 1, 2, 2), params={"p": 0.999999, "block_size": 7})
    assert (result == 0).all()


@pytest.mark.parametrize("with_padding", (False, True))
def test_channel_stats_is_normalization_perturbation(with_padding):
    x = features()
    valid, parts = masked(x) if with_padding else (None, list(x.double().numpy()))
    draws = generator()
    alpha, beta = (1 + 0.75 * standard_normal(draws, *SHAPE[:2]) for _ in range(2))
    result = noisy("channel_stats", x, valid, sigma=0.75)
    for image, part in enumerate(parts):
        _, height, width = part.shape
        mean = part.mean(axis=(1, 2))[:, None, None]
        # sigma* = alpha·sigma and mu* = beta·mu are the channel's new statistics.
        std = part.std(axis=(1, 2))[:, None, None]
        a, b = alpha[image][:, None, None], beta[image][:, None, None]
        expected = (a * std) * (part - mean) / std + b * mean
        np.testing.assert_allclose(result[image, :, :height, :width], expected, **CLOSE)


@pytest.mark.parametrize("with_padding", (False, True))
def test_dsu_is_the_paper(with_padding):
    x = features()
    valid, parts = masked(x) if with_padding else (None, list(x.double().numpy()))
    mean = np.stack([part.mean(axis=(1, 2)) for part in parts])
    std = np.stack([np.sqrt(part.var(axis=(1, 2)) + 1e-6) for part in parts])
    draws = generator()
    z_mean, z_std = (standard_normal(draws, *SHAPE[:2]) for _ in range(2))
    beta = mean + z_mean * np.sqrt(mean.var(axis=0) + 1e-6)
    gamma = std + z_std * np.sqrt(std.var(axis=0) + 1e-6)
    result = noisy("dsu", x, valid)
    for image, part in enumerate(parts):
        _, height, width = part.shape
        m, s, g, b = (value[image][:, None, None] for value in (mean, std, gamma, beta))
        np.testing.assert_allclose(result[image, :, :height, :width], g * (part - m) / s + b, **CLOSE)


@pytest.mark.parametrize("with_padding", (False, True))
def test_mixstyle_is_the_paper(with_padding):
    x = features()
    valid, parts = masked(x) if with_padding else (None, list(x.double().numpy()))
    mean = np.stack([part.mean(axis=(1, 2)) for part in parts])
    std = np.stack([np.sqrt(part.var(axis=(1, 2)) + 1e-6) for part in parts])
    draws = generator()
    uniform = torch.empty(2, 4, dtype=torch.float64).uniform_(2.3e-308, 1, generator=draws)
    gammas = torch._standard_gamma(torch.full((2, 4), 1.1, dtype=torch.float64), generator=draws) * uniform**10
    lam = (gammas[0] / gammas.sum(dim=0)).numpy()[:, None]
    order = torch.randperm(4, generator=draws).numpy()
    mean_mix = lam * mean + (1 - lam) * mean[order]
    std_mix = lam * std + (1 - lam) * std[order]
    result = noisy("mixstyle", x, valid)
    for image, part in enumerate(parts):
        _, height, width = part.shape
        m, s, sm, mm = (value[image][:, None, None] for value in (mean, std, std_mix, mean_mix))
        np.testing.assert_allclose(result[image, :, :height, :width], sm * (part - m) / s + mm, **CLOSE)


@pytest.mark.parametrize("alpha", (0.001, 0.01, 0.1, 0.3, 2.0))
def test_mixstyle_weight_has_the_moments_of_its_beta_law(alpha):
    noise = build("mixstyle", sigma=None, params={"alpha": alpha})
    weight = noise._draw_weight(torch.empty(20000, 1, 1, 1), generator()).double()
    assert torch.isfinite(weight).all()
    assert weight.shape == (20000, 1, 1, 1)
    variance = 1 / (4 * (2 * alpha + 1))
    assert weight.mean().item() == pytest.approx(0.5, abs=4 * math.sqrt(variance / 20000))
    assert weight.var().item() == pytest.approx(variance, rel=0.03)


def test_mixstyle_stops_the_gradient_of_its_statistics():
    x = features().requires_grad_()
    y = build("mixstyle", sigma=None)(x, generator())
    y.sum().backward()
    # dy/dx is then one positive number per channel: the ratio of the standard deviations.
    spread = x.grad.amax((2, 3)) - x.grad.amin((2, 3))
    assert spread.max() < 1e-6 and (x.grad > 0).all()


@pytest.mark.parametrize("with_padding", (False, True))
@pytest.mark.parametrize("shared", (False, True))
def test_saliency_dropout_is_f_drop(with_padding, shared):
    x = features() + 1
    valid, parts = masked(x) if with_padding else (None, list(x.double().numpy()))
    t = torch.empty(1 if shared else 4).uniform_(0.6, 0.9, generator=generator()).numpy()
    result = noisy("saliency_dropout", x, valid, shared=shared)
    for image, part in enumerate(parts):
        _, height, width = part.shape
        attention = part.mean(axis=0)
        keep = attention < t[0 if shared else image] * attention.max()
        assert not keep.all()
        np.testing.assert_allclose(result[image, :, :height, :width], part * keep, **CLOSE)


def test_saliency_dropout_passes_the_gradient_of_what_it_keeps():
    x = (features() + 1).requires_grad_()
    y = build("saliency_dropout", sigma=None)(x, generator())
    y.sum().backward()
    assert torch.equal(x.grad, (y != 0).float())


@pytest.mark.parametrize("with_padding", (False, True))
@pytest.mark.parametrize("bits", (1, 2, 4, 8))
def test_quantization_rounds_to_the_levels_of_each_images_range(bits, with_padding):
    x = features()
    valid, parts = masked(x) if with_padding else (None, list(x.double().numpy()))
    result = noisy("quantization", x, valid, params={"bits": bits})
    for image, part in enumerate(parts):
        _, height, width = part.shape
        step = (part.max() - part.min()) / (2**bits - 1)
        expected = part.min() + step * np.round((part - part.min()) / step)
        own = result[image, :, :height, :width]
        # A value halfway between two levels may go either way in float32.
        assert np.mean(np.abs(own - expected) > 1e-4) < 1e-3
        assert len(np.unique(own)) <= 2**bits


def test_quantization_noise_is_a_uniform_rounding_error():
    x = features((1, 16, 64, 64))
    noise = build("quantization", sigma=None, params={"bits": 8})
    step = (x.max() - x.min()).item() / 255
    assert rms(noise(x, generator()) - x).item() == pytest.approx(step / math.sqrt(12), rel=0.02)


def test_quantization_gradient_is_straight_through():
    x = features().requires_grad_()
    noise = build("quantization", sigma=None, params={"bits": 2})
    y = noise(x, generator())
    assert torch.equal(y.detach(), noise(x.detach(), generator()))
    (y * 3).sum().backward()
    assert torch.equal(x.grad, torch.full(SHAPE, 3.0))
