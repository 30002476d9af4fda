"""`python -m learner.curve RUN_DIR...`: the learning curve of a run, or of several seeds, as a picture."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")  # no window, whatever the machine offers

from matplotlib import pyplot
from matplotlib.ticker import MaxNLocator

from common.run_directory import RunDirectory

ROWS = (("eval_success", "success rate"), ("eval_return", "return"))
AXES = (("eval_env_steps", 1.0, "env steps"), ("wall_s", 60.0, "minutes since the learner started"))


def read_evaluations(run: RunDirectory) -> list[dict[str, Any]]:
    """Return a run's evaluation rows, oldest first."""
    rows = [json.loads(line) for line in run.metrics.read_text().splitlines()]
    return [row for row in rows if "eval_return" in row]


def draw(runs: Sequence[RunDirectory], path: Path) -> None:
    """Draw success and return over env steps and over minutes, one line for each run.

    Args:
        runs: run directories.
        path: the PNG to write.
    """
    curves = {run.path.name: read_evaluations(run) for run in runs}
    rows = [
        (name, label)
        for name, label in ROWS
        if any(name in row for curve in curves.values() for row in curve)
    ]
    figure, grid = pyplot.subplots(
        max(1, len(rows)), len(AXES), figsize=(10, 3.2 * max(1, len(rows))), squeeze=False, sharey="row"
    )
    for line, (name, label) in zip(grid, rows, strict=False):
        for axes, (across, unit, text) in zip(line, AXES, strict=True):
            for run_name, curve in curves.items():
                x = [row[across] / unit for row in curve]
                (drawn,) = axes.plot(x, [row[name] for row in curve], marker=".", label=run_name)
                if name == "eval_success":
                    low, high = ([row[f"{name}_{end}"] for row in curve] for end in ("low", "high"))
                    axes.fill_between(x, low, high, alpha=0.15, color=drawn.get_color(), linewidth=0)
                    axes.set_ylim(-0.03, 1.03)
            axes.set_xlabel(text)
            axes.xaxis.set_major_locator(MaxNLocator(6))
            axes.grid(alpha=0.3)
        line[0].set_ylabel(label)
        if len(curves) > 1:
            line[-1].legend(fontsize="small")
    figure.suptitle("deterministic evaluation" + (", 95 % Wilson interval shaded" if len(rows) > 1 else ""))
    figure.tight_layout()
    figure.savefig(path, dpi=120)
    pyplot.close(figure)


def main(argv: Sequence[str]) -> int:
    """Draw the curve of each named run into its directory."""
    for name in argv:
        run = RunDirectory(name)
        if not run.metrics.exists() or not read_evaluations(run):
            print(f"{name}: no evaluation, no curve")
            continue
        draw([run], run.curve)
        print(run.curve)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
