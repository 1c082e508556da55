"""A training iteration of ours, without noise, against one of detectron2's DefaultTrainer on the same config and data.

    python -m benchmarks.iteration --model tiny
    python -m benchmarks.iteration --model r50 --pairs 8

Both trainings live in one process and take turns, iteration by iteration, everything included: loading, hooks,
writers, on the same images with the same draws. The time is that of the process on the CPU, to which other programs
add little; the figure is the median of the paired ratios. Both load their images in the process itself
(`DATALOADER.NUM_WORKERS=0`).
"""

from __future__ import annotations

import argparse
import logging
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from benchmarks.machine import write_result

_CONFIGS = {
    "tiny": [],
    "r50": [
        *("model=mask_rcnn_r50_fpn", "model.weights=''", "schedule.batch_size=1"),
        "schedule.lr=1e-9",  # frozen BatchNorm without weights would diverge
        "+model.overrides.INPUT.MIN_SIZE_TRAIN=[640]",
    ],
}
_WARM_UP = 5


class Loop:
    """A trainer that is asked for one iteration at a time."""

    def __init__(self, trainer: Any, iterations: int) -> None:
        from detectron2.utils.events import EventStorage

        self._trainer = trainer
        trainer.iter = trainer.start_iter = 0
        trainer.max_iter = iterations
        trainer.storage = EventStorage(0)
        with trainer.storage:
            trainer.before_train()

    def step(self, seed: int) -> float:
        """Seconds of one iteration with its hooks; the seed decides which proposals are sampled."""
        import torch

        torch.manual_seed(seed)
        start = time.process_time()
        with self._trainer.storage as storage:
            self._trainer.before_step()
            self._trainer.run_step()
            self._trainer.after_step()
            self._trainer.iter += 1
            storage.step()
        return time.process_time() - start


def _pair(ours: Loop, theirs: Loop, seed: int) -> tuple[float, float]:
    """Both, each first in every other pair."""
    if seed % 2:
        return ours.step(seed), theirs.step(seed)
    their = theirs.step(seed)
    return ours.step(seed), their


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print and write the result."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--model", choices=_CONFIGS, default="tiny")
    parser.add_argument("--pairs", type=int, default=100, help="iterations of each (default: 100)")
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args(arguments)
    logging.disable(logging.WARNING)  # detectron2 prints the whole model
    import torch

    torch.set_num_threads(given.threads)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        ours, theirs = _loops(_CONFIGS[given.model], Path(folder), given.pairs + _WARM_UP)
        pairs = [_pair(ours, theirs, i) for i in range(given.pairs + _WARM_UP)][_WARM_UP:]
    ratios = [their / our for our, their in pairs]
    low, middle, high = statistics.quantiles(ratios, n=4)
    result = {
        "model": given.model,
        "pairs": given.pairs,
        "threads": given.threads,
        "ours_s": statistics.median(our for our, _ in pairs),
        "default_trainer_s": statistics.median(their for _, their in pairs),
        "speedup": middle,
        "speedup_quartiles": [low, high],
    }
    Console().print(
        f"{given.model}: {result['ours_s']:.4f} s against {result['default_trainer_s']:.4f} s per iteration, "
        f"{middle:.3f} times as fast (quartiles {low:.3f} and {high:.3f} of {given.pairs} pairs)"
    )
    write_result(f"iteration_{given.model}", [result])


def _loops(overrides: Sequence[str], folder: Path, iterations: int) -> tuple[Loop, Loop]:
    from detectron2.engine import DefaultTrainer
    from detectron2.utils.env import seed_all_rng

    from ablation.config.compose import compose_config
    from ablation.config.messages import exit_on_user_error
    from ablation.data.build import build_dataset
    from ablation.data.loaders import register
    from ablation.models.build import build_detector
    from ablation.records.paths import TrainingPaths
    from ablation.training.trainer import Training

    # The two draw their augmentations by different generators.
    same = "+model.overrides.INPUT.RANDOM_FLIP=none"
    shared = [f"sweep.root={folder}", "noise=none", f"schedule.iterations={iterations}", same]
    with exit_on_user_error():  # in which Hydra knows our plugins
        config = compose_config([*overrides, *shared])
    dataset = build_dataset(config.dataset)
    dataset.prepare()
    detector = build_detector(config, dataset)
    paths = TrainingPaths(folder / "ours")
    paths.folder.mkdir()
    training = Training(config, dataset, detector, paths)
    training.register_hooks()
    cfg = detector.cfg.clone()  # type: ignore[attr-defined]
    cfg.defrost()
    cfg.DATASETS.TRAIN, cfg.DATASETS.TEST = (register(dataset.split("train")),), ()
    cfg.OUTPUT_DIR = str(folder / "theirs")
    (folder / "theirs").mkdir()
    seed_all_rng(config.seed)  # DefaultTrainer leaves that to default_setup
    theirs = DefaultTrainer(cfg)
    theirs.resume_or_load(resume=False)
    return Loop(training.trainer, iterations), Loop(theirs, iterations)


if __name__ == "__main__":
    main()
