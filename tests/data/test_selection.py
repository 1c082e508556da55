"""Which images and annotations are taken: by class, by number, by share, the same everywhere, and without overlap."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pycocotools.coco import COCO

from ablation.config.schemas import validate_config
from ablation.data.build import build_dataset
from ablation.data.sampling import sample_ids
from ablation.records.errors import DataError
from ablation.sweep.identity import identify


@pytest.fixture
def dataset(compose, coco_folder):
    """A data set of forty images in one file, and a selection from it."""
    folder = coco_folder(images=40)

    def of(*overrides, place=folder):
        files = [f"dataset.train_json={place}/train.json", f"dataset.train_images={place}/images"]
        keys = ["dataset=coco_json", *files, f"dataset.folder={place}/selected", *overrides]
        return build_dataset(validate_config(compose(*keys)).dataset)

    return of


@pytest.fixture
def images(dataset):
    """Ids of the images of both splits, as they stand in the files."""

    def of(*overrides):
        made = dataset(*overrides)
        made.prepare()
        return [set(COCO(made.split(split).annotations).getImgIds()) for split in ("train", "test")]

    return of


@pytest.mark.parametrize("seed", range(5))
def test_a_share_is_set_apart_without_overlap_and_nothing_is_lost(images, seed):
    train, test = images("dataset.test_share=0.2", f"dataset.draw_seed={seed}")
    assert (len(train), len(test)) == (32, 8)
    assert not train & test
    assert train | test == set(range(1, 41))


def test_the_split_is_the_same_on_every_machine(images):
    assert images("dataset.test_share=0.1")[1] == {5, 10, 12, 36}


def test_another_seed_is_another_split_and_another_draw(images):
    both = [images("dataset.test_share=0.5", "dataset.train_size=5", f"dataset.draw_seed={seed}") for seed in (0, 1)]
    assert both[0][0] != both[1][0] and both[0][1] != both[1][1]


def test_what_is_drawn_is_drawn_of_the_part_that_the_split_left(images):
    whole = images("dataset.test_share=0.25")
    some = images("dataset.test_share=0.25", "dataset.train_size=7", "dataset.test_size=3")
    assert [len(part) for part in some] == [7, 3]
    assert some[0] < whole[0] and some[1] < whole[1]


def test_a_larger_draw_holds_the_smaller_one(images):
    few, many = (images("dataset.test_share=0.5", f"dataset.train_size={n}")[0] for n in (4, 15))
    assert few < many


@given(st.frozensets(st.integers(0, 2**62), min_size=1, max_size=30), st.data())
def test_a_draw_depends_on_the_ids_alone_and_not_on_their_order(ids, data):
    count = data.draw(st.integers(0, len(ids)))
    one = sample_ids(ids, count, seed=0, purpose="train")
    assert len(one) == count and one <= ids
    assert sample_ids(frozenset(sorted(ids, reverse=True)), count, seed=0, purpose="train") == one


def test_classes_and_draw_change_nothing_in_each_other(images, dataset):
    """Images without an object of the classes stay, so there is no order between the two."""
    plain = images("dataset.test_share=0.5", "dataset.train_size=6")
    subset = ("dataset.test_share=0.5", "dataset.train_size=6", "dataset.classes=[box]")
    assert images(*subset) == plain
    made, whole = dataset(*subset), COCO(dataset("dataset.test_share=0.5").config.train_json)
    selected = COCO(made.split("train").annotations)
    ids = whole.getAnnIds(imgIds=sorted(plain[0]), catIds=whole.getCatIds(catNms=["box"]))
    assert selected.loadAnns(selected.getAnnIds()) == whole.loadAnns(ids)


def test_all_images_are_the_file_itself(dataset):
    made = dataset("dataset.test_share=0.5", "dataset.train_size=20")
    assert made.fingerprint("train") == dataset("dataset.test_share=0.5").fingerprint("train")


def test_the_same_images_are_the_same_data_wherever_they_are(dataset, coco_folder):
    selection = ("dataset.test_share=0.3", "dataset.test_size=5")
    moved = dataset(*selection, place=coco_folder("moved", images=40))
    assert moved.fingerprint("test") == dataset(*selection).fingerprint("test")


def test_what_is_chosen_decides_the_ids(compose, micro, coco_folder):
    folder = coco_folder(images=10)
    files = [f"dataset.{split}_json={folder}/{split}.json" for split in ("train", "test")]
    files += [f"dataset.{split}_images={folder}/images" for split in ("train", "test")]
    model = [override for override in micro if not override.startswith("dataset.")]

    def of(*overrides):
        config = validate_config(compose(*model, "dataset=coco_json", *files, *overrides))
        return identify(config, build_dataset(config.dataset))

    plain, train, test = of(), of("dataset.train_size=5"), of("dataset.test_size=5")
    assert of("dataset.train_size=10") == of("dataset.draw_seed=3") == plain
    assert train.training_id != plain.training_id
    assert test.training_id == plain.training_id and test.run_id != plain.run_id
    assert of("dataset.train_size=5", "dataset.draw_seed=1").training_id != train.training_id


def test_a_class_list_is_a_set_of_names(dataset, coco_folder):
    def edit(data):
        data["categories"] = [{"id": i, "name": name} for i, name in enumerate(("a", "b", "a+b"), 1)]
        data["annotations"] = [a | {"category_id": 1 + a["id"] % 3} for a in data["annotations"]]

    def of(classes):
        made = dataset("dataset.test_share=0.5", f"dataset.classes={classes}", place=folder)
        return made.fingerprint("train")

    folder = coco_folder("plus", images=6, edit=edit)
    assert of("[a]") == of("[a,a]")
    assert of("[a,b]") == of("[b,a]") == of("[b,a,b]")
    assert len({of("[a,b]"), of("['a+b']"), of("[a,b,'a+b']"), of("[a,'b+a+b']"), of("null")}) == 5


def test_class_lists_keep_the_ids_of_stored_sweeps(dataset):
    assert dataset("dataset.test_share=0.5", "dataset.classes=[square,box]").fingerprint("train").split("/")[1] == (
        "box+square"
    )


def test_what_is_derived_is_written_once_and_whole(dataset, images):
    selection = ("dataset.test_share=0.2", "dataset.classes=[box]")
    images(*selection)
    files = [dataset(*selection).split(split).annotations for split in ("train", "test")]
    before = [file.stat().st_mtime_ns for file in files]
    images(*selection)
    assert [file.stat().st_mtime_ns for file in files] == before
    assert not list(files[0].parent.glob("*.tmp"))


def test_a_crash_while_writing_leaves_no_annotations_behind(dataset, monkeypatch):
    made = dataset("dataset.test_share=0.2")
    with monkeypatch.context() as patched, pytest.raises(OSError, match="disk full"):
        patched.setattr("ablation.records.atomic.os.fsync", lambda _: (_ for _ in ()).throw(OSError("disk full")))
        made.prepare()
    assert not made.split("train").annotations.exists()
    made.prepare()
    assert made.split("train").summary.images == 32


def test_annotations_that_count_from_zero_are_renumbered(coco_folder, dataset):
    """pycocotools marks a found object by its id, so the one of id 0 would never be found."""

    def from_zero(data):
        for annotation in data["annotations"]:
            annotation["id"] -= 1

    folder = coco_folder("zero", edit=from_zero)
    made = dataset(f"dataset.test_json={folder}/test.json", f"dataset.test_images={folder}/images", place=folder)
    made.prepare()
    ids = [a["id"] for a in json.loads(made.split("train").annotations.read_text())["annotations"]]
    assert ids == [4, 1, 2, 3]


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            ("dataset.test_share=0.2", "dataset.train_size=33"),
            "dataset.train_size must be <= 32, which is how many images there are, got 33. Choose fewer, or null for "
            "all.",
        ),
        (
            ("dataset.test_share=0.2", "dataset.test_size=9"),
            "dataset.test_size must be <= 8, which is how many images there are, got 9. Choose fewer, or null for all.",
        ),
        (
            ("dataset.test_share=0.01",),
            "dataset.test_share=0.01 of 40 images leaves 40 to train on and 0 to test on. Both need at least one: "
            "choose another share.",
        ),
    ],
)
def test_more_than_there_is_is_refused(dataset, overrides, message):
    with pytest.raises(DataError) as refused:
        dataset(*overrides).survey()
    assert str(refused.value) == message


def test_a_draw_without_an_object_is_refused(coco_folder, dataset):
    folder = coco_folder("sparse", images=10, edit=lambda data: data.update(annotations=data["annotations"][:1]))
    with pytest.raises(DataError) as refused:
        dataset("dataset.test_share=0.5", place=folder).survey()
    assert str(refused.value) in {
        f"The 5 images to {task} on contain no object of square, box ({folder / 'train.json'}). Select more images, "
        "other classes or another dataset.draw_seed."
        for task in ("train", "test")
    }
