"""Progress of a run for the user: a live panel, or plain lines if the output is not a terminal."""

import sys
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from rich.console import Console, Group
from rich.live import Live
from rich.panel import Panel as Frame
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table

from graspfleet.common.messages import Status
from graspfleet.common.runtime.interval import Interval

LINE_INTERVAL_S = 5.0
"""Seconds between plain lines."""

Cell = tuple[str, str, str]
CELLS: tuple[tuple[Cell, ...], ...] = (
    (
        ("eval_success", "success (evaluated)", "{:.0%}"),
        ("eval_return", "return (evaluated)", "{:.2f}"),
        ("episode_success", "success (training)", "{:.0%}"),
        ("episode_return", "return (training)", "{:.2f}"),
    ),
    (
        ("env_steps_per_s", "env steps/s", "{:,.0f}"),
        ("updates_per_s", "updates/s", "{:,.0f}"),
        ("samples_per_insert", "samples per insert", "{:.1f}"),
        ("policy_lag", "policy lag, versions", "{:.1f}"),
    ),
)
"""Columns of (metric, label, format)."""


class Panel:
    """Display of a run's newest status.

    Args:
        total_env_steps: end of the progress bar.
        run_dir: shown below the panel.
    """

    def __init__(self, total_env_steps: int, run_dir: Path) -> None:
        self._total = total_env_steps
        self._run_dir = run_dir
        self._console = Console()
        self._line = Interval(LINE_INTERVAL_S)
        self._progress = Progress(
            TextColumn("env steps"),
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            TaskProgressColumn(),
            TimeElapsedColumn(),
            TextColumn("ETA"),
            TimeRemainingColumn(elapsed_when_finished=False),
            expand=True,
        )
        self._task = self._progress.add_task("", total=total_env_steps)
        self._live: Live | None = None

    def __enter__(self) -> Self:
        """Start the display."""
        if self._console.is_terminal:
            self._live = Live(self._draw(None, 0), console=self._console, refresh_per_second=4)
            self._live.start()
        else:
            self.say(f"training in {self._run_dir}")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop the display; its last frame stays on the screen."""
        if self._live is not None:
            self._live.stop()

    def show(self, status: Status | None, restarts: int) -> None:
        """Show a status.

        Args:
            status: the learner's newest; None before the first.
            restarts: number of restarted processes so far.
        """
        if self._live is not None:
            self._live.update(self._draw(status, restarts))
        elif status is not None and status.metrics and self._line.due_now():
            self.say(as_line(status, self._total, restarts))

    def say(self, text: str) -> None:
        """Print a line, above the panel if there is one."""
        if self._live is not None:
            self._console.print(text, highlight=False, markup=False)
        else:
            print(text, flush=True, file=sys.stdout)

    def _draw(self, status: Status | None, restarts: int) -> Frame:
        metrics = status.metrics if status else {}
        self._progress.update(self._task, completed=min(self._total, int(metrics.get("env_steps", 0))))
        table = Table.grid(padding=(0, 2), expand=True)
        for _ in range(2 * len(CELLS)):
            table.add_column()
        for row in zip(*CELLS, strict=True):
            cells: list[str] = []
            for name, label, form in row:
                cells += [f"[dim]{label}[/dim]", form.format(metrics[name]) if name in metrics else "–"]
            table.add_row(*cells)
        actors = ", ".join([f"{metrics.get('actors_alive', 0)} actors alive", *replay_of(metrics)])
        if restarts:
            actors += f", [yellow]{restarts} restarted[/yellow]"
        if metrics.get("rejected") or metrics.get("lost"):
            actors += f", [red]{metrics['rejected']} rejected, {metrics['lost']} batches lost[/red]"
        title = f"graspfleet · {status.state if status else 'starting'}"
        return Frame(Group(self._progress, table, actors), title=title, subtitle=str(self._run_dir))


def replay_of(metrics: Mapping[str, float]) -> list[str]:
    """Return how full the replay is, and its size on disk; an empty list before the learner has one."""
    if "replay_capacity" not in metrics:
        return []
    size, capacity = int(metrics["replay_size"]), int(metrics["replay_capacity"])
    return [f"replay {size:,}/{capacity:,}, {metrics['replay_bytes'] / 1e9:.2g} GB on disk"]


def as_line(status: Status, total_env_steps: int, restarts: int) -> str:
    """Return a status as one plain line."""
    metrics = status.metrics
    parts = [f"{int(metrics.get('env_steps', 0)):,}/{total_env_steps:,} env steps"]
    cells = [cell for column in CELLS for cell in column]
    parts += [f"{label} {form.format(metrics[name])}" for name, label, form in cells if name in metrics]
    parts += [f"{metrics.get('actors_alive', 0)} actors alive", *replay_of(metrics)]
    if restarts:
        parts.append(f"{restarts} restarted")
    return f"{status.state}: " + ", ".join(parts)
