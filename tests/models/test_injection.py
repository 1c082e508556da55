"""Noise goes in by hooks, where it was configured and nowhere else, and comes out again."""

import math

import numpy as np
import pytest
import torch

from ablation.config.noise import NoiseScheduleConfig
from ablation.config.schemas import validate_config
from ablation.data.build import build_dataset
from ablation.data.loaders import evaluation_loader, register
from ablation.models.build import build_detector
from ablation.models.injection import Injection, strength_at
from ablation.noise.base import rms
from ablation.records.errors import ConfigError, NoiseNotApplied


@pytest.fixture(scope="module")
def world(module_compose, micro):
    """A micro model in evaluation mode and a loader of its test images."""
    config = validate_config(module_compose(*micro))
    dataset = build_dataset(config.dataset)
    dataset.prepare()
    detector = build_detector(config, dataset)
    torch.manual_seed(0)
    model = detector.build().eval()
    name = register(dataset.split("test"))
    mapper = detector.mapper(name, augmented=False, annotated=False)
    return model, lambda batch_size: evaluation_loader(mapper, name, batch_size)


@pytest.fixture
def noise(compose, micro):
    return lambda *overrides: validate_config(compose(*micro, *overrides)).noise


def features_of(model, batches):
    """Backbone features and what reaches the RPN and the RoI heads, over all batches, by level."""
    seen = {"backbone": {}, "rpn": {}, "roi": {}}

    def keep(where):
        def hook(_module, arguments, output=None):
            features = output if where == "backbone" else arguments[1]
            for level, x in features.items():
                seen[where].setdefault(level, []).append(x.detach().clone())

        return hook

    handles = [
        model.backbone.register_forward_hook(keep("backbone")),
        model.proposal_generator.register_forward_pre_hook(keep("rpn")),
        model.roi_heads.register_forward_pre_hook(keep("roi")),
    ]
    with torch.no_grad():
        for batch in batches:
            model(batch)
    for handle in handles:
        handle.remove()
    return {w: {level: torch.cat(xs) for level, xs in found.items()} for w, found in seen.items()}


def changed(one, other):
    return {level for level in one if not torch.equal(one[level], other[level])}


def hooks_in(model):
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules())


def test_no_noise_attaches_no_hook_at_all(world, noise):
    model, _ = world
    for quiet in (["noise=none"], ["noise.sigma=0"], ["noise.sigma=0.5", "noise.when=train"]):
        with Injection(model, noise(*quiet), phase="eval"):
            assert hooks_in(model) == 0


def test_hooks_are_gone_after_the_block_even_after_an_error(world, noise):
    model, loader = world
    clean = features_of(model, loader(2))
    with pytest.raises(KeyError), Injection(model, noise("noise.when=always"), phase="eval"):
        assert hooks_in(model) > 0
        raise KeyError
    assert hooks_in(model) == 0
    assert not changed(clean["backbone"], features_of(model, loader(2))["backbone"])


@pytest.mark.parametrize(
    ("levels", "expected"),
    [
        ("all", {"p2", "p3", "p4", "p5", "p6"}),
        ("[p3]", {"p3"}),
        ("[p2,p6]", {"p2", "p6"}),
        # A stage of the bottom-up network changes what the deeper ones see, and through them every level.
        ("[res2]", {"p2", "p3", "p4", "p5", "p6"}),
        ("[res5]", {"p2", "p3", "p4", "p5", "p6"}),
    ],
)
def test_exactly_the_requested_levels_change(world, noise, levels, expected):
    model, loader = world
    clean = features_of(model, loader(2))["backbone"]
    with Injection(model, noise("noise.when=eval", "noise.sigma=0.5", f"noise.levels={levels}"), phase="eval"):
        noisy = features_of(model, loader(2))["rpn"]
    assert changed(clean, noisy) == expected


