"""The check of the user's data before anything is trained: what there is, and what is doubtful. No torch."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from ablation.data.images import same_files
from ablation.data.selection import Selection
from ablation.data.splits import SplitName
from ablation.records.errors import DataError
from ablation.scoring.matches import AREAS

_TASKS: Mapping[SplitName, str] = {"train": "train on", "test": "test on"}

# What metrics of one size count.
SIZES = {"APs": "small", "APm": "medium", "APl": "large"}
_UNLIMITED = 1e5  # pixels of a side, where COCO's large objects end

_Files = dict[tuple[Path, str], "tuple[int, int] | None"]


@dataclass(frozen=True)
class Survey:
    """The result of a check that found no error.

    Attributes:
        summary: What there is, in one line.
        remarks: What is doubtful, each with a count. They stop nothing.
    """

    summary: str
    remarks: tuple[str, ...]


def survey(selections: Mapping[SplitName, Selection]) -> Survey:
    """Check all that a data set takes of the user's files.

    Raises:
        DataError: Training or testing on them would fail, or would not do what the configuration says.
    """
    _check_categories(selections["train"], selections["test"])
    for split, selection in selections.items():
        _check_files(split, selection)
    return Survey(_summarise(selections), tuple(_find_remarks(selections)))


def find_gap(selection: Selection, metric: str) -> str:
    """Return why a metric has no value on the selected images; empty if it has one, as far as data decide that.

    Args:
        selection: What is tested on.
        metric: Task and name, such as segm/APl.
    """
    task, name = metric.split("/")
    source, traits = selection.source, selection.traits
    if task == "sem_seg":
        return "" if source.sem_seg else "there are no semantic labels"
    lacking = {"segm": "mask", "keypoints": "keypoints"}.get(task)
    if lacking and (count := traits[f"no {lacking}"]):
        return f"{count} of its objects have no {lacking}"
    if task == "keypoints" and not source.summary.keypoints:
        return "no category names its keypoints"
    return "" if name not in SIZES or traits[SIZES[name]] else no_objects(name)


def no_objects(name: str) -> str:
    """Return the sentence that a metric such as APl counts no object."""
    low, high = (round(math.sqrt(area)) for area in AREAS[SIZES[name]])
    bounds = f"from {low} x {low} to {high} x {high}" if high < _UNLIMITED else f"from {low} x {low}"
    return f"no object has an area {bounds} pixels"


def _check_categories(train: Selection, test: Selection) -> None:
    names, others = (dict(selection.source.summary.categories) for selection in (train, test))
    files = train.source.annotations
    if unknown := sorted(set(train.classes or ()) - set(names.values())):
        raise DataError(
            f"dataset.classes: {', '.join(map(repr, unknown))} is not a category of {files}. Available: "
            f"{', '.join(sorted(names.values()))}."
        )
    if names != others:
        differing = sorted(i for i in names.keys() | others.keys() if names.get(i) != others.get(i))
        examples = [f"id {i} is {names.get(i)!r} in one, {others.get(i)!r} in the other" for i in differing[:3]]
        raise DataError(
            f"The categories of {files} and {test.source.annotations} differ ({'; '.join(examples)}). "
            "Detections would be scored as other classes: give both files the same list of categories."
        )


def _check_files(split: SplitName, selection: Selection) -> None:
    source = selection.source
    if not selection.objects:
        raise DataError(
            f"The {len(selection.ids)} images to {_TASKS[split]} contain no object of "
            f"{', '.join(_printable(selection))} ({source.annotations}). Select more images, other classes or another "
            "dataset.draw_seed."
        )
    _ = source.image_scan  # files are checked as they are read
    if source.sem_seg:
        _ = source.label_scan


def _printable(selection: Selection) -> list[str]:
    return [name if name.isprintable() else ascii(name) for name in selection.categories.values()]


def _summarise(selections: Mapping[SplitName, Selection]) -> str:
    counts = [
        f"{len(selection.ids):,} images with {selection.objects.total():,} objects to {_TASKS[split]}"
        for split, selection in selections.items()
    ]
    train = selections["train"]
    source = train.source
    names = _printable(train)
    classes = f"{len(names)} {'class' if len(names) == 1 else 'classes'}"
    examples = ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
    sides = [side for i in train.ids for side in source.summary.entries[i][1:]]
    size = f"{min(sides)} to {max(sides)}" if min(sides) < max(sides) else f"{max(sides)}"
    masks = "masks" if source.summary.has_masks else "boxes only"
    if source.sem_seg:
        masks += f" and semantic labels of {len(source.label_scan.values)} values"
    return f"{' and '.join(counts)}; {classes} ({examples}), {masks}, images of {size} pixels"


def _find_remarks(selections: Mapping[SplitName, Selection]) -> Iterator[str]:
    seen: set[Path] = set()
    for split, selection in selections.items():
        names = dict(zip(selection.categories, _printable(selection), strict=True))
        if missing := [name for i, name in names.items() if i not in selection.objects]:
            yield (
                f"{len(missing)} of {len(names)} classes have no object to {_TASKS[split]}: "
                f"{', '.join(missing[:5])}{', ...' if len(missing) > 5 else ''}."
            )
        source = selection.source
        if source.annotations in seen:
            continue
        seen.add(source.annotations)
        file, images = source.annotations.name, source.summary.images
        for remark in (*source.summary.remarks, *source.image_scan.remarks):
            yield f"{file}: {remark}"
        if source.image_scan.read < images:
            yield f"{file}: {source.image_scan.read:,} of {images:,} image files were read, sampled at random."
        if source.sem_seg and source.label_scan.read < images:
            yield f"{file}: {source.label_scan.read:,} of {images:,} semantic label files were read, sampled at random."
    yield from _find_leaks(_files(selections["train"]), _files(selections["test"]))


def _files(selection: Selection) -> _Files:
    """Map folder and name of each image to its signature, None if it was not read."""
    source = selection.source
    names = (source.summary.entries[i].name for i in selection.ids)
    return {(source.images, name): source.image_scan.signatures.get(name) for name in names}


def _find_leaks(train: _Files, test: _Files) -> Iterator[str]:
    shared = train.keys() & test.keys()
    read = ({f: s for f, s in files.items() if s is not None and f not in shared} for files in (train, test))
    if leaks := [folder / name for folder, name in (*shared, *same_files(*read))]:
        yield (
            f"{len(leaks)} of {len(test)} test images are also trained on, the first is {min(map(str, leaks))}: the "
            "AP says nothing about new images."
        )
