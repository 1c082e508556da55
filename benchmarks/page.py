"""The page of all benchmarks: each target with what was measured, from the JSON files in results/."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.machine import RESULTS, read_result

PAGE = Path(__file__).parents[1] / "docs" / "benchmarks.md"

Rows = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Target:
    """A claim and how it is read off a result.

    result: the file's name; value: of its rows; at_most, at_least: one of the two; unit: written behind the number.
    remark: why, where it is not met, or what to know.
    """

    what: str
    result: str
    value: Callable[[Rows], float]
    at_most: float | None = None
    at_least: float | None = None
    unit: str = ""
    remark: str = ""

    def row(self) -> str:
        """A line of the table."""
        path = RESULTS / f"{self.result}.json"
        bound = f"≤ {self.at_most:g}" if self.at_most is not None else f"≥ {self.at_least:g}"
        if not path.exists():
            return f"| {self.what} | {bound}{self.unit} | not measured | | |"
        value = self.value(json.loads(path.read_text())["rows"])
        is_met = value <= self.at_most if self.at_most is not None else value >= (self.at_least or 0)
        remark = self.remark if self.remark and not is_met else ""
        verdict = "met" if is_met else "**not met**"
        return f"| {self.what} | {bound}{self.unit} | {value:.3g}{self.unit} | {verdict} | {remark} |"


def _named(name: str) -> Callable[[Rows], float]:
    return lambda rows: float(next(row["seconds"] for row in rows if row["what"] == name))


def _ratio(numerator: str, denominator: str) -> Callable[[Rows], float]:
    return lambda rows: _named(numerator)(rows) / _named(denominator)(rows)


def _first(key: str, **where: Any) -> Callable[[Rows], float]:
    return lambda rows: float(next(r[key] for r in rows if all(r.get(k) == v for k, v in where.items())))


def _percent(key: str, **where: Any) -> Callable[[Rows], float]:
    return lambda rows: 100 * (_first(key, **where)(rows) - 1)


TARGETS = (
    Target("`--help`", "planning", _named("--help"), at_most=1.0, unit=" s"),
    Target("`--cfg job`", "planning", _named("--cfg job"), at_most=1.2, unit=" s"),
    Target("planning 1,000 new cells", "planning", _named("planning 1000 new cells"), at_most=15, unit=" s"),
    Target("repeating 300 finished cells", "planning", _named("repeating 300 finished cells"), at_most=10, unit=" s"),
    Target(
        "one more training, from the request to its first iteration",
        "speed",
        _named("from the request to the first iteration"),
        at_most=0.7,
        unit=" s",
    ),
    Target("12 runs, 6 trainings: a shell loop takes", "speed", _ratio("loop, 12 runs", "sweep, 12 runs"), at_least=3,
           unit=" times as long"),
    Target("six distinct trainings: a shell loop takes", "speed", _ratio("loop, 6 trainings", "sweep, 6 trainings"),
           at_least=1.6, unit=" times as long"),
    Target("gaussian noise on all levels, tiny model: extra time per iteration", "noise_overhead_tiny",
           _percent("ratio", type="gaussian"), at_most=3, unit=" %"),
    Target("the same on R50-FPN at 800 pixels", "noise_overhead_r50", _percent("ratio", type="gaussian"), at_most=2,
           unit=" %"),
    Target("training iteration against `DefaultTrainer`, tiny model", "iteration_tiny", _first("speedup"),
           at_least=1.3, unit=" times as fast",
           remark="nearly nine tenths are the same forward and backward pass; "
           "[what was tried](models.md#speed)"),
    Target("the same on R50-FPN", "iteration_r50", _first("speedup"), at_least=1.0, unit=" times as fast"),
    Target("a noise grid of 10 cells against 10 evaluations, tiny model", "grid_tiny", _first("ratio"), at_most=0.8),
    Target("the same on R50-FPN at 800 pixels", "grid_r50", _first("ratio"), at_most=0.6),
    Target("COCO scores, 500 images × 64 detections: pycocotools takes", "scoring", _first("ratio", what="evaluation"),
           at_least=10, unit=" times as long"),
    Target("1,000 bootstrap resamples of 5,000 images, 80 classes", "scoring", _first("seconds", what="bootstrap"),
           at_most=60, unit=" s"),
    Target("false claims of the whole rule, 12 cells without effect, 10 seeds", "coverage",
           _first("rule", what="errors", seeds=10, scores="no effect, normal"), at_most=5, unit=" %",
           remark="theory: 25 of 512 sign patterns, 4.9; 60,000 sweeps have a standard error of 0.09; 200,000 other "
           "sweeps gave 4.90"),
    Target("the report of 1,000 runs with 1,000 points each, cold", "report", _first("cold_s", runs=1000), at_most=20,
           unit=" s"),
    Target("the same after one more run", "report", _first("one_more_s", runs=1000), at_most=6, unit=" s",
           remark="5.9 to 8.5 at different times on this shared machine; half of it loads and runs matplotlib"),
    Target("its memory", "report", _first("peak_mib", runs=1000), at_most=1024, unit=" MiB"),
)  # fmt: skip

_HEAD = """# Benchmarks

