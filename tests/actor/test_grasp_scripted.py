"""The scripted expert: the task can be solved, and its reward grows along the way."""

from typing import Any

import numpy as np
import pytest

from actor.grasp import GraspEnv
from actor.grasp.scripted import ScriptedGrasp

EPISODES = 60


def play(env: GraspEnv, seed: int) -> tuple[bool, list[tuple[str, float]]]:
    """Play one episode and return its success and (stage, reward) of every step."""
    expert = ScriptedGrasp()
    observation, _ = env.reset(seed=seed)
    trace: list[tuple[str, float]] = []
    info: dict[str, Any] = {"is_success": False}
    ended = False
    while not ended:
        action = expert.act(observation)
        assert action in env.action_space
        observation, reward, terminated, truncated, info = env.step(action)
        trace.append((expert.stage, reward))
        ended = terminated or truncated
    return info["is_success"], trace


@pytest.mark.parametrize("physics", ["default", "fast"])
def test_the_expert_grasps_and_its_reward_grows(physics: str) -> None:
    env = GraspEnv(physics=physics)
    played = [play(env, seed) for seed in range(EPISODES)]
    env.close()
    assert sum(success for success, _ in played) >= 0.98 * EPISODES
    stages = ("hover", "descend", "close", "lift")
    rewards = {
        stage: [reward for _, trace in played for at, reward in trace if at == stage] for stage in stages
    }
    means = [float(np.mean(rewards[stage])) for stage in stages]
    assert means == sorted(means)
    assert max(rewards["hover"]) < 0.25
    assert 0.95 < max(rewards["lift"]) <= 1.0
    for success, trace in played:
        if success:
            jumps = np.abs(np.diff([reward for _, reward in trace]))
            assert jumps.max() < 0.35
            lifting = [reward for at, reward in trace if at == "lift"]
            assert min(np.diff(lifting)) > -0.05


def test_the_expert_starts_again_after_losing_its_grip() -> None:
    expert = ScriptedGrasp()
    expert.stage = "lift"
    expert.act(np.zeros(28, np.float32))
    assert expert.stage == "hover"
