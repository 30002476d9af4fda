"""From the learner's publishing of a policy to an actor's acting by it.

A real learner that trains, and 16 real actors in processes of their own on an environment whose steps take a
fixed time without costing processor time, as a robot's do. All are watched: the learner notes when it begins
to publish a version, each actor when it has taken it over.
"""

import contextlib
import multiprocessing
import queue
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from multiprocessing.queues import Queue
from pathlib import Path
from typing import Any, TypeAlias

import gymnasium
import numpy as np

from benchmarks.comparison import Comparison, Threshold, Worker
from benchmarks.learner import ANY_PORT, DEADLINE_S, FOR_EVER
from benchmarks.workload import SPEC, Measure
from graspfleet.actor.loop import Actor
from graspfleet.common.runtime.run_directory import RunDirectory
from graspfleet.common.runtime.signals import StopSignal
from graspfleet.common.settings.flags import ActorFlags, parse
from graspfleet.common.settings.section import flag
from graspfleet.learner.algorithm import Algorithm
from graspfleet.learner.publishing.policy_snapshot import PolicySnapshot

NUM_ACTORS = 16
STEP_S = 0.004
"""Of the environment: 16 actors make up to 4,000 transitions a second."""
ALLOWED_S = 0.020
"""Besides one env step."""
ALLOWED = "one env step + 20 ms"
SECONDS = 5.0
ENV = f"benchmarks.weights:{SPEC.env}"
LEARNER = "learner"
Notes: TypeAlias = "Queue[tuple[str, int, float]]"
"""(who, weights_version, monotonic time in seconds)."""


class Paced(gymnasium.Env[Any, Any]):
    """Takes `STEP_S` a step, and means nothing."""

    def __init__(self, render_mode: str | None = None) -> None:
        self.render_mode = render_mode
        self.observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (SPEC.obs_dim,), np.float32)
        self.action_space = gymnasium.spaces.Box(-1, 1, (SPEC.action_dim,), np.float32)
        self._obs = np.zeros(SPEC.obs_dim, np.float32)

    def reset(self, **options: Any) -> Any:
        """Start an episode."""
        super().reset(**options)
        return self._obs, {}

    def step(self, action: Any) -> Any:
        """Sleep."""
        time.sleep(STEP_S)
        return self._obs, 0.0, False, False, {}


gymnasium.register(SPEC.env, entry_point=Paced, max_episode_steps=100)


class WatchedActor(Actor):
    """An actor that notes each policy that it takes over."""

    notes: Notes

    def _take_newest_policy(self) -> None:
        before = self.writer.weights_version
        super()._take_newest_policy()
        if self.writer.weights_version != before:
            self.notes.put((self.writer.actor_id, self.writer.weights_version, time.monotonic()))


def run_actor(index: int, ports: list[str], notes: Notes) -> None:
    """Be one of the actors."""
    flags = parse(ActorFlags, ["--env", ENV, *ports], prog="actor")
    actor = WatchedActor(flags, f"bench-{index}")
    actor.notes = notes
    actor.run(StopSignal().install())


class NotedAlgorithm:
    """An algorithm that notes when each of its policies is asked for, to be published as the next version."""

    def __init__(self, algorithm: Algorithm, notes: Notes) -> None:
        self._algorithm, self._notes, self._version = algorithm, notes, 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._algorithm, name)

    def policy(self) -> PolicySnapshot:
        """Return the policy."""
        self._version += 1
        self._notes.put((LEARNER, self._version, time.monotonic()))
        return self._algorithm.policy()


def run_learner(words: list[str], notes: Notes) -> None:
    """Be `python -m graspfleet.learner`, with notes of when each publishing begins."""
    from graspfleet.learner.__main__ import main
    from graspfleet.learner.assembly import build_algorithm

    def build(*parts: Any) -> Any:
        return NotedAlgorithm(build_algorithm(*parts), notes)

    main(words, build=build)


def collect(notes: Notes, seconds: float) -> list[float]:
    """Return the times from publishing to take-over noted within `seconds`, sorted, in seconds."""
    published: dict[int, float] = {}
    taken: list[tuple[int, float]] = []
    end_s = time.monotonic() + seconds
    while (left_s := end_s - time.monotonic()) > 0:
        with contextlib.suppress(queue.Empty):
            who, version, at_s = notes.get(timeout=left_s)
            if who == LEARNER:
                published.setdefault(version, at_s)  # the same once more, for late joiners, is no new one
            else:
                taken.append((version, at_s))
    return sorted(at_s - published[version] for version, at_s in taken if version in published)


@contextmanager
def measure_latency() -> Iterator[Measure]:
    """Yield the measure: p50 and p99 over all actors and versions of a few seconds, in ms."""
    context = multiprocessing.get_context("spawn")
    notes: Notes = context.Queue()
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        run = RunDirectory(Path(folder) / "run")
        words = ["--run-dir", str(run.path), "--env", ENV, *ANY_PORT, *FOR_EVER]
        processes = [context.Process(target=run_learner, args=(words, notes))]
        processes[0].start()
        stack.callback(lambda: [process.join() for process in processes])
        stack.callback(lambda: [process.terminate() for process in reversed(processes)])
        while not run.endpoints.exists():
            time.sleep(0.05)
        ports = {name: port for name, port in vars(run.read_endpoints()).items() if name != "host"}
        where = [word for name, port in ports.items() for word in (flag(name), str(port))]
        for index in range(NUM_ACTORS):
            processes.append(context.Process(target=run_actor, args=(index, where, notes)))
            processes[-1].start()
        heard: set[str] = set()
        while len(heard) <= NUM_ACTORS:
            if not all(process.is_alive() for process in processes):
                raise RuntimeError("the learner or an actor of the benchmark ended before it was heard of")
            heard.add(notes.get(timeout=DEADLINE_S)[0])

        def measure() -> dict[str, float]:
            while not notes.empty():
                notes.get()
            times_s = collect(notes, SECONDS)
            p50, p99 = np.percentile(times_s, [50, 99])
            return {"p50": 1000 * p50, "p99": 1000 * p99, ALLOWED: 1000 * (STEP_S + ALLOWED_S)}

        yield measure


COMPARISONS = (
    Comparison(
        "weights",
        f"from publishing a policy to acting by it, {NUM_ACTORS} actors, env steps of {1000 * STEP_S:g} ms",
        "ms",
        2,
        (Worker("benchmarks.weights:measure_latency"),),
        (Threshold("p50", ALLOWED), Threshold("p99", ALLOWED, 1.0, at_least=False)),
    ),
)
