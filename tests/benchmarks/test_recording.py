"""Watching an episode from inside changes none of its bits, and sees every step."""

import numpy as np

from benchmarks.recording import StateRecorder
from graspfleet.actor.environment import Environment
from graspfleet.common.settings.config import EnvConfig, ReturnConfig

NUM_STEPS = 15
DOWN_AND_CLOSE = np.array([0, 0, -1, 0, -1], np.float32)


def test_watching_changes_nothing() -> None:
    config = EnvConfig(env="graspfleet.actor.grasp:Grasp-v0", env_args=("physics=fast", "objects=random:0"))
    plain, recorded = (kind(config, ReturnConfig()) for kind in (Environment, StateRecorder))
    for env in (plain, recorded):
        env.reset(9)
    for _ in range(NUM_STEPS):
        expected, seen = (env.step(DOWN_AND_CLOSE) for env in (plain, recorded))
        np.testing.assert_array_equal(seen[0].vector, expected[0].vector)
        assert seen[1:4] == expected[1:4]
    assert isinstance(recorded, StateRecorder)
    assert len(recorded.states) == 1 + NUM_STEPS
    assert any(state.left_contact or state.right_contact for state in recorded.states), "nothing to disturb"
    plain.close()
    recorded.close()
