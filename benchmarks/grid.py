"""A noise grid over shared features, against one full evaluation for each of its cells.

    python -m benchmarks.grid --model tiny
    python -m benchmarks.grid --model r50 --images 6 --turns 1

Ten sigmas of gaussian noise on all levels. Grid and separate evaluations take turns; the metrics must be the same to
the last bit, which is checked. The time is that of the process on the CPU.
"""

from __future__ import annotations

import argparse
import logging
import statistics
import tempfile
import time
from collections.abc import Sequence
from typing import Any

from rich.console import Console

from benchmarks.machine import write_result

_CONFIGS = {
    "tiny": [],
    "r50": ["model=mask_rcnn_r50_fpn", "model.weights=''"],
}
SIGMAS = [0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.75, 1.0]


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print and write the result."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--model", choices=_CONFIGS, default="tiny")
    parser.add_argument("--images", type=int, default=100)
    parser.add_argument("--turns", type=int, default=3)
    given = parser.parse_args(arguments)
    logging.disable(logging.WARNING)  # detectron2 prints the whole model
    import torch

    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        measure = _measure(_CONFIGS[given.model], folder, given.images)
        turns = [_turn(measure) for _ in range(given.turns)]
    together, apart = (statistics.median(column) for column in zip(*turns, strict=True))
    ratio = statistics.median(one / ten for one, ten in turns)
    Console().print(
        f"{given.model}, {given.images} images, 10 cells: grid {together:.1f} s, separate evaluations {apart:.1f} s, "
        f"{ratio:.2f} of them (median of {given.turns} turns)"
    )
    row = {"model": given.model, "images": given.images, "turns": given.turns, "grid_s": together, "separate_s": apart}
    write_result(f"grid_{given.model}", [row | {"ratio": ratio}])


def _turn(measure: Any) -> tuple[float, float]:
    start = time.process_time()
    grid = measure("noise.when=eval", f"noise.sigma={SIGMAS[0]}", f"evaluation.noise_grid.sigmas={SIGMAS[1:]}").grid
    middle = time.process_time()
    alone = [measure("noise.when=eval", f"noise.sigma={sigma}").metrics for sigma in SIGMAS]
    if [cell.metrics for cell in grid] != alone[1:]:
        raise AssertionError("The grid's metrics differ from those of separate evaluations.")
    return middle - start, time.process_time() - middle


def _measure(overrides: Sequence[str], folder: str, images: int) -> Any:
    import torch

    from ablation.config.compose import compose_config
    from ablation.config.messages import exit_on_user_error
    from ablation.data.build import build_dataset
    from ablation.evaluation.evaluate import evaluate
    from ablation.models.build import build_detector
    from ablation.models.weights import load_weights

    shared = [*overrides, f"sweep.root={folder}", f"dataset.test_size={images}", "dataset.train_size=8"]
    with exit_on_user_error():  # in which Hydra knows our plugins
        config = compose_config(shared)
    dataset = build_dataset(config.dataset)
    dataset.prepare()
    detector = build_detector(config, dataset)
    torch.manual_seed(0)
    model = detector.build()
    load_weights(model, detector.weights)

    def measure(*keys: str) -> Any:
        with exit_on_user_error():
            asked = compose_config([*shared, *keys])
        return evaluate(model, asked, dataset, detector)

    return measure


if __name__ == "__main__":
    main()
