"""What a training promises: the same bits for the same seed, with or without an interruption, and detectron2's own."""

import json
import logging
import os
import signal
from dataclasses import replace
from itertools import islice

import pytest
import torch
from detectron2.data import build_detection_train_loader
from detectron2.engine import DefaultTrainer
from detectron2.engine.hooks import HookBase
from detectron2.utils import comm
from detectron2.utils.env import seed_all_rng
from safetensors.torch import load_file

from ablation.config.schemas import validate_config
from ablation.data.build import build_dataset
from ablation.data.loaders import draw_item_seed, register, train_batches
from ablation.models.build import build_detector
from ablation.models.injection import Injection
from ablation.processes import progress
from ablation.records.errors import Diverged, Interrupted, NoiseNotApplied
from ablation.records.paths import TrainingPaths
from ablation.training.trainer import Training


@pytest.fixture
def train(compose, micro, tmp_path):
    """Train the micro model with overrides in a folder of that name; the training, its weights, its losses."""

    def run(name, *overrides):
        config = validate_config(compose(*micro, "sweep.log_period=1", *overrides))
        dataset = build_dataset(config.dataset)
        dataset.prepare()
        detector = build_detector(config, dataset)
        paths = TrainingPaths(tmp_path / name)
        paths.folder.mkdir(exist_ok=True)
        training = Training(config, dataset, detector, paths)
        weights = {k: v.clone() for k, v in training.run().state_dict().items()}
        return training, weights, losses_of(paths.metrics)

    return run


def losses_of(path):
    entries = [json.loads(line) for line in path.read_text().splitlines()]
    return [(e["iteration"], e["total_loss"]) for e in entries]


def equal(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[k], other[k]) for k in one)


def interrupt_at(iteration):
    def listener(update):
        if update.stage == "train" and update.done == iteration:
            os.kill(os.getpid(), signal.SIGTERM)

    progress.set_listener(listener)


@pytest.fixture(autouse=True)
def nobody_listens():
    yield
    progress.set_listener(None)


def test_the_same_seed_gives_the_same_bits_and_another_seed_does_not(train):
    _, first, losses = train("a", "noise.sigma=0.5")
    _, again, losses_again = train("b", "noise.sigma=0.5")
    _, other, _ = train("c", "noise.sigma=0.5", "seed=1")
    assert equal(first, again)
    assert losses == losses_again
    assert len(losses) == 6
    assert not equal(first, other)


@pytest.mark.parametrize("quiet", [["noise.sigma=0"], ["noise.sigma=0.5", "noise.when=eval"]])
def test_without_training_noise_every_loss_and_weight_is_that_of_detectron2s_default_trainer(
    train, quiet, compose, micro, tmp_path
):
    # Flips are drawn per image here and from one stream there, so they are switched off in both.
    unflipped = "+model.overrides.INPUT.RANDOM_FLIP=none"
    _, ours, losses = train("ours", unflipped, *quiet)
    theirs, their_losses = default_trainer(compose, [*micro, unflipped], tmp_path / "theirs")
    assert [loss for _, loss in losses] == their_losses
    assert equal(ours, theirs)


def default_trainer(compose, micro, folder):
    config = validate_config(compose(*micro))
    dataset = build_dataset(config.dataset)
    cfg = build_detector(config, dataset).cfg.clone()
    cfg.defrost()
    cfg.DATASETS.TRAIN = (register(dataset.split("train")),)
    cfg.DATASETS.TEST = ()
    cfg.OUTPUT_DIR = str(folder)
    folder.mkdir()
    seed_all_rng(cfg.SEED)
    trainer = DefaultTrainer(cfg)
    recorder = Recorder()
    trainer.register_hooks([recorder])
    trainer.resume_or_load(resume=False)
    trainer.train()
    return {k: v.clone() for k, v in trainer.model.state_dict().items()}, recorder.losses


