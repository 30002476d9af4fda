"""The last steps of `graspfleet train` after training: evaluation of the best policy, learning curve."""

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
"""Seconds that a process has to exit before it is killed; its environment may be a robot."""
FAILED = 1
"""Exit status of `graspfleet train` after complete training whose evaluation failed."""


def conclude(run: RunDirectory, episodes: int, stop: StopSignal, hinted: Collection[str]) -> int:
    """Evaluate the best policy, draw the learning curve, and list the files of the run.

    Args:
        run: the run, claimed by this process.
        episodes: number of evaluation episodes; 0: no evaluation.
        stop: once it is set, nothing more is started.
        hinted: flags that hints have already named.

    Returns:
        exit status: 0, also after a stop, or `FAILED`.
    """
    status = 0
    if episodes and run.policy("last").exists():
        print(f"evaluating the best policy: {episodes} episodes on fresh seeds", flush=True)
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
        print(f"stopped; training is complete and saved; remaining steps: {left}")
        return 0
    print("files:", *sorted(run.path.iterdir()), sep="\n  ")
    return status


def _tell(result: dict[str, Any], hinted: Collection[str]) -> None:
    """Print the result of the evaluation."""
    print(f"policy from env step {result['policy_env_steps']:,}: {result['chosen_by']}")
    print(describe(result))
    if (key := result.get("likely_success_key")) and "--success-key" not in hinted:
        print(f"success is unknown, but info has the key {key!r}: use --success-key {key} to count it")


def _run_aside(run: RunDirectory, name: str, command: list[str], stop: StopSignal) -> Child:
    """Run a child until it ends or `stop` is set; print the reason if it fails."""
    child = Child(name, command, run.logs, shares=run)
    while child.status is None and not stop.is_set():
        time.sleep(POLL_S)
    end([child], LEAVE_S)
    if not (child.has_left or stop.is_set()):
        print(child.reason(), file=sys.stderr)
    return child
