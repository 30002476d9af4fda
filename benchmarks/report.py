"""Outcomes of comparisons as a table for people and as JSON."""

import json
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from benchmarks.comparison import Outcome, Threshold
from benchmarks.machine import describe_machine


def print_table(outcomes: Sequence[Outcome]) -> None:
    """Print every threshold with both figures, their ratio, its spread and its target."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for heading in ("row", "ours", "beside", "ratio (lowest to highest)", "target", ""):
        table.add_column(heading, justify="left" if heading in ("row", "ours", "beside") else "right")
    for outcome in outcomes:
        for index, threshold in enumerate(outcome.comparison.thresholds):
            table.add_row(outcome.comparison.name if index == 0 else "", *_cells(outcome, threshold))
    Console(width=None if Console().is_terminal else 140).print(table)


def _cells(outcome: Outcome, threshold: Threshold) -> list[str]:
    names = (threshold.ours, threshold.baseline)
    sides = [
        f"{name}: {statistics.median(values):,.4g}" if (values := outcome.rounds.get(name)) else f"{name}: -"
        for name in names
    ]
    ratios = outcome.ratios(threshold)
    ratio = (
        f"{statistics.median(ratios):.3g} ({min(ratios):.3g} to {max(ratios):.3g})"
        if ratios
        else "not measured"
    )
    target = (
        "reported"
        if threshold.target is None
        else f"{'≥' if threshold.at_least else '≤'} {threshold.target:g}"
    )
    verdict = {True: "met", False: "missed", None: ""}[outcome.met(threshold)]
    return [sides[0], f"{sides[1]} {outcome.comparison.unit}", ratio, target, verdict]


def write_json(path: Path, outcomes: Sequence[Outcome], num_rounds: int) -> None:
    """Write machine, figures of every round, and ratios."""
    report = {
        "machine": describe_machine(),
        "rounds": num_rounds,
        "rows": [_plain(outcome) for outcome in outcomes],
    }
    path.write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n")


def _plain(outcome: Outcome) -> dict[str, Any]:
    comparison = outcome.comparison
    thresholds = []
    for threshold in comparison.thresholds:
        ratios = outcome.ratios(threshold)
        found: dict[str, Any] = {"ratio": None}
        if ratios:
            found = {
                "ratio": _round(statistics.median(ratios)),
                "spread": [_round(min(ratios)), _round(max(ratios))],
            }
        thresholds.append({**vars(threshold), **found, "met": outcome.met(threshold)})
    return {
        "name": comparison.name,
        "title": comparison.title,
        "unit": comparison.unit,
        "cores": comparison.num_cores,
        "figures": {
            name: {"median": _round(statistics.median(values)), "rounds": [_round(value) for value in values]}
            for name, values in outcome.rounds.items()
        },
        "thresholds": thresholds,
        "missing": outcome.missing,
    }


def _round(value: float) -> float:
    return float(f"{value:.4g}")
