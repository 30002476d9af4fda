"""Crash recovery under full load: learners and actors are killed, then every transition is accounted for.

python -m tests.chaos.crash_recovery --minutes 30
"""

import argparse
import random
import signal
import sys
import tempfile
import time
from pathlib import Path

from tests.chaos.audit import Audit, audit
from tests.chaos.counting_env import SLOW_LEARNING
from tests.end_to_end.harness import Fleet, free_endpoints, until

NUM_ACTORS = 4
CAPACITY = 12_000_000
MAX_UNACKED_BATCHES, BATCH_TRANSITIONS = 8, 32
ENV = "tests.chaos.counting_env:Counting-v0"
LEARNER_FLAGS = (
    *("--env", ENV, "--hidden-dim", "16", "--batch-size", "32", "--updates-per-step", "None"),
    *("--replay-capacity", str(CAPACITY), "--total-env-steps", str(CAPACITY), "--checkpoint-interval-s", "2"),
    *SLOW_LEARNING,
)


class CrashingFleet:
    """A learner and actors, which are killed and restarted one at a time.

    Args:
        folder: for everything that is written.
        seed: of the order and the times of the kills.
    """

    def __init__(self, folder: Path, seed: int) -> None:
        self.fleet = Fleet(folder)
        self.fleet.endpoints = free_endpoints()
        self.made = folder / "made"
        self.made.mkdir()
        self.rng = random.Random(seed)
        self.actors: list[str] = []
        self.killed_actors = self.killed_learners = 0
        self._start_learner("--run-dir")
        for _ in range(NUM_ACTORS):
            self._start_actor()
        self._wait_for_steps()

    def kill_the_learner(self) -> None:
        """Kill the learner; its successor takes over the run directory and the ports."""
        self.fleet.kill("learner")
        self.killed_learners += 1
        self._start_learner("--resume")
        self._wait_for_steps()

    def kill_an_actor(self) -> None:
        """Kill an actor and start another one with the same id."""
        victim = self.rng.randrange(NUM_ACTORS)
        self.fleet.kill(self.actors[victim])
        self.killed_actors += 1
        self._start_actor(victim)
        self._wait_for_steps()

    def end(self) -> Audit:
        """Shut everything down in order and return the audit."""
        started = NUM_ACTORS + self.killed_actors
        until(
            lambda: len(list(self.made.iterdir())) == started, "the newest actor is up, so that it can leave"
        )
        for name in self.actors:
            self.fleet.signal(name, signal.SIGTERM)
        for name in self.actors:
            assert self.fleet.wait(name) == 0, self.fleet.output(name)
            assert "all acknowledged" in self.fleet.output(name), self.fleet.output(name)
        self.fleet.signal("learner", signal.SIGTERM)
        assert self.fleet.wait("learner") == 0, self.fleet.output("learner")
        return audit(self.fleet.run, CAPACITY, self.made)

    def _start_learner(self, where: str) -> None:
        command = (
            "graspfleet.learner",
            *LEARNER_FLAGS,
            *self.fleet.addresses(),
            where,
            str(self.fleet.run.path),
        )
        self.fleet.start("learner", *command)

    def _start_actor(self, index: int | None = None) -> None:
        number = len(self.actors) if index is None else index
        name = f"a{number}-{self.killed_actors}"
        limits = (
            "--max-unacked-transitions",
            str(MAX_UNACKED_BATCHES * BATCH_TRANSITIONS),
            "--max-batch-transitions",
            str(BATCH_TRANSITIONS),
            "--linger-s",
            "30",
        )
        env = ("--env", ENV, "--env-args", f"folder={self.made}")
        command = ("graspfleet.actor", *env, "--actor-id", f"a{number}", *limits, *self.fleet.addresses())
        self.fleet.start(name, *command)
        self.actors[number : number + 1] = [name]

    def _wait_for_steps(self) -> None:
        """Wait for a random number of env steps, so that kills hit no particular moment."""
        statuses = self.fleet.statuses()
        start = statuses.until(lambda status: status.metrics.get("env_steps"), "the learner is at work")
        steps = start.metrics["env_steps"] + self.rng.randrange(100, 20_000)
        statuses.until(lambda status: status.metrics.get("env_steps", 0) >= steps, f"{steps} env steps")
        statuses.close()


def check(found: Audit, crashing: CrashingFleet) -> None:
    """Assert the guarantee: no duplicates; losses only of unacknowledged transitions of killed actors."""
    assert found.twice == 0, found
    assert found.counters.get("lost", 0) == 0, found
    assert found.totals["produced"] == found.totals["inserted"] + found.totals["rejected"], found
    assert found.totals["rejected"] == 0, found
    assert len(found.made) == NUM_ACTORS + crashing.killed_actors
    assert len(found.missing) <= crashing.killed_actors, found
    # The unacknowledged batches, the batch being filled, and the env step during which it was killed.
    assert max(found.missing.values(), default=0) <= (MAX_UNACKED_BATCHES + 1) * BATCH_TRANSITIONS + 1, found


def main() -> int:
    """Kill processes for some minutes; print the audit."""
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        crashing = CrashingFleet(Path(folder), options.seed)
        try:
            end_s = time.monotonic() + 60 * options.minutes
            while time.monotonic() < end_s:
                crashing.rng.choice((crashing.kill_the_learner, crashing.kill_an_actor))()
            found = crashing.end()
        finally:
            crashing.fleet.end()
    print(f"killed {crashing.killed_learners} learners and {crashing.killed_actors} actors: {found}")
    check(found, crashing)
    return 0


if __name__ == "__main__":
    sys.exit(main())
