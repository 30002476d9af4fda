"""A contest: what is measured beside what, in turns on the same cores, and what it should show.

In: hosts (processes that hold something ready to be measured) and claims about their figures. Out: every
figure of every turn. Ratios are formed within a turn, so that a noisy machine is unfair to no side.
"""

import os
import statistics
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

from benchmarks.host import HostProcess

Turns = dict[str, list[float]]
"""Figure name -> its value in each turn."""


@dataclass(frozen=True)
class Host:
    """What one process holds ready.

    Attributes:
        factory: "module:function", a context manager that yields a function without arguments; each call
            of it measures once and returns figures by name.
        arguments: of the factory, plain values.
        environment: variables that must be set before the process starts.
    """

    factory: str
    arguments: dict[str, Any] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Claim:
    """What a contest is about: the ratio of two of its figures.

    Attributes:
        ours: figure of this project's side.
        peer: figure that it is divided by.
        target: what the median of the ratios should be; None only reports it.
        at_least: whether the ratio should be at least the target, or at most.
    """

    ours: str
    peer: str
    target: float | None = None
    at_least: bool = True


@dataclass(frozen=True)
class Contest:
    """Sides that take turns.

    Attributes:
        name: for `--rows`.
        title: what is measured.
        unit: of all figures.
        cores_n: cores that every side is pinned to, the same for all.
        hosts: in the order of their turns.
        claims: about their figures.
    """

    name: str
    title: str
    unit: str
    cores_n: int
    hosts: tuple[Host, ...]
    claims: tuple[Claim, ...]


@dataclass(frozen=True)
class Outcome:
    """What came out of a contest.

    Attributes:
        turns: every figure of every turn.
        missing: factories that could not be measured here, with the reason.
    """

    contest: Contest
    turns: Turns
    missing: dict[str, str]

    def ratios(self, claim: Claim) -> list[float]:
        """Return ours / peer of each turn; empty when a side is missing."""
        pairs = zip(self.turns.get(claim.ours, ()), self.turns.get(claim.peer, ()), strict=False)
        return [ours / peer for ours, peer in pairs]

    def met(self, claim: Claim) -> bool | None:
        """Return whether the median ratio reaches its target; None without a target or a side."""
        ratios = self.ratios(claim)
        if claim.target is None or not ratios:
            return None
        ratio = statistics.median(ratios)
        return ratio >= claim.target if claim.at_least else ratio <= claim.target


def hold(contest: Contest, turns_n: int, say: Callable[[str], None]) -> Outcome:
    """Run a contest: start every host, then measure each in turn, `turns_n` times.

    Args:
        contest: what is measured.
        turns_n: turns of each side.
        say: told about progress, a line each time.
    """
    cores = sorted(os.sched_getaffinity(0))[-contest.cores_n :]
    outcome = Outcome(contest, {}, {})
    with ExitStack() as stack:
        ready = []
        for host in contest.hosts:
            process = HostProcess(host.factory, host.arguments, host.environment, cores)
            stack.callback(process.close)
            if reason := process.wait_until_ready():
                outcome.missing[f"{host.factory} {host.arguments or ''}".strip()] = reason
                say(f"{contest.name}: {host.factory} left out: {reason}")
            else:
                ready.append(process)
        for turn in range(turns_n):
            for process in ready:
                for name, value in process.measure().items():
                    outcome.turns.setdefault(name, []).append(value)
            newest = ", ".join(f"{name} {values[-1]:,.4g}" for name, values in outcome.turns.items())
            say(f"{contest.name} {turn + 1}/{turns_n}: {newest}")
    return outcome
