"""TensorBoard's own reader finds the results of the records in the event files."""

import json
import re
from dataclasses import replace

import pytest
from matplotlib.figure import Figure
from sweep_factory import make_sweep
from tensorboard.backend.event_processing.data_provider import MultiplexerDataProvider
from tensorboard.backend.event_processing.plugin_event_multiplexer import EventMultiplexer
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.context import RequestContext
from tensorboard.plugins.base_plugin import TBContext
from tensorboard.plugins.custom_scalar.custom_scalars_plugin import CustomScalarsPlugin
from tensorboard.plugins.hparams import api_pb2
from tensorboard.plugins.hparams.backend_context import Context
from tensorboard.plugins.hparams.get_experiment import Handler as GetExperiment
from tensorboard.plugins.hparams.list_session_groups import Handler as ListSessionGroups
from tensorboard.summary.writer.record_writer import RecordWriter

from ablation.records.schema import LevelTelemetry, RunRecord, Status, TrainingRecord
from ablation.records.storage import read_record, write_record
from ablation.report.build import build
from ablation.report.loading.sweep import load_sweep
from ablation.report.tensorboard import FILE, write

GRID = {"noise.sigma": [0, 0.1], "noise.when": ["train", "always"], "seed": [0, 1]}
LOSS = 1.25


@pytest.fixture
def sweep(tmp_path):
    """Six runs of four trainings, which have logged curves for TensorBoard as detectron2 does."""
    paths = make_sweep(tmp_path / "s", GRID)
    for path in paths.folder.glob("trainings/*/training.json"):
        record = read_record(path, TrainingRecord)
        losses = {"total_loss": LOSS, "loss_cls": 0.5}
        write_record(path, replace(record, iterations=300, losses=losses, started=1000.0, finished=2000.0))
        with (path.parent / "events.out.tfevents.1000.host").open("wb") as file:
            for step, loss in ((19, 2.0), (299, LOSS)):
                value = Summary.Value(tag="total_loss", simple_value=loss)
                event = Event(step=step, wall_time=1000.0 + step, summary=Summary(value=[value]))
                RecordWriter(file).write(event.SerializeToString())
    return paths


class Board:
    """A sweep folder as TensorBoard reads it."""

    def __init__(self, folder):
        runs = EventMultiplexer().AddRunsFromDirectory(str(folder))
        runs.Reload()
        self.runs = runs
        provider = MultiplexerDataProvider(runs, str(folder))
        self._tensorboard = TBContext(data_provider=provider, logdir=str(folder))
        self._hparams, self._request = Context(self._tensorboard), RequestContext()

    def experiment(self):
        request = api_pb2.GetExperimentRequest()
        return GetExperiment(self._request, self._hparams, "", request).run()

    def rows(self):
        states = [getattr(api_pb2, f"STATUS_{s}") for s in ("UNKNOWN", "SUCCESS", "FAILURE", "RUNNING")]
        request = api_pb2.ListSessionGroupsRequest(allowed_statuses=states, start_index=0, slice_size=1000)
        groups = ListSessionGroups(self._request, self._hparams, "", request).run().session_groups
        return {group.name: group for group in groups}

    def layout(self):
        return json.loads(CustomScalarsPlugin(self._tensorboard).layout_impl(self._request, ""))


def test_a_diverged_run_is_a_row_without_metrics(tmp_path):
    paths = make_sweep(tmp_path / "s", {"noise.sigma": [0, 0.5]}, status=lambda c: (
        Status.DIVERGED if c["noise.sigma"] else Status.COMPLETED))  # fmt: skip
    sweep = load_sweep(paths.folder)
    write(sweep)
    row = Board(paths.folder).rows()[sweep.diverged[0].run_id]
    assert {session.status for session in row.sessions} == {api_pb2.STATUS_FAILURE}
    assert [v.name.tag for v in row.metric_values] == []


