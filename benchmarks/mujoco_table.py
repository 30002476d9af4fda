"""Results of `benchmarks.mujoco` as Markdown: a table for each environment, and which of the claims hold.

In: the files that the benchmark wrote. Out: lines. A side that has not run has no column, and a claim about
it no line.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from benchmarks.mujoco_sides import LAST, REPORTED, Result
from graspfleet.common.settings.processes import LearnerConfig

Runs = Mapping[int, Result]
"""Seed -> its run, of one side in one environment."""

NAMES = {"ours": "graspfleet", "crossq": "graspfleet CrossQ", "sb3": "Stable-Baselines3"}
KEPT_SHARE = 0.9
"""Of the last policy's mean return, which the reported policy must reach on every seed."""
IN_STEP = 0.01
"""Share by which env steps and updates may differ from the numbers asked for."""


def table(folder: Path) -> Iterator[str]:
    """Yield the lines for every environment that has results in `folder`."""
    reports = [json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))]
    for env in dict.fromkeys(report["env"] for report in reports):
        of_env = {report["who"]: report for report in reports if report["env"] == env}
        steps, episodes = next(iter(of_env.values()))["steps"], next(iter(of_env.values()))["episodes"]
        sides = {who: {run["seed"]: run for run in of_env[who]["runs"]} for who in NAMES if who in of_env}
        yield f"{env}, {steps:,} env steps, mean return of {episodes} episodes:"
        yield ""
        yield from rows(sides)
        yield ""
        yield from (f"- {text}: {'yes' if holds else '**no**'}" for text, holds in claims(sides, steps))
        yield ""


def rows(sides: Mapping[str, Runs]) -> Iterator[str]:
    """Yield the table of one environment: a row a seed, then the mean and the deviation over seeds."""
    columns = [(who, name) for who, runs in sides.items() for name in _policies(runs)]
    titles = [f"{NAMES[who]}, {name} policy" for who, name in columns]
    titles += [f"{NAMES[who]}: env steps, updates" for who in sides]
    yield _row("seed", titles)
    yield _row("---", ["---"] * len(titles))
    for seed in sorted(set().union(*sides.values())):
        cells = [_number(_return(sides[who].get(seed), name)) for who, name in columns]
        cells += [_counts(runs.get(seed)) for runs in sides.values()]
        yield _row(str(seed), cells)
    of_all = [[_return(run, name) for run in sides[who].values()] for who, name in columns]
    for title, figure in (("mean", mean), ("standard deviation", deviation)):
        yield _row(title, [_number(figure(values)) for values in of_all] + [""] * len(sides))


def claims(sides: Mapping[str, Runs], steps: int) -> Iterator[tuple[str, bool]]:
    """Yield the claims about our side, alone and beside the baseline on the same seeds, and if they hold."""
    ours, baseline = sides.get("ours", {}), sides.get("sb3", {})
    if not ours:
        return
    kept = [keeps(_return(run, REPORTED), _return(run, LAST)) for run in ours.values()]
    share = f"{KEPT_SHARE} of the last one's return"
    yield f"the reported policy has at least {share}, {sum(kept)} of {len(kept)} seeds", all(kept)
    in_step = [is_in_step(run, steps) for run in ours.values()]
    yield f"env steps and updates within {IN_STEP:.0%}, {sum(in_step)} of {len(in_step)} seeds", all(in_step)
    if both := sorted(ours.keys() & baseline.keys()):
        theirs = [_return(baseline[seed], LAST) for seed in both]
        ahead = mean(_return(ours[seed], REPORTED) for seed in both) - mean(theirs)
        yield f"reported policies' mean less {NAMES['sb3']}'s at least 0 ({_number(ahead)})", ahead >= 0
        if (spread := deviation(theirs)) is not None:
            yield f"the same at least minus the latter's deviation ({_number(-spread)})", ahead >= -spread


def keeps(reported: float, last: float) -> bool:
    """Return whether the reported policy's mean return is at most 10 % below the last one's."""
    return reported >= last - (1 - KEPT_SHARE) * abs(last)


def is_in_step(run: Result, steps: int) -> bool:
    """Return whether a run made all env steps, and one update for each of them after exploration."""
    updates = steps - LearnerConfig().explore_steps
    return all(
        abs(run[name] - wanted) <= IN_STEP * wanted
        for name, wanted in (("env_steps", steps), ("updates", updates))
    )


def deviation(values: list[float]) -> float | None:
    """Return the standard deviation over seeds, None for a single one."""
    return stdev(values) if len(values) > 1 else None


def _policies(runs: Runs) -> list[str]:
    return list(next(iter(runs.values()))["policies"])


def _return(run: Result | None, policy: str) -> Any:
    return None if run is None else run["policies"][policy]["mean_return"]


def _counts(run: Result | None) -> str:
    return "" if run is None else f"{run['env_steps']:,}, {run['updates']:,}"


def _number(value: float | None) -> str:
    if value is None:
        return ""
    text = f"{value:,.0f}" if abs(value) >= 100 else f"{value:.2f}"
    return text.replace("-", "−")


def _row(first: str, cells: list[str]) -> str:
    return f"| {first} | {' | '.join(cells)} |"
