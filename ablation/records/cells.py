"""The cells of a sweep: every point of the grids that were asked for."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ablation.records.atomic import write_text
from ablation.records.errors import RecordError


@dataclass(frozen=True)
class Cell:
    """One asked-for cell of a grid: its full configuration by dotted key, and the run that answers it.

    Several cells may share a run (every sigma = 0 cell of one seed is one baseline).
    factors: the keys that its command swept, as typed.
    sigma: noise-to-signal ratio, also where the type's own parameter was given; None where it is only measured.
    """

    run_id: str
    training_id: str
    factors: Mapping[str, Any]
    config: Mapping[str, Any]
    sigma: float | None


def write_cells(path: Path, cells: Sequence[Cell]) -> None:
    """Write all cells, one JSON object per line."""
    write_text(path, "".join(json.dumps(asdict(cell), sort_keys=True) + "\n" for cell in cells))


def read_cells(path: Path) -> list[Cell]:
    """All cells ever asked for, in the order in which they were first asked; empty when there are none.

    Raises:
        RecordError: the file is torn or holds something else.
    """
    if not path.exists():
        return []
    cells = []
    for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), 1):
        try:
            cells.append(Cell(**json.loads(line)))
        except (TypeError, ValueError, RecursionError) as error:
            raise RecordError(f"{path} cannot be read: line {number} is not a cell: {error}") from error
    return cells


def format_factor(value: Any) -> Any:
    """A factor's value as a table shows it: numbers stay, lists join by plus ([p2, p3] is p2+p3), null is "null"."""
    match value:
        case bool():
            return str(value).lower()
        case int() | float() | str():
            return value
        case None:
            return "null"
        case list() | tuple():
            return "+".join(str(format_factor(v)) for v in value) or "[]"
        case _:
            return json.dumps(value, sort_keys=True, default=str)
