"""Half an hour with four actors: does anybody's memory grow?

    python -m benchmarks.soak --minutes 30 --out docs/results/soak.json

Runs the learner and four actors on Grasp-v0 (fast physics) with a replay that is full after a minute or two,
and writes down every process's resident memory every ten seconds.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil

from benchmarks.learner import ANY_PORT
from graspfleet.children import Child, end
from graspfleet.common.runtime.run_directory import RunDirectory

NUM_ACTORS = 4
SAMPLE_S = 10.0
REPLAY_CAPACITY = 100_000
LAST_SHARE = 2 / 3
"""The growth is that over this share of the time, at its end."""


def start(run: RunDirectory) -> list[Child]:
    """Start learner and actors; return them, the learner first."""
    run.logs.mkdir(parents=True)
    sizes = ("--replay-capacity", str(REPLAY_CAPACITY), "--total-env-steps", "1000000000")
    learner = Child(
        "learner", ["graspfleet.learner", "--run-dir", str(run.path), *ANY_PORT, *sizes], run.logs
    )
    while not run.endpoints.exists():
        time.sleep(0.05)
    listening = vars(run.read_endpoints())
    where = [word for name in ("experience", "weights", "control") for word in (f"--{name}-port", name)]
    where = [str(listening.get(f"{word}_port", word)) for word in where]
    names = [f"actor-{index}" for index in range(NUM_ACTORS)]
    return [
        learner,
        *(Child(name, ["graspfleet.actor", "--actor-id", name, *where], run.logs) for name in names),
    ]


def grown(samples: list[float]) -> float:
    """Return the growth over the last part of the samples, as a share; each end is a mean of six."""
    tail = samples[round(len(samples) * (1 - LAST_SHARE)) :]
    ends = min(6, max(1, len(tail) // 2))
    first, last = sum(tail[:ends]) / ends, sum(tail[-ends:]) / ends
    return last / first - 1


def main() -> int:
    """Run, watch, and write the figures; return 1 if somebody grew by 2 % or more."""
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--out", type=Path, default=Path("docs/results/soak.json"))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        run = RunDirectory(Path(folder) / "run")
        children = start(run)
        samples: dict[str, list[float]] = {child.name: [] for child in children}
        try:
            end_s = time.monotonic() + 60 * options.minutes
            while time.monotonic() < end_s:
                time.sleep(SAMPLE_S)
                for child in children:
                    samples[child.name].append(round(psutil.Process(child.pid).memory_info().rss / 1e6, 2))
        finally:
            end(children[1:], 30)
            end(children[:1], 30)
        row: dict[str, Any] = json.loads(run.metrics.read_text().splitlines()[-1])
    growth = {name: round(grown(values), 4) for name, values in samples.items()}
    audit = {name: row[name] for name in ("produced", "inserted", "rejected", "resent", "lost", "updates")}
    report = {"minutes": options.minutes, "cores": os.cpu_count(), "growth": growth, "audit": audit}
    options.out.write_text(json.dumps({**report, "rss_mb": samples}) + "\n")
    print(json.dumps(report))
    return int(max(growth.values()) >= 0.02)


if __name__ == "__main__":
    sys.exit(main())
