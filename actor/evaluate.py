"""Deterministic episodes of a policy: `graspfleet evaluate RUN_DIR`, and what the evaluator repeats."""

import json
import sys
from pathlib import Path

import numpy as np

from actor.environment import Environment, is_recoverable
from actor.video import FilmedEnvironment
from common.config import EnvConfig, ReturnConfig
from common.errors import ConfigError, ProtocolError
from common.files import read_limited
from common.flags import EvaluateFlags, EvaluatorFlags, evaluated_env_args, load_yaml
from common.heartbeat import Heartbeat
from common.messages import Episode, Weights
from common.policy import NumpyPolicy
from common.protocol import OLDEST_POLICY, decode
from common.run_directory import RunDirectory
from common.seeds import seed_sequence
from common.specs import EnvSpec
from common.statistics import describe, summarise
from common.stopping import StopSignal

MAX_POLICY_BYTES = 4 << 30
"""Twice the policy of the widest settings; a larger file is none."""


def run_episode(env: Environment, policy: NumpyPolicy, seed: int) -> Episode:
    """Return the summary of one episode of the policy's mean actions."""
    obs = env.reset(seed)
    total, length = 0.0, 0
    while True:
        obs, reward, terminated, truncated, info = env.step(policy.act(obs[None], deterministic=True)[0])
        total += reward
        length += 1
        if terminated or truncated:
            success = info.get("is_success")
            return total, length, None if success is None else bool(success), seed


def run_episodes(
    env: Environment,
    policy: NumpyPolicy,
    seeds: np.random.Generator,
    count: int,
    stop: StopSignal,
    heartbeat: Heartbeat | None = None,
) -> list[Episode]:
    """Return `count` episodes, fewer when told to stop; a broken simulation counts as a failure."""
    episodes: list[Episode] = []
    while len(episodes) < count and not stop.is_set():
        if heartbeat is not None:
            heartbeat.beat()
        seed = int(seeds.integers(2**31))
        try:
            episodes.append(run_episode(env, policy, seed))
        except Exception as error:
            if not is_recoverable(error):
                raise
            env.reinit()
            episodes.append((0.0, 0, False, seed))
    return episodes


def load_policy(run: RunDirectory, which: str, spec: EnvSpec) -> NumpyPolicy:
    """Return a policy that a run has written.

    Raises:
        ConfigError: there is none yet, it is damaged, or it belongs to another environment.
    """
    path = run.policy(which)
    if which == "best" and not path.exists():
        path = run.policy("last")  # no evaluation has been heard yet
    try:
        weights = decode(read_limited(path, MAX_POLICY_BYTES), oldest=OLDEST_POLICY)
        if not isinstance(weights, Weights):
            raise ProtocolError("kind", weights.kind)
        trained = EnvSpec.from_mapping(weights.spec)
        policy = NumpyPolicy(weights.judged, trained, np.random.default_rng(0))
    except FileNotFoundError:
        raise ConfigError(
            f"{run.path}: no policy there yet; allowed: the directory of a run that has begun"
        ) from None
    except (OSError, ProtocolError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ConfigError(f"{path}: no readable policy ({reason})") from None
    if (trained.obs_dim, trained.action_dim) != (spec.obs_dim, spec.action_dim):
        raise ConfigError(
            f"{path}: made for {trained.obs_dim} observations and {trained.action_dim} actions,"
            f" the environment has {spec.obs_dim} and {spec.action_dim}"
        )
    return policy


def evaluated_settings(
    run: RunDirectory, env_args: tuple[str, ...], seed: int
) -> tuple[EnvConfig, ReturnConfig]:
    """Return what a run's policy is evaluated in: its `config.yaml`, then `env_args`, where later words win.

    Raises:
        ConfigError: there is no run.
    """
    if not run.config.exists():
        raise ConfigError(f"{run.path}: no run there; allowed: a run directory")
    settings = load_yaml(run.config, "RUN_DIR")
    trained = EvaluatorFlags(
        **{
            name: values
            for name, values in settings.items()
            if name in EvaluatorFlags.model_fields and name != "run"
        }
    )
    arguments = (*evaluated_env_args(trained), *env_args)
    return EnvConfig(**{**trained.env.model_dump(), "env_args": arguments, "seed": seed}), trained.returns


def evaluate(flags: EvaluateFlags, stop: StopSignal) -> int:
    """Run the command; return its exit status."""
    run = RunDirectory(flags.run_dir)
    config, returns = evaluated_settings(run, flags.env_args, flags.seed)
    env = _environment(flags, config, returns)
    policy = load_policy(run, flags.policy, env.spec)
    seeds = np.random.default_rng(seed_sequence(config.seed, "evaluate"))
    episodes = run_episodes(env, policy, seeds, flags.episodes, stop)
    env.close()
    if not episodes:
        return 130
    if flags.video is not None:
        print(f"filmed {min(flags.video_episodes, len(episodes))} episodes: {flags.video}", file=sys.stderr)
    summary = summarise(episodes)
    print(json.dumps(summary) if flags.json_output else describe(summary))
    return 0


def _environment(flags: EvaluateFlags, config: EnvConfig, returns: ReturnConfig) -> Environment:
    if flags.video is None:
        return Environment(config, returns, headless=flags.headless)
    if not flags.headless:
        raise ConfigError(f"--video {flags.video}: allowed only without a window (--headless)")
    return FilmedEnvironment(config, returns, Path(flags.video), flags.video_episodes)
