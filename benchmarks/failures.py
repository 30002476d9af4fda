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

from actor.grasp.objects import RANDOM_SETS, random_objects
from benchmarks.contact_sheet import write
from benchmarks.machine import describe_machine
from benchmarks.watching import SEED, open_run, photograph, try_object
from common.errors import ConfigError
from common.seeds import seed_sequence
from common.statistics import wilson_interval

WIDTHS_CM, HEIGHTS_CM = (3, 4, 5, 6, 7, 8), (2, 3, 4, 6)
"""Where the rows of the tables part."""


def table(rows: Sequence[dict[str, Any]], name: str, edges: Sequence[float]) -> list[dict[str, Any]]:
    """Return successes and outcomes of the objects between every two edges of a size."""
    lines = []
    for low, high in zip((0, *edges), (*edges, math.inf), strict=True):
        inside = [row for row in rows if low <= row[name] < high]
        if inside:
            episodes, successes = (sum(row[count] for row in inside) for count in ("episodes", "successes"))
            how = Counter(failure["how"] for row in inside for failure in row["failures"])
            label = f"{low} to {high}" if high < math.inf else f"{low} and more"
            lines.append(
                {
                    name: label,
                    "objects": len(inside),
                    "episodes": episodes,
                    "success": round(successes / episodes, 4),
                    "failures": dict(how.most_common()),
                }
            )
    return lines


def summarise(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return the whole, and what failures have in common."""
    episodes, successes = (sum(row[count] for row in rows) for count in ("episodes", "successes"))
    low, high = wilson_interval(successes, episodes)
    return {
        "objects": len(rows),
        "objects_never_failed": sum(not row["failures"] for row in rows),
        "episodes": episodes,
        "success": round(successes / episodes, 4),
        "success_low": round(low, 4),
        "success_high": round(high, 4),
        "failures": dict(
            Counter(failure["how"] for row in rows for failure in row["failures"]).most_common()
        ),
        "by_width": table(rows, "width_cm", WIDTHS_CM),
        "by_height": table(rows, "height_cm", HEIGHTS_CM),
    }


def show(summary: dict[str, Any], rows: Sequence[dict[str, Any]]) -> None:
    """Print it for people."""
    for row in rows:
        how = ", ".join(f"{n} {word}" for word, n in Counter(f["how"] for f in row["failures"]).most_common())
        size = " x ".join(f"{row[f'{edge}_cm']:.1f}" for edge in ("width", "length", "height"))
        print(f"{row['object']:<12} {size:>18} cm  {row['successes']:>3} of {row['episodes']}  {how}")
    for name in ("by_width", "by_height"):
        for line in summary[name]:
            size, objects, episodes, success, how = line.values()
            words = ", ".join(f"{n} {word}" for word, n in how.items())
            print(f"{name[3:]} {size:>10} cm: {objects:>3} objects, {success:6.1%} of {episodes}  {words}")
    print(
        f"{summary['success']:.1%} of {summary['episodes']} episodes"
        f" (95 % interval {summary['success_low']:.1%} to {summary['success_high']:.1%});"
        f" {summary['objects_never_failed']} of {summary['objects']} objects never failed"
    )


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
    summary = summarise(rows)
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
