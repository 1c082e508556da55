"""What is told about the user's data before anything is trained: what there is, and what is doubtful. No torch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from ablation.config.dataset import DatasetConfig, RegisteredConfig, ShapesConfig
from ablation.data import registered
from ablation.data.coco.annotations import AnnotationSummary, Split, check_annotations_file
from ablation.data.images import ImageScan, same_files, scan_images
from ablation.data.selection import CocoFormat, SplitName, select_images
from ablation.data.semantic import LabelScan
from ablation.data.semantic import scan_labels as look_at_labels
from ablation.data.splits import SPLITS, check_categories, source_split
from ablation.records.errors import DataError

_TASKS = {"train": "train on", "test": "test on"}

_Files = dict[tuple[Path, str], "tuple[int, int] | None"]


@dataclass(frozen=True)
class Survey:
    """summary: what there is, in one line; remarks: doubts, each with a count, which stop nothing."""

    summary: str
    remarks: tuple[str, ...]


def survey(dataset: DatasetConfig) -> Survey | None:
    """Check all that a data set takes from the user's files; None for the generated one, which needs no check.

    Raises:
        DataError: training or testing on it would fail, or would not be what was asked for.
    """
    if isinstance(dataset, ShapesConfig):
        return None
    if not isinstance(dataset, RegisteredConfig):
        return _checked(dataset)
    registered.refresh(dataset)
    try:
        return _checked(dataset)
    except DataError as error:
        names = " and ".join(name for _, name in registered.names(dataset))
        raise DataError(f"{error} The file holds what is registered as {names}: mend that.") from error


def _checked(dataset: CocoFormat) -> Survey:
    check_categories(dataset)
    train, test = (check_annotations_file(source_split(dataset, split)) for split in SPLITS)
    return _survey(dataset.model_dump_json(), type(dataset), train, test)


@lru_cache(maxsize=64)
def _survey(settings: str, kind: type[CocoFormat], train: AnnotationSummary, test: AnnotationSummary) -> Survey:
    dataset = kind.model_validate_json(settings)
    sources = {"train": train, "test": test}
    parts = {split: _Part(dataset, split, sources[split]) for split in SPLITS}
    return Survey(_summary(parts), tuple(_remarks(parts)))


class _Part:
    """What a split takes of its source."""

    def __init__(self, dataset: CocoFormat, split: SplitName, contents: AnnotationSummary) -> None:
        self.source: Split = source_split(dataset, split)
        self.contents = contents
        self.ids = select_images(dataset, split, contents)
        kept = [(i, name) for i, name in contents.categories if not dataset.classes or name in dataset.classes]
        self.classes = {i: name if name.isprintable() else ascii(name) for i, name in kept}
        self.objects: Counter[int] = Counter()
        for (image, category), count in contents.objects.items():
            if image in self.ids and category in self.classes:
                self.objects[category] += count
        if not self.objects:
            raise DataError(
                f"The {len(self.ids)} images to {_TASKS[split]} hold no object of {', '.join(self.classes.values())} "
                f"({self.source.annotations}). Take more images, other classes or another dataset.draw_seed."
            )
        self.look: ImageScan = scan_images(self.source)
        self.labels: LabelScan | None = look_at_labels(self.source) if self.source.sem_seg else None

    @property
    def files(self) -> _Files:
        """Folder and name of the images, with the signature of those that were read."""
        names = (self.contents.entries[i].name for i in self.ids)
        return {(self.source.images, name): self.look.signatures.get(name) for name in names}


def _summary(parts: dict[SplitName, _Part]) -> str:
    told = [
        f"{len(part.ids):,} images with {part.objects.total():,} objects to {_TASKS[split]}"
        for split, part in parts.items()
    ]
    train = parts["train"]
    names = list(train.classes.values())
    shown = ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
    entries = [train.contents.entries[i] for i in train.ids]
    sides = [side for entry in entries for side in (entry.width, entry.height)]
    masks = "masks" if train.contents.has_masks else "boxes only"
    if train.labels:
        masks += f" and semantic labels of {len(train.labels.values)} values"
    size = f"{min(sides)} to {max(sides)}" if min(sides) < max(sides) else f"{max(sides)}"
    plural = "class" if len(names) == 1 else "classes"
    return f"{' and '.join(told)}; {len(names)} {plural} ({shown}), {masks}, images of {size} pixels"


def _remarks(parts: dict[SplitName, _Part]) -> Iterator[str]:
    told: set[Path] = set()
    for split, part in parts.items():
        if missing := [name for i, name in part.classes.items() if i not in part.objects]:
            yield (
                f"{len(missing)} of {len(part.classes)} classes have no object to {_TASKS[split]}: "
                f"{', '.join(missing[:5])}{', ...' if len(missing) > 5 else ''}."
            )
        if part.source.annotations in told:
            continue
        told.add(part.source.annotations)
        for remark in (*part.contents.remarks, *part.look.remarks):
            yield f"{part.source.annotations.name}: {remark}"
        if part.look.read < part.contents.images:
            yield (
                f"{part.source.annotations.name}: {part.look.read:,} of {part.contents.images:,} image files were "
                "looked into, drawn at random."
            )
        if part.labels and part.labels.read < part.contents.images:
            yield (
                f"{part.source.annotations.name}: {part.labels.read:,} of {part.contents.images:,} files of semantic "
                "labels were read, drawn at random."
            )
    yield from _leaks(parts["train"].files, parts["test"].files)


def _leaks(train: _Files, test: _Files) -> Iterator[str]:
    """Images that a model is trained on and tested on."""
    shared = train.keys() & test.keys()
    read = ({p: s for p, s in one.items() if s is not None and p not in shared} for one in (train, test))
    if same := [folder / name for folder, name in (*shared, *same_files(*read))]:
        yield (
            f"{len(same)} of {len(test)} test images are trained on too, the first is {min(map(str, same))}: the AP "
            "says nothing about new images."
        )
