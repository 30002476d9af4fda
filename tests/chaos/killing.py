"""Kills learners and actors under full load, and then asks where every transition went.

python -m tests.chaos.killing --minutes 30
"""

import argparse
import random
import signal
import sys
import tempfile
import time
from pathlib import Path

from tests.chaos.audit import Audit, audit
from tests.end_to_end.harness import Fleet, free_endpoints, until

ACTORS_N = 4
CAPACITY = 12_000_000
WINDOW_N, BATCH_N = 8, 32
ENV = "tests.chaos.counting_env:Counting-v0"
LEARNER_FLAGS = (
    *("--env", ENV, "--hidden-dim", "16", "--batch-size", "32", "--updates-per-step", "None"),
    *("--replay-capacity", str(CAPACITY), "--total-env-steps", str(CAPACITY), "--checkpoint-interval-s", "2"),
)


class Carnage:
    """A learner and actors of which now and then one is killed and started again.

    Args:
        folder: for everything that is written.
        seed: of who dies and when.
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
        for _ in range(ACTORS_N):
            self._start_actor()
        self._wait_for_steps()

    def kill_the_learner(self) -> None:
        """Kill it in the middle of its work; its successor takes over the run directory and the ports."""
        self.fleet.kill("learner")
        self.killed_learners += 1
        self._start_learner("--resume")
        self._wait_for_steps()

    def kill_an_actor(self) -> None:
        """Kill one, and start another of the same name."""
        victim = self.rng.randrange(ACTORS_N)
        self.fleet.kill(self.actors[victim])
        self.killed_actors += 1
        self._start_actor(victim)
        self._wait_for_steps()

    def end(self) -> Audit:
        """Have everyone leave in order, and count."""
        started = ACTORS_N + self.killed_actors
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
        command = ("learner", *LEARNER_FLAGS, *self.fleet.addresses(), where, str(self.fleet.run.path))
        self.fleet.start("learner", *command)

    def _start_actor(self, index: int | None = None) -> None:
        number = len(self.actors) if index is None else index
        name = f"a{number}-{self.killed_actors}"
        limits = (
            "--max-unacked-transitions",
            str(WINDOW_N * BATCH_N),
            "--max-batch-transitions",
            str(BATCH_N),
            "--linger-s",
            "30",
        )
        env = ("--env", ENV, "--env-args", f"folder={self.made}")
        command = ("actor", *env, "--actor-id", f"a{number}", *limits, *self.fleet.addresses())
        self.fleet.start(name, *command)
        self.actors[number : number + 1] = [name]

    def _wait_for_steps(self) -> None:
        """Wait until the learner has come on by a random stretch, so that nobody dies at a chosen moment."""
        statuses = self.fleet.statuses()
        start = statuses.until(lambda status: status.metrics.get("env_steps"), "the learner is at work")
        steps = start.metrics["env_steps"] + self.rng.randrange(100, 20_000)
        statuses.until(lambda status: status.metrics.get("env_steps", 0) >= steps, f"{steps} env steps")
        statuses.close()


def check(found: Audit, carnage: Carnage) -> None:
    """Hold the guarantee: nothing twice, nothing lost but what killed actors had not had acknowledged."""
    assert found.twice == 0, found
    assert found.counters.get("lost", 0) == 0, found
    assert found.totals["produced"] == found.totals["inserted"] + found.totals["rejected"], found
    assert found.totals["rejected"] == 0, found
    assert len(found.made) == ACTORS_N + carnage.killed_actors
    assert len(found.missing) <= carnage.killed_actors, found
    # The window, the batch being filled, and the env step at which it died.
    assert max(found.missing.values(), default=0) <= (WINDOW_N + 1) * BATCH_N + 1, found


def main() -> int:
    """Kill for some minutes; print the audit."""
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        carnage = Carnage(Path(folder), options.seed)
        try:
            end_s = time.monotonic() + 60 * options.minutes
            while time.monotonic() < end_s:
                carnage.rng.choice((carnage.kill_the_learner, carnage.kill_an_actor))()
            found = carnage.end()
        finally:
            carnage.fleet.end()
    print(f"killed {carnage.killed_learners} learners and {carnage.killed_actors} actors: {found}")
    check(found, carnage)
    return 0


if __name__ == "__main__":
    sys.exit(main())
