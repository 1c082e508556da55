"""The COCO-format files behind a `dataset` group: found, generated or filtered, and fingerprinted. No torch."""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

from filelock import FileLock

from ablation.config import CocoConfig, CocoJsonConfig, DatasetConfig, ShapesConfig
from ablation.datasets.annotations import Split, check
from ablation.errors import DataError
from ablation.record import write_text

SplitName = Literal["train", "test"]


def fingerprint(dataset: DatasetConfig, split: SplitName) -> str:
    """What identifies the content of a split; of a generated or filtered set without making it.

    Raises:
        DataError: the files are missing or are not COCO.
    """
    if isinstance(dataset, ShapesConfig):
        # The images of a split do not depend on how many the other one has.
        other = "test_size" if split == "train" else "train_size"
        return f"shapes-{_hash_of(dataset.model_copy(update={other: 1}))}/{split}"
    content = check(_given(dataset, split)).fingerprint
    return f"{content}/{'+'.join(sorted(dataset.classes))}" if dataset.classes else content


def locate(dataset: DatasetConfig, split: SplitName) -> Split:
    """Where the files of a split are, or will be once `prepare` has run."""
    if isinstance(dataset, ShapesConfig):
        folder = _generated_folder(dataset)
        return Split(folder / f"{split}.json", folder / split)
    given = _given(dataset, split)
    if not dataset.classes:
        return given
    digest = hashlib.sha256(fingerprint(dataset, split).encode()).hexdigest()[:12]
    return Split(Path(dataset.folder) / f"{given.annotations.stem}-{digest}.json", given.images)


def prepare(dataset: DatasetConfig) -> None:
    """Generate the built-in set, or write the annotations of the chosen classes, unless they are there.

    Safe when several processes want them at once.
    """
    if isinstance(dataset, ShapesConfig):
        _generate(dataset)
    elif dataset.classes:
        for split in ("train", "test"):
            target = locate(dataset, split).annotations
            if not target.exists():
                write_text(target, json.dumps(_of_classes(_given(dataset, split), dataset.classes)))


def _generate(dataset: ShapesConfig) -> None:
    from ablation.datasets.shapes import generate

    folder = _generated_folder(dataset)
    if folder.exists():
        return
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.with_suffix(".lock")):
        if folder.exists():
            return
        for left_behind in folder.parent.glob(f".{folder.name}.*"):  # by a process that was killed
            shutil.rmtree(left_behind, ignore_errors=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
        try:
            generate(_spec(dataset), temporary)
            temporary.chmod(0o755)
            temporary.rename(folder)  # whole or not at all
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def check_categories(dataset: DatasetConfig) -> None:
    """Refuse splits that number or name their categories differently, and chosen classes that they do not have.

    Raises:
        DataError: naming what differs, or as `check`.
    """
    if isinstance(dataset, ShapesConfig):
        return
    splits = [_given(dataset, "train"), _given(dataset, "test")]
    train, test = (dict(check(split).categories) for split in splits)
    if unknown := sorted(set(dataset.classes or ()) - set(train.values())):
        raise DataError(
            f"dataset.classes: {', '.join(map(repr, unknown))} is not a category of {splits[0].annotations}. "
            f"Available: {', '.join(sorted(train.values()))}."
        )
    if train == test:
        return
    differing = sorted(key for key in train.keys() | test.keys() if train.get(key) != test.get(key))
    shown = "; ".join(f"id {key} is {train.get(key)!r} in one, {test.get(key)!r} in the other" for key in differing[:3])
    raise DataError(
        f"The categories of {splits[0].annotations} and {splits[1].annotations} differ ({shown}). "
        "Detections would be scored as other classes: give both files the same list of categories."
    )


def _given(dataset: CocoConfig | CocoJsonConfig, split: SplitName) -> Split:
    """The user's own files of a split."""
    if isinstance(dataset, CocoConfig):
        root = Path(dataset.root).expanduser()
        name = f"{'train' if split == 'train' else 'val'}{dataset.year}"
        return Split(root / "annotations" / f"instances_{name}.json", root / name)
    if split == "train":
        return Split(Path(dataset.train_json).expanduser(), Path(dataset.train_images).expanduser())
    return Split(Path(dataset.test_json).expanduser(), Path(dataset.test_images).expanduser())


def _of_classes(split: Split, classes: list[str]) -> dict[str, Any]:
    """The annotations with these categories only; every image stays, as those without an object have false alarms."""
    data: dict[str, Any] = json.loads(split.annotations.read_bytes())
    categories = [c for c in data["categories"] if c["name"] in classes]
    ids = {c["id"] for c in categories}
    return data | {
        "categories": categories,
        "annotations": [a for a in data["annotations"] if a["category_id"] in ids],
    }


def _generated_folder(dataset: ShapesConfig) -> Path:
    return Path(dataset.folder) / f"shapes-{_hash_of(dataset)}"


def _hash_of(dataset: ShapesConfig) -> str:
    from ablation.datasets.shapes import VERSION

    content = json.dumps([VERSION, asdict(_spec(dataset))], sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()[:12]


def _spec(dataset: ShapesConfig) -> Any:
    from ablation.datasets.shapes import ShapesSpec

    return ShapesSpec(
        seed=dataset.seed,
        train_images=dataset.train_size,
        test_images=dataset.test_size,
        image_size=dataset.image_size,
    )