class Recorder(HookBase):
    def __init__(self):
        self.losses = []

    def after_step(self):
        self.losses.append(self.trainer.storage.latest()["total_loss"][0])


@pytest.mark.parametrize("moment", [1, 4])
def test_an_interrupted_training_goes_on_bit_for_bit(train, moment, tmp_path):
    noisy = ["noise.sigma=0.5", "noise.probability=0.7", "schedule.iterations=8"]
    whole, weights, losses = train("whole", *noisy)
    interrupt_at(moment)
    with pytest.raises(Interrupted, match=f"iteration {moment} of 8"):
        train("torn", *noisy)
    progress.set_listener(None)
    resumed, weights_again, losses_again = train("torn", *noisy)
    assert equal(weights, weights_again)
    assert losses == losses_again
    assert resumed.telemetry == whole.telemetry


def test_a_killed_training_repeats_only_what_came_after_its_checkpoint(train, tmp_path):
    _, weights, losses = train("whole", "noise.sigma=0.5")
    interrupt_at(2)
    with pytest.raises(Interrupted):
        train("killed", "noise.sigma=0.5")
    progress.set_listener(None)
    with (tmp_path / "killed" / "metrics.jsonl").open("a") as metrics:  # what a SIGKILL leaves behind
        metrics.write('{"iteration": 2, "total_loss": 99.0}\n{"iteration": 3, "tot')
    _, weights_again, losses_again = train("killed", "noise.sigma=0.5")
    assert equal(weights, weights_again)
    assert losses_again == losses


def test_a_damaged_checkpoint_is_set_aside_and_the_training_starts_again(train, tmp_path, caplog):
    _, weights, losses = train("whole")
    (tmp_path / "torn").mkdir()
    (tmp_path / "torn" / "checkpoint.pth").write_bytes(b"PK\x03\x04 torn")
    (tmp_path / "torn" / "metrics.jsonl").write_text('{"iteration": 0, "total_loss": 99.0}\n')
    with caplog.at_level(logging.WARNING):
        _, weights_again, losses_again = train("torn")
    assert equal(weights, weights_again)
    assert losses == losses_again  # what the lost attempt logged does not stay
    assert "renamed to checkpoint.torn" in caplog.text


def without(state, key):
    return {name: value for name, value in state.items() if name != key}


UNFIT = {
    "a key is missing": lambda state: without(state, "optimizer"),
    "of another model": lambda state: {**state, "model": {name: x[:0] for name, x in state["model"].items()}},
    "weights alone": lambda state: state["model"],
    "a list": lambda state: [state["iteration"]],
}


@pytest.mark.parametrize("change", UNFIT.values(), ids=UNFIT)
def test_a_checkpoint_that_is_whole_and_does_not_fit_is_set_aside_too(train, tmp_path, caplog, change):
    _, weights, losses = train("whole", "schedule.iterations=2")
    interrupt_at(1)
    with pytest.raises(Interrupted):
        train("torn", "schedule.iterations=2")
    progress.set_listener(None)
    path = tmp_path / "torn" / "checkpoint.pth"
    torch.save(change(torch.load(path, weights_only=True)), path)
    with caplog.at_level(logging.WARNING):
        _, weights_again, losses_again = train("torn", "schedule.iterations=2")
    assert equal(weights, weights_again)
    assert losses == losses_again
    assert "renamed to checkpoint.torn" in caplog.text


def test_noise_changes_neither_the_initial_weights_nor_the_order_of_the_data(train):
    _, _, clean = train("clean", "noise.sigma=0")
    _, _, noisy = train("noisy", "noise.sigma=0.5", "noise.schedule.start=3")
    assert noisy[:3] == clean[:3]
    assert noisy[3:] != clean[3:]


def test_noise_that_is_never_applied_fails_the_run(train):
    with pytest.raises(NoiseNotApplied, match=r"never applied to p2, p3, p4, p5, p6 in train.*noise\.schedule"):
        train("never", "noise.sigma=0.5", "noise.schedule.start=100")


