"""How good a training's policy was at which second: recorded while it runs, judged when it is over.

What is judged is a `Weights` frame, whoever made it: `benchmarks.peer_sac` writes SB3's policies as such.
Recording listens to the weights channel like an actor, so it takes nothing from the training but a frame
now and then. Judging afterwards leaves the cores to the training, and allows for more episodes than any
evaluation during it.
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

from actor.environment import Environment
from actor.evaluate import run_episodes
from common.config import EnvConfig, ReturnConfig, TransportConfig
from common.messages import Weights
from common.net.weights import WeightsSubscriber
from common.policy import NumpyPolicy
from common.protocol import decode
from common.runtime.run_directory import RunDirectory
from common.runtime.seeds import draw_seeds, seed_sequence
from common.runtime.signals import StopSignal

CORES_N = os.cpu_count() or 1
CHUNK_N = 25
"""Episodes of one process in a row; then it is asked whether the level can still be reached."""
SEED = 2_000_003
"""Root of the judging episodes' seeds: neither training's nor `graspfleet evaluate`'s."""


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


def judge(
    pool: ProcessPoolExecutor, snapshot: Snapshot, config: EnvConfig, episodes: int, level: float
) -> dict[str, Any]:
    """Return the success of a policy's deterministic episodes, fewer once they cannot reach `level` any more.

    Success of fewer episodes is a little lower than that of all would be, as failures ended them.
    """
    chunks = [(snapshot.frame, config, i, min(CHUNK_N, episodes - i)) for i in range(0, episodes, CHUNK_N)]
    successes: list[bool] = []
    for first in range(0, len(chunks), CORES_N):
        together = chunks[first : first + CORES_N]
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
    """Return which of some episodes of a policy succeed; the same ones for the same `start`."""
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
    """Whether a policy with so many failures so far may still succeed in a share of `level`."""
    return (episodes - failures) / episodes >= level


def judge_all(
    snapshots: list[Snapshot], config: EnvConfig, episodes: int, level: float
) -> list[dict[str, Any]]:
    """Judge the snapshots of a run, oldest first, on all cores; stop where success was sustained."""
    judged: list[dict[str, Any]] = []
    with ProcessPoolExecutor(CORES_N) as pool:
        for snapshot in snapshots:
            judged.append(judge(pool, snapshot, config, episodes, level))
            if sustained(judged, level) is not None:
                break
    return judged


def reached(judged: list[dict[str, Any]], level: float) -> dict[str, Any] | None:
    """Return the first judgement that reaches the level, if any."""
    return next((one for one in judged if one["success"] >= level), None)


def sustained(judged: list[dict[str, Any]], level: float) -> dict[str, Any] | None:
    """Return the second of the first two judgements in a row that reach the level, if any."""
    for one, two in pairwise(judged):
        if min(one["success"], two["success"]) >= level:
            return two
    return None
