"""Whatever happens to a valid COCO file, its data set is used or refused in words that name the file."""

from __future__ import annotations

import copy
import json
import math

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ablation.data.splits import SPLITS
from ablation.records.errors import DataError

ODD = st.sampled_from(
    [
        *(None, True, "", "1", "cell\n", "\ud800", "../1.png", "x" * 400),
        *(0, 1, -1, 0.5, 3000, 10**8, 2**31, 2**62, 10**30, 1e-9, math.nan, math.inf, -math.inf),
        *([], [[]], [1, 2, 3], [8, 8, 40, 8, 40, 40], [[8, 8, 40, 8, 40, 40]], [9, 9, 2], {}, {"id": 1}),
        *({"size": [64, 64], "counts": counts} for counts in ([4096], [0, 4096], [-1, 4097], "", "PPYo1", None)),
    ]
)
KEYS = ("id", "iscrowd", "ignore", "keypoints", "num_keypoints", "area", "segmentation", "keypoint_flip_map", "info")


def _places(node, path=()):
    items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, inner in items:
        yield (*path, key)
        yield from _places(inner, (*path, key))


def _mutate(draw, data):
    """Replace, remove, repeat, move or add one part."""
    *path, last = draw(st.sampled_from(list(_places(data)) or [()])) or (None,)
    if last is None:
        return
    node = data
    for key in path:
        node = node[key]
    match draw(st.sampled_from(["replace", "remove", "repeat", "move", "add"])):
        case "replace":
            node[last] = draw(ODD)
        case "remove":
            del node[last]
        case "repeat" if isinstance(node, list):
            node.append(copy.deepcopy(node[last]))
        case "move" if isinstance(node, list):
            node.insert(0, node.pop(last))
        case "add" if isinstance(node, dict):
            node[draw(st.sampled_from(KEYS))] = draw(ODD)


@pytest.fixture
def valid(coco_folder):
    """A folder with a valid data set of two images, and what its JSON files hold."""
    folder = coco_folder()
    return folder, json.loads((folder / "train.json").read_text())


@settings(
    max_examples=200,
    derandomize=True,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(st.data())
def test_a_mutated_coco_file_is_used_or_refused_by_name(valid, coco_dataset, data):
    folder, contents = valid
    changed = copy.deepcopy(contents)
    for _ in range(data.draw(st.integers(1, 3))):
        _mutate(data.draw, changed)
    part = data.draw(st.sampled_from([(), ("dataset.classes=[box]",), ("dataset.test_size=1",)]))
    for split in SPLITS:
        (folder / f"{split}.json").write_text(json.dumps(changed))
    dataset = coco_dataset(folder, *part)
    try:
        survey = dataset.survey()
        dataset.find_gap("segm/APl")
        dataset.prepare()
        assert survey.summary and dataset.split("test").summary.images > 0
    except DataError as error:
        message = str(error)
        assert "\n" not in message and message.encode()
        assert str(folder) in message or "dataset.test_size" in message
