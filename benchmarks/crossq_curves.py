"""CrossQ's learning curves in a plain loop, beside SBX's CrossQ with critics of the same width.

    python -m benchmarks.crossq_curves --env HalfCheetah-v5 --seeds 0 1 2 --who ours
    python -m benchmarks.crossq_curves --env HalfCheetah-v5 --seeds 0 1 2 --who sbx

One update an env step after 1,000 random ones; five episodes without exploring after every 2,000 env steps.
Needs the extras `mujoco` and, for `--who sbx`, `bench`.
"""

import argparse
import json
from collections.abc import Callable, Iterator
from typing import Any

import gymnasium
import numpy as np
import torch

from graspfleet.common.policy import NumpyPolicy
from graspfleet.common.specs import EnvSpec
from graspfleet.learner.crossq.agent import CrossQ
from graspfleet.learner.crossq.settings import CrossQConfig

INTERVAL, EPISODES, EXPLORE, BATCH = 2000, 5, 1000, 256
Act = Callable[[Any], Any]


def mean_return(name: str, act: Act) -> float:
    """Return the mean return of `act`, which maps an observation to an action of the environment."""
    env, returns = gymnasium.make(name), []
    for seed in range(10_000, 10_000 + EPISODES):
        obs, _ = env.reset(seed=seed)
        total, done = 0.0, False
        while not done:
            obs, reward, terminated, truncated, _ = env.step(act(obs))
            total, done = total + float(reward), terminated or truncated
        returns.append(total)
    return float(np.mean(returns))


def ours(name: str, seed: int, steps: int, width: int) -> Iterator[tuple[int, float]]:
    """Yield (env steps, mean return) of our update."""
    torch.set_num_threads(1)
    env = gymnasium.make(name)
    box: Any = env.action_space
    sizes = {"obs_dim": int(np.prod(env.observation_space.shape or ())), "action_dim": box.shape[0]}
    spec = EnvSpec(env=name, discount=0.99, n_step=1, **sizes)
    agent = CrossQ(spec, CrossQConfig(critic_dim=width), seed=seed)
    rng, rows = np.random.default_rng(seed), np.zeros(steps, spec.record)
    policy: NumpyPolicy | None = None

    def act(obs: Any, *, deterministic: bool = True) -> Any:
        assert policy is not None
        action = policy.act(np.asarray(obs, np.float32)[None], deterministic=deterministic)[0]
        return box.low + (action + 1) / 2 * (box.high - box.low)

    obs, _ = env.reset(seed=seed)
    for step in range(steps):
        action = rng.uniform(box.low, box.high) if policy is None else act(obs, deterministic=False)
        after, reward, terminated, truncated, _ = env.step(action)
        unit = 2 * (action - box.low) / (box.high - box.low) - 1
        rows[step] = (obs, after, unit, reward, spec.discount, terminated, truncated, False, 0)
        obs = env.reset()[0] if terminated or truncated else after
        if step >= EXPLORE:
            agent.update(rows[rng.integers(0, step + 1, (1, BATCH))])
            policy = NumpyPolicy(agent.policy().arrays(), spec, rng)
        if (step + 1) % INTERVAL == 0:
            yield step + 1, mean_return(name, act)


def sbx(name: str, seed: int, steps: int, width: int) -> Iterator[tuple[int, float]]:
    """Yield (env steps, mean return) of SBX."""
    from sbx import CrossQ as Baseline

    widths = {"pi": [256, 256], "qf": [width, width]}
    model = Baseline(
        "MlpPolicy", name, seed=seed, learning_starts=EXPLORE, policy_kwargs={"net_arch": widths}
    )
    for step in range(INTERVAL, steps + 1, INTERVAL):
        model.learn(INTERVAL, reset_num_timesteps=False)
        yield step, mean_return(name, lambda obs: model.predict(obs, deterministic=True)[0])


def main() -> None:
    """Print one JSON line per seed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--env", default="HalfCheetah-v5", help="Gymnasium id")
    parser.add_argument("--steps", type=int, default=10_000, help="env steps of a run")
    parser.add_argument("--width", type=int, default=256, help="units of the critics' hidden layers")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--who", choices=["ours", "sbx"], default="ours")
    options = parser.parse_args()
    for seed in options.seeds:
        side = ours if options.who == "ours" else sbx
        curve = [
            (step, round(value, 1)) for step, value in side(options.env, seed, options.steps, options.width)
        ]
        values = {"who": options.who, "env": options.env, "seed": seed, "width": options.width}
        print(json.dumps({**values, "curve": curve}), flush=True)


if __name__ == "__main__":
    main()
