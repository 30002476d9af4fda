"""Reader of a run's `metrics.jsonl`, which may grow meanwhile, end in a partial row, or have been edited."""

import json
import logging
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from graspfleet.common.runtime.files import open_regular

log = logging.getLogger(__name__)

MAX_ROW_BYTES = 65_536
"""Longest valid line, bytes."""
Row = dict[str, float]


def read_rows(path: Path) -> Iterator[Row]:
    """Yield all valid rows, oldest first; the others are counted in one log line at the end.

    Raises:
        OSError: the file cannot be read.
    """
    unreadable, first, number = 0, 0, 0
    with open_regular(path) as file:
        while line := file.readline(MAX_ROW_BYTES):
            number += 1
            row, rest = _row(line), line
            while not rest.endswith(b"\n") and (rest := file.readline(MAX_ROW_BYTES)):
                row = None  # too long
            if row is not None:
                yield row
            elif line.strip():
                unreadable, first = unreadable + 1, first or number
    if unreadable:
        log.warning("%s: line %d%s not valid; skipped", path, first, _others(unreadable - 1))


def _others(count: int) -> str:
    return f" and {count} more are" if count else " is"


def _row(line: bytes) -> Row | None:
    """Return the finite numbers of a row by name; None if the line is invalid."""
    try:
        values: Any = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(values, dict):
        return None
    finite = all(type(value) in (int, float) and abs(value) < math.inf for value in values.values())
    return values if finite else None