`make bench` runs these measurements in half an hour on two cores (26 minutes the last time) and writes this page.
Kills, the errors of the decision rule, and the noise types besides gaussian take longer and are separate measurements.
`python -m benchmarks <name>` runs one measurement, `python -m benchmarks.<name> --help` lists its options. Whatever is
compared takes turns in one process or one script, and figures are medians. All rows with their spread are in
[benchmarks/results](../benchmarks/results). Measurements on a GPU have [their own page](gpu.md).
"""


def write_page() -> Path:
    """Write docs/benchmarks.md from the results that are there."""
    paths = (path for path in sorted(RESULTS.glob("*.json")) if not path.name.startswith("gpu-"))
    machines = {json.dumps(_machine(path)): None for path in paths}
    described = "; ".join(", ".join(f"{k} {v}" for k, v in json.loads(m).items()) for m in machines)
    targets = _table("", ["what", "target", "measured", "", ""], [target.row() for target in TARGETS])
    parts = [targets, _plans(), _report(), _sweeps(), _noises(), _spread(), _kills()]
    PAGE.write_text("\n".join([_HEAD, f"Machine: {described}; no GPU.", *filter(None, parts)]) + "\n")
    return PAGE


def _table(title: str, columns: Sequence[str], rows: Sequence[str], remark: str = "") -> str:
    """A section of the page, empty without rows."""
    head = [f"| {' | '.join(columns)} |", "|" + "---|" * len(columns)]
    lines = [*([f"## {title}", ""] if title else []), *head, *rows, *(["", remark] if remark else [])]
    return "\n" + "\n".join(lines) if rows else ""


def _machine(path: Path) -> dict[str, Any]:
    return dict(json.loads(path.read_text())["machine"])


def _plans() -> str:
    rows = [f"| {row['what']} | {row['seconds']:.1f} |" for row in read_result("planning") if "cells" in row["what"]]
    return _table("Plans", ["what", "seconds"], rows, "Repeating includes the report.")


def _report() -> str:
    found = read_result("report")
    rows = [f"| {r['runs']:,} | {r['cold_s']:.1f} | {r['one_more_s']:.1f} | {r['peak_mib']:.0f} |" for r in found]
    remark = ""
    if len(found) > 1:
        least, most = found[0], found[-1]
        thousands = (most["runs"] - least["runs"]) / 1000
        cold, more, memory = ((most[key] - least[key]) / thousands for key in ("cold_s", "one_more_s", "peak_mib"))
        remark = (
            f"All three grow with the number of runs: by {cold:.1f} s, {more:.1f} s and {memory:.0f} MiB per thousand "
            f"runs, from {least['cold_s']:.1f} s, {least['one_more_s']:.1f} s and {least['peak_mib']:.0f} MiB."
        )
    return _table(
        "The report", ["runs of 1,000 points", "cold, s", "after one more run, s", "memory, MiB"], rows, remark
    )


def _sweeps() -> str:
    """The same sweep by everything that can run it."""
    found = [row for row in read_result("speed") if "iterations" in row]
    rows = [f"| {row['what']} | {row['iterations']} | {row['seconds']:.0f} |" for row in found]
    return _table("A sweep", ["how", "iterations per training", "seconds"], rows)


def _noises() -> str:
    rows = [
        f"| {r['type']} | {r['pairs']} | {_more(r['ratio'])} % | {' to '.join(map(_more, r['ratio_quartiles']))} % "
        f"| {_more(r['memory_ratio'])} % |"
        for r in read_result("noise_overhead_tiny")
    ]
    columns = ["noise on all levels, tiny model", "pairs", "extra time per iteration"]
    columns += ["quartiles of the pairs", "extra memory"]
    return _table("Noise", columns, rows)


def _more(ratio: float) -> str:
    return f"{100 * (ratio - 1):+.1f}"


def _spread() -> str:
    """The quartiles of what the first table gives by its median."""
    named = (("iteration_tiny", "tiny model"), ("iteration_r50", "R50-FPN"))
    rows = [
        f"| {what} | {r['pairs']} | {r['speedup']:.3f} | {' to '.join(f'{q:.3f}' for q in r['speedup_quartiles'])} |"
        for name, what in named
        for r in read_result(name)
    ]
    return _table("An iteration against `DefaultTrainer`", ["model", "pairs", "times as fast", "quartiles"], rows)


def _kills() -> str:
    found = read_result("chaos")
    rows = []
    for victim in dict.fromkeys(row["victim"] for row in found):
        of = [row for row in found if row["victim"] == victim]
        lost = max((count for row in of for count in row["lost"]), default=0)
        seconds = [s for row in of if (s := row.get("seconds_to_recover")) is not None]
        rows.append(f"| {victim} | {len(of)} | {lost} | {min(seconds):.1f} to {max(seconds):.1f} |")
    columns = ["killed", "times", "iterations lost at most", "seconds to the next iteration"]
    return _table("Kills, with a checkpoint every ten iterations", columns, rows)
