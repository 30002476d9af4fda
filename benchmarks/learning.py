"""Learning curves of `graspfleet train`, one run a seed, one after the other.

    python -m benchmarks.learning --name cube --seeds 0 1 2
    python -m benchmarks.learning --name pendulum --seeds 0 1 2 -- --env Pendulum-v1 --total-env-steps 20000

    python -m benchmarks.learning --name fast --seeds 0 1 2 --eval-episodes 500 --level 0.98

Words behind `--` go to `graspfleet train`. Writes `OUT/NAME.png` (curves), `OUT/NAME.json` (figures,
the run's own evaluations and the machine) and prints a table. The wall-clock of a run is that of its
command, final evaluation included.

With `--eval-episodes N`, a policy of the run is kept every `--every-s` seconds and evaluated afterwards in N
deterministic episodes with `--eval-env-args`; "sustained" is the second of two in a row that reach `--level`,
and the picture shows these evaluations (`eval_curve` in the JSON file).
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.eval_curve import draw as draw_evaluations
from benchmarks.machine import describe_machine
from benchmarks.snapshots import evaluate_all, record, sustained
from graspfleet.common.runtime.run_directory import RunDirectory
from graspfleet.common.settings.config import EnvConfig
from graspfleet.common.settings.files import load_yaml
from graspfleet.common.settings.section import flag
from graspfleet.learner.reporting.curve import draw, read_evaluations

KEPT = ("env_steps", "updates", "wall_s", "produced", "inserted", "rejected")
EVALUATED = ("eval_env_steps", "wall_s", "eval_success", "eval_return")


def figures_of(run: RunDirectory) -> dict[str, Any]:
    """Return what a run that has ended says of itself."""
    last = json.loads(run.metrics.read_text().splitlines()[-1])
    figures = {name: last[name] for name in KEPT}
    if run.evaluation.exists():
        figures |= json.loads(run.evaluation.read_text())
    evaluations = read_evaluations(run)
    figures["evaluations"] = [{name: row.get(name) for name in EVALUATED} for row in evaluations]
    return figures


def run_seed(seed: int, folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Train once; return the figures of the run."""
    run = RunDirectory(folder / f"seed {seed}")
    words = ["train", "--seed", str(seed), "--run-dir", str(run.path), *options.flags]
    started_s = time.monotonic()
    process = subprocess.Popen([sys.executable, "-m", "graspfleet", *words], stdout=subprocess.DEVNULL)
    snapshots = record(run, lambda: process.poll() is None, options.every_s) if options.eval_episodes else []
    status = process.wait()
    figures: dict[str, Any] = {
        "seed": seed,
        "exit_status": status,
        "command_s": round(time.monotonic() - started_s, 1),
    }
    if status != 0:
        return figures
    figures |= figures_of(run)
    if options.eval_episodes:
        config = EnvConfig(**{**load_yaml(run.config, "config")["env"], "env_args": options.eval_env_args})
        eval_curve = evaluate_all(snapshots, config, options.eval_episodes, options.level)
        reached = sustained(eval_curve, options.level)
        figures["sustained"] = reached and {
            name: reached[name] for name in ("wall_s", "env_steps", "success")
        }
        figures["eval_curve"] = eval_curve
    return figures


def parse() -> argparse.Namespace:
    """Return the options of the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--name", default="cube", help="of the files written")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--out", type=Path, default=Path("docs/results"))
    parser.add_argument("--eval-episodes", type=int, default=0, help="episodes a policy; 0: none")
    parser.add_argument("--level", type=float, default=0.98, help="success to be sustained")
    parser.add_argument("--every-s", type=float, default=2.0, help="seconds between two policies")
    parser.add_argument("--eval-env-args", nargs="+", default=["physics=default"])
    parser.add_argument("flags", nargs="*", help="for graspfleet train, behind --")
    return parser.parse_args()


def command_line(options: argparse.Namespace) -> str:
    """Return the command that these options are of."""
    words = ["python -m benchmarks.learning"]
    if options.eval_episodes:
        words += [f"{flag(name)} {getattr(options, name)}" for name in ("eval_episodes", "level", "every_s")]
        words += ["--eval-env-args", *options.eval_env_args]
    words += ["--name", options.name, "--seeds", *map(str, options.seeds)]
    return " ".join([*words, *(["--", *options.flags] if options.flags else [])])


def write(rows: list[dict[str, Any]], folder: Path, options: argparse.Namespace) -> None:
    """Write figures and picture of the runs so far."""
    options.out.mkdir(parents=True, exist_ok=True)
    report = {"command": command_line(options), "machine": describe_machine(), "runs": rows}
    (options.out / f"{options.name}.json").write_text(json.dumps(report, indent=2) + "\n")
    picture, ended_well = options.out / f"{options.name}.png", [row for row in rows if not row["exit_status"]]
    if options.eval_episodes:
        draw_evaluations(ended_well, [f"seed {row['seed']}" for row in ended_well], options.level, picture)
    elif ended_well:
        draw([RunDirectory(folder / f"seed {row['seed']}") for row in ended_well], picture)


def main() -> int:
    """Run all seeds; return 1 if one of them failed."""
    options = parse()
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as scratch:
        for seed in options.seeds:
            rows.append(run_seed(seed, Path(scratch), options))
            shown = {name: value for name, value in rows[-1].items() if not isinstance(value, list)}
            print(json.dumps(shown), flush=True)
            write(rows, Path(scratch), options)  # each time anew, so that what is done is not lost
    times = [row["command_s"] for row in rows if row["exit_status"] == 0]
    if times:
        print(
            f"{len(times)} of {len(rows)} runs ended well; command: median {statistics.median(times):.0f} s"
        )
    return int(len(times) < len(rows))


if __name__ == "__main__":
    sys.exit(main())
