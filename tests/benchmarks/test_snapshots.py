"""Judging recorded policies: what counts as sustained, and a policy's way from a frame to its figure."""

from concurrent.futures import ProcessPoolExecutor

import numpy as np
import pytest

from benchmarks.snapshots import (
    CHUNK_EPISODES,
    NUM_CORES,
    Snapshot,
    can_reach,
    evaluate_snapshot,
    reached,
    sustained,
)
from graspfleet.common.messages import Weights
from graspfleet.common.protocol import encode
from graspfleet.common.settings.config import EnvConfig
from graspfleet.common.specs import EnvSpec

SPEC = EnvSpec(env="Grasp-v0", obs_dim=39, action_dim=5, discount=0.95, n_step=3)


def evaluated(*success: float) -> list[dict[str, float]]:
    return [{"wall_s": float(i), "success": value} for i, value in enumerate(success)]


@pytest.mark.parametrize(
    ("success", "first", "second"),
    [
        ((0.9, 0.99, 0.9, 0.98, 0.99, 1.0), 1.0, 4.0),
        ((0.99, 0.97, 0.99), 0.0, None),
        ((1.0,), 0.0, None),
        ((0.97,), None, None),
        ((), None, None),
    ],
)
def test_reached_is_the_first_and_sustained_the_second_of_two_in_a_row(
    success: tuple[float, ...], first: float | None, second: float | None
) -> None:
    found = [find(evaluated(*success), 0.98) for find in (reached, sustained)]
    assert [one and one["wall_s"] for one in found] == [first, second]


def test_a_policy_that_does_nothing_is_judged_and_given_up_early() -> None:
    sizes = ((39, 8), (8, 8), (8, 10))
    policy = {f"w{i}": np.zeros(size, np.float32) for i, size in enumerate(sizes)}
    policy |= {f"b{i}": np.zeros(size[1], np.float32) for i, size in enumerate(sizes)}
    message = Weights(version=1, env_steps=7, updates=3, spec=SPEC, policy=policy)
    config = EnvConfig(env_args=("physics=fast",), max_episode_steps=2)
    with ProcessPoolExecutor(NUM_CORES) as pool:
        figure = evaluate_snapshot(
            pool, Snapshot(1.5, bytes(encode(message))), config, episodes=200, level=0.98
        )
    given_up = {"episodes": NUM_CORES * CHUNK_EPISODES, "success": 0.0}
    assert figure == {"wall_s": 1.5, "env_steps": 7, "updates": 3, **given_up}


def test_a_level_is_out_of_reach_with_one_failure_too_many() -> None:
    assert [can_reach(0.98, failures, 500) for failures in (0, 10, 11)] == [True, True, False]
    assert [can_reach(1.0, failures, 7) for failures in (0, 1)] == [True, False]
