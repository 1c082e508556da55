"""However the process of a task ends, the task has a result that says so, and the other tasks go on."""

import errno
import os
import signal
import subprocess
import sys
import textwrap
import time

import pytest
from conftest import HANGS

from ablation.processes import progress
from ablation.processes.launch import Limits, PoolCallback, call, launch
from ablation.processes.progress import Progress
from ablation.processes.worker import Task
from ablation.records.errors import Diverged


def double(x):
    return 2 * x


def print_both(text):
    print(text)
    print(text, file=sys.stderr)


def kill_self(number):
    os.kill(os.getpid(), number)


def leave(code):
    sys.exit(code)


def sleep(seconds):
    time.sleep(seconds)


def fail(message):
    raise ValueError(message)


def run_out_of_space():
    os.dup2(os.open("/dev/full", os.O_WRONLY), 2)  # the log is on the disk that is full, too
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def run_out_of_memory():
    raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB")


def environment(name):
    return os.environ.get(name)


def fail_until(path, successes_from):
    attempts = len(path.read_text()) if path.exists() else 0
    path.write_text("x" * (attempts + 1))
    if attempts + 1 < successes_from:
        raise ValueError("not yet")
    return attempts + 1


def report_all(count):
    for i in range(count):
        progress.report_progress(Progress("train", i, count, 0.5))


@pytest.fixture
def task(tmp_path):
    return lambda function, *arguments: Task(function.__name__, function, arguments, tmp_path / "log.txt")


def kinds(results):
    return [result.failure.kind if result.failure else "done" for result in results]


def test_every_death_is_a_result_and_the_rest_goes_on(task):
    tasks = [
        task(double, 3),
        task(kill_self, signal.SIGSEGV),
        task(leave, 3),
        task(leave, 0),
        task(kill_self, signal.SIGKILL),
        task(fail, "no"),
        task(run_out_of_memory),
        task(run_out_of_space),
        task(double, 4),
    ]
    results = launch(tasks, [{}, {}], Limits())
    expected = ["done", "signal", "exit", "exit", "out-of-memory", "exception", "out-of-memory", "out-of-space"]
    assert kinds(results) == [*expected, "done"]
    assert [o.result for o in results if o.failure is None] == [6, 8]
    assert results[1].failure.message == "Died of SIGSEGV."
    assert results[2].failure.message == "The process ended with exit status 3."
    assert results[5].failure.message == "ValueError: no"
    assert "schedule.batch_size" in results[6].failure.advice


def test_a_task_that_hangs_is_killed_at_the_timeout_and_the_next_one_starts(task):
    # The next one hangs, too: on a busy machine no task is sure to end before the limit.
    results = launch([task(sleep, 600), task(sleep, 600)], [{}], Limits(timeout=1))
    assert kinds(results) == ["timeout", "timeout"]
    assert [result.failure.message for result in results] == ["Not finished after 1 s."] * 2


def test_output_and_traceback_are_in_the_log(task, tmp_path):
    launch([task(print_both, "hello"), task(fail, "why")], [{}], Limits())
    log = (tmp_path / "log.txt").read_text()
    assert log.count("hello") == 2
    assert "Traceback" in log
    assert "ValueError: why" in log


def test_a_segfault_leaves_its_stack_in_the_log(task, tmp_path):
    launch([task(kill_self, signal.SIGSEGV)], [{}], Limits())
    assert "Segmentation fault" in (tmp_path / "log.txt").read_text()


def test_a_slot_gives_its_environment_and_is_never_shared(task):
    slots = [{"CUDA_VISIBLE_DEVICES": "0"}, {"CUDA_VISIBLE_DEVICES": "1"}]
    environments = [o.result for o in launch([task(environment, "CUDA_VISIBLE_DEVICES")] * 4, slots, Limits())]
    assert set(environments) == {"0", "1"}
    assert "CUDA_VISIBLE_DEVICES" not in os.environ


def test_a_task_works_in_the_folder_of_its_parent(task, tmp_path, monkeypatch):
    launch([task(double, 1)], [{}], Limits())  # the server starts here, if it has not yet
    monkeypatch.chdir(tmp_path)
    assert launch([task(os.getcwd)], [{}], Limits())[0].result == str(tmp_path)


def test_retries_try_again_and_stop_at_success(task, tmp_path):
    (result,) = launch([task(fail_until, tmp_path / "count", 3)], [{}], Limits(retries=5))
    assert result.result == 3
    (result,) = launch([task(fail_until, tmp_path / "other", 9)], [{}], Limits(retries=1))
    assert result.failure.message == "ValueError: not yet"


def diverge():
    raise Diverged("It diverged.")


def test_a_training_that_diverged_is_neither_tried_again_nor_counted_as_a_failure(task):
    limits = Limits(retries=5, max_failures=1)
    results = launch([task(diverge), task(double, 1)], [{}], limits)
    assert kinds(results) == ["diverged", "done"]


def test_after_max_failures_nothing_more_is_started(task):
    results = launch(
        [task(fail, "no"), task(fail, "no"), task(double, 1), task(double, 2)], [{}], Limits(max_failures=2)
    )
    assert kinds(results) == ["exception", "exception", "limit", "limit"]
    assert results[2].failure.message == "Not started: 2 failures reached max_failures."


