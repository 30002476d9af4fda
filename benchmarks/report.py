"""Outcomes of contests as a table for people and as JSON."""

import json
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from benchmarks.contest import Claim, Outcome
from benchmarks.machine import describe_machine


def print_table(outcomes: Sequence[Outcome]) -> None:
    """Print every claim with both figures, their ratio, its spread and its target."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for heading in ("row", "ours", "beside", "ratio (lowest to highest)", "target", ""):
        table.add_column(heading, justify="left" if heading in ("row", "ours", "beside") else "right")
    for outcome in outcomes:
        for index, claim in enumerate(outcome.contest.claims):
            table.add_row(outcome.contest.name if index == 0 else "", *_cells(outcome, claim))
    Console(width=None if Console().is_terminal else 140).print(table)


def _cells(outcome: Outcome, claim: Claim) -> list[str]:
    names = (claim.ours, claim.peer)
    sides = [
        f"{name}: {statistics.median(values):,.4g}" if (values := outcome.turns.get(name)) else f"{name}: -"
        for name in names
    ]
    ratios = outcome.ratios(claim)
    ratio = (
        f"{statistics.median(ratios):.3g} ({min(ratios):.3g} to {max(ratios):.3g})"
        if ratios
        else "not measured"
    )
    target = "reported" if claim.target is None else f"{'≥' if claim.at_least else '≤'} {claim.target:g}"
    verdict = {True: "met", False: "missed", None: ""}[outcome.met(claim)]
    return [sides[0], f"{sides[1]} {outcome.contest.unit}", ratio, target, verdict]


def write_json(path: Path, outcomes: Sequence[Outcome], turns_n: int) -> None:
    """Write machine, figures of every turn, and ratios."""
    report = {
        "machine": describe_machine(),
        "turns": turns_n,
        "rows": [_plain(outcome) for outcome in outcomes],
    }
    path.write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n")


def _plain(outcome: Outcome) -> dict[str, Any]:
    contest = outcome.contest
    claims = []
    for claim in contest.claims:
        ratios = outcome.ratios(claim)
        found: dict[str, Any] = {"ratio": None}
        if ratios:
            found = {
                "ratio": _round(statistics.median(ratios)),
                "spread": [_round(min(ratios)), _round(max(ratios))],
            }
        claims.append({**vars(claim), **found, "met": outcome.met(claim)})
    return {
        "name": contest.name,
        "title": contest.title,
        "unit": contest.unit,
        "cores": contest.cores_n,
        "figures": {
            name: {"median": _round(statistics.median(values)), "turns": [_round(value) for value in values]}
            for name, values in outcome.turns.items()
        },
        "claims": claims,
        "missing": outcome.missing,
    }


def _round(value: float) -> float:
    return float(f"{value:.4g}")
