"""Scores on any test images, from the matches that a run has stored: no model, no ground truth, no pycocotools."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from ablation.records.errors import AblationError
from ablation.records.paths import RunPaths
from ablation.scoring import Matches, score_resamples


def score_images(run: RunPaths, metric: str, images: Iterable[Any] | None = None) -> float:
    """Return a metric of a run on some of its test images.

    Args:
        run: Files of a completed run.
        metric: Task and name, such as segm/AP, bbox/AP50, segm/AR100 or segm/AP-<class>.
        images: Ids of test images, one counted as often as it occurs; None for each image once.

    Returns:
        Percent; NaN if these images hold no ground truth of that kind.

    Raises:
        AblationError: No matches of this task, an unknown metric or an unknown image.
        RecordError: The file of the matches is damaged.
    """
    task, _, name = metric.partition("/")
    path = run.matches(task)
    if not path.is_file():
        stored = sorted(other.stem.removeprefix("matches-") for other in run.folder.glob("matches-*.npz"))
        there = f"Matches are stored for: {', '.join(stored)}." if stored else "No matches are stored for this run."
        raise AblationError(f"{metric} cannot be scored, because {path} does not exist. {there}")
    matches = Matches.load(path)
    weights = np.ones(len(matches.image_ids), np.int64)
    if images is not None:
        positions = {image: position for position, image in enumerate(matches.image_ids.tolist())}
        ids = np.asarray(list(images)).tolist()  # NumPy's own integers become Python's
        if unknown := [image for image in ids if image not in positions]:
            some = ", ".join(map(str, list(positions)[:5]))
            raise AblationError(
                f"{unknown[0]!r} is no test image of {run.folder.name}. It was tested on {len(positions)} images, with "
                f"ids such as {some}."
            )
        weights = np.bincount([positions[image] for image in ids], minlength=len(weights)).astype(np.int64)
    try:
        return float(score_resamples(matches, weights[np.newaxis], [name])[0, 0])
    except ValueError as error:
        raise AblationError(f"{metric} cannot be scored. {error}") from error
