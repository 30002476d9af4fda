"""`python -m graspfleet.learner.reporting.curve RUN_DIR...`: draw the learning curve of each run."""

import logging
import math
import sys
from collections.abc import Sequence
from pathlib import Path

import matplotlib

matplotlib.use("Agg")  # never open a window

from matplotlib import pyplot
from matplotlib.ticker import MaxNLocator

from graspfleet.common.runtime.exit import leave_with
from graspfleet.common.runtime.metric_rows import Row, read_rows
from graspfleet.common.runtime.run_directory import RunDirectory

log = logging.getLogger(__name__)

ROWS = (("eval_success", "success rate"), ("eval_return", "return"))
AXES = (("eval_env_steps", 1.0, "env steps"), ("wall_s", 60.0, "minutes since the learner started"))
NEEDED = {across for across, _, _ in AXES}


def read_evaluations(run: RunDirectory) -> list[Row]:
    """Return a run's evaluation rows, oldest first; rows without a time or an env step are skipped."""
    evaluations = [row for row in read_rows(run.metrics) if "eval_return" in row]
    whole = [row for row in evaluations if row.keys() >= NEEDED]
    if len(whole) < len(evaluations):
        log.warning("%s: %d evaluations have no time", run.metrics, len(evaluations) - len(whole))
    return whole


def draw(runs: Sequence[RunDirectory], path: Path) -> None:
    """Draw success and return over env steps and over minutes, one line for each run.

    Args:
        runs: run directories.
        path: the PNG to write.
    """
    curves = {run.path.name: read_evaluations(run) for run in runs}
    charts = [
        (name, label)
        for name, label in ROWS
        if any(name in row for curve in curves.values() for row in curve)
    ]
    figure, grid = pyplot.subplots(
        max(1, len(charts)), len(AXES), figsize=(10, 3.2 * max(1, len(charts))), squeeze=False, sharey="row"
    )
    for line, (name, label) in zip(grid, charts, strict=False):
        for axes, (across, unit, text) in zip(line, AXES, strict=True):
            for run_name, curve in curves.items():
                rows = [row for row in curve if name in row]
                x = [row[across] / unit for row in rows]
                (drawn,) = axes.plot(x, [row[name] for row in rows], marker=".", label=run_name)
                if name == "eval_success":
                    low, high = (
                        [row.get(f"{name}_{end}", math.nan) for row in rows] for end in ("low", "high")
                    )
                    axes.fill_between(x, low, high, alpha=0.15, color=drawn.get_color(), linewidth=0)
                    axes.set_ylim(-0.03, 1.03)
            axes.set_xlabel(text)
            axes.xaxis.set_major_locator(MaxNLocator(6))
            axes.grid(alpha=0.3)
        line[0].set_ylabel(label)
        if len(curves) > 1:
            line[-1].legend(fontsize="small")
    figure.suptitle("deterministic evaluation" + (", 95 % Wilson interval shaded" if len(charts) > 1 else ""))
    figure.tight_layout()
    figure.savefig(path, dpi=120)
    pyplot.close(figure)


def main(argv: Sequence[str]) -> int:
    """Draw the curve of each named run into its directory."""
    for name in argv:
        run = RunDirectory(name)
        if not run.metrics.is_file() or not read_evaluations(run):
            print(f"{name}: no evaluations, no curve")
            continue
        draw([run], run.curve)
        print(run.curve)
    return 0


if __name__ == "__main__":
    leave_with(main, sys.argv[1:])
