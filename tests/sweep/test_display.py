"""The display of a terminal and the lines of a log file while runs are in progress."""

import io

import pytest
from rich.console import Console
from rich.live import Live

from ablation.processes.launch import TaskResult
from ablation.processes.progress import Progress
from ablation.processes.worker import Task
from ablation.records.failure import Failure
from ablation.sweep.display import _format_progress, _format_result, _LiveTable, format_duration

HALFWAY = Progress("train", 20, 40, loss=1.25, seconds_left=95.0, rate=2.5)


def printed(table):
    console = Console(file=io.StringIO(), width=80)
    console.print(table._table())
    return console.file.getvalue()


def test_the_live_table_holds_iteration_speed_loss_and_time_left(tmp_path):
    table = _LiveTable(Live(console=Console(file=io.StringIO())), total=3)
    table.on_start("one")
    table.on_start("two")
    table.on_progress("one", HALFWAY)
    running = printed(table)
    assert running.split("\n")[1].split() == ["one", "train", "20/40", "2.50/s", "1.250", "1", "min", "35", "s"]
    assert "two" in running and "starting" in running
    assert "0 done, 0 failed, 3 left" in running
    table.on_end(TaskResult(Task("one", print, (), tmp_path / "log.txt"), seconds=3.0))
    assert "1 done, 0 failed, 2 left" in printed(table)


def test_what_was_interrupted_has_not_failed_and_is_left(tmp_path):
    table = _LiveTable(Live(console=Console(file=io.StringIO())), total=3)
    log = tmp_path / "log.txt"
    table.on_end(TaskResult(Task("one", print, (), log), seconds=3.0))
    table.on_end(TaskResult(Task("two", print, (), log), failure=Failure("interrupted", "Interrupted."), seconds=3.0))
    assert "1 done, 0 failed, 2 left for when the command is repeated" in " ".join(printed(table).split())


def test_what_diverged_is_counted_by_its_name(tmp_path):
    table = _LiveTable(Live(console=Console(file=io.StringIO())), total=2)
    failure = Failure("diverged", "The training diverged at iteration 3 of 6.")
    result = TaskResult(Task("one", print, (), tmp_path / "log.txt"), failure=failure, seconds=3.0)
    table.on_end(result)
    assert "0 done, 1 diverged, 0 failed, 1 left" in printed(table)
    assert _format_result(result).startswith("one: diverged after 3 s: The training diverged at iteration 3 of 6.")


def test_a_line_of_a_log_says_the_same():
    assert _format_progress(HALFWAY) == "train 20/40, 2.50/s, loss 1.250, 1 min 35 s left"
    assert _format_progress(Progress("evaluate", 0, 5)) == "evaluate 0/5"


@pytest.mark.parametrize(("seconds", "text"), [(42, "42 s"), (185, "3 min 05 s"), (7800, "2 h 10 min")])
def test_times_are_as_people_write_them(seconds, text):
    assert format_duration(seconds) == text


def test_a_failure_and_what_to_do_are_two_sentences(tmp_path):
    failure = Failure("out-of-space", "OSError: No space left on device", "Free some disk space.")
    result = TaskResult(Task("one", print, (), tmp_path / "log.txt"), failure=failure, seconds=3.0)
    assert "No space left on device. Free some disk space." in _format_result(result)
