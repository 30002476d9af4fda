"""SAC updates/s at batch 256 and 2x256 units, each implementation sampling from its own replay.

Ours is what the learner runs, on `Replay`; the baselines, Stable-Baselines3 and SBX, run their own `train`.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import gymnasium
import numpy as np

from benchmarks.comparison import Comparison, Threshold, Worker
from benchmarks.workload import (
    BATCH_SIZE,
    SPEC,
    Measure,
    UnavailableError,
    filled_replay,
    random_records,
    rate,
)
from graspfleet.common.errors import ConfigError
from graspfleet.common.settings.processes import LearnerConfig

NUM_ROWS = 100_000
"""Transitions that each side samples from."""
SECONDS, WARM_S = 2.5, 1.0
STEPS_A_CALL = 50
"""Gradient steps of one `train` of the baselines; SBX compiles such a row into one program."""

SETTINGS: dict[str, Any] = {
    "learning_rate": 3e-4,
    "buffer_size": NUM_ROWS,
    "batch_size": BATCH_SIZE,
    "policy_kwargs": {"net_arch": [256, 256]},
    "seed": 0,
}


@contextmanager
def ours(precision: str, threads: int) -> Iterator[Measure]:
    """Yield the measure of this project's updates/s."""
    from graspfleet.learner.sac.backends import choose_backend
    from graspfleet.learner.sac.settings import SACConfig

    with filled_replay(NUM_ROWS) as replay:
        settings, learner = SACConfig(precision=precision), LearnerConfig(learner_threads=threads)
        try:
            agent = choose_backend(settings, SPEC, learner, batch_size=BATCH_SIZE, seed=0)
        except ConfigError as error:
            raise UnavailableError(str(error)) from None

        def update() -> int:
            for _ in range(STEPS_A_CALL):
                agent.update(replay.sample(1, BATCH_SIZE))
            return STEPS_A_CALL

        rate(update, WARM_S)
        yield lambda: {f"graspfleet {precision}": rate(update, SECONDS)}


@contextmanager
def stable_baselines3(threads: int) -> Iterator[Measure]:
    """Yield the measure of Stable-Baselines3's updates/s."""
    import stable_baselines3 as sb3
    import torch

    torch.set_num_threads(threads)
    yield from training("Stable-Baselines3", sb3.SAC("MlpPolicy", Blank(), device="cpu", **SETTINGS))


@contextmanager
def sbx() -> Iterator[Measure]:
    """Yield the measure of SBX's updates/s."""
    import sbx

    yield from training("SBX", sbx.SAC("MlpPolicy", Blank(), **SETTINGS))


def training(name: str, model: Any, finish: Callable[[], object] = int) -> Iterator[Measure]:
    """Yield the measure of a baseline's `train` on its own replay buffer, filled; see `rate` for `finish`."""
    from stable_baselines3.common.logger import Logger

    model.set_logger(Logger(folder=None, output_formats=[]))
    fill(model.replay_buffer)

    def train() -> int:
        model.train(gradient_steps=STEPS_A_CALL, batch_size=BATCH_SIZE)
        return STEPS_A_CALL

    rate(train, WARM_S, finish)
    yield lambda: {name: rate(train, SECONDS, finish)}


def fill(buffer: Any) -> None:
    """Fill a Stable-Baselines3 buffer of one environment with random transitions, to its capacity."""
    records = random_records(len(buffer.observations))
    buffer.observations[:, 0] = records["obs"]
    buffer.next_observations[:, 0] = records["next_obs"]
    buffer.actions[:, 0] = records["action"]
    buffer.rewards[:, 0] = records["reward"]
    buffer.full, buffer.pos = True, 0


class Blank(gymnasium.Env[Any, Any]):
    """An environment of which only the spaces matter."""

    def __init__(self) -> None:
        self.observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (SPEC.obs_dim,), np.float32)
        self.action_space = gymnasium.spaces.Box(-1, 1, (SPEC.action_dim,), np.float32)


def _ours(precision: str, threads: int) -> Worker:
    return Worker("benchmarks.sac:ours", {"precision": precision, "threads": threads})


COMPARISONS = (
    Comparison(
        "sac",
        "SAC updates, batch 256, 2x256 units, twin Q, 32-d observation, 4-d action, one core",
        "updates/s",
        1,
        (
            _ours("fp32", 1),
            _ours("bf16", 1),
            Worker("benchmarks.sac:sbx"),
            Worker("benchmarks.sac:stable_baselines3", {"threads": 1}),
        ),
        (
            Threshold("graspfleet fp32", "SBX", 1.1),
            Threshold("graspfleet bf16", "SBX", 1.6),
            Threshold("graspfleet fp32", "Stable-Baselines3", 2.8),
            Threshold("graspfleet bf16", "Stable-Baselines3", 4.0),
        ),
    ),
    Comparison(
        "sac-2-cores",
        "the same on two cores, in the best precision of each",
        "updates/s",
        2,
        (
            _ours("auto", 2),
            Worker("benchmarks.sac:sbx"),
            Worker("benchmarks.sac:stable_baselines3", {"threads": 2}),
        ),
        (Threshold("graspfleet auto", "SBX", 1.2), Threshold("graspfleet auto", "Stable-Baselines3")),
    ),
)
