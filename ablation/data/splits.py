"""The COCO-format files behind a `dataset` group: found, generated or derived, and fingerprinted. No torch."""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from dataclasses import asdict
from functools import lru_cache
from pathlib import Path
from typing import Any

from filelock import FileLock

from ablation.config.dataset import CocoConfig, DatasetConfig, RegisteredConfig, ShapesConfig
from ablation.data import registered, semantic
from ablation.data.coco.annotations import Split, check_annotations_file
from ablation.data.selection import CocoFormat, SplitName, select_images
from ablation.records.atomic import write_text
from ablation.records.errors import DataError

SPLITS: tuple[SplitName, SplitName] = ("train", "test")


def fingerprint(dataset: DatasetConfig, split: SplitName) -> str:
    """What identifies the content of a split; of a generated or derived one without making it.

    Raises:
        DataError: the files are missing or are not COCO, or hold fewer images than asked for.
    """
    if isinstance(dataset, ShapesConfig):
        # The images of a split do not depend on how many the other one has.
        other = "test_size" if split == "train" else "train_size"
        return f"shapes-{_hash_of(dataset.model_copy(update={other: 1}))}/{split}"
    source = source_split(dataset, split)
    labels = [f"sem_seg-{semantic.fingerprint(source)}"] if source.sem_seg else []
    return "/".join([_selection(dataset, split), *labels])


def locate(dataset: DatasetConfig, split: SplitName) -> Split:
    """Where the files of a split are, or will be once `prepare` has run."""
    if isinstance(dataset, ShapesConfig):
        folder = _generated_folder(dataset)
        return Split(folder / f"{split}.json", folder / split)
    source = source_split(dataset, split)
    content = _selection(dataset, split)
    contents = check_annotations_file(source)
    if content == contents.fingerprint and not contents.counts_from_zero:
        return source
    digest = hashlib.sha256(content.encode()).hexdigest()[:12]
    return Split(Path(dataset.folder) / f"{source.annotations.stem}-{digest}.json", source.images, source.sem_seg)


def _selection(dataset: CocoFormat, split: SplitName) -> str:
    """What identifies the annotations of a split and what is chosen of them."""
    contents = check_annotations_file(source_split(dataset, split))
    parts = [contents.fingerprint]
    if dataset.classes:
        parts.append("+".join(sorted(dataset.classes)))
    ids = select_images(dataset, split, contents)
    if len(ids) < contents.images:
        parts.append(f"images-{_digest_of(ids)}")
    return "/".join(parts)


def prepare(dataset: DatasetConfig) -> None:
    """Generate the built-in set, or write the annotations of what is chosen of the user's, unless they are there.

    Safe when several processes want them at once.
    """
    if isinstance(dataset, ShapesConfig):
        _generate(dataset)
        return
    for split in SPLITS:
        source, target = source_split(dataset, split), locate(dataset, split)
        if target == source or target.annotations.exists():
            continue
        target.annotations.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(target.annotations.with_suffix(".lock")):
            if not target.annotations.exists():
                derived = _derived(
                    source, dataset.classes, select_images(dataset, split, check_annotations_file(source))
                )
                write_text(target.annotations, json.dumps(derived))


def _generate(dataset: ShapesConfig) -> None:
    from ablation.data.shapes.generate import generate

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
    splits = [source_split(dataset, split) for split in SPLITS]
    train, test = (dict(check_annotations_file(split).categories) for split in splits)
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


def source_split(dataset: CocoFormat, split: SplitName) -> Split:
    """The user's own files that a split comes from; both come from the same ones where a share is set apart."""
    if isinstance(dataset, CocoConfig):
        root = Path(dataset.root).expanduser()
        name = f"{'train' if split == 'train' else 'val'}{dataset.year}"
        labels = root / f"panoptic_stuff_{name}" if dataset.sem_seg else None
        return Split(root / "annotations" / f"instances_{name}.json", root / name, labels)
    if isinstance(dataset, RegisteredConfig):
        return registered.export_registered(dataset, split if dataset.test_name else "train")
    if split == "train" or dataset.test_json is None or dataset.test_images is None:
        return _split(dataset.train_json, dataset.train_images, dataset.train_sem_seg)
    return _split(dataset.test_json, dataset.test_images, dataset.test_sem_seg)


def _split(annotations: str, images: str, sem_seg: str | None) -> Split:
    labels = Path(sem_seg).expanduser() if sem_seg is not None else None
    return Split(Path(annotations).expanduser(), Path(images).expanduser(), labels)


def _derived(source: Split, classes: list[str] | None, ids: frozenset[int]) -> dict[str, Any]:
    """The annotations of these categories and images only, of ids from 1 on.

    Every chosen image stays, also without an object of the classes: detections on it are false alarms.
    """
    data: dict[str, Any] = json.loads(source.annotations.read_bytes())
    categories = [c for c in data["categories"] if not classes or c["name"] in classes]
    kept = {c["id"] for c in categories}
    annotations = [a for a in data["annotations"] if a["category_id"] in kept and a["image_id"] in ids]
    for annotation in annotations:
        if annotation["id"] == 0:
            annotation["id"] = 1 + max(a["id"] for a in data["annotations"])
    images = [i for i in data["images"] if i["id"] in ids]
    return data | {"images": images, "annotations": annotations, "categories": categories}


@lru_cache(maxsize=64)
def _digest_of(ids: frozenset[int]) -> str:
    return hashlib.sha256(json.dumps(sorted(ids)).encode()).hexdigest()[:12]


def _generated_folder(dataset: ShapesConfig) -> Path:
    return Path(dataset.folder) / f"shapes-{_hash_of(dataset)}"


def _hash_of(dataset: ShapesConfig) -> str:
    from ablation.data.shapes.generate import VERSION

    content = json.dumps([VERSION, asdict(_spec(dataset))], sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()[:12]


def _spec(dataset: ShapesConfig) -> Any:
    from ablation.data.shapes.generate import ShapesSpec

    return ShapesSpec(
        seed=dataset.seed,
        train_images=dataset.train_size,
        test_images=dataset.test_size,
        image_size=dataset.image_size,
    )
