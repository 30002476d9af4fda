"""The cube learned by `graspfleet train` and by Stable-Baselines3's SAC, both on this machine's cores.

    python -m benchmarks.baseline_cube --seeds 0 1 2

One run after the other, each for at most `--minutes`. Both sides step `Grasp-v0` with the fast physics; the
policies of every `--every-s` seconds are kept and evaluated afterwards on the default physics, by
`benchmarks.snapshots`. Seconds count from the start of the command, imports included. Writes
`OUT/baselines.json` (after each run anew, so that what is done is not lost) and `OUT/baselines.png`.

Nothing else may run meanwhile; the updates of each run, in its line, tell. Needs the extra `bench`.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from benchmarks.baseline_sac import SETTINGS, kept
from benchmarks.eval_curve import draw
from benchmarks.machine import describe_machine
from benchmarks.snapshots import Snapshot, evaluate_all, reached, record, sustained
from graspfleet.common.runtime.run_directory import RunDirectory
from graspfleet.common.settings.config import EnvConfig

OURS = "graspfleet"
SIDES = (OURS, *SETTINGS)
EVAL_ENV = EnvConfig(env="Grasp-v0", env_args=("physics=default",))
WAITING = {"OMP_WAIT_POLICY": "PASSIVE"}
"""For the baseline's torch, whose threads, as many as cores, otherwise wait for each other by spinning: where
anything else wants a core for a moment it came to 1 update a second instead of 48."""
GRACE_S = 30.0
"""For a run to end by itself after its time; it is killed then."""


def run_ours(seed: int, folder: Path, options: argparse.Namespace) -> tuple[int, list[Snapshot]]:
    """Train with the preset, as `make train` does; return the exit status and the policies."""
    run, deadline_s = RunDirectory(folder / "run"), time.monotonic() + 60 * options.minutes
    words = ["train", "--seed", str(seed), "--run-dir", str(run.path), "--final-episodes", "0"]
    process = subprocess.Popen([sys.executable, "-m", "graspfleet", *words], stdout=subprocess.DEVNULL)

    def in_time() -> bool:
        return process.poll() is None and time.monotonic() < deadline_s

    snapshots = record(run, in_time, options.every_s)
    process.terminate()
    return finish(process), snapshots


def run_baseline(
    setting: str, seed: int, folder: Path, options: argparse.Namespace
) -> tuple[int, list[Snapshot]]:
    """Train with SB3; return the exit status and the policies."""
    words = ["--setting", setting, "--seed", str(seed), "--into", str(folder)]
    words += ["--seconds", str(60 * options.minutes), "--every-s", str(options.every_s)]
    words += ["--threads", str(options.threads)] if options.threads is not None else []
    words += ["--began-s", str(time.monotonic())]
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.baseline_sac", *words], env={**WAITING, **os.environ}
    )
    return finish(process, 60 * options.minutes), kept(folder)


def finish(process: "subprocess.Popen[bytes]", seconds: float = 0.0) -> int:
    """Return the exit status of a process that should end within `seconds`; kill it long after that."""
    try:
        return process.wait(seconds + GRACE_S)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()


def run_side(side: str, seed: int, options: argparse.Namespace) -> dict[str, Any]:
    """Train once and evaluate; return the figures."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        status, snapshots = (
            run_ours(seed, folder, options) if side == OURS else run_baseline(side, seed, folder, options)
        )
    eval_curve = evaluate_all(snapshots, EVAL_ENV, options.episodes, options.level)
    return {
        "side": side,
        "seed": seed,
        "exit_status": status,
        "policies": len(snapshots),
        "reached": reached(eval_curve, options.level),
        "sustained": sustained(eval_curve, options.level),
        "eval_curve": eval_curve,
    }


def name_of(side: str) -> str:
    """Return what a side is called in the picture."""
    return side if side == OURS else f"Stable-Baselines3, {side}"


def describe(row: dict[str, Any], level: float) -> str:
    """Return a run as one line."""
    best = max((evaluation["success"] for evaluation in row["eval_curve"]), default=0.0)
    first, second = (
        f"{row[name]['wall_s']:.0f} s" if row[name] else "never" for name in ("reached", "sustained")
    )
    last = row["eval_curve"][-1] if row["eval_curve"] else {"updates": 0, "env_steps": 0, "wall_s": 0.0}
    return (
        f"{row['side']:<12} seed {row['seed']}: {level:.0%} first {first}, sustained {second};"
        f" best {best:.0%} of {len(row['eval_curve'])} policies; {last['updates']} updates and"
        f" {last['env_steps']} env steps after {last['wall_s']:.0f} s; exit status {row['exit_status']}"
    )


def runs(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Yield the figures of every run; sides in turns, so that a slow hour of the machine meets all."""
    for seed in options.seeds:
        for side in options.sides:
            yield run_side(side, seed, options)


def main() -> int:
    """Run all; return 1 if a run ended badly."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--sides", choices=SIDES, nargs="+", default=list(SIDES))
    parser.add_argument("--minutes", type=float, default=3.0, help="longest run")
    parser.add_argument("--episodes", type=int, default=100, help="per evaluation")
    parser.add_argument("--level", type=float, default=0.9, help="success to be reached and sustained")
    parser.add_argument("--every-s", type=float, default=4.0, help="seconds between two policies")
    parser.add_argument("--threads", type=int, help="of the baseline's torch; its own choice otherwise")
    parser.add_argument("--out", type=Path, default=Path("docs/results"))
    options = parser.parse_args()
    if set(options.sides) != {OURS} and find_spec("stable_baselines3") is None:
        parser.error("needs stable_baselines3; install it with: pip install -e '.[bench]'")
    options.out.mkdir(parents=True, exist_ok=True)
    report = {
        "command": " ".join(["python -m benchmarks.baseline_cube", *sys.argv[1:]]),
        "machine": describe_machine(),
        "settings": {side: dict(SETTINGS[side]) for side in options.sides if side != OURS},
        **{name: getattr(options, name) for name in ("minutes", "episodes", "level", "every_s", "threads")},
    }
    rows: list[dict[str, Any]] = []
    for row in runs(options):
        rows.append(row)
        print(describe(row, options.level), flush=True)
        (options.out / "baselines.json").write_text(json.dumps({**report, "runs": rows}, indent=2) + "\n")
        draw(rows, [name_of(row["side"]) for row in rows], options.level, options.out / "baselines.png")
    return int(any(row["exit_status"] for row in rows))


if __name__ == "__main__":
    sys.exit(main())
