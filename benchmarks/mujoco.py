"""MuJoCo environments learned by `graspfleet train` (SAC, CrossQ), and by Stable-Baselines3's SAC like ours.

    python -m benchmarks.mujoco --env InvertedDoublePendulum-v5 --steps 12000 --seeds 0 1 2 3 4 --who ours
    python -m benchmarks.mujoco --env InvertedDoublePendulum-v5 --steps 12000 --seeds 0 1 2 3 4 --who sb3
    python -m benchmarks.mujoco --env HalfCheetah-v5 --steps 100000 --seeds 0 1 2 --who crossq
    python -m benchmarks.mujoco --table

Plain preset, one update an env step, one run after the other; each run's policies are evaluated over
`--episodes` episodes without exploring, on seeds that are the same for all. Writes `OUT/ENV-WHO.json` after
each run; a run whose seed is there already is left out, so that an interrupted command goes on.

`--table` runs nothing: it prints what the files in `OUT` say, as Markdown. Needs the extras `mujoco` and,
for `--who sb3`, `bench`. Learning in step does not depend on speed: other load costs wall time alone.
"""

import argparse
import json
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from benchmarks.machine import describe_machine
from benchmarks.mujoco_sides import Result, run_side
from benchmarks.mujoco_table import table

OUT = Path("docs/results/mujoco")
NEEDS = {
    "ours": {"mujoco": "mujoco"},
    "crossq": {"mujoco": "mujoco"},
    "sb3": {"mujoco": "mujoco", "stable_baselines3": "bench"},
}
"""Side -> package that it needs -> extra that brings it."""


def load(path: Path, settings: dict[str, Any]) -> list[Result]:
    """Return the runs in a file of results; none if there is no file.

    Raises:
        ValueError: they were made with other settings.
    """
    if not path.exists():
        return []
    report = json.loads(path.read_text())
    for name, value in settings.items():
        if report[name] != value:
            raise ValueError(f"{path}: has {name} {report[name]}, not {value}; move it away to begin anew")
    runs: list[Result] = report["runs"]
    return runs


def store(path: Path, settings: dict[str, Any], runs: list[Result]) -> None:
    """Write a file of results, in the order of the seeds."""
    path.parent.mkdir(parents=True, exist_ok=True)
    runs = sorted(runs, key=lambda run: run["seed"])
    report = {**settings, "machine": describe_machine(), "runs": runs}
    path.write_text(json.dumps(report, indent=2) + "\n")


def parse() -> argparse.Namespace:
    """Return the options of the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--env", default="InvertedDoublePendulum-v5", help="Gymnasium id")
    parser.add_argument("--steps", type=int, default=12_000, help="env steps of a run")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--who", choices=NEEDS, default="ours")
    parser.add_argument("--episodes", type=int, default=100, help="of an evaluation")
    parser.add_argument("--out", type=Path, default=OUT, help="folder of the results")
    parser.add_argument("--keep", type=Path, help="folder in which the run directories stay")
    parser.add_argument("--table", action="store_true", help="print the results in --out, run nothing")
    options = parser.parse_args()
    for package, extra in {} if options.table else NEEDS[options.who].items():
        if find_spec(package) is None:
            parser.error(f"--who {options.who} needs {package}; install it with: pip install -e '.[{extra}]'")
    return options


def main() -> int:
    """Run what is missing, or print the table."""
    options = parse()
    if options.table:
        print("\n".join(table(options.out)))
        return 0
    settings = {name: getattr(options, name) for name in ("env", "who", "steps", "episodes")}
    path = options.out / f"{options.env}-{options.who}.json"
    runs = load(path, settings)
    with tempfile.TemporaryDirectory() as scratch:
        for seed in options.seeds:
            if seed in {run["seed"] for run in runs}:
                continue
            folder = options.keep or Path(scratch)
            runs.append(run_side(options.who, options.env, options.steps, seed, options.episodes, folder))
            print(json.dumps(runs[-1]), flush=True)
            store(path, settings, runs)
    return 0


if __name__ == "__main__":
    sys.exit(main())
