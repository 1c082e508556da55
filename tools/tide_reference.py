"""The numbers of tidecv that `ablation.error_shift` must give; tidecv lives in an environment of its own.

    uv run --no-project --with tidecv==1.0.1 --with setuptools python tools/tide_reference.py

Writes tests/assets/tide.json.
"""

from __future__ import annotations

import contextlib
import json
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import tidecv
from tidecv.functions import toRLE

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from scoring_factory import SIDE, random_case  # noqa: E402

SEEDS = range(60)


def numbers(ground_truth: dict[str, Any], detections: list[dict[str, Any]], task: str) -> dict[str, float]:
    """AP50 and all errors of tidecv."""
    truth, found = tidecv.Data("truth", max_dets=100), tidecv.Data("found")
    for image in ground_truth["images"]:
        truth.add_image(image["id"], image["file_name"])
    for category in ground_truth["categories"]:
        truth.add_class(category["id"], category["name"])
    for a in ground_truth["annotations"]:
        mask = toRLE(a["segmentation"], SIDE, SIDE) if task == "segm" else None
        add = truth.add_ignore_region if a["iscrowd"] else truth.add_ground_truth
        add(a["image_id"], a["category_id"], a["bbox"], mask)
    for d in detections:
        found.add_detection(d["image_id"], d["category_id"], d["score"], d.get("bbox"), d.get("segmentation"))
    tide = tidecv.TIDE(mode=tidecv.TIDE.BOX if task == "bbox" else tidecv.TIDE.MASK)
    run = tide.evaluate(truth, found, name="run")
    errors = tide.get_all_errors()
    return {"AP50": run.ap} | errors["main"]["run"] | errors["special"]["run"]


def main() -> None:
    """Write the numbers, a case a row."""
    rows = []
    for task in ("bbox", "segm"):
        for seed in SEEDS:
            ground_truth, detections = random_case(seed, task)
            with contextlib.suppress(ZeroDivisionError):  # where mending leaves no class to score
                rows.append({"task": task, "seed": seed} | numbers(ground_truth, detections, task))
    command = "uv run --no-project --with tidecv==1.0.1 --with setuptools python tools/tide_reference.py"
    versions = {name: metadata.version(name) for name in ("tidecv", "pycocotools", "numpy")}
    text = json.dumps({"command": command, "versions": versions, "rows": rows}, indent=1)
    (ROOT / "tests" / "assets" / "tide.json").write_text(text + "\n")


if __name__ == "__main__":
    main()
