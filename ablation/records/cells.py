"""The cells of a sweep: every requested point of its grids."""

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
    """One requested cell of a grid.

    Several cells may share a run: with sigma 0, every noise type gives the same baseline.

    Attributes:
        run_id: the run with the result of this cell.
        training_id: the training of that run.
        factors: swept keys and their values, as typed.
        config: the full configuration by dotted key.
        sigma: noise-to-signal ratio, also if the noise type's own parameter was set; None if it is only measured.
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
    """Read all cells in the order of the first request; an empty list if the file does not exist.

    Raises:
        RecordError: the file is damaged or holds something else.
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
    """Format a factor's value for tables.

    Numbers and strings stay, lists are joined by plus ([p2, p3] becomes p2+p3) unless a plus belongs to an item, null
    becomes "null".
    """
    match value:
        case bool():
            return str(value).lower()
        case int() | float() | str():
            return value
        case None:
            return "null"
        case list() | tuple():
            items = [str(format_factor(v)) for v in value]
            return json.dumps(items) if any("+" in item for item in items) else "+".join(items) or "[]"
        case _:
            return json.dumps(value, sort_keys=True, default=str)
