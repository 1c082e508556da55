"""Time and memory of a training iteration with noise on all levels, against the same iteration without a hook.

    python -m benchmarks.noise_overhead --model tiny
    python -m benchmarks.noise_overhead --model r50 --pairs 5 --types gaussian

Iterations alternate (without, with, without, with ...) in one process, so that whatever the machine does besides
meets both alike; the figure is the median of the paired ratios. On the CPU the time is that of the process, to which
other programs do not add. Peak memory is that of two separate processes.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Sequence
from multiprocessing import get_context
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.machine import read_result, write_result

STRENGTHS: dict[str, dict[str, Any]] = {
    "gaussian": {"sigma": 0.1},
    "speckle": {"sigma": 0.1},
    "uniform": {"sigma": 0.1155},
    "dropout": {"params": {"p": 0.1}},
    "channel_dropout": {"params": {"p": 0.1}},
    "dropblock": {"params": {"p": 0.1}},
    "channel_stats": {"sigma": 0.1},
    "dsu": {},
    "mixstyle": {},
    "saliency_dropout": {},
    "quantization": {},
}


class Iteration:
    """One training iteration of a model on a fixed batch; the rate is 0, so every call does the same work."""

    def __init__(self, model: str, threads: int) -> None:
        import torch
        from detectron2.config import get_cfg
        from detectron2.solver import build_optimizer

        from ablation.models.locate import config_file
        from ablation.models.yacs import YacsDetector

        torch.set_num_threads(threads)
        torch.manual_seed(0)
        cfg = get_cfg()
        name = {
            "tiny": "ablation://tiny_mask_rcnn.yaml",
            "r50": "COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_1x.yaml",
        }[model]
        cfg.merge_from_file(str(config_file(name)), allow_unsafe=False)
        cfg.MODEL.DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
        cfg.SOLVER.BASE_LR = 0.0
        self.model = YacsDetector(cfg).build().train()
        self._optimizer = build_optimizer(cfg, self.model)
        side, images = ((128, 128), cfg.SOLVER.IMS_PER_BATCH) if model == "tiny" else ((800, 1088), 1)
        self._batch = [_image(side, cfg.MODEL.ROI_HEADS.NUM_CLASSES) for _ in range(images)]

    def __call__(self, noise: Any, number: int) -> float:
        """Seconds of one iteration; noise: a NoiseConfig, or None for no hook at all."""
        import torch
        from detectron2.utils.events import EventStorage

        from ablation.models.injection import Injection

        torch.manual_seed(number)
        clock = time.perf_counter if torch.cuda.is_available() else time.process_time
        start = clock()
        with EventStorage(0):
            if noise is None:
                self._step()
            else:
                with Injection(self.model, noise, phase="train", iterations=100) as injection:
                    injection.iteration = number
                    self._step()
        return clock() - start

    def _step(self) -> None:
        import torch

        losses = sum(self.model(self._batch).values())
        self._optimizer.zero_grad()
        losses.backward()
        self._optimizer.step()
        if torch.cuda.is_available():
            torch.cuda.synchronize()


def _image(side: tuple[int, int], classes: int) -> dict[str, Any]:
    import torch
    from detectron2.structures import Boxes, Instances, PolygonMasks

    height, width = side
    boxes = torch.rand(5, 4)
    boxes[:, :2] *= torch.tensor([width, height]) * 0.6
    boxes[:, 2:] = boxes[:, :2] + (0.1 + boxes[:, 2:]) * torch.tensor([width, height]) * 0.3
    instances = Instances(side)
    instances.gt_boxes = Boxes(boxes)
    instances.gt_classes = torch.randint(classes, (5,))
    instances.gt_masks = PolygonMasks([[[x0, y0, x1, y0, x1, y1, x0, y1]] for x0, y0, x1, y1 in boxes.tolist()])
    image = torch.randint(256, (3, height, width), dtype=torch.uint8)
    return {"image": image, "instances": instances, "height": height, "width": width, "image_id": 0}


def _noise(type_: str) -> Any:
    from ablation.config.noise import NoiseConfig, NoiseScheduleConfig

    given = STRENGTHS[type_]
    return NoiseConfig(
        type=type_,
        sigma=given.get("sigma"),
        params=given.get("params", {}),
        levels="all",
        when="train",
        scale="relative",
        granularity=None,
        shared=False,
        destination="both",
        probability=1.0,
        schedule=NoiseScheduleConfig(shape="constant", start=0, full=None, stop=None),
    )


def overhead(model: str, type_: str, pairs: int, threads: int) -> dict[str, Any]:
    """Median seconds without and with noise, and the median and quartiles of the paired ratios."""
    iteration, noise = Iteration(model, threads), _noise(type_)
    for warm in range(2):
        iteration(None, warm)
        iteration(noise, warm)
    without, with_ = [], []
    for number in range(pairs):
        # Each goes first half of the time, so that a drift of the machine favours neither.
        order = [(None, without), (noise, with_)][:: 1 if number % 2 == 0 else -1]
        for given, seconds in order:
            seconds.append(iteration(given, number))
    ratios = [b / a for a, b in zip(without, with_, strict=True)]
    low, middle, high = statistics.quantiles(ratios, n=4)
    return {
        "model": model,
        "type": type_,
        "threads": threads,
        "pairs": pairs,
        "seconds_without": statistics.median(without),
        "seconds_with": statistics.median(with_),
        "ratio": middle,
        "ratio_quartiles": [low, high],
    }


def peak_memory(model: str, type_: str | None, threads: int, connection: Any) -> None:
    """Send the peak resident memory, in MiB, of three iterations in this process."""
    import resource

    iteration = Iteration(model, threads)
    for number in range(3):
        iteration(_noise(type_) if type_ else None, number)
    connection.send(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def _in_own_process(model: str, type_: str | None, threads: int) -> float:
    context = get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=peak_memory, args=(model, type_, threads, there))
    process.start()
    mebibytes: float = here.recv()
    process.join()
    return mebibytes


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print a table, leave a JSON file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=("tiny", "r50"), default="tiny")
    parser.add_argument("--types", nargs="+", choices=tuple(STRENGTHS), default=tuple(STRENGTHS))
    parser.add_argument("--pairs", type=int, default=30, help="pairs of iterations for each type")
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args(arguments)
    baseline = _in_own_process(given.model, None, given.threads)
    table = Table(title=f"{given.model}, {given.threads} thread(s), {given.pairs} pairs", box=None)
    for heading in ("noise", "s without", "s with", "ratio", "quartiles", "peak MiB", "memory ratio"):
        table.add_column(heading, justify="left" if heading == "noise" else "right")
    rows = []
    for type_ in given.types:
        row = overhead(given.model, type_, given.pairs, given.threads)
        row["mebibytes"] = _in_own_process(given.model, type_, given.threads)
        row["memory_ratio"] = row["mebibytes"] / baseline
        rows.append(row)
        low, high = row["ratio_quartiles"]
        table.add_row(
            type_,
            f"{row['seconds_without']:.3f}",
            f"{row['seconds_with']:.3f}",
            f"{row['ratio']:.3f}",
            f"{low:.3f}-{high:.3f}",
            f"{row['mebibytes']:.0f}",
            f"{row['memory_ratio']:.3f}",
        )
    Console().print(table)
    name = f"noise_overhead_{given.model}"
    rows += [row for row in read_result(name) if row["type"] not in given.types]  # types that were not measured now
    rows.sort(key=lambda row: list(STRENGTHS).index(row["type"]))
    Console().print(f"Written: {write_result(name, rows)}")


if __name__ == "__main__":
    main()
