"""A comparison: sides measured in rounds on the same cores, and thresholds for the ratios of their figures.

In: workers (processes that hold something ready to measure) and thresholds. Out: every figure of every round.
Ratios are formed within a round, so that a noisy machine affects all sides alike.
"""

import os
import statistics
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

from benchmarks.worker import WorkerProcess

Rounds = dict[str, list[float]]
"""Figure name -> its value in each round."""


@dataclass(frozen=True)
class Worker:
    """One process that measures one side.

    Attributes:
        factory: "module:function", a context manager that yields a function without arguments; each call
            of it measures once and returns figures by name.
        arguments: of the factory, plain values.
        environment: variables to set before the process starts.
    """

    factory: str
    arguments: dict[str, Any] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Threshold:
    """The ratio of two figures and its target.

    Attributes:
        ours: figure of this project's side.
        baseline: figure to divide by.
        target: bound of the median ratio; None: only reported.
        at_least: whether the target is a lower bound (else an upper one).
    """

    ours: str
    baseline: str
    target: float | None = None
    at_least: bool = True


@dataclass(frozen=True)
class Comparison:
    """Sides that are measured in turn.

    Attributes:
        name: for `--rows`.
        title: subject of the measurement.
        unit: of all figures.
        num_cores: cores that every side is pinned to, the same for all.
        workers: in the order of their rounds.
        thresholds: for their figures.
    """

    name: str
    title: str
    unit: str
    num_cores: int
    workers: tuple[Worker, ...]
    thresholds: tuple[Threshold, ...]


@dataclass(frozen=True)
class Outcome:
    """The result of a comparison.

    Attributes:
        rounds: every figure of every round.
        missing: factories that cannot be measured on this machine, with the reason.
    """

    comparison: Comparison
    rounds: Rounds
    missing: dict[str, str]

    def ratios(self, threshold: Threshold) -> list[float]:
        """Return ours / baseline of each round; empty when a side is missing."""
        pairs = zip(
            self.rounds.get(threshold.ours, ()), self.rounds.get(threshold.baseline, ()), strict=False
        )
        return [ours / baseline for ours, baseline in pairs]

    def met(self, threshold: Threshold) -> bool | None:
        """Return whether the median ratio reaches its target; None without a target or a side."""
        ratios = self.ratios(threshold)
        if threshold.target is None or not ratios:
            return None
        ratio = statistics.median(ratios)
        return ratio >= threshold.target if threshold.at_least else ratio <= threshold.target


def run(comparison: Comparison, num_rounds: int, say: Callable[[str], None]) -> Outcome:
    """Start every worker, then measure each of them once a round.

    Args:
        comparison: sides and thresholds.
        num_rounds: measurements of each side.
        say: takes progress messages, one line each.
    """
    cores = sorted(os.sched_getaffinity(0))[-comparison.num_cores :]
    outcome = Outcome(comparison, {}, {})
    with ExitStack() as stack:
        ready = []
        for worker in comparison.workers:
            process = WorkerProcess(worker.factory, worker.arguments, worker.environment, cores)
            stack.callback(process.close)
            if reason := process.wait_until_ready():
                outcome.missing[f"{worker.factory} {worker.arguments or ''}".strip()] = reason
                say(f"{comparison.name}: {worker.factory} left out: {reason}")
            else:
                ready.append(process)
        for number in range(1, num_rounds + 1):
            for process in ready:
                for name, value in process.measure().items():
                    outcome.rounds.setdefault(name, []).append(value)
            newest = ", ".join(f"{name} {values[-1]:,.4g}" for name, values in outcome.rounds.items())
            say(f"{comparison.name} {number}/{num_rounds}: {newest}")
    return outcome
