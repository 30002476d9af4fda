"""Success of evaluated policies over wall-clock, as a picture."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")

from matplotlib import pyplot


def draw(rows: Sequence[Mapping[str, Any]], names: Sequence[str], level: float, path: Path) -> None:
    """Draw one line per run, one color per name, and a star where success is sustained.

    Args:
        rows: for each run its `eval_curve`, and the evaluation at which success is `sustained`, or None.
        names: of each run, for the legend; runs of one name share a color.
        level: to be sustained.
        path: of the PNG file.
    """
    figure, axes = pyplot.subplots(figsize=(9, 4.5))
    colors = {name: f"C{i % 10}" for i, name in enumerate(dict.fromkeys(names))}
    unnamed = set(names)
    for row, name in zip(rows, names, strict=True):
        x, y = ([evaluation[key] for evaluation in row["eval_curve"]] for key in ("wall_s", "success"))
        label = name if name in unnamed else None
        unnamed.discard(name)
        axes.plot(x, y, ".-", color=colors[name], label=label, alpha=0.8, linewidth=1)
        if row["sustained"]:
            at = row["sustained"]
            axes.plot(at["wall_s"], at["success"], "*", color=colors[name], markersize=14)
    axes.axhline(level, color="0.5", linewidth=0.8, linestyle="--")
    axes.set_xlim(left=0)
    axes.set_ylim(-0.03, 1.03)
    axes.set_xlabel("seconds since the command began")
    axes.set_ylabel("success rate, evaluated afterwards")
    axes.set_title(f"star: second evaluation in a row at {level:.0%} or more, where evaluation stops")
    axes.grid(alpha=0.3)
    axes.legend(loc="best", fontsize="small")
    figure.tight_layout()
    figure.savefig(path, dpi=120)
    pyplot.close(figure)
