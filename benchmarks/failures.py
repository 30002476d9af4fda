"""Which objects a policy fails with, and how.

    python -m benchmarks.failures RUN_DIR
    python -m benchmarks.failures RUN_DIR --objects random-feasible --episodes 5

Every object of the set gets the same `--episodes` seeds, with deterministic actions, in the environment that
the run's policy is evaluated in. How a grasp failed is read off the simulation by `benchmarks.failure_rule`;
the policy sees its observation and nothing more. Writes `OUT/NAME.json` and `OUT/NAME.png`: for each object
that failed, the worst first, the moment in its first failure when the gripper last closed.
"""

import argparse
import json
import math
import sys
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from rich.progress import track

from benchmarks.contact_sheet import write
from benchmarks.machine import describe_machine
from benchmarks.recording import SEED, open_run, photograph, try_object
from graspfleet.actor.grasp.objects import RANDOM_SETS, random_objects
from graspfleet.common.errors import ConfigError
from graspfleet.common.evaluation.statistics import wilson_interval
from graspfleet.common.runtime.seeds import seed_sequence

EDGES_CM = (2, 4, 8, 10)
"""Boundaries of the rows in the tables by width and height."""


def totals(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return what some objects come to: episodes, success, failures by kind, the most frequent first."""
    episodes, successes = (sum(row[count] for row in rows) for count in ("episodes", "successes"))
    how = Counter(failure["how"] for row in rows for failure in row["failures"])
    return {
        "objects": len(rows),
        "episodes": episodes,
        "success": round(successes / episodes, 4),
        "failures": dict(how.most_common()),
    }


def by_size(rows: Sequence[dict[str, Any]], name: str) -> dict[str, dict[str, Any]]:
    """Return the totals of the objects between every two of `EDGES_CM`, where there are any."""
    parts = {}
    for low, high in zip((0, *EDGES_CM), (*EDGES_CM, math.inf), strict=True):
        inside = [row for row in rows if low <= row[name] < high]
        if inside:
            parts[f"{low} to {high} cm" if high < math.inf else f"{low} cm and more"] = totals(inside)
    return parts


def summarize(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return the whole, and what failures have in common."""
    whole = totals(rows)
    low, high = wilson_interval(sum(row["successes"] for row in rows), whole["episodes"])
    return {
        **whole,
        "success_low": round(low, 4),
        "success_high": round(high, 4),
        "objects_never_failed": sum(not row["failures"] for row in rows),
        "by_width": by_size(rows, "width_cm"),
        "by_height": by_size(rows, "height_cm"),
    }


def words(failures: dict[str, int]) -> str:
    """Return counted failures for people."""
    return ", ".join(f"{count} {how}" for how, count in failures.items())


def show(summary: dict[str, Any], rows: Sequence[dict[str, Any]]) -> None:
    """Print it for people."""
    for row in rows:
        size = " x ".join(f"{row[f'{edge}_cm']:.1f}" for edge in ("width", "length", "height"))
        count = f"{row['successes']} of {row['episodes']}"
        print(f"{row['object']:<12} {size:>18} cm  {count:<9} {words(totals([row])['failures'])}")
    for name in ("width", "height"):
        for part, of in summary[f"by_{name}"].items():
            count = f"{of['objects']:>3} objects, {of['success']:6.1%} of {of['episodes']}"
            print(f"{name:<6} {part:<15} {count:<26} {words(of['failures'])}")
    print(
        f"{summary['success']:.1%} of {summary['episodes']} episodes"
        f" (95 % interval {summary['success_low']:.1%} to {summary['success_high']:.1%});"
        f" {summary['objects_never_failed']} of {summary['objects']} objects never failed"
    )
    print(words(summary["failures"]))


def main() -> int:
    """Try all objects; return the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run_dir")
    parser.add_argument("--objects", choices=RANDOM_SETS, default="random-heldout")
    parser.add_argument("--episodes", type=int, default=10, help="for each object")
    parser.add_argument("--policy", choices=("best", "last"), default="best")
    parser.add_argument("--name", default="failures", help="of the files written")
    parser.add_argument("--out", type=Path, default=Path("docs/results"))
    options = parser.parse_args()
    if options.episodes < 1:
        parser.error(f"argument --episodes: {options.episodes}; allowed: 1 or more")
    names = [model.name for model in random_objects(options.objects)]
    try:
        open_run(options.run_dir, options.policy, names[0])[0].close()
    except ConfigError as error:
        print(error, file=sys.stderr)
        return 2
    seeds = np.random.default_rng(seed_sequence(SEED, "failures")).integers(2**31, size=options.episodes)
    with ProcessPoolExecutor() as pool:
        attempt = partial(try_object, options.run_dir, options.policy, seeds.tolist())
        rows = list(track(pool.map(attempt, names), "grasping", len(names)))
        worst = sorted((row for row in rows if row["failures"]), key=lambda row: row["successes"])
        shots = pool.map(partial(photograph, options.run_dir, options.policy), worst)
        tiles = list(track(shots, "pictures", len(worst)))
    summary = summarize(rows)
    show(summary, rows)
    report = {
        "command": " ".join(["python -m benchmarks.failures", *sys.argv[1:]]),
        "machine": describe_machine(),
        "set": options.objects,
        **summary,
        "by_object": rows,
    }
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / f"{options.name}.json").write_text(json.dumps(report, indent=2) + "\n")
    if tiles:
        write(tiles, options.out / f"{options.name}.png")
    return 0


if __name__ == "__main__":
    sys.exit(main())
