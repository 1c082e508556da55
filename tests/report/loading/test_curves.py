"""Curves that were read before are the curves that would be read now."""

import json

import pandas as pd
import pytest

from ablation.report.loading import curves
from ablation.report.loading.curves import read_curves


@pytest.fixture(autouse=True)
def always_kept(monkeypatch):
    """Also the few points of a test."""
    monkeypatch.setattr(curves, "_LEAST", 0)


def log(path, *entries):
    path.write_text("".join(json.dumps(entry) + "\n" for entry in entries))
    return path


@pytest.fixture
def files(tmp_path):
    return {
        "a": log(tmp_path / "a", {"iteration": 0, "loss": 2.0}, {"iteration": 1, "loss": float("nan"), "lr": 0.1}),
        "b": log(tmp_path / "b", {"iteration": 0, "loss": 3.0, "note": "text"}),
        "missing": tmp_path / "none",
    }


def test_points_are_sorted_and_what_is_no_number_is_left_out(files, tmp_path):
    found, torn = read_curves(files, tmp_path / "kept")
    assert found.astype({"training_id": str, "metric": str}).values.tolist() == [
        ["a", 0, "loss", 2.0],
        ["a", 1, "lr", 0.1],
        ["b", 0, "loss", 3.0],
    ]
    assert torn == {}


def test_a_repeated_iteration_counts_as_logged_last_metric_by_metric(tmp_path):
    twice = log(tmp_path / "a", {"iteration": 5, "x": 1.0, "y": 1.0}, {"iteration": 5, "x": 2.0})
    found, _ = read_curves({"a": twice}, tmp_path / "kept")
    assert dict(zip(found["metric"], found["value"], strict=True)) == {"x": 2.0, "y": 1.0}


def test_nothing_is_parsed_twice_and_the_answer_is_the_same(files, tmp_path, monkeypatch):
    first, _ = read_curves(files, tmp_path / "kept")
    parsed = []
    read = curves._read
    monkeypatch.setattr(curves, "_read", lambda path, stamp: parsed.append(path) or read(path, stamp))
    pd.testing.assert_frame_equal(read_curves(files, tmp_path / "kept")[0], first)
    assert parsed == []
    log(files["b"], {"iteration": 0, "loss": 4.0}, {"iteration": 1, "loss": 4.0})
    changed, _ = read_curves(files, tmp_path / "kept")
    assert parsed == [files["b"]]
    pd.testing.assert_frame_equal(changed, read_curves(files, tmp_path / "nothing kept")[0])


def test_the_file_of_arrays_is_written_anew_only_for_many_points(files, tmp_path, monkeypatch):
    read_curves(files, tmp_path / "kept")
    before = (tmp_path / "kept").read_bytes()
    monkeypatch.setattr(curves, "_LEAST", 2)
    for points, is_anew in ((1, False), (2, True)):
        log(files["missing"], *({"iteration": number, "loss": 1.0} for number in range(points)))
        found, _ = read_curves(files, tmp_path / "kept")
        pd.testing.assert_frame_equal(found, read_curves(files, tmp_path / "nothing kept")[0])
        assert ((tmp_path / "kept").read_bytes() != before) is is_anew


def test_bad_lines_are_told_every_time(files, tmp_path):
    files["b"].write_text('{"iteration": 0, "x": 1}\n{torn\n{"iteration": 2, "x": 1}\n')
    assert read_curves(files, tmp_path / "kept")[1] == {"b": 1}
    assert read_curves(files, tmp_path / "kept")[1] == {"b": 1}


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 torn", b"{}"])
def test_a_file_of_arrays_that_is_torn_is_not_believed(files, tmp_path, content):
    first, _ = read_curves(files, tmp_path / "kept")
    (tmp_path / "kept").write_bytes(content)
    pd.testing.assert_frame_equal(read_curves(files, tmp_path / "kept")[0], first)


def test_half_a_file_of_arrays_is_not_believed(files, tmp_path):
    first, _ = read_curves(files, tmp_path / "kept")
    whole = (tmp_path / "kept").read_bytes()
    (tmp_path / "kept").write_bytes(whole[: len(whole) // 2])
    pd.testing.assert_frame_equal(read_curves(files, tmp_path / "kept")[0], first)


def test_a_folder_that_cannot_be_written_is_read(files, tmp_path):
    assert len(read_curves(files, tmp_path / "a" / "kept")[0]) == 3
