"""Makes sweep folders of small synthetic records, as the other half of the package would have left them."""

from __future__ import annotations

import hashlib
import itertools
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ablation.records.atomic import write_text
from ablation.records.cells import Cell, parse_cells, write_cells
from ablation.records.failure import Failure
from ablation.records.paths import SweepPaths
from ablation.records.schema import CorruptionScore, GridScore, LevelTelemetry, RunRecord, Status, TrainingRecord
from ablation.records.storage import write_record

DEFAULTS: dict[str, Any] = {
    "model.name": "tiny_mask_rcnn",
    "dataset.name": "shapes",
    "noise.type": "gaussian",
    "noise.sigma": 0.1,
    "noise.levels": "all",
    "noise.when": "train",
    "schedule.iterations": 300,
    "evaluation.primary_metric": "segm/AP",
    "seed": 0,
}
ENVIRONMENT = {"python": "3.11", "torch": "2.9.0", "detectron2": "0.6", "code": "0123456789ab", "pid": 1, "host": "h"}

Score = Callable[[Mapping[str, Any]], float]


def read_cells(path):
    """The cells of a file that is whole."""
    cells, damage = parse_cells(path)
    assert damage == []
    return cells


def default_score(config: Mapping[str, Any]) -> float:
    """segm/AP: falls with sigma, spreads over seeds, the same number for the same cell."""
    sigma = config["noise.sigma"] or 0.0
    slope = {"gaussian": 6.0, "uniform": 3.0}.get(config["noise.type"], 4.0)
    slope *= 2.0 if config["noise.when"] == "always" else 1.0
    return 38.0 - slope * sigma + 0.6 * float(_generator("ap", config).normal())


def make_sweep(
    folder: Path,
    grid: Mapping[str, Sequence[Any]],
    *,
    score: Score = default_score,
    status: Callable[[Mapping[str, Any]], Status] = lambda _: Status.COMPLETED,
    points: int = 15,
    metrics: Sequence[str] = ("bbox/AP", "bbox/AP50", "segm/AP", "segm/AP50", "segm/APl"),
    base: Mapping[str, Any] | None = None,
    sigma: Callable[[Any], float] | None = None,
    is_full: bool = False,
) -> SweepPaths:
    """Add a grid of swept keys to a sweep folder, all cells in the state that `status` gives them.

    sigma: of noise.params.p, where that sets the strength. is_full: records hold all that a run can be asked for.
    """
    paths = SweepPaths(folder)
    cells = [_cell(DEFAULTS | dict(base or {}), values) for values in _product(grid)]
    if sigma:
        cells = [replace(cell, sigma=sigma(cell.config["noise.params.p"])) for cell in cells]
    for cell in cells:
        _write(paths, cell, status(cell.config), score, points, metrics, is_full)
    write_cells(paths.cells, [*read_cells(paths.cells), *cells])
    command = "python -m ablation.run -m " + " ".join(f"{k}={','.join(map(str, v))}" for k, v in grid.items())
    write_text(paths.sweep, json.dumps([{"command": command}]))
    return paths


def _product(grid: Mapping[str, Sequence[Any]]) -> list[dict[str, Any]]:
    return [dict(zip(grid, values, strict=True)) for values in itertools.product(*grid.values())]


def _cell(defaults: Mapping[str, Any], values: Mapping[str, Any]) -> Cell:
    config = {**defaults, **values}
    run_id, training_id = _slug(config, ("train", "eval", "always")), _slug(config, ("train", "always"))
    sigma = 0.0 if config["noise.type"] == "none" else config["noise.sigma"]
    return Cell(run_id, training_id, values, config, sigma)


def _slug(config: Mapping[str, Any], phases: Sequence[str]) -> str:
    acts = config["noise.sigma"] != 0 and config["noise.type"] != "none" and config["noise.when"] in phases
    quiet = () if acts else ("noise.",)
    hidden = (*quiet, "noise.when") if "eval" not in phases else quiet
    kept = {k: v for k, v in config.items() if not k.startswith(hidden or "-")}
    name = f"{config['noise.type']}-sigma{config['noise.sigma']}" if acts else "baseline"
    return f"{name}-s{config['seed']}-{_digest(kept)}".replace("/", "_")


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()[:8]


