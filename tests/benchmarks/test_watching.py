"""Watching an episode from inside changes none of its bits, and sees every step."""

import numpy as np

from actor.environment import Environment
from benchmarks.watching import Watched
from common.config import EnvConfig, ReturnConfig

STEPS_N = 15
DOWN_AND_CLOSE = np.array([0, 0, -1, 0, -1], np.float32)


def test_watching_changes_nothing() -> None:
    config = EnvConfig(env="actor.grasp:Grasp-v0", env_args=("physics=fast", "objects=random:0"))
    plain, watched = (kind(config, ReturnConfig()) for kind in (Environment, Watched))
    for env in (plain, watched):
        env.reset(9)
    for _ in range(STEPS_N):
        expected, seen = (env.step(DOWN_AND_CLOSE) for env in (plain, watched))
        np.testing.assert_array_equal(seen[0], expected[0])
        assert seen[1:4] == expected[1:4]
    assert isinstance(watched, Watched)
    assert len(watched.states) == 1 + STEPS_N
    assert any(state.left_contact or state.right_contact for state in watched.states), "nothing to disturb"
    plain.close()
    watched.close()
