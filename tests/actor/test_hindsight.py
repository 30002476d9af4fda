"""Relabeled transitions: goals of the same episode, the environment's own rewards, n-step sums."""

from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.spaces import Box, Dict

from graspfleet.actor.environment import Environment
from graspfleet.actor.episode import EpisodeRunner
from graspfleet.actor.goal_rewards import GoalRewards
from graspfleet.actor.hindsight import MAX_STEPS, Hindsight
from graspfleet.common.errors import ConfigError
from graspfleet.common.messages import Batch
from graspfleet.common.protocol import decode
from graspfleet.common.runtime.seeds import draw_seeds
from graspfleet.common.settings.config import EnvConfig, ReturnConfig
from graspfleet.common.specs import Records
from tests.fakes import ONE_LINE, FakeEnv, make_writer

GOAL = Box(-np.inf, np.inf, (2,), np.float32)


class Goals(gymnasium.Env[Any, Any]):
    """The achieved goal is [t, -t]; the desired one [100, 100].

    Args:
        length: env steps an episode.
        ends: "terminated" or "truncated".
        form: "many": `compute_reward` takes any number of goals; "one": one; or a fault.
        broken: number of the env step that raises; 0: none.
    """

    def __init__(self, length: int = 4, ends: str = "truncated", form: str = "many", broken: int = 0) -> None:
        parts = {"observation": GOAL, "achieved_goal": GOAL, "desired_goal": GOAL}
        if form == "shapes":
            parts["desired_goal"] = Box(-1, 1, (3,), np.float32)
        if form == "no-goal":
            del parts["desired_goal"]
        self.observation_space, self.action_space = Dict(parts), Box(-1, 1, (1,), np.float32)
        self._length, self._ends, self._form, self._broken = length, ends, form, broken
        if form == "no-rewards":
            self.compute_reward = None

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        self._t = 0
        return self._obs(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self._t += 1
        if self._t == self._broken:
            raise RuntimeError("broken")
        end = self._t >= self._length
        return self._obs(), -1.0, end and self._ends == "terminated", end and self._ends == "truncated", {}

    def compute_reward(self, achieved: Any, desired: Any, info: dict[str, Any]) -> Any:
        if self._form == "one" and achieved.ndim > 1:
            raise ValueError("one at a time")
        if self._form == "raises":
            raise RuntimeError("no reward today")
        if self._form == "nan":
            return np.full(achieved.shape[:-1], np.nan)
        achieved[...] += 0.0  # its arguments are its own
        return -(np.abs(achieved - desired).sum(axis=-1) > 0.5).astype(float)

    def _obs(self) -> dict[str, Any]:
        goals = {
            "achieved_goal": [self._t, -self._t],
            "desired_goal": [100, 100],
            "observation": [self._t, 7],
        }
        return {name: np.array(goals[name], np.float32) for name in self.observation_space.spaces}


gymnasium.register("Goals-v0", entry_point=Goals)


def make(*env_args: str, n_step: int = 1) -> Environment:
    return Environment(
        EnvConfig(env="Goals-v0", env_args=env_args), ReturnConfig(discount=0.5, n_step=n_step)
    )


def run(*env_args: str, steps: int, n_step: int = 1, num_goals: int = 4) -> Records:
    """Return what an actor would send of `steps` env steps."""
    env = make(*env_args, n_step=n_step)
    rewards = GoalRewards(env)
    rewards.check(*env.check(np.random.default_rng(0)))
    writer = make_writer(env.spec, max_batch_transitions=4096)
    hindsight = Hindsight(rewards, env.spec, writer.add, num_goals, np.random.default_rng(0))
    runner = EpisodeRunner(env, writer, draw_seeds(np.random.default_rng(1)), 100, hindsight)
    for _ in range(steps):
        runner.step(np.zeros(1, np.float32))
    runner.flush()
    unacked = writer.unacked
    writer.seal()
    frame = writer.next_frame(0.0)
    assert frame is not None
    batch = decode(frame)
    assert isinstance(batch, Batch)
    records = batch.records(env.spec)
    assert (
        unacked == batch.num_env_steps(env.spec) == (~records["relabeled"]).sum() == steps_taken(env, steps)
    )
    return records


def steps_taken(env: Environment, steps: int) -> int:
    """Return the number of whole env steps."""
    return steps - (env.env.unwrapped._broken > 0)  # type: ignore[attr-defined]


ACHIEVED, DESIRED, OBSERVATION = slice(0, 2), slice(2, 4), slice(4, 6)  # keys in the order of the space


@pytest.mark.parametrize("form", ["many", "one"])
@pytest.mark.parametrize("ends", ["terminated", "truncated"])
def test_goals_are_those_achieved_later_in_the_episode(form: str, ends: str) -> None:
    records = run(f"form={form}", f"ends={ends}", "length=6", steps=12, num_goals=50)
    own, again = records[~records["relabeled"]], records[records["relabeled"]]
    assert (len(own), len(again)) == (12, 12 * 50)
    assert (own["obs"][:, DESIRED] == 100).all()
    for record in again:
        step, goal = int(record["obs"][0]), int(record["obs"][DESIRED][0])
        assert step < goal <= 6
        assert record["obs"][DESIRED].tolist() == record["next_obs"][DESIRED].tolist() == [goal, -goal]
        assert record["next_obs"][OBSERVATION].tolist() == [step + 1, 7]
        assert record["reward"] == (0 if goal == step + 1 else -1)
        assert record["discount"] == 0.5
        assert record[ends] == (step == 5)
    goals = [set(again["obs"][again["obs"][:, 0] == step, 2]) for step in range(6)]
    assert goals == [set(range(step + 1, 7)) for step in range(6)]


def test_n_step_rewards_are_summed_for_the_new_goal() -> None:
    for record in run("length=5", steps=5, n_step=3, num_goals=20):
        if not record["relabeled"]:
            continue
        step, goal = int(record["obs"][0]), int(record["obs"][2])
        last = min(step + 3, 5)
        rewards = [0.0 if goal == after else -1.0 for after in range(step + 1, last + 1)]
        assert record["reward"] == sum(0.5**i * reward for i, reward in enumerate(rewards))
        assert record["discount"] == 0.5 ** len(rewards)
        assert record["next_obs"][0] == last
        assert record["truncated"] == (last == 5)


def test_a_broken_episode_is_relabeled_up_to_the_step_before() -> None:
    records = run("length=9", "broken=4", steps=4)
    assert (len(records), records["relabeled"].sum()) == (15, 12)
    assert records["next_obs"][:, 0].max() == 3


def test_an_endless_episode_is_relabeled_in_parts() -> None:
    records = run("length=100000", steps=MAX_STEPS + 5, num_goals=1)
    assert records["relabeled"].sum() == MAX_STEPS  # the rest belongs to an unfinished part
    assert records[records["relabeled"]]["obs"][:, 2].max() == MAX_STEPS


@pytest.mark.parametrize(
    ("form", "line"),
    [
        ("no-goal", "allowed: a Dict with achieved_goal and desired_goal of one shape"),
        ("shapes", "allowed: a Dict with achieved_goal and desired_goal of one shape"),
        ("no-rewards", "allowed: one with a compute_reward method"),
        ("raises", "compute_reward() raised RuntimeError: no reward today"),
        ("nan", "compute_reward() returned nan; allowed: numbers of shape () within ±"),
    ],
)
def test_an_environment_without_goals_is_refused_in_one_line(form: str, line: str) -> None:
    env = make(f"form={form}")
    with pytest.raises(ConfigError, match=ONE_LINE) as caught:
        GoalRewards(env).check(*env.check(np.random.default_rng(0)))
    assert "--her: --env Goals-v0" in str(caught.value)
    assert line in str(caught.value)


def test_flat_observations_are_refused() -> None:
    assert FakeEnv().observation_space.shape == (3,)
    env = Environment(EnvConfig(env="Fake-v0"), ReturnConfig())
    with pytest.raises(
        ConfigError, match=r"--her: --env Fake-v0 has observations obs \(3,\); allowed: a Dict"
    ):
        GoalRewards(env)


def test_rewards_that_differ_from_those_of_the_steps_are_mentioned(caplog: pytest.LogCaptureFixture) -> None:
    env = gymnasium.wrappers.TransformReward(Goals(), lambda reward: 3 * reward)
    gymnasium.register("Scaled-v0", entry_point=lambda: env)
    try:
        made = Environment(EnvConfig(env="Scaled-v0"), ReturnConfig())
        GoalRewards(made).check(*made.check(np.random.default_rng(0)))
    finally:
        del gymnasium.registry["Scaled-v0"]
    assert "compute_reward() gives -1 for an env step whose reward was -3" in caplog.text
