"""Learning curves of `graspfleet train`, one run a seed, one after the other.

    python -m benchmarks.learning --name cube --seeds 0 1 2
    python -m benchmarks.learning --name pendulum --seeds 0 1 2 -- --env Pendulum-v1 --total-env-steps 20000

Words behind `--` go to `graspfleet train`. Writes `OUT/NAME.png` (curves), `OUT/NAME.json` (figures and
the machine) and prints a table. The wall-clock of a run is that of its command, final evaluation included.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

from benchmarks.machine import describe_machine
from common.run_directory import RunDirectory
from learner.curve import draw, read_evaluations

SUSTAINED = 0.95
KEPT = ("env_steps", "updates", "wall_s", "produced", "inserted", "rejected")


def first_sustained_s(evaluations: list[dict[str, Any]]) -> float | None:
    """Return when success was `SUSTAINED` twice in a row, seconds since the learner's loop began."""
    for one, two in pairwise(evaluations):
        if min(one.get("eval_success", 0.0), two.get("eval_success", 0.0)) >= SUSTAINED:
            return float(two["wall_s"])
    return None


def run_seed(seed: int, folder: Path, flags: list[str]) -> dict[str, Any]:
    """Train once; return the figures of the run."""
    run = RunDirectory(folder / f"seed {seed}")
    command = [
        sys.executable,
        "-m",
        "common.cli",
        "train",
        "--seed",
        str(seed),
        "--run-dir",
        str(run.path),
        *flags,
    ]
    started_s = time.monotonic()
    status = subprocess.run(command, stdout=subprocess.DEVNULL, check=False).returncode
    wall_s = round(time.monotonic() - started_s, 1)
    figures: dict[str, Any] = {"seed": seed, "exit_status": status, "command_s": wall_s}
    if status == 0:
        evaluations = read_evaluations(run)
        last = json.loads(run.metrics.read_text().splitlines()[-1])
        figures |= {name: last[name] for name in KEPT}
        figures |= json.loads(run.evaluation.read_text())
        figures["sustained_s"] = first_sustained_s(evaluations)
    return figures


def main() -> int:
    """Run all seeds; return 1 if one of them failed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--name", default="cube", help="of the files written")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--out", type=Path, default=Path("docs/results"))
    parser.add_argument("flags", nargs="*", help="for graspfleet train, behind --")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        rows = []
        for seed in options.seeds:
            rows.append(run_seed(seed, folder, options.flags))
            print(json.dumps(rows[-1]), flush=True)
        done = [RunDirectory(folder / f"seed {row['seed']}") for row in rows if row["exit_status"] == 0]
        options.out.mkdir(parents=True, exist_ok=True)
        if done:
            draw(done, options.out / f"{options.name}.png")
    words = ["--name", options.name, "--seeds", *map(str, options.seeds)]
    words += ["--", *options.flags] if options.flags else []
    report = {
        "command": " ".join(["python -m benchmarks.learning", *words]),
        "machine": describe_machine(),
        "runs": rows,
    }
    (options.out / f"{options.name}.json").write_text(json.dumps(report, indent=2) + "\n")
    times = [row["command_s"] for row in rows if row["exit_status"] == 0]
    if times:
        print(
            f"{len(times)} of {len(rows)} runs ended well; command: median {statistics.median(times):.0f} s"
        )
    return int(len(times) < len(rows))


if __name__ == "__main__":
    sys.exit(main())
