"""Env steps/s of an actor in a running system, beside a bare loop over the same environment.

The actor computes its policy, writes, sends, hears and takes over new weights as always; only the actions
that it takes are replaced by the random ones of the bare loop, because a better policy has other contacts and
so another cost of physics. The learner trains on the other core meanwhile.
"""

import multiprocessing
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np

from actor.environment import Environment
from actor.loop import Actor
from benchmarks.contest import Claim, Contest, Host
from benchmarks.learner import LearnerProcess
from benchmarks.workload import Measure
from common.config import flag
from common.flags import ActorFlags, parse
from common.nstep import Floats
from common.stopping import StopSignal

WARM_S = 1.0
SECONDS = 4.0


class RandomActor(Actor):
    """An actor that reports its own speed once it has a policy, and whose actions are random.

    Args:
        flags: settings.
        answers: gets env steps/s.
    """

    def __init__(self, flags: ActorFlags, answers: Connection) -> None:
        super().__init__(flags, "bench")
        self._answers = answers
        self._actions = np.random.default_rng(0)
        self._steps = 0
        self._began_s: float | None = None

    def _act(self) -> Floats:
        actions = super()._act()
        now_s = time.perf_counter()
        if self._began_s is None and self.policy is not None:
            self._began_s = now_s + WARM_S
        if self._began_s is not None and now_s >= self._began_s:
            self._steps += 1
            if now_s >= self._began_s + SECONDS:
                self._answers.send(self._steps / (now_s - self._began_s))
                self._began_s = float("inf")
        return self._actions.uniform(-1, 1, actions.shape).astype(np.float32)


def run_actor(answers: Connection, ports: dict[str, int]) -> None:
    """Be the actor until told to stop."""
    words = [word for name, port in ports.items() for word in (flag(name), str(port))]
    RandomActor(parse(ActorFlags, words, prog="actor"), answers).run(StopSignal().install())


@contextmanager
def in_the_system() -> Iterator[Measure]:
    """Yield the measure of the actor; learner and actor are started for each turn, and gone between."""
    learner_core, actor_core = sorted(os.sched_getaffinity(0))

    def measure() -> dict[str, float]:
        context = multiprocessing.get_context("spawn")
        with tempfile.TemporaryDirectory() as folder:
            os.sched_setaffinity(0, {learner_core})
            learner = LearnerProcess(Path(folder))
            os.sched_setaffinity(0, {actor_core})
            answers, end = context.Pipe()
            actor = context.Process(target=run_actor, args=(end, learner.ports))
            actor.start()
            try:
                learner.until(lambda: answers.poll(0.1))
                return {"actor in the system": answers.recv()}
            finally:
                actor.terminate()
                actor.join()
                learner.close()

    yield measure


@contextmanager
def bare() -> Iterator[Measure]:
    """Yield the measure of `env.step` and `env.reset` on the actor's environment, alone on its core."""
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    flags = parse(ActorFlags, [], prog="actor")
    env = Environment(flags.env, flags.returns).env

    def measure() -> dict[str, float]:
        rng, steps = np.random.default_rng(0), 0
        shape = env.action_space.shape
        env.reset(seed=0)
        began_s = time.perf_counter()
        while (passed_s := time.perf_counter() - began_s) < WARM_S + SECONDS:
            *_, terminated, truncated, _ = env.step(rng.uniform(-1, 1, shape).astype(np.float32))
            steps += 1
            if terminated or truncated:
                env.reset(seed=steps)
        return {"bare env.step": steps / passed_s}

    yield measure


CONTESTS = (
    Contest(
        "actor",
        "env steps of one actor on Grasp-v0, preset cube-fast, with random actions",
        "env steps/s",
        2,
        (Host("benchmarks.actor:in_the_system"), Host("benchmarks.actor:bare")),
        (Claim("actor in the system", "bare env.step", 0.95),),
    ),
)
