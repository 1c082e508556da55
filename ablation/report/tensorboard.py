"""Event files for `tensorboard --logdir sweeps/<name>`: a table of hyperparameters, and charts that overlay all runs.

One event file goes into the folder of each training and each run that has ended, beside the training's own, which is
left alone, and one into `layout/` for the sweep. They depend on the records alone, and only those that change are
written.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.compat.proto.tensor_pb2 import TensorProto
from tensorboard.compat.proto.types_pb2 import DT_STRING
from tensorboard.plugins.custom_scalar import layout_pb2
from tensorboard.plugins.custom_scalar import metadata as custom_scalar
from tensorboard.plugins.hparams import api_pb2, plugin_data_pb2
from tensorboard.plugins.hparams import metadata as hparams
from tensorboard.plugins.hparams.summary_v2 import Discrete, Metric, RealInterval
from tensorboard.summary.writer.record_writer import RecordWriter

from ablation.records.paths import SweepPaths
from ablation.records.schema import RunRecord, Status, TrainingRecord
from ablation.records.storage import try_read_record
from ablation.report.loading.factors import SIGMA, format_value
from ablation.report.loading.sweep import Sweep
from ablation.report.statistics.findings import shown_factors

# TensorBoard reads the files of a folder in the order of their names; those of a training begin with the time.
FILE = "events.out.tfevents.0.ablation"
LOSSES = ("total_loss", "validation/total_loss")

_ENDED = (Status.COMPLETED, Status.DIVERGED, Status.FAILED, Status.INTERRUPTED)
_STATUSES = {  # TensorBoard has no word for a training that diverged
    Status.COMPLETED: api_pb2.STATUS_SUCCESS,
    Status.DIVERGED: api_pb2.STATUS_FAILURE,
    Status.FAILED: api_pb2.STATUS_FAILURE,
}
_MOST_CHECKBOXES = 12  # TensorBoard filters by a checkbox for each value; more numbers than these become an interval

Hyperparameters = dict[str, str | float]


@dataclass(frozen=True)
class _Session:
    """One run in TensorBoard's terms. Sessions with the same run_id share a row in the table of hyperparameters.

    Attributes:
        folder: Where its event file goes.
        run_id: The row.
        hyperparameters: Values of the factors and the seed.
        record: Its record, for times and status.
        step: The last iteration, counted from 0: where the scalars are placed on the axis of the curves.
        scalars: Results by tag.
    """

    folder: Path
    run_id: str
    hyperparameters: Hyperparameters
    record: RunRecord | TrainingRecord
    step: int
    scalars: Mapping[str, float]


def write(sweep: Sweep) -> list[Path]:
    """Update the event files of a sweep of one folder and return the paths of those that were written."""
    paths = SweepPaths(sweep.folder)
    trainings = {t: try_read_record(paths.training(t).record, TrainingRecord) for t in set(sweep.runs["training_id"])}
    sessions = list(_sessions(sweep, paths, trainings))
    events = {session.folder / FILE: _session_event(session) for session in sessions}
    summaries = [_experiment(sweep, sessions), _layout(sweep, [t for t in trainings.values() if t])]
    events[paths.layout / FILE] = Event(summary=Summary(value=summaries))
    return [path for path, event in events.items() if _update(path, event)]


def _sessions(sweep: Sweep, paths: SweepPaths, trainings: Mapping[str, TrainingRecord | None]) -> Iterator[_Session]:
    """Return a session for everything that has ended.

    A training shares the row of the first run that uses it. The other runs get its final losses as scalars; with its
    curves, TensorBoard would draw the same curve once per run.
    """
    hyperparameters, shown = _hyperparameters(sweep), set()
    for run_id, training_id in dict.fromkeys(zip(sweep.runs["run_id"], sweep.runs["training_id"], strict=True)):
        training, run = trainings[training_id], try_read_record(paths.run(run_id).record, RunRecord)
        values, losses = hyperparameters[run_id], {}
        last = max(training.iterations - 1, 0) if training else 0
        if training_id not in shown and training and training.status in _ENDED:
            yield _Session(paths.training(training_id).folder, run_id, values, training, last, {})
        elif training_id in shown and training:
            losses = {name: training.losses[name] for name in LOSSES if name in training.losses}
        shown.add(training_id)
        if run and run.status in _ENDED:
            # AP of single classes would be too many columns.
            metrics = {m: v for m, v in run.metrics.items() if v is not None and "-" not in m.partition("/")[2]}
            snr = {f"noise/{level}/snr_db": t.snr_db for level, t in run.telemetry.items() if t.snr_db is not None}
            yield _Session(paths.run(run_id).folder, run_id, values, run, last, metrics | snr | losses)


def _hyperparameters(sweep: Sweep) -> dict[str, Hyperparameters]:
    """Return the hyperparameters of each run by run_id.

    Cells that share a run may differ (a baseline has no noise type): a text is then "any" and a number is left out.
    """
    names = _names(sweep)
    texts = {name for name in names if any(isinstance(value, str) for value in sweep.runs[name])}
    found: dict[str, Hyperparameters] = {}
    for run_id, cells in sweep.runs.groupby("run_id"):
        own = found.setdefault(str(run_id), {})
        for name in names:
            first, *others = cells[name].unique().tolist()
            if name in texts:
                own[name] = "any" if others else format_value(first)
            elif not others and not math.isnan(first):  # NaN: a sigma that was only measured
                own[name] = float(first)
    return found


def _names(sweep: Sweep) -> tuple[str, ...]:
    return (*dict.fromkeys((*shown_factors(sweep), SIGMA)), "seed")


def _session_event(session: _Session) -> Event:
    record = session.record
    start = plugin_data_pb2.SessionStartInfo(group_name=session.run_id, start_time_secs=record.started or 0.0)
    for name, value in session.hyperparameters.items():
        setattr(start.hparams[name], "string_value" if isinstance(value, str) else "number_value", value)
    end = plugin_data_pb2.SessionEndInfo(
        status=_STATUSES.get(record.status, api_pb2.STATUS_UNKNOWN), end_time_secs=record.finished or 0.0
    )
    values = [
        _hparams_summary(hparams.SESSION_START_INFO_TAG, session_start_info=start),
        _hparams_summary(hparams.SESSION_END_INFO_TAG, session_end_info=end),
        *(Summary.Value(tag=tag, simple_value=value) for tag, value in session.scalars.items()),
    ]
    return Event(wall_time=record.finished or 0.0, step=session.step, summary=Summary(value=values))


def _experiment(sweep: Sweep, sessions: Sequence[_Session]) -> Summary.Value:
    """Return the columns of the table: factors, the primary metric, the other headline metrics, and the losses."""
    # hparams_config_pb has no place for the name of the experiment and for which hyperparameters differ.
    experiment = api_pb2.Experiment(name=sweep.name)
    varied = {*shown_factors(sweep), "seed"}
    for name in _names(sweep):
        values = {s.hyperparameters[name] for s in sessions if name in s.hyperparameters}
        is_text = any(isinstance(value, str) for value in values)
        is_interval = len(values) > _MOST_CHECKBOXES and not is_text
        domain = RealInterval(min(values), max(values)) if is_interval else Discrete(values, str if is_text else float)
        domain.update_hparam_info(experiment.hparam_infos.add(name=name, differs=name in varied))
    metrics = [Metric(tag, display_name=tag).as_proto() for tag in (*_headline_metrics(sweep), *LOSSES)]
    experiment.metric_infos.extend(metrics)
    return _hparams_summary(hparams.EXPERIMENT_TAG, experiment=experiment)


def _headline_metrics(sweep: Sweep) -> list[str]:
    headline = [m for m in sweep.metrics if m.rpartition("/")[2] in ("AP", "mPFN", "rPFN", "mPC", "rPC")]
    return list(dict.fromkeys((sweep.primary_metric, *headline)))


def _layout(sweep: Sweep, trainings: Sequence[TrainingRecord]) -> Summary.Value:
    """Return charts that overlay all runs: each loss, the SNR of each level, and the headline metrics."""
    losses = dict.fromkeys((*LOSSES, *sorted({name for t in trainings for name in t.losses})))
    levels = sorted({level for t in trainings for level in t.telemetry} | set(sweep.levels["level"]))
    groups: dict[str, Iterable[str]] = {
        "Losses": losses,
        "SNR in dB of each level": [f"noise/{level}/snr_db" for level in levels],
        "AP": _headline_metrics(sweep),
    }
    layout = layout_pb2.Layout()
    for title, tags in groups.items():
        category = layout.category.add(title=title, closed=title != "Losses")
        for tag in tags:
            category.chart.add(title=tag).multiline.tag.append(f"^{re.escape(tag)}$")
    # custom_scalar.summary.pb makes the same message, but imports TensorFlow.
    tensor = TensorProto(dtype=DT_STRING, string_val=[layout.SerializeToString(deterministic=True)])
    return Summary.Value(
        tag=custom_scalar.CONFIG_SUMMARY_TAG, tensor=tensor, metadata=custom_scalar.create_summary_metadata()
    )


def _hparams_summary(tag: str, **content: Any) -> Summary.Value:
    data = plugin_data_pb2.HParamsPluginData(version=hparams.PLUGIN_DATA_VERSION, **content)
    metadata = hparams.create_summary_metadata(data)
    # Like hparams_pb, it serialises the map of hyperparameters in another order in every process, so that repeating a
    # report would write every file again.
    metadata.plugin_data.content = data.SerializeToString(deterministic=True)
    return Summary.Value(tag=tag, metadata=metadata, tensor=hparams.NULL_TENSOR)


def _update(path: Path, event: Event) -> bool:
    """Write an event file unless it holds the event already, and return whether it was written."""
    version, payload = Event(file_version="brain.Event:2").SerializeToString(), event.SerializeToString()
    # A record is its length (8 bytes), a checksum (4), the payload and another checksum (4). The checksums are not
    # compared: they take longer to compute than all the rest.
    old, start = path.read_bytes() if path.is_file() else b"", len(version) + 28
    if len(old) == start + len(payload) + 4 and old[12 : start - 16] == version and old[start:-4] == payload:
        return False
    path.parent.mkdir(parents=True, exist_ok=True)
    # Not synced, which would take seconds: a torn file differs and is written again.
    temporary = path.with_name(f".ablation-{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            for data in (version, payload):
                RecordWriter(file).write(data)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    return True