@pytest.mark.parametrize(("destination", "other"), [("rpn", "roi"), ("roi", "rpn")])
def test_the_other_consumer_gets_the_clean_features(world, noise, destination, other):
    model, loader = world
    clean = features_of(model, loader(2))
    with Injection(model, noise("noise.when=eval", f"noise.destination={destination}"), phase="eval") as injection:
        noisy = features_of(model, loader(2))
    injection.check_applied()
    assert changed(clean[destination], noisy[destination])
    assert not changed(clean["backbone"], noisy["backbone"])
    assert not changed(clean[other], noisy[other])  # the features as they come in


def test_evaluation_noise_does_not_depend_on_batch_size_or_order(world, noise):
    model, loader = world
    batches = list(loader(1))
    configured = noise("noise.when=eval", "noise.sigma=0.5")
    with Injection(model, configured, phase="eval"):
        one_by_one = features_of(model, batches)["rpn"]
        backwards = features_of(model, batches[::-1])["rpn"]
        together = features_of(model, loader(3))["rpn"]
    for level, x in one_by_one.items():
        assert torch.equal(x, backwards[level].flip(0))
        # Convolutions of a batch round differently, by 1e-5 of the largest feature on some processors; another draw
        # of the noise would differ by about half the RMS of the features.
        assert (x - together[level]).abs().max() < 1e-4 * x.abs().max()


def test_evaluation_noise_does_not_see_the_padding(world, noise):
    model, loader = world
    (image,) = next(iter(loader(1)))
    small = {**image, "image": image["image"][:, :32, :32].contiguous()}
    configured = noise("noise.when=eval", "noise.sigma=0.5", "noise.levels=[p2]")
    with Injection(model, configured, phase="eval") as injection:
        alone = features_of(model, [[small]])["rpn"]["p2"]
        alone_ratio = injection.telemetry()["p2"].sigma
    clean_padded = features_of(model, [[small, {**image, "image_id": 99}]])["rpn"]["p2"][:1]
    with Injection(model, configured, phase="eval") as injection:
        padded = features_of(model, [[small, {**image, "image_id": 99}]])["rpn"]["p2"][:1]
        padded_ratio = injection.telemetry()["p2"].sigma
    assert alone.shape[-1] == 8
    assert padded.shape[-1] == 16
    beyond = torch.ones(16, 16, dtype=torch.bool)
    beyond[:8, :8] = False
    assert torch.equal(padded[..., beyond], clean_padded[..., beyond])
    assert alone_ratio == pytest.approx(0.5, rel=0.1)
    assert padded_ratio == pytest.approx(0.5, rel=0.1)


def test_the_global_generators_are_not_touched(world, noise):
    model, loader = world
    batch = next(iter(loader(2)))
    torch.manual_seed(3)
    np.random.seed(3)
    before = torch.get_rng_state(), np.random.get_state()[1].copy()
    for phase in ("train", "eval"):
        with Injection(model, noise("noise.when=always", "noise.probability=0.5"), phase=phase):
            features_of(model, [batch])
    assert torch.equal(torch.get_rng_state(), before[0])
    assert (np.random.get_state()[1] == before[1]).all()


def test_training_draws_differ_between_levels_steps_and_seeds_and_repeat(world, noise):
    model, loader = world
    batch = next(iter(loader(2)))

    def draw(seed, iteration):
        with Injection(model, noise("noise.sigma=0.5"), phase="train", seed=seed, iterations=9) as injection:
            injection.iteration = iteration
            return features_of(model, [batch])["rpn"]

    clean = features_of(model, [batch])["rpn"]
    for other in (draw(0, 1), draw(1, 0)):
        assert changed(draw(0, 0), other) == set(clean)
    assert not changed(draw(0, 0), draw(0, 0))


