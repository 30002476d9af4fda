"""One run of each side of `benchmarks.mujoco`: `graspfleet train`, and Stable-Baselines3's SAC.

In: an environment's id, a number of env steps, a seed. Out: the figures of the run, a `Result`. Both sides
are evaluated without exploring, over episodes of the same seeds, those of `graspfleet evaluate`.
"""

import json
import subprocess
import sys
import time
from collections.abc import Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np

from graspfleet.common.runtime.run_directory import RunDirectory
from graspfleet.common.runtime.seeds import HELD_OUT_ROOT, draw_seeds, seed_sequence
from graspfleet.common.settings.flags import TrainFlags, parse
from graspfleet.learner.access.footprint import DEFAULT_CAPACITY
from graspfleet.learner.algorithm import all_settings
from graspfleet.learner.sac.settings import SACConfig

Result = dict[str, Any]
"""Figures of one run: `seed`, `env_steps`, `updates`, `wall_s`, and `policies`, evaluations by name."""

REPORTED, LAST = "reported", "last"
FIGURES = ("episodes", "mean_return", "std_return")
"""Of an evaluation; those of ours add where the policy comes from."""
POLICIES = {REPORTED: "best", LAST: "last"}
"""Policies of a run of ours -> what `graspfleet evaluate --policy` calls them."""


OURS = {"ours": "sac", "crossq": "crossq"}
"""Sides that `graspfleet train` runs -> their algorithm."""


def train_words(env: str, steps: int, seed: int, algorithm: str = "sac") -> list[str]:
    """Return the flags of `graspfleet train` for one run."""
    words = ["--env", env, "--preset", "plain", "--seed", str(seed), "--total-env-steps", str(steps)]
    return [*words, "--algorithm", algorithm]


def baseline_arguments(flags: TrainFlags) -> dict[str, Any]:
    """Return the arguments of Stable-Baselines3's SAC that mean what a run's own settings mean.

    Its defaults agree with the rest: one environment, a target entropy of minus the action's dimension, two
    critics, ReLU, Adam.
    """
    sac = flags.algorithm
    assert isinstance(sac, SACConfig)
    return {
        "gamma": flags.returns.discount,
        "n_steps": flags.returns.n_step,
        "learning_rate": sac.learning_rate,
        "tau": sac.tau,
        "batch_size": flags.replay.batch_size,
        "ent_coef": f"auto_{sac.initial_temperature}",
        "buffer_size": int(flags.replay.replay_capacity or DEFAULT_CAPACITY),
        "learning_starts": flags.learner.explore_steps,
        "train_freq": 1,
        "gradient_steps": 1,
        "policy_kwargs": {"net_arch": [sac.hidden_dim, sac.hidden_dim]},
    }


def run_ours(
    env: str, steps: int, seed: int, episodes: int, run: RunDirectory, algorithm: str = "sac"
) -> Result:
    """Train once with the plain preset and evaluate both policies of the run.

    Raises:
        CalledProcessError: a command failed.
    """
    began_s = time.monotonic()
    words = [
        *train_words(env, steps, seed, algorithm),
        "--final-episodes",
        str(episodes),
        "--run-dir",
        str(run.path),
    ]
    _graspfleet("train", *words)
    wall_s = time.monotonic() - began_s
    last = json.loads(run.metrics.read_text().splitlines()[-1])
    return {
        "seed": seed,
        "env_steps": last["env_steps"],
        "updates": last["updates"],
        "wall_s": round(wall_s, 1),
        "policies": {name: _evaluate(run, which, episodes) for name, which in POLICIES.items()},
    }


def _evaluate(run: RunDirectory, which: str, episodes: int) -> Mapping[str, Any]:
    words = [str(run.path), "--policy", which, "--episodes", str(episodes), "--json"]
    summary = json.loads(_graspfleet("evaluate", *words).splitlines()[-1])
    return {name: summary[name] for name in (*FIGURES, "policy_env_steps", "chosen_by")}


def _graspfleet(*words: str) -> str:
    command = [sys.executable, "-m", "graspfleet", *words]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def run_baseline(env: str, steps: int, seed: int, episodes: int) -> Result:
    """Train Stable-Baselines3's SAC once, on one thread, and evaluate its last policy; it keeps no other."""
    import torch
    from stable_baselines3 import SAC

    torch.set_num_threads(1)
    flags = parse(
        TrainFlags, train_words(env, steps, seed), prog="graspfleet train", algorithms=all_settings()
    )
    began_s = time.monotonic()
    model = SAC("MlpPolicy", gymnasium.make(env), seed=seed, device="cpu", **baseline_arguments(flags))
    model.learn(steps)
    wall_s = time.monotonic() - began_s
    evaluated_in = gymnasium.make(env)

    def episode(episode_seed: int) -> float:
        obs, _ = evaluated_in.reset(seed=episode_seed)
        total, ended = 0.0, False
        while not ended:
            action, _ = model.predict(obs, deterministic=True)
            obs, reward, terminated, truncated, _ = evaluated_in.step(action)
            total, ended = total + float(reward), terminated or truncated
        return total

    return {
        "seed": seed,
        "env_steps": model.num_timesteps,
        "updates": model._n_updates,
        "wall_s": round(wall_s, 1),
        "policies": {LAST: describe([episode(one) for one in episode_seeds(episodes)])},
    }


def describe(returns: list[float]) -> dict[str, float]:
    """Return the mean and the standard deviation of episodes' returns, as `graspfleet evaluate` does."""
    return dict(zip(FIGURES, (len(returns), float(np.mean(returns)), float(np.std(returns))), strict=True))


def episode_seeds(count: int) -> list[int]:
    """Return the seeds of the first episodes of `graspfleet evaluate`."""
    rng = np.random.default_rng(seed_sequence(HELD_OUT_ROOT, "evaluate"))
    return list(islice(draw_seeds(rng), count))


def run_side(who: str, env: str, steps: int, seed: int, episodes: int, folder: Path) -> Result:
    """Train and evaluate once; a run directory of ours goes into `folder`."""
    if who == "sb3":
        return run_baseline(env, steps, seed, episodes)
    run = RunDirectory(folder / f"{env} {who} seed {seed}")
    return run_ours(env, steps, seed, episodes, run, OURS[who])
