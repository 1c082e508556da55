"""The cells of a sweep: every requested point of its grids."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ablation.records.atomic import write_text
from ablation.records.errors import RecordError

_MOST = 1e100  # axes cannot show larger numbers, which are damage


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


def parse_cells(path: Path) -> tuple[list[Cell], list[str]]:
    """Read the cells that can be read, and say of each other line why it is none.

    Raises:
        RecordError: nothing can be read at this path.
    """
    if path.is_dir():
        return [], ["it is a folder"]
    cells, damage = [], []
    for number, line in enumerate(_read_lines(path), 1):
        try:
            cells.append(_parse_cell(line))
        except (TypeError, ValueError, RecursionError) as error:
            damage.append(f"line {number} is not a cell: {error}")
    return cells, damage


def _read_lines(path: Path) -> list[bytes]:
    try:
        return path.read_bytes().splitlines()
    except FileNotFoundError:
        return []
    except OSError as error:
        raise RecordError(f"{path} cannot be read: {error.strerror}.") from error


def _parse_cell(line: bytes) -> Cell:
    cell = Cell(**json.loads(line.decode()))
    for name in ("run_id", "training_id"):
        folder = getattr(cell, name)
        if type(folder) is not str or folder in ("", "..") or Path(folder).name != folder:
            raise ValueError(f"{name} is no name of a folder: {folder!r}")
    if type(cell.factors) is not dict or type(cell.config) is not dict:
        raise TypeError("factors and config must be objects")
    if cell.sigma is not None and (type(cell.sigma) not in (int, float) or not _is_strength(cell.sigma)):
        raise TypeError(f"sigma must be a number from 0 on, got {cell.sigma!r}")
    if type(cell.config.get("seed", 0)) is not int:
        raise TypeError(f"seed must be an integer, got {cell.config['seed']!r}")
    return cell


def _is_strength(sigma: float) -> bool:
    return 0 <= sigma < _MOST or sigma == math.inf  # of a noise that leaves nothing of the signal


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