def _generator(purpose: str, config: Mapping[str, Any]) -> np.random.Generator:
    relevant = {k: v for k, v in config.items() if config["noise.sigma"] != 0 or not k.startswith("noise.")}
    return np.random.default_rng(int(_digest([purpose, relevant]), 16))


def _write(
    paths: SweepPaths, cell: Cell, status: Status, score: Score, points: int, metrics: Sequence[str], is_full: bool
) -> None:
    if status is Status.PLANNED:
        return
    seed, sigma = cell.config["seed"], cell.config["noise.sigma"] or 0.0
    telemetry = {level: LevelTelemetry(300, 2.0, 2.0 * sigma) for level in ("p2", "p3")} if sigma else {}
    log = str(paths.run(cell.run_id).log)
    error = {
        Status.FAILED: Failure("exception", "RuntimeError: it broke", "Look.", log),
        Status.DIVERGED: Failure("diverged", "The training diverged at iteration 3 of 300: NaN", "Lower it.", log),
    }.get(status)
    is_done = status is Status.COMPLETED
    common: dict[str, Any] = {"status": status, "seed": seed, "error": error, "environment": ENVIRONMENT}
    ap = score(cell.config)
    values = {m: ap + 4.0 * m.startswith("bbox") + 18.0 * m.endswith("50") for m in metrics}
    values = {m: None if m.endswith("APl") else v for m, v in values.items()}
    run = RunRecord(
        **common, run_id=cell.run_id, training_id=cell.training_id, metrics=values if is_done else {},
        telemetry=telemetry if cell.config["noise.when"] != "train" else {},
    )  # fmt: skip
    training = TrainingRecord(**common, training_id=cell.training_id, telemetry=telemetry)
    if is_full and is_done:
        run, training = _full(run, ap, sigma), replace(training, seconds=80.0 + sigma, peak_memory=900.0 + 20 * sigma)
    write_record(paths.run(cell.run_id).record, run)
    write_record(paths.training(cell.training_id).record, training)
    write_text(
        paths.training(cell.training_id).metrics, _curve(cell.config, points if is_done else points // 2, is_full)
    )


def _full(run: RunRecord, ap: float, sigma: float) -> RunRecord:
    """With a noise grid, corruptions, kinds of error, classes and costs, all of which follow from AP and sigma."""
    grid = [
        GridScore(
            "gaussian", test, "all", 0, {"segm/AP": ap - 8 * test / (1 + 4 * sigma), "bbox/AP": ap + 4 - 8 * test}
        )
        for test in (0.0, 0.25, 0.5, 1.0)
    ]
    corruptions = [
        CorruptionScore(name, severity, {"segm/AP": ap - loss * severity, "bbox/AP": ap + 4 - loss * severity})
        for name, loss in (("gaussian_noise", 4.0), ("fog", 1.5), ("jpeg_compression", 3.0))
        for severity in (1, 3, 5)
    ]
    kinds = {"Cls": 3.0, "Loc": 6.0 + sigma, "Both": 1.0, "Dupe": 0.4, "Bkg": 5.0, "Miss": 7.0 + 2 * sigma}
    classes = {f"segm/AP-{name}": ap + 3 * i for i, name in enumerate(("cell", "dirt", "edge_of <b>"), start=-1)}
    robustness = {"segm/mPFN": ap - 5, "segm/rPFN": 90.0, "segm/mPC": ap - 9, "segm/rPC": 76.0}
    return replace(
        run, metrics={**run.metrics, **classes, **robustness}, grid=grid, corruptions=corruptions,
        error_shift={"segm": {**kinds, "FalsePos": 12.0, "FalseNeg": 14.0}}, evaluation_seconds=6.0, peak_memory=700.0,
    )  # fmt: skip


def _curve(config: Mapping[str, Any], points: int, is_full: bool = False) -> str:
    generator, sigma = _generator("loss", config), config["noise.sigma"] or 0.0
    lines = []
    for i in range(points):
        loss = 0.9 + 1.6 * math.exp(-i / 4) + 0.3 * sigma + 0.05 * float(generator.normal())
        lines.append({"iteration": 20 * i + 19, "total_loss": loss, "loss_cls": loss / 3, "lr": 0.02})
        if is_full:
            lines[-1] |= {"time": 0.25 + 0.01 * sigma} | ({"validation/total_loss": loss + 0.1} if i % 3 == 2 else {})
    return "".join(json.dumps(line) + "\n" for line in lines)
