"""Success of a training's policies over wall-clock time: recorded while it runs, evaluated after its end.

A snapshot is a `Weights` frame; `benchmarks.baseline_sac` writes Stable-Baselines3's policies as such frames.
Recording subscribes to the weights channel like an actor, so it costs the training one frame now and then.
Evaluating afterwards leaves the cores to the training and allows more episodes than an evaluation during it.
"""

import os
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np

from graspfleet.actor.environment import Environment
from graspfleet.actor.evaluate import run_episodes
from graspfleet.common.messages import Weights
from graspfleet.common.net.weights import WeightsSubscriber
from graspfleet.common.policy import NumpyPolicy
from graspfleet.common.protocol import decode
from graspfleet.common.runtime.run_directory import RunDirectory
from graspfleet.common.runtime.seeds import draw_seeds, seed_sequence
from graspfleet.common.runtime.signals import StopSignal
from graspfleet.common.settings.config import EnvConfig, ReturnConfig
from graspfleet.common.settings.transport import TransportConfig

NUM_CORES = os.cpu_count() or 1
CHUNK_EPISODES = 25
"""Episodes that a process runs between two checks of whether the level can still be reached."""
SEED = 2_000_003
"""Root of the episodes' seeds: neither training's nor `graspfleet evaluate`'s."""


@dataclass(frozen=True)
class Snapshot:
    """A policy as it was published.

    Attributes:
        wall_s: seconds since the command began.
        frame: the encoded `Weights`.
    """

    wall_s: float
    frame: bytes


def record(run: RunDirectory, running: Callable[[], bool], every_s: float) -> list[Snapshot]:
    """Return a policy for every `every_s` of a run, from its command's start (now) to its end."""
    began_s = time.monotonic()
    while not run.endpoints.exists() and running():
        time.sleep(0.02)
    snapshots: list[Snapshot] = []
    if not running():
        return snapshots
    endpoints = run.read_endpoints()
    with WeightsSubscriber(TransportConfig()) as subscriber:
        subscriber.connect(endpoints.local_host, endpoints.weights_port)
        while running():
            if not subscriber.wait(0.2):
                continue
            frame, wall_s = subscriber.newest(), time.monotonic() - began_s
            if frame is not None and (not snapshots or wall_s >= snapshots[-1].wall_s + every_s):
                snapshots.append(Snapshot(round(wall_s, 2), bytes(frame)))
    return snapshots


def evaluate_snapshot(
    pool: ProcessPoolExecutor, snapshot: Snapshot, config: EnvConfig, episodes: int, level: float
) -> dict[str, Any]:
    """Return the success of a policy's deterministic episodes; stop once they cannot reach `level`.

    An early stop biases success slightly downward, as failures cause it.
    """
    chunks = [
        (snapshot.frame, config, i, min(CHUNK_EPISODES, episodes - i))
        for i in range(0, episodes, CHUNK_EPISODES)
    ]
    successes: list[bool] = []
    for first in range(0, len(chunks), NUM_CORES):
        together = chunks[first : first + NUM_CORES]
        for part in pool.map(successes_of, *zip(*together, strict=True)):
            successes += part
        if not can_reach(level, successes.count(False), episodes):
            break
    weights = decode(memoryview(snapshot.frame))
    assert isinstance(weights, Weights)
    return {
        "wall_s": snapshot.wall_s,
        "env_steps": weights.env_steps,
        "updates": weights.updates,
        "episodes": len(successes),
        "success": sum(successes) / len(successes),
    }


def successes_of(frame: bytes, config: EnvConfig, start: int, count: int) -> list[bool]:
    """Return the success of each of `count` episodes; the same `start` means the same seeds."""
    weights = decode(memoryview(frame))
    assert isinstance(weights, Weights)
    policy = NumpyPolicy(weights.eval_policy, weights.spec, np.random.default_rng(0))
    seeds = draw_seeds(np.random.default_rng(seed_sequence(SEED, f"judge {start}")))
    outcome = run_episodes(_environment(config), policy, seeds, count, StopSignal())
    return [bool(one[2]) for one in outcome.episodes] + [False] * outcome.broken


@cache
def _environment(config: EnvConfig) -> Environment:
    """Return the environment of a worker process, which it keeps."""
    return Environment(config, ReturnConfig(), headless=True)


def can_reach(level: float, failures: int, episodes: int) -> bool:
    """Return whether a policy with `failures` so far can still reach a success rate of `level`."""
    return (episodes - failures) / episodes >= level


def evaluate_all(
    snapshots: list[Snapshot], config: EnvConfig, episodes: int, level: float
) -> list[dict[str, Any]]:
    """Evaluate the snapshots of a run, oldest first, on all cores; stop once success is sustained."""
    evaluations: list[dict[str, Any]] = []
    with ProcessPoolExecutor(NUM_CORES) as pool:
        for snapshot in snapshots:
            evaluations.append(evaluate_snapshot(pool, snapshot, config, episodes, level))
            if sustained(evaluations, level) is not None:
                break
    return evaluations


def reached(evaluations: list[dict[str, Any]], level: float) -> dict[str, Any] | None:
    """Return the first evaluation that reaches the level, if any."""
    return next((one for one in evaluations if one["success"] >= level), None)


def sustained(evaluations: list[dict[str, Any]], level: float) -> dict[str, Any] | None:
    """Return the second of the first two evaluations in a row that reach the level, if any."""
    for one, two in pairwise(evaluations):
        if min(one["success"], two["success"]) >= level:
            return two
    return None
