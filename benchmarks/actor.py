"""Env steps/s of an actor in a running system, beside a bare loop over the same environment.

The actor writes, sends, hears and takes over new weights as always; only the actions that it takes are
replaced by the random ones of the bare loop, because a better policy has other contacts and so another cost
of physics. It is measured with its policy computed at every step, and without, as an actor explores before
its first policy. The learner trains on the other core meanwhile.
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

from benchmarks.comparison import Comparison, Threshold, Worker
from benchmarks.learner import LearnerProcess
from benchmarks.workload import Measure
from graspfleet.actor.environment import Environment
from graspfleet.actor.loop import Actor
from graspfleet.common.observations.fields import Floats
from graspfleet.common.runtime.signals import StopSignal
from graspfleet.common.settings.flags import ActorFlags, parse
from graspfleet.common.settings.section import flag

WARM_S = 1.0
SECONDS = 2.5
NUM_ACTIONS = 5000
ACTING, EXPLORING = "actor with its policy", "actor exploring"
NUM_ENVS = 4
SEVERAL = f"actor with its policy, {NUM_ENVS} environments"
REBUILT, NEVER_REBUILT = "bare env.step", "bare env.step, never rebuilt"


def random_actions(action_dim: int) -> Floats:
    """Return the [NUM_ACTIONS, action_dim] actions that both sides take in turn."""
    return np.random.default_rng(0).uniform(-1, 1, (NUM_ACTIONS, action_dim)).astype(np.float32)


class RandomActor(Actor):
    """An actor with random actions that reports its own speed: first with its policy computed, then without.

    Args:
        flags: settings.
        answers: gets env steps/s, twice.
    """

    def __init__(self, flags: ActorFlags, answers: Connection) -> None:
        super().__init__(flags, "bench")
        self._answers = answers
        self._random = random_actions(self.spec.action_dim)
        self._steps = 0
        self._thinks = True
        self._began_s: float | None = None

    def _act(self) -> Floats:
        if self._thinks:
            super()._act()
        num_envs = len(self.runners)
        self._steps += num_envs
        now_s = time.perf_counter()
        if self._began_s is None:
            if self.behavior.policy is not None:
                self._began_s, self._steps = now_s + WARM_S, 0
        elif now_s < self._began_s:
            self._steps = 0
        elif now_s >= self._began_s + SECONDS:
            self._answers.send(self._steps / (now_s - self._began_s))
            self._began_s, self._steps, self._thinks = now_s, 0, False
        start = self._steps % (NUM_ACTIONS - num_envs)
        return self._random[start : start + num_envs]


def run_actor(answers: Connection, ports: dict[str, int], num_envs: int) -> None:
    """Be the actor until told to stop."""
    words = [word for name, port in ports.items() for word in (flag(name), str(port))]
    words += ["--envs-per-actor", str(num_envs)]
    RandomActor(parse(ActorFlags, words, prog="actor"), answers).run(StopSignal().install())


@contextmanager
def in_the_system(num_envs: int) -> Iterator[Measure]:
    """Yield the measure of the actor; learner and actor are started for each turn, and gone between."""
    learner_core, actor_core = sorted(os.sched_getaffinity(0))

    def measure() -> dict[str, float]:
        context = multiprocessing.get_context("spawn")
        with tempfile.TemporaryDirectory() as folder:
            os.sched_setaffinity(0, {learner_core})
            learner = LearnerProcess(Path(folder))
            os.sched_setaffinity(0, {actor_core})
            answers, end = context.Pipe()
            actor = context.Process(target=run_actor, args=(end, learner.ports, num_envs))
            actor.start()
            try:
                learner.until(lambda: answers.poll(0.1))
                acting, exploring = answers.recv(), answers.recv()
                return {ACTING: acting, EXPLORING: exploring} if num_envs == 1 else {SEVERAL: acting}
            finally:
                actor.terminate()
                actor.join()
                learner.close()

    yield measure


@contextmanager
def bare() -> Iterator[Measure]:
    """Yield the measure of `env.step` and `env.reset` on the actor's environment, alone on its core.

    Once with the environment rebuilt after as many episodes as the actor does, and once never rebuilt.
    """
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    flags = parse(ActorFlags, [], prog="actor")
    environment = Environment(flags.env, flags.returns)
    env, random = environment.env, random_actions(environment.spec.action_dim)

    def steps_per_s(rebuild_episodes: float) -> float:
        episodes = steps = 0
        env.reset(seed=0)
        began_s = time.perf_counter()
        while (passed_s := time.perf_counter() - began_s) < SECONDS:
            *_, terminated, truncated, _ = env.step(random[steps % NUM_ACTIONS])
            steps += 1
            if terminated or truncated:
                episodes += 1
                if episodes % rebuild_episodes == 0:
                    environment.reinit()
                env.reset(seed=episodes)
        return steps / passed_s

    yield lambda: {
        REBUILT: steps_per_s(flags.actor.reinit_episodes),
        NEVER_REBUILT: steps_per_s(float("inf")),
    }


COMPARISONS = (
    Comparison(
        "actor",
        "env steps of one actor on Grasp-v0, preset cube-fast, with random actions",
        "env steps/s",
        2,
        (
            Worker("benchmarks.actor:in_the_system", {"num_envs": 1}),
            Worker("benchmarks.actor:bare"),
            Worker("benchmarks.actor:in_the_system", {"num_envs": NUM_ENVS}),
        ),
        (
            Threshold(EXPLORING, REBUILT, 0.95),
            Threshold(ACTING, REBUILT, 0.95),
            Threshold(SEVERAL, REBUILT),
            Threshold(ACTING, NEVER_REBUILT),
        ),
    ),
)