def test_progress_reaches_the_callback_in_order(task):
    class Recorder(PoolCallback):
        updates, events = [], []

        def on_start(self, name):
            self.events.append(("started", name))

        def on_progress(self, name, progress):
            self.updates.append(progress.done)

        def on_end(self, result):
            self.events.append(("ended", result.task.name))

    recorder = Recorder()
    launch([task(report_all, 5)], [{}], Limits(), recorder)
    assert recorder.updates == [0, 1, 2, 3, 4]
    assert recorder.events == [("started", "report_all"), ("ended", "report_all")]


def test_call_returns_or_raises(tmp_path):
    assert call(double, 21, log=tmp_path / "log.txt") == 42
    with pytest.raises(RuntimeError, match="ValueError: no"):
        call(fail, "no", log=tmp_path / "log.txt")


SCRIPT = """
import sys, time, signal, os
from pathlib import Path
from ablation.processes.launch import Limits, PoolCallback, Task, launch

def work(path):
    def stop(*_):
        Path(path).write_text("saved")
        sys.exit(5)
    signal.signal(signal.SIGTERM, stop)
    Path(path).write_text("working")
    time.sleep(3600)

class Printer(PoolCallback):
    def on_stop(self, is_killing):
        print("killing", is_killing)

if __name__ == "__main__":
    folder = Path(sys.argv[1])
    tasks = [Task("work", work, (str(folder / f"{i}"),), folder / "log.txt") for i in range(2)]
    results = launch(tasks, [{}], Limits(), Printer())
    print([o.failure.kind for o in results], results[1].failure.message)
"""


@pytest.fixture
def parent(tmp_path):
    (tmp_path / "script.py").write_text(textwrap.dedent(SCRIPT))
    process = subprocess.Popen(
        [sys.executable, "script.py", str(tmp_path)], cwd=tmp_path, stdout=subprocess.PIPE, text=True
    )
    wait_for(tmp_path / "0", "working", process)
    yield process
    process.kill()


def wait_for(path, text, process=None):
    deadline = time.monotonic() + HANGS
    while not (path.exists() and path.read_text() == text):
        assert process is None or process.poll() is None, (
            f"{path} never said {text!r}: its process ended with {process.returncode}"
        )
        assert time.monotonic() < deadline, f"{path} never said {text!r}"
        time.sleep(0.05)


def test_one_interrupt_lets_the_running_task_save_and_starts_no_more(parent, tmp_path):
    parent.send_signal(signal.SIGINT)
    out, _ = parent.communicate(timeout=HANGS)
    assert (tmp_path / "0").read_text() == "saved"
    assert not (tmp_path / "1").exists()
    kinds_and_message = "['interrupted', 'interrupted'] Not started: the sweep was interrupted."
    assert out.splitlines() == ["killing False", kinds_and_message]


STARTING = """
import sys
from pathlib import Path
from ablation.processes.launch import call
from ablation.processes.server import preload

if __name__ == "__main__":
    folder = Path(sys.argv[1])
    sys.path.insert(0, str(folder))
    preload(["slow"])
    print(call(len, "abc", log=folder / "log.txt"))
"""


@pytest.mark.parametrize("moment", ["importing", "calling"])
def test_ctrl_c_stops_a_call_while_the_server_imports_and_while_it_runs(tmp_path, moment):
    # Ctrl-C of a terminal goes to the whole group of processes, and so to the server.
    wait = "import time; time.sleep(2)"
    (tmp_path / "slow.py").write_text(
        f"from pathlib import Path\nPath({str(tmp_path / 'sign')!r}).write_text('on')\n{wait}"
    )
    script = (
        STARTING
        if moment == "importing"
        else STARTING.replace('len, "abc"', "exec, SLOW")
        .replace("if __name__", f"SLOW = {(tmp_path / 'slow.py').read_text()!r}\nif __name__")
        .replace('preload(["slow"])', "")
    )
    (tmp_path / "script.py").write_text(script)
    process = subprocess.Popen(
        [sys.executable, "script.py", str(tmp_path)], cwd=tmp_path, start_new_session=True, stderr=subprocess.PIPE
    )
    wait_for(tmp_path / "sign", "on", process)
    os.killpg(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=HANGS)
    assert process.returncode == -signal.SIGINT
    assert err.rstrip().endswith(b"KeyboardInterrupt")


def test_a_server_that_cannot_make_a_socket_is_refused_in_words(tmp_path):
    (tmp_path / ("x" * 120)).mkdir()
    (tmp_path / "script.py").write_text(STARTING)
    environment = {**os.environ, "TMPDIR": str(tmp_path / ("x" * 120))}
    command = [sys.executable, "script.py", str(tmp_path)]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert "No process can be started: AF_UNIX path too long" in done.stderr
    assert "set TMPDIR=/tmp" in done.stderr


def test_a_worker_saves_and_ends_when_its_parent_is_killed(parent, tmp_path):
    parent.kill()
    wait_for(tmp_path / "0", "saved")