@pytest.mark.parametrize("phase", ["train", "eval"])
def test_each_level_and_each_evaluation_draw_has_numbers_of_its_own(world, noise, phase):
    model, loader = world
    batch = next(iter(loader(2)))
    x = torch.ones(2, 4, 8, 8)

    def drawn(level, draw=0):
        with Injection(model, noise("noise=speckle", f"noise.when={phase}"), phase=phase, draw=draw) as injection:
            features_of(model, [batch])
            return injection._perturb(level, x)

    assert torch.equal(drawn("p2"), drawn("p2"))
    assert not torch.equal(drawn("p2"), drawn("p3"))
    assert torch.equal(drawn("p2"), drawn("p2", draw=1)) == (phase == "train")


def test_in_training_the_padding_does_not_count(world, noise):
    model, loader = world
    (image,) = next(iter(loader(1)))
    small = {**image, "image": image["image"][:, :32, :48].contiguous()}
    with Injection(model, noise("noise.sigma=0.5"), phase="train") as injection:
        x = features_of(model, [[small, image]])["rpn"]["p2"]
        valid = injection._valid_mask(x)
        measured = injection.measured["p2"]
    assert valid[0, 0, :8, :12].all()
    assert valid[0].sum() == 8 * 12
    assert valid[1].all()
    clean = features_of(model, [[small, image]])["rpn"]["p2"]
    assert measured.signal_rms == pytest.approx(math.sqrt(rms(clean, valid).square().mean()), rel=1e-4)


def test_probability_decides_once_for_all_levels(world, noise):
    model, loader = world
    batch = next(iter(loader(2)))
    clean = features_of(model, [batch])["rpn"]
    acted = []
    with Injection(model, noise("noise.probability=0.5"), phase="train", iterations=30) as injection:
        for iteration in range(30):
            injection.iteration = iteration
            acted.append(len(changed(clean, features_of(model, [batch])["rpn"])))
    assert set(acted) == {0, 5}
    assert 5 < acted.count(5) < 25


def test_configured_but_never_applied_is_an_error(world, noise):
    model, _ = world
    with Injection(model, noise("noise.when=eval", "noise.levels=[p2,p4]"), phase="eval") as injection:
        pass
    with pytest.raises(
        NoiseNotApplied, match=r"configured for p2, p4 but never applied to p2, p4 in eval\. Check noise"
    ):
        injection.check_applied()


def test_a_level_that_the_model_lacks_is_refused_with_those_it_has(world, noise):
    model, _ = world
    message = r"noise\.levels: 'p9' is not produced by this model\. Available: p2, p3, p4, p5, p6, res2"
    with pytest.raises(ConfigError, match=message):
        Injection(model, noise("noise.levels=[p2,p9]"), phase="train")


def test_a_destination_needs_levels_that_the_heads_read(world, noise):
    model, _ = world
    with pytest.raises(ConfigError, match=r"'res2' is not read by the destination rpn of this model\. Choose from p2"):
        Injection(model, noise("noise.levels=[res2]", "noise.destination=rpn"), phase="train")
    with pytest.raises(ConfigError, match=r"'p6' is not read by the destination roi of this model\. Choose from p2"):
        Injection(model, noise("noise.levels=[p2,p6]", "noise.destination=roi"), phase="train")


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ({}, [1, 1, 1, 1, 1]),
        ({"start": 1, "stop": 3}, [0, 1, 1, 0, 0]),
        ({"shape": "linear"}, [0.2, 0.4, 0.6, 0.8, 1]),
        ({"shape": "linear", "start": 1, "full": 3}, [0, 0.5, 1, 1, 1]),
        ({"shape": "cosine", "full": 2}, [0.5, 1, 1, 1, 1]),
        ({"shape": "cosine", "stop": 4}, [0.0954915, 0.3454915, 0.6545085, 0.9045085, 0]),
    ],
)
def test_strength_over_the_training(keys, expected):
    schedule = NoiseScheduleConfig(**{"shape": "constant", "start": 0, "full": None, "stop": None, **keys})
    assert [strength_at(schedule, i, 5) for i in range(5)] == pytest.approx(expected)