def test_a_diverging_training_fails_at_once_and_says_where(train):
    with pytest.raises(Diverged, match=r"diverged at iteration \d+ of 6"):
        train("diverged", "schedule.lr=1e20", "noise.sigma=0")


def test_the_realised_snr_stands_in_the_metrics_and_the_telemetry(train, tmp_path):
    training, _, _ = train("telemetry", "noise.sigma=0.5")
    telemetry = training.telemetry["p2"]
    assert telemetry.calls == 6
    assert telemetry.sigma == pytest.approx(0.5, rel=0.05)
    first = json.loads((tmp_path / "telemetry" / "metrics.jsonl").read_text().splitlines()[0])
    assert first["noise/p2/snr_db"] == pytest.approx(6.02, abs=0.4)
    assert first["noise/p2/noise_rms"] == pytest.approx(0.5 * first["noise/p2/signal_rms"], rel=0.05)


def test_the_logged_snr_is_that_of_the_step_and_stops_with_the_noise(train, tmp_path, monkeypatch):
    monkeypatch.setattr(Injection, "MEASURE_EVERY", 1)
    rising = ["noise.schedule.shape=linear", "noise.schedule.full=4", "noise.schedule.stop=5"]
    train("rising", "noise.sigma=0.8", *rising)
    entries = [json.loads(line) for line in (tmp_path / "rising" / "metrics.jsonl").read_text().splitlines()]
    ratios = [e["noise/p2/noise_rms"] / e["noise/p2/signal_rms"] for e in entries if "noise/p2/snr_db" in e]
    assert ratios == pytest.approx([0.2, 0.4, 0.6, 0.8, 0.8], rel=0.1)


def test_batches_are_the_same_from_any_start_and_for_any_number_of_workers(compose, micro):
    config = validate_config(compose(*micro))
    dataset = build_dataset(config.dataset)
    dataset.prepare()
    detector = build_detector(config, dataset)
    name = register(dataset.split("train"))
    mapper = detector.mapper(name, augmented=True, annotated=True)

    def images(start, workers):
        feed = replace(detector.loader_config, workers=workers)
        torch.manual_seed(0)
        import numpy as np

        np.random.seed(0)
        batches = train_batches(detector.train_items(name), mapper, feed, seed=0, start=start)
        return [torch.stack([d["image"] for d in next(batches)]) for _ in range(4)]

    whole = images(0, 0)
    assert torch.equal(torch.stack(images(2, 0)[:2]), torch.stack(whole[2:]))
    assert torch.equal(torch.stack(images(0, 2)), torch.stack(whole))


@pytest.mark.parametrize("sampler", ["TrainingSampler", "RepeatFactorTrainingSampler"])
def test_the_order_of_the_images_is_that_of_the_installed_detectron2(compose, micro, sampler):
    keys = (f"SAMPLER_TRAIN={sampler}", "REPEAT_THRESHOLD=0.9")
    config = validate_config(compose(*micro, *(f"+model.overrides.DATALOADER.{key}" for key in keys), "seed=3"))
    dataset = build_dataset(config.dataset)
    dataset.prepare()
    detector = build_detector(config, dataset)
    name = register(dataset.split("train"))
    cfg = detector.cfg.clone()
    cfg.defrost()
    cfg.DATASETS.TRAIN = (name,)
    seed_all_rng(config.seed)
    theirs = [entry["image_id"] for batch in islice(build_detection_train_loader(cfg), 12) for entry in batch]
    seed_all_rng(config.seed)
    draw_item_seed()
    items = detector.train_items(name)
    assert [items.dicts[i]["image_id"] for i in islice(items.sampler, len(theirs))] == theirs


def test_the_seed_of_the_items_is_the_next_number_and_leaves_it_to_detectron2s_sampler():
    seed_all_rng(1)
    drawn = draw_item_seed()
    assert draw_item_seed() == drawn == comm.shared_random_seed() != draw_item_seed()