def test_a_run_is_one_row_with_its_factors_its_metrics_and_the_last_loss_of_its_training(sweep):
    write(load_sweep(sweep.folder))
    rows = Board(sweep.folder).rows()
    runs = {path.parent.name: read_record(path, RunRecord) for path in sweep.folder.glob("runs/*/record.json")}
    assert set(rows) == set(runs) and len(rows) == 6
    for run_id, row in rows.items():
        values = {value.name.tag: value.value for value in row.metric_values}
        assert values["segm/AP"] == pytest.approx(runs[run_id].metrics["segm/AP"])
        assert values["total_loss"] == pytest.approx(LOSS)
        assert row.hparams["seed"].number_value == runs[run_id].seed
        assert row.hparams["noise.sigma"].number_value == (0 if "baseline" in run_id else 0.1)


def test_a_baseline_has_any_value_of_a_factor_that_does_not_act_on_it(sweep):
    write(load_sweep(sweep.folder))
    when = {name: row.hparams["noise.when"].string_value for name, row in Board(sweep.folder).rows().items()}
    assert {value for name, value in when.items() if "baseline" in name} == {"any"}
    assert sorted(value for name, value in when.items() if "baseline" not in name) == ["always"] * 2 + ["train"] * 2


def test_a_shared_training_is_drawn_once_and_in_the_row_of_one_run(sweep):
    write(load_sweep(sweep.folder))
    board = Board(sweep.folder)
    sessions = [s.name for row in board.rows().values() for s in row.sessions]
    assert sorted(sessions) == sorted(board.runs.Runs().keys() - {"layout"})
    curves = [run for run in sessions if "total_loss" in board.runs.Runs()[run]["tensors"]]
    assert len([run for run in curves if len(board.runs.Tensors(run, "total_loss")) > 1]) == 4
    assert len(curves) == 4 + 2  # a point each for the two runs that do not stand in the row of their training


def test_the_primary_metric_is_the_first_column_and_the_losses_the_last(sweep):
    write(load_sweep(sweep.folder))
    tags = [info.name.tag for info in Board(sweep.folder).experiment().metric_infos]
    assert tags == ["segm/AP", "bbox/AP", "total_loss", "validation/total_loss"]


def test_factors_have_their_values_as_domain_and_many_numbers_an_interval(tmp_path):
    sigmas = [round(0.05 * i, 2) for i in range(20)]
    paths = make_sweep(tmp_path / "s", {"noise.type": ["gaussian", "uniform"], "noise.sigma": sigmas, "seed": [0, 1]})
    write(load_sweep(paths.folder))
    infos = {info.name: info for info in Board(paths.folder).experiment().hparam_infos}
    assert {v.string_value for v in infos["noise.type"].domain_discrete.values} == {"any", "gaussian", "uniform"}
    assert [v.number_value for v in infos["seed"].domain_discrete.values] == [0, 1]
    interval = infos["noise.sigma"].domain_interval
    assert (interval.min_value, interval.max_value) == (0, 0.95)


def test_charts_overlay_each_loss_the_snr_of_each_level_and_ap(sweep):
    write(load_sweep(sweep.folder))
    layout = Board(sweep.folder).layout()
    charts = {category["title"]: [c["title"] for c in category["chart"]] for category in layout["category"]}
    assert charts["Losses"] == ["total_loss", "validation/total_loss", "loss_cls"]
    assert charts["SNR in dB of each level"] == ["noise/p2/snr_db", "noise/p3/snr_db"]
    assert charts["AP"] == ["segm/AP", "bbox/AP"]
    (pattern,) = layout["category"][0]["chart"][0]["multiline"]["tag"]
    assert re.match(pattern, "total_loss") and not re.match(pattern, "total_loss_rpn")


