"""Curves hold every logged number once, and lines that cannot be read are counted."""

import json

import pandas as pd
import pytest

from ablation.report.loading import curves
from ablation.report.loading.curves import read_curves


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


def test_points_are_sorted_and_what_is_no_number_is_left_out(files):
    found, torn = read_curves(files)
    assert found.astype({"training_id": str, "metric": str}).values.tolist() == [
        ["a", 0, "loss", 2.0],
        ["a", 1, "lr", 0.1],
        ["b", 0, "loss", 3.0],
    ]
    assert torn == {}


def test_without_logs_there_are_columns_and_no_points(tmp_path):
    (tmp_path / "empty").write_text("")
    for files in ({}, {"a": tmp_path / "none"}, {"a": tmp_path / "empty"}):
        found, torn = read_curves(files)
        assert list(found) == ["training_id", "iteration", "metric", "value"]
        assert len(found) == len(torn) == 0


def test_a_repeated_iteration_counts_as_logged_last_metric_by_metric(tmp_path):
    twice = log(tmp_path / "a", {"iteration": 5, "x": 1.0, "y": 1.0}, {"iteration": 5, "x": 2.0})
    found, _ = read_curves({"a": twice})
    assert dict(zip(found["metric"], found["value"], strict=True)) == {"x": 2.0, "y": 1.0}


def test_a_resumed_training_is_sorted_by_iteration(tmp_path):
    resumed = log(tmp_path / "a", *({"iteration": i, "x": float(i)} for i in (0, 1, 2, 1, 2, 3)))
    found, _ = read_curves({"a": resumed})
    assert found["iteration"].tolist() == found["value"].tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize(
    "line",
    [
        "{torn",
        "",
        "3",
        '{"x": 1}',
        '{"iteration": NaN, "x": 1}',
        '{"iteration": "1"}',
        '{"iteration": 1}{"iteration": 1}',
    ],
)
def test_bad_lines_are_counted_and_spoil_no_other(files, line):
    files["b"].write_text(f'{{"iteration": 0, "x": 1}}\n{line}\n{{"iteration": 2, "x": 1}}\n')
    found, bad = read_curves(files)
    assert bad == {"b": 1}
    assert found[found["training_id"] == "b"]["iteration"].tolist() == [0, 2]
    assert found[found["training_id"] == "a"]["metric"].tolist() == ["loss", "lr"]


def test_a_torn_last_line_is_forgiven(files):
    files["b"].write_text('{"iteration": 0, "x": 1}\n{"iteration": 2, "x')
    found, bad = read_curves(files)
    assert bad == {}
    assert found[found["training_id"] == "b"]["iteration"].tolist() == [0]


def test_batches_change_nothing(tmp_path, monkeypatch):
    files = {
        f"t{number}": log(tmp_path / f"{number}", *({"iteration": i, f"x{number % 3}": i / 3} for i in range(4)))
        for number in range(9)
    }
    files["t4"].write_text(files["t4"].read_text() + '{torn\n{"iteration": 4, "y": 1}\n')
    whole = read_curves(files)
    monkeypatch.setattr(curves, "_BATCH", 2)
    parts = read_curves(files)
    pd.testing.assert_frame_equal(whole[0], parts[0], check_exact=True)
    assert whole[1] == parts[1] == {"t4": 1}
    assert len(whole[0]) == 37


@pytest.mark.parametrize(
    "line",
    [
        b'{"iteration": 1, "lo\xffss": 2.0}',
        b'{"iteration": 1, "loss": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"iteration": 1, "loss": ' + b'{"a":' * 20_000 + b"1" + b"}" * 20_001,
    ],
    ids=["invalid UTF-8", "nested lists", "nested objects"],
)
def test_damaged_lines_spoil_no_other_line(tmp_path, line):
    (tmp_path / "a.jsonl").write_bytes(b'{"iteration": 0, "loss": 1.0}\n' + line + b'\n{"iteration": 2, "loss": 3.0}\n')
    frame, _ = read_curves({"a": tmp_path / "a.jsonl"})
    assert frame[frame["metric"] == "loss"]["value"].tolist() == [1.0, 3.0]


def test_what_an_interruption_logged_off_the_period_is_left_out(tmp_path):
    own = [{"iteration": i, "total_loss": 1.0, "noise/p2/snr_db": 6.0} for i in (19, 39, 46, 52, 59, 79, 99, 119, 133)]
    own[2]["validation/total_loss"] = 3.0
    own.append({"iteration": 9, "validation/total_loss": 2.0})
    found, _ = read_curves({"a": log(tmp_path / "a", *own)})
    for metric in ("total_loss", "noise/p2/snr_db"):
        # The last iteration of a training is logged wherever it is.
        assert found[found["metric"] == metric]["iteration"].tolist() == [19, 39, 59, 79, 99, 119, 133]
    assert found[found["metric"] == "validation/total_loss"]["iteration"].tolist() == [9, 46]


@pytest.mark.parametrize("iterations", [(19, 39, 59, 66, 73, 80, 87), (0, 1, 2, 3), (6, 12), (7,)])
def test_a_period_that_was_changed_loses_nothing(tmp_path, iterations):
    found, _ = read_curves({"a": log(tmp_path / "a", *({"iteration": i, "total_loss": 1.0} for i in iterations))})
    assert found["iteration"].tolist() == list(iterations)


@pytest.mark.parametrize("iteration", ["-1", "1e300", "1" * 30, "true", "null"])
def test_what_is_no_iteration_is_a_bad_line(tmp_path, iteration):
    path = log(tmp_path / "a", {"iteration": 0, "x": 1.0})
    path.write_text(path.read_text() + f'{{"iteration": {iteration}, "x": 1.0}}\n')
    found, bad = read_curves({"a": path})
    assert found["iteration"].tolist() == [0]
    assert bad == {"a": 1}


def test_a_file_of_other_bytes_has_bad_lines(tmp_path):
    (tmp_path / "a").write_bytes(b"\0" * 50)
    found, bad = read_curves({"a": tmp_path / "a"})
    assert found.empty
    assert bad == {"a": 1}


def test_a_metric_may_have_any_name(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"iteration": 0, "training": 1.5}\n')
    frame, _ = read_curves({"a": tmp_path / "a.jsonl"})
    assert frame[["metric", "value"]].values.tolist() == [["training", 1.5]]