def test_schedule_overrides_keep_the_shape_of_the_models_own_recipe(compose):
    zoo = ["model=mask_rcnn_r50_fpn", "model.weights=''"]
    config = validate_config(compose(*zoo, "schedule.iterations=900", "schedule.batch_size=2"))
    dataset = build_dataset(config.dataset)
    dataset.prepare()
    cfg = build_detector(config, dataset).cfg
    assert cfg.SOLVER.MAX_ITER == 900
    assert cfg.SOLVER.STEPS == (600, 800)  # 60000 and 80000 of 90000
    assert cfg.SOLVER.WARMUP_ITERS == 10
    assert pytest.approx(0.0025) == cfg.SOLVER.BASE_LR  # 0.02 * 2 / 16
    assert len(dataset.split("train").summary.categories) == cfg.MODEL.ROI_HEADS.NUM_CLASSES


def test_every_schedule_key_reaches_detectron2(compose, micro):
    keys = {"epochs": 1.5, "batch_size": 2, "warmup": 3, "decay": "step", "weight_decay": 0.01, "clip_norm": 0.5}
    config = validate_config(
        compose(*micro, *(f"schedule.{key}={value}" for key, value in keys.items()), "schedule.amp=true")
    )
    dataset = build_dataset(config.dataset)
    dataset.prepare()
    solver = build_detector(config, dataset).cfg.SOLVER
    assert solver.MAX_ITER == 6  # one and a half times through 8 images, two at a time
    assert (solver.WARMUP_ITERS, solver.WEIGHT_DECAY) == (3, 0.01)
    assert (solver.LR_SCHEDULER_NAME, solver.STEPS) == ("WarmupMultiStepLR", (4, 5))
    assert (solver.CLIP_GRADIENTS.ENABLED, solver.CLIP_GRADIENTS.CLIP_VALUE) == (True, 0.5)
    assert solver.AMP.ENABLED


def test_the_validation_loss_has_no_noise_and_leaves_the_training_as_it_was(train, tmp_path):
    _, quiet, _ = train("quiet", "noise.sigma=0.5")
    training, weights, _ = train("validated", "noise.sigma=0.5", "evaluation.loss_period=2")
    assert equal(quiet, weights)
    entries = [json.loads(line) for line in (tmp_path / "validated" / "metrics.jsonl").read_text().splitlines()]
    losses = {e["iteration"]: e["validation/total_loss"] for e in entries if "validation/total_loss" in e}
    assert list(losses) == [1, 3, 5]
    assert training.validation_loss()(training.model)["total_loss"] == pytest.approx(losses[5], abs=1e-6)
    assert training.least_validation_loss == min(losses.values())
    best = load_file(tmp_path / "validated" / "best.safetensors")
    assert (losses[5] == min(losses.values())) == equal(best, weights)


def test_the_last_checkpoints_on_the_way_are_kept(train, tmp_path):
    train("several", "sweep.checkpoint_period=1", "sweep.keep_checkpoints=2")
    names = sorted(path.name for path in (tmp_path / "several" / "checkpoints").iterdir())
    assert names == ["model-0000004.safetensors", "model-0000005.safetensors"]


@pytest.mark.parametrize("iterations", [1, 2, 3, 4])
def test_a_training_may_be_shorter_than_its_recipe_has_steps(compose, iterations):
    config = validate_config(
        compose("model=mask_rcnn_r50_fpn", "model.weights=''", f"schedule.iterations={iterations}")
    )
    dataset = build_dataset(config.dataset)
    dataset.prepare()
    detector = build_detector(config, dataset)
    scheduler = detector.scheduler(torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1))
    rates = []
    for _ in range(iterations):
        rates.append(scheduler.get_last_lr()[0])
        scheduler.optimizer.step()
        scheduler.step()
    assert all(rate > 0 for rate in rates)