def test_a_repetition_writes_nothing_and_a_new_result_one_file(sweep):
    written = write(load_sweep(sweep.folder))
    assert len(written) == 6 + 4 + 1
    before = {path: path.read_bytes() for path in sweep.folder.rglob("*tfevents*")}
    assert write(load_sweep(sweep.folder)) == []
    assert {path: path.read_bytes() for path in sweep.folder.rglob("*tfevents*")} == before
    path = next(sweep.folder.glob("runs/gaussian*/record.json"))
    run = read_record(path, RunRecord)
    write_record(path, replace(run, metrics={**run.metrics, "segm/AP": 1.0}))
    assert write(load_sweep(sweep.folder)) == [path.parent / FILE]


def test_a_torn_file_is_written_again(sweep):
    write(load_sweep(sweep.folder))
    path = next(sweep.folder.glob("runs/*")) / FILE
    whole = path.read_bytes()
    for torn in (b"", whole[:-3], whole[:20], b"\0" * len(whole)):
        path.write_bytes(torn)
        assert write(load_sweep(sweep.folder)) == [path]
        assert path.read_bytes() == whole


def test_the_training_s_own_event_files_are_left_alone(sweep):
    own = {p: p.stat().st_mtime_ns for p in sweep.folder.rglob("events.out.tfevents.1000.host")}
    write(load_sweep(sweep.folder))
    assert {p: p.stat().st_mtime_ns for p in own} == own


def test_a_failed_run_is_marked_and_a_running_one_waits(tmp_path):
    states = {0: Status.COMPLETED, 0.1: Status.FAILED, 0.5: Status.RUNNING}
    paths = make_sweep(
        tmp_path / "s", {"noise.sigma": [0, 0.1, 0.5]}, status=lambda config: states[config["noise.sigma"]]
    )
    write(load_sweep(paths.folder))
    rows = Board(paths.folder).rows()
    assert {row.hparams["noise.sigma"].number_value: row.sessions[0].status for row in rows.values()} == {
        0: api_pb2.STATUS_SUCCESS,
        0.1: api_pb2.STATUS_FAILURE,
    }


@pytest.mark.parametrize("status", [Status.PLANNED, Status.FAILED, Status.INTERRUPTED, Status.COMPLETED])
def test_a_sweep_in_any_state_and_with_any_names_is_shown(tmp_path, status):
    levels, grid = ["all", "[p2] <b>", "50 %_$"], {"noise.sigma": [0.1, None], "seed": [3]}
    paths = make_sweep(tmp_path / "s", {**grid, "noise.levels": levels}, status=lambda _: status)
    write(load_sweep(paths.folder))
    board = Board(paths.folder)
    assert len(board.rows()) == (0 if status is Status.PLANNED else 6)
    assert {row.hparams["noise.levels"].string_value for row in board.rows().values()} <= set(levels)
    assert board.experiment().metric_infos[0].name.tag == "segm/AP"
    assert board.layout()["category"]


def test_noise_that_acts_in_evaluation_adds_its_snr(sweep):
    path = next(sweep.folder.glob("runs/gaussian*/record.json"))
    write_record(path, replace(read_record(path, RunRecord), telemetry={"p2": LevelTelemetry(3, 2.0, 0.2)}))
    write(load_sweep(sweep.folder))
    (point,) = Board(sweep.folder).runs.Tensors(f"runs/{path.parent.name}", "noise/p2/snr_db")
    assert point.tensor_proto.float_val[0] == pytest.approx(20.0)
    assert point.step == 299


@pytest.mark.parametrize("where", ["beside", "versus"])
def test_a_report_elsewhere_or_of_several_sweeps_leaves_their_folders_alone(tmp_path, monkeypatch, where):
    monkeypatch.setattr(Figure, "savefig", lambda *_, **__: None)
    monkeypatch.setattr("ablation.report.document.html.embed", lambda *_: "")
    one, two = (make_sweep(tmp_path / name, {"noise.sigma": [0, 0.1]}).folder for name in ("one", "two"))
    build([one], tmp_path / "out") if where == "beside" else build([one, two])
    assert not list(tmp_path.rglob("*tfevents*"))
    build(one)
    assert list(one.rglob("*tfevents*")) and not list(two.rglob("*tfevents*"))
