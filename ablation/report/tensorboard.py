"""Records for `tensorboard --logdir sweeps/<name>`: a table of hyperparameters, and charts that overlay all runs.

Our event files stand beside those of the trainings, which are left alone: one in the folder of each training and each
run that has ended, and one in `layout/` for the sweep. They follow from the records alone, so made again they are the
same, and only those that changed are written.
"""

from __future__ import annotations

import os
import re
import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary, SummaryMetadata
from tensorboard.compat.proto.tensor_pb2 import TensorProto
from tensorboard.compat.proto.types_pb2 import DT_STRING
from tensorboard.plugins.custom_scalar import layout_pb2
from tensorboard.plugins.custom_scalar import metadata as custom_scalar
from tensorboard.plugins.hparams import api_pb2, plugin_data_pb2
from tensorboard.plugins.hparams import metadata as hparams
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

_ENDED = (Status.COMPLETED, Status.FAILED, Status.INTERRUPTED)
_STATES = {Status.COMPLETED: api_pb2.STATUS_SUCCESS, Status.FAILED: api_pb2.STATUS_FAILURE}
_LISTED = 12  # more numbers than these are an interval to filter by, not a box to tick for each

Values = dict[str, str | float]


@dataclass(frozen=True)
class _Session:
    """What TensorBoard shows as one run; those of the same run_id share a row of the table of hyperparameters.

    step: the last iteration, counted from 0, where the scalars stand at the end of the curves.
    """

    folder: Path
    run_id: str
    values: Values
    record: RunRecord | TrainingRecord
    step: int
    scalars: Mapping[str, float]


def write(sweep: Sweep) -> list[Path]:
    """Bring the event files of a sweep of one folder up to date; returns those that were written."""
    paths = SweepPaths(sweep.folder)
    trainings = {t: try_read_record(paths.training(t).record, TrainingRecord) for t in set(sweep.runs["training_id"])}
    sessions = list(_sessions(sweep, paths, trainings))
    files = {session.folder / FILE: _event(session) for session in sessions}
    charts = _layout(sweep, [training for training in trainings.values() if training])
    files[paths.layout / FILE] = Event(summary=Summary(value=[_experiment(sweep, sessions), charts]))
    return [path for path, event in files.items() if _update(path, event)]


def _sessions(sweep: Sweep, paths: SweepPaths, trainings: Mapping[str, TrainingRecord | None]) -> Iterator[_Session]:
    """All that has ended. A training stands in the row of the first run that uses it; the others get its last losses.

    Given as curves to all of them, it would be drawn as often.
    """
    values, placed = _values(sweep), set()
    for run_id, training_id in dict.fromkeys(zip(sweep.runs["run_id"], sweep.runs["training_id"], strict=True)):
        training, run = trainings[training_id], try_read_record(paths.run(run_id).record, RunRecord)
        losses = {name: training.losses[name] for name in LOSSES if name in training.losses} if training else {}
        last = max(training.iterations - 1, 0) if training else 0
        if training_id not in placed:
            placed.add(training_id)
            losses = {}
            if training and training.status in _ENDED:
                yield _Session(paths.training(training_id).folder, run_id, values[run_id], training, last, {})
        if run and run.status in _ENDED:
            yield _Session(paths.run(run_id).folder, run_id, values[run_id], run, last, _scalars(run) | losses)


def _values(sweep: Sweep) -> dict[str, Values]:
    """The hyperparameters by run_id, of all cells that the run answers.

    Where these differ (a baseline has no type of noise), a text is "any" and a number is left out.
    """
    names = _names(sweep)
    told: dict[str, list[set[Any]]] = {}
    for key, *values in sweep.runs[["run_id", *names]].itertuples(index=False, name=None):
        for found, value in zip(told.setdefault(key, [set() for _ in names]), values, strict=True):
            found.add(value)
    texts = {name for name in names if any(isinstance(v, str) for v in sweep.runs[name])}
    return {key: dict(_merged(names, columns, texts)) for key, columns in told.items()}


def _names(sweep: Sweep) -> tuple[str, ...]:
    return (*dict.fromkeys((*shown_factors(sweep), SIGMA)), "seed")


def _merged(names: Sequence[str], columns: Sequence[set[Any]], texts: set[str]) -> Iterator[tuple[str, str | float]]:
    for name, values in zip(names, columns, strict=True):
        first = next(iter(values))
        if name in texts:
            yield name, format_value(first) if len(values) == 1 else "any"
        elif len(values) == 1 and first == first:  # noqa: PLR0124 - NaN: only measured, no number to filter by
            yield name, float(first)


def _scalars(run: RunRecord) -> dict[str, float]:
    """Metrics, without those of single classes, and the realised SNR of the evaluation."""
    metrics = {m: value for m, value in run.metrics.items() if value is not None and "-" not in m.partition("/")[2]}
    snr = {f"noise/{level}/snr_db": told.snr_db for level, told in run.telemetry.items() if told.snr_db is not None}
    return metrics | snr


