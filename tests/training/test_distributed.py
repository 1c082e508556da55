"""One training on several devices: here processes on the CPU, which differ from GPUs in nothing but the backend."""

import json
import os
import signal
import socket

import pytest
import torch
from assets import ranks_apart
from safetensors.torch import load_file

from ablation.config.schemas import validate_config
from ablation.data.build import build_dataset
from ablation.execute import execute
from ablation.processes import launch, progress
from ablation.records.errors import ConfigError, RunError
from ablation.records.paths import SweepPaths, TrainingPaths
from ablation.records.schema import Status, TrainingRecord
from ablation.records.storage import read_record
from ablation.sweep.identity import identify
from ablation.training import distributed

TWO = ["sweep.device=cpu", "schedule.devices=2", "sweep.log_period=1", "noise.sigma=0.5"]


@pytest.fixture
def train(compose, micro, tmp_path):
    """Train the micro model on two ranks in a folder of that name: the summary, the weights, the losses."""

    def run(name, *overrides):
        config = validate_config(compose(*micro, *TWO, *overrides))
        build_dataset(config.dataset).prepare()
        paths = TrainingPaths(tmp_path / name)
        paths.folder.mkdir(exist_ok=True)
        summary = distributed.train_on_devices(config, paths)
        losses = [json.loads(line)["total_loss"] for line in paths.metrics.read_text().splitlines()]
        return summary, load_file(paths.weights), losses

    yield run
    progress.set_listener(None)


@pytest.mark.slow
def test_a_training_on_two_ranks_repeats_itself_and_goes_on_bit_for_bit(train, tmp_path):
    summary, weights, losses = train("whole")
    assert summary["iterations"] == len(losses) == 6
    assert summary["telemetry"]["p2"].sigma == pytest.approx(0.5, rel=0.1)

    def stop(update):
        if update.done == 3:
            os.kill(os.getpid(), signal.SIGTERM)

    progress.set_listener(stop)
    with pytest.raises(RunError, match="Interrupted at iteration") as stopped:
        train("torn")
    progress.set_listener(None)
    assert stopped.value.kind == "interrupted"
    assert TrainingPaths(tmp_path / "torn").checkpoint.exists()
    _, again, losses_again = train("torn")
    assert losses_again == losses
    assert all(torch.equal(weights[name], again[name]) for name in weights)


@pytest.mark.slow
def test_two_ranks_learn_and_hold_the_same_weights_under_draws_of_their_own(train, monkeypatch):
    seen = []
    monkeypatch.setattr(distributed, "train_rank", ranks_apart.digest_of_weights)
    launched = distributed.launch.launch
    monkeypatch.setattr(distributed.launch, "launch", lambda *args: seen.extend(launched(*args)) or seen)
    _, _, losses = train("whole", "schedule.iterations=40", "schedule.lr=0.02", "schedule.batch_size=4")
    first, second = (result.result for result in seen)
    assert first["weights"] == second["weights"]
    assert first["noise"] != second["noise"]
    assert sum(losses[-10:]) < sum(losses[:10])


@pytest.mark.slow
def test_an_error_in_any_rank_ends_all_with_that_error(train, monkeypatch):
    with pytest.raises(RunError, match="diverged at iteration") as failed:
        train("diverging", "schedule.lr=1e30")
    assert failed.value.kind == "diverged"
    monkeypatch.setattr(distributed, "train_rank", ranks_apart.fail_as_rank_1)
    with pytest.raises(RunError, match="rank 1 has had enough"):
        train("failing", "sweep.checkpoint_period=2")


@pytest.mark.slow
def test_a_run_on_two_ranks_leaves_the_records_of_any_run(compose, micro, tmp_path):
    record = execute(compose(*micro, *TWO, f"sweep.root={tmp_path}/sweeps"))
    training = SweepPaths(tmp_path / "sweeps" / "micro-shapes").training(record.training_id)
    assert record.status is Status.COMPLETED
    assert read_record(training.record, TrainingRecord).iterations == 6
    assert "Iteration 6 of 6" in training.log.read_text()
    assert len(training.metrics.read_text().splitlines()) == 6
    assert not training.checkpoint.exists()


@pytest.mark.slow
def test_a_training_that_diverges_on_two_ranks_is_recorded_as_diverged(compose, micro, tmp_path):
    with pytest.raises(RunError, match="diverged at iteration"):
        execute(compose(*micro, *TWO, f"sweep.root={tmp_path}/sweeps", "schedule.lr=1e30"))
    (path,) = tmp_path.glob("sweeps/*/trainings/*/training.json")
    assert read_record(path, TrainingRecord).status is Status.DIVERGED


@pytest.mark.slow
def test_the_settings_of_torch_reach_each_rank(compose, micro, tmp_path):
    config = validate_config(compose(*micro, "sweep.device=cpu", "sweep.determinism=strict", "sweep.threads=2"))
    build_dataset(config.dataset).prepare()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"tcp://127.0.0.1:{free.getsockname()[1]}"
    arguments = (0, config.model_dump(), tmp_path, 1, address)
    found = launch.call(ranks_apart.determinism_in_rank, *arguments, log=tmp_path / "log.txt")
    assert found == {"strict": True, "threads": 2}


def test_several_devices_are_another_training_and_one_is_none(compose, micro):
    one, same, two = (
        identify(config, build_dataset(config.dataset)).training_id
        for more in ([], ["schedule.devices=1"], ["schedule.devices=2"])
        for config in [validate_config(compose(*micro, *more))]
    )
    assert one == same != two


def test_a_batch_that_cannot_be_shared_out_is_refused(compose, micro):
    with pytest.raises(ConfigError, match=r"batch_size must be a multiple of schedule\.devices=2, got 3"):
        validate_config(compose(*micro, "schedule.devices=2", "schedule.batch_size=3"))
    with pytest.raises(ConfigError, match=r"batch_size must be >= 4 for noise\.type=dsu on 2 devices, got 2"):
        validate_config(compose(*micro, "schedule.devices=2", "schedule.batch_size=2", "noise=dsu"))


def test_more_gpus_than_a_run_has_are_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(ConfigError, match=r"schedule\.devices must be <= 1, the number of GPUs of this run"):
        distributed._slots(2, "cuda")


def test_each_rank_sees_a_gpu_of_its_own(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,6,7")
    assert distributed._slots(2, "cuda") == [{"CUDA_VISIBLE_DEVICES": "4"}, {"CUDA_VISIBLE_DEVICES": "6"}]
