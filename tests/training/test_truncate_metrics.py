"""A resumed training goes on with a log that holds each iteration of its logging period once."""

import json

import pytest

from ablation.training.checkpoint import truncate_metrics


def truncated(path, iteration, period):
    truncate_metrics(path, iteration, period)
    return [json.loads(line) for line in path.read_text().splitlines()]


def entry(iteration, **more):
    return {"iteration": iteration, "total_loss": 1.0, **more}


def write(path, *entries):
    path.write_text("".join(json.dumps(one) + "\n" for one in entries))
    return path


def test_what_comes_after_the_checkpoint_is_dropped(tmp_path):
    path = write(tmp_path / "metrics.jsonl", *map(entry, (19, 39, 59)))
    assert truncated(path, 40, 20) == [entry(19), entry(39)]


def test_the_iteration_of_an_interruption_off_the_period_is_dropped_but_for_its_validation_loss(tmp_path):
    last = entry(46, **{"validation/total_loss": 2.0})
    path = write(tmp_path / "metrics.jsonl", entry(19), entry(39), last)
    assert truncated(path, 47, 20) == [entry(19), entry(39), {"iteration": 46, "validation/total_loss": 2.0}]
    path = write(tmp_path / "metrics.jsonl", entry(19), entry(39), entry(46))
    assert truncated(path, 47, 20) == [entry(19), entry(39)]


@pytest.mark.parametrize(
    "line", [b"\xff\xfe", b"\0\0", b"3", b"[]", b"{}", b'{"iteration": "1"}', b'{"iteration": 1, "tot']
)
def test_damaged_lines_are_dropped(tmp_path, line):
    path = write(tmp_path / "metrics.jsonl", entry(19))
    path.write_bytes(line + b"\n" + path.read_bytes() + line)
    assert truncated(path, 20, 20) == [entry(19)]


def test_a_folder_in_place_of_the_log_is_set_aside(tmp_path):
    (tmp_path / "metrics.jsonl").mkdir()
    truncate_metrics(tmp_path / "metrics.jsonl", 20, 20)
    assert not (tmp_path / "metrics.jsonl").exists()
    assert (tmp_path / "metrics.torn").is_dir()