def _event(session: _Session) -> Event:
    record, info = session.record, plugin_data_pb2.SessionStartInfo(group_name=session.run_id)
    info.start_time_secs = record.started or 0.0
    for name, value in session.values.items():
        _set(info.hparams[name], value)
    end = plugin_data_pb2.SessionEndInfo(
        status=_STATES.get(record.status, api_pb2.STATUS_UNKNOWN), end_time_secs=record.finished or 0.0
    )
    told = [
        _hparams(hparams.SESSION_START_INFO_TAG, session_start_info=info),
        _hparams(hparams.SESSION_END_INFO_TAG, session_end_info=end),
        *(Summary.Value(tag=tag, simple_value=value) for tag, value in session.scalars.items()),
    ]
    return Event(wall_time=record.finished or 0.0, step=session.step, summary=Summary(value=told))


def _experiment(sweep: Sweep, sessions: Sequence[_Session]) -> Summary.Value:
    """The columns: factors with their values, the primary metric, the other AP, and the losses, which are curves."""
    experiment = api_pb2.Experiment(name=sweep.name)
    varied = {*shown_factors(sweep), "seed"}
    for name in _names(sweep):
        info = experiment.hparam_infos.add(name=name, differs=name in varied)
        found = list(dict.fromkeys(s.values[name] for s in sessions if name in s.values))
        if texts := [v for v in found if isinstance(v, str)]:
            info.type = api_pb2.DATA_TYPE_STRING
            info.domain_discrete.extend(texts)
            continue
        info.type = api_pb2.DATA_TYPE_FLOAT64
        numbers = sorted(v for v in found if not isinstance(v, str))
        if len(numbers) > _LISTED:
            info.domain_interval.min_value, info.domain_interval.max_value = numbers[0], numbers[-1]
        else:
            info.domain_discrete.extend(numbers)
    for tag in (*_metrics(sweep), *LOSSES):
        experiment.metric_infos.add(name=api_pb2.MetricName(tag=tag), display_name=tag)
    return _hparams(hparams.EXPERIMENT_TAG, experiment=experiment)


def _metrics(sweep: Sweep) -> list[str]:
    """Those worth a column: the primary one first, and AP and the robustness of each task."""
    headline = [m for m in sweep.metrics if m.rpartition("/")[2] in ("AP", "mPFN", "rPFN", "mPC", "rPC")]
    return list(dict.fromkeys((sweep.primary_metric, *headline)))


def _layout(sweep: Sweep, trainings: Iterable[TrainingRecord]) -> Summary.Value:
    """Charts that overlay what all runs have logged: each loss, the SNR of each level, and AP."""
    trainings = list(trainings)
    losses = dict.fromkeys((*LOSSES, *sorted({name for t in trainings for name in t.losses})))
    levels = sorted({level for t in trainings for level in t.telemetry} | set(sweep.levels["level"]))
    groups = {
        "Losses": losses,
        "SNR in dB of each level": [f"noise/{level}/snr_db" for level in levels],
        "AP": _metrics(sweep),
    }
    layout = layout_pb2.Layout()
    for title, tags in groups.items():
        charts = [
            layout_pb2.Chart(title=tag, multiline=layout_pb2.MultilineChartContent(tag=[f"^{re.escape(tag)}$"]))
            for tag in tags
        ]
        layout.category.add(title=title, chart=charts, closed=title != "Losses")
    tensor = TensorProto(dtype=DT_STRING, string_val=[layout.SerializeToString(deterministic=True)])
    return Summary.Value(
        tag=custom_scalar.CONFIG_SUMMARY_TAG, tensor=tensor, metadata=custom_scalar.create_summary_metadata()
    )


def _hparams(tag: str, **content: Any) -> Summary.Value:
    data = plugin_data_pb2.HParamsPluginData(version=hparams.PLUGIN_DATA_VERSION, **content)
    plugin = SummaryMetadata.PluginData(
        plugin_name=hparams.PLUGIN_NAME, content=data.SerializeToString(deterministic=True)
    )
    return Summary.Value(tag=tag, metadata=SummaryMetadata(plugin_data=plugin), tensor=hparams.NULL_TENSOR)


def _set(field: Any, value: str | float) -> None:
    if isinstance(value, str):
        field.string_value = value
    else:
        field.number_value = value


def _update(path: Path, event: Event) -> bool:
    """Write the file unless it holds the same already; returns whether it was written."""
    version, payload = Event(file_version="brain.Event:2").SerializeToString(), event.SerializeToString()
    # Records without their checksums, which take longer to compute than all the rest.
    if path.is_file() and _payloads(path.read_bytes()) == [version, payload]:
        return False
    path.parent.mkdir(parents=True, exist_ok=True)
    # Renamed as a whole, but not synced, which would take seconds: a torn file differs and is written anew.
    temporary = path.with_name(f".ablation-{os.getpid()}.tmp")
    with temporary.open("wb") as file:
        for data in (version, payload):
            RecordWriter(file).write(data)
    temporary.replace(path)
    return True


def _payloads(data: bytes) -> list[bytes]:
    """The records of a whole event file: each is its length (8 bytes), a checksum (4), itself, a checksum (4)."""
    found, at = [], 0
    while at + 12 <= len(data):
        (length,) = struct.unpack_from("<Q", data, at)
        found.append(data[at + 12 : at + 12 + length])
        at += length + 16
    return found if at == len(data) else []
