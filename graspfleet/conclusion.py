"""The end of `graspfleet train`, once its run is over: an evaluation of the best policy, and the curve."""

import json
import sys
import time
from collections.abc import Collection
from typing import Any

from graspfleet.children import POLL_S, Child, end
from graspfleet.common.evaluation.statistics import describe
from graspfleet.common.runtime.files import write_atomically
from graspfleet.common.runtime.run_directory import RunDirectory
from graspfleet.common.runtime.signals import StopSignal

LEAVE_S = 5.0
"""A process that is told to leave gets so long, for its environment may be a robot."""
FAILED = 1
"""Exit status of `graspfleet train` whose run is whole, but was not evaluated."""


def conclude(run: RunDirectory, episodes: int, stop: StopSignal, hinted: Collection[str]) -> int:
    """Evaluate the best policy, draw the curve, and say where everything lies.

    Args:
        run: the run, claimed by this process.
        episodes: of the evaluation; 0 for none.
        stop: when to leave; nothing is started any more then.
        hinted: flags that the user has been pointed at.

    Returns:
        exit status: 0, also when told to stop, or `FAILED`.
    """
    status = 0
    if episodes and run.policy("last").exists():
        print(f"now the best policy, {episodes} episodes on fresh seeds", flush=True)
        words = ["evaluate", str(run.path), "--episodes", str(episodes), "--json"]
        child = _run_aside(run, "evaluation", ["graspfleet", *words], stop)
        if child.result is not None and not stop.is_set():
            write_atomically(run.evaluation, child.result.encode())
            _tell(json.loads(child.result), hinted)
        status = 0 if child.has_left else FAILED
    if not stop.is_set():
        _run_aside(run, "curve", ["graspfleet.learner.reporting.curve", str(run.path)], stop)
    if stop.is_set():
        left = f"graspfleet evaluate {run.path}; python -m graspfleet.learner.reporting.curve {run.path}"
        print(f"stopped; the run is whole and saved; left to do: {left}")
        return 0
    print("written:", *sorted(run.path.iterdir()), sep="\n  ")
    return status


def _tell(result: dict[str, Any], hinted: Collection[str]) -> None:
    """Print the result of the evaluation."""
    print(f"policy of env step {result['policy_env_steps']:,}: {result['chosen_by']}")
    print(describe(result))
    if (key := result.get("likely_success_key")) and "--success-key" not in hinted:
        print(f"success is unknown, but an info has {key!r}: --success-key {key} counts it")


def _run_aside(run: RunDirectory, name: str, command: list[str], stop: StopSignal) -> Child:
    """Run a child until it ends or `stop` is set, and say so if it fails."""
    child = Child(name, command, run.logs, shares=run)
    while child.status is None and not stop.is_set():
        time.sleep(POLL_S)
    end([child], LEAVE_S)
    if not (child.has_left or stop.is_set()):
        print(child.reason(), file=sys.stderr)
    return child
