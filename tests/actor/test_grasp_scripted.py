"""The scripted expert: the task can be solved, and its reward grows along the way."""

import numpy as np
import pybullet
import pytest

from graspfleet.actor.grasp import GraspEnv
from graspfleet.actor.grasp.expert import play
from graspfleet.actor.grasp.plan import Grasp
from graspfleet.actor.grasp.scripted import ScriptedGrasp
from graspfleet.actor.grasp.task import shaped_reward

EPISODES = 30
UNTURNED = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)


@pytest.mark.parametrize("physics", ["default", "fast"])
def test_the_expert_grasps_and_its_reward_grows(physics: str) -> None:
    env = GraspEnv(physics=physics)
    played = [play(env, seed) for seed in range(EPISODES)]
    env.close()
    assert sum(episode.success for episode in played) >= 0.96 * EPISODES
    stages = ("hover", "descend", "close", "lift")
    rewards: dict[str, list[float]] = {stage: [] for stage in (*stages, "retreat")}
    for episode in played:
        for stage, reward in zip(episode.stages, episode.rewards, strict=True):
            rewards[stage].append(reward)
    means = [float(np.mean(rewards[stage])) for stage in stages]
    assert means == sorted(means)
    assert max(rewards["hover"]) < 0.25
    assert 0.95 < max(rewards["lift"]) <= 1.0
    for episode in played:
        if episode.success:
            assert np.abs(np.diff(episode.rewards)).max() < 0.35
            lifting = [
                reward
                for stage, reward in zip(episode.stages, episode.rewards, strict=True)
                if stage == "lift"
            ]
            assert min(np.diff(lifting)) > -0.05


@pytest.mark.parametrize("seed", range(5))
def test_the_reward_has_no_jump_between_two_physics_substeps_of_a_grasp(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    env = GraspEnv()
    scene, rewards = env.scene, []

    def step() -> None:
        for _ in range(scene.simulation.preset.substeps):
            pybullet.stepSimulation(scene.simulation.client)
            rewards.append(shaped_reward(scene.read()))

    monkeypatch.setattr(scene.simulation, "step", step)
    assert play(env, seed).success
    env.close()
    assert max(rewards) > 0.95
    assert np.abs(np.diff(rewards)).max() < 0.03


def test_the_expert_starts_again_after_losing_its_grip() -> None:
    planned: list[Grasp] = []

    def plan() -> Grasp:
        planned.append(Grasp((0.0, 0.0, 0.0), (0.0, 1.0, 0.0)))
        return planned[-1]

    expert = ScriptedGrasp(plan, lambda: UNTURNED)
    nothing_touched = np.zeros(39, np.float32)
    expert.act(nothing_touched)
    expert.stage = "lift"
    stages = []
    for _ in range(10):
        expert.act(nothing_touched)
        stages.append(expert.stage)
    assert stages[0] == "retreat"
    assert "hover" in stages
    assert len(planned) == 2, "the object may lie otherwise now"


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("objects", "at_least"),
    [("cube", 0.98), ("primitives", 0.90), ("random", 0.82), ("random-heldout", 0.82)],
)
def test_the_expert_is_good_with_every_set(objects: str, at_least: float) -> None:
    env = GraspEnv(objects=objects)
    rate = sum(play(env, seed).success for seed in range(200)) / 200
    env.close()
    print(f"{objects}: {rate:.1%}")
    assert rate >= at_least


def test_the_expert_lifts_primitives_and_random_objects() -> None:
    for objects, at_least in (("primitives", 0.9), ("random", 0.7)):
        env = GraspEnv(objects=objects, physics="fast")
        assert sum(play(env, seed).success for seed in range(20)) >= at_least * 20
        env.close()
