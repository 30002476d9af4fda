"""Deterministic episodes of a policy: `graspfleet evaluate RUN_DIR`, and what the evaluator repeats."""

import json
import math
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from actor.environment import Environment
from actor.foreign import Foreign, Interrupted
from actor.video import FilmedEnvironment
from common.config import EnvConfig, ReturnConfig
from common.errors import BrokenEpisodeError, ConfigError, ProtocolError
from common.files import read_limited
from common.flags import EvaluateFlags, EvaluatorFlags, evaluated_env_args, load_yaml
from common.messages import Episode, Weights
from common.policy import NumpyPolicy
from common.protocol import OLDEST_POLICY, decode
from common.run_directory import RunDirectory
from common.seeds import draw_seeds, seed_sequence
from common.specs import EnvSpec
from common.statistics import describe, summarise
from common.stopping import StopSignal

BOUND_TOLERANCE = 1e-6
"""Relative; what float32 makes of a bound is still the same one."""
MAX_POLICY_BYTES = 4 << 30
"""Twice the policy of the widest settings; a larger file is none."""


@dataclass(frozen=True)
class Outcome:
    """What became of some episodes: summaries of whole ones, and how many broke."""

    episodes: list[Episode]
    broken: int

    @property
    def count(self) -> int:
        """Episodes that were begun."""
        return len(self.episodes) + self.broken


def run_episode(env: Environment, policy: NumpyPolicy, seed: int) -> Episode:
    """Return the summary of one episode of the policy's mean actions.

    Raises:
        BrokenEpisodeError: the environment broke it off; `steps` says after how many.
        Interrupted: told to stop.
    """
    obs = env.reset(seed)
    total, length = 0.0, 0
    while True:
        env.foreign.look()
        action = policy.act(obs[None], deterministic=True)[0]
        try:
            obs, reward, terminated, truncated, info = env.step(action)
        except BrokenEpisodeError as error:
            error.steps = length
            raise
        total += reward
        length += 1
        if terminated or truncated:
            return total, length, env.success(info), seed


def run_episodes(
    env: Environment,
    policy: NumpyPolicy,
    seeds: Iterator[int],
    count: int,
    stop: StopSignal,
) -> Outcome:
    """Begin `count` episodes, fewer when told to stop; those that break are counted and have no summary.

    Raises:
        ConfigError: too many in a row broke before their first step was done.
    """
    episodes: list[Episode] = []
    broken, rebuild = 0, False
    while len(episodes) + broken < count and not stop.is_set():
        try:
            if rebuild:
                env.reinit()
            episodes.append(run_episode(env, policy, next(seeds)))
            rebuild = False
            env.patience.whole()
        except BrokenEpisodeError as error:
            broken, rebuild = broken + 1, True
            env.patience.broke(error, error.steps, bounded=False)
        except Interrupted:
            if not stop.is_set():
                raise
    return Outcome(episodes, broken)


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
    if differs := difference(trained, spec):
        raise ConfigError(f"{path}: {differs}; allowed: the environment that it was trained in")
    return policy


def difference(trained: EnvSpec, present: EnvSpec) -> str:
    """Return in which way a policy does not fit an environment, an empty text if it does.

    Discount and n-step are no part of it: they say what it was taught, not what its numbers mean.
    """
    then, now = (spec.env.rpartition(":")[2] for spec in (trained, present))
    if then != now:
        return f"trained in {then}, the environment is {now}"
    if (trained.obs_dim, trained.action_dim) != (present.obs_dim, present.action_dim):
        return (
            f"made for {trained.obs_dim} observations and {trained.action_dim} actions,"
            f" the environment has {present.obs_dim} and {present.action_dim}"
        )
    for end in ("low", "high"):
        bounds = (getattr(trained, f"action_{end}"), getattr(present, f"action_{end}"))
        if None in bounds:  # a file without bounds
            continue
        for index, (old, new) in enumerate(zip(*bounds, strict=True)):
            if not math.isclose(old, new, rel_tol=BOUND_TOLERANCE):
                return f"trained with action {index} bounded by {old:g} ({end}), the environment has {new:g}"
    return ""


def evaluated_settings(
    run: RunDirectory, env_args: tuple[str, ...], seed: int, success_key: str | None = None
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
    changed: dict[str, object] = {"env_args": (*evaluated_env_args(trained), *env_args), "seed": seed}
    if success_key is not None:
        changed["success_key"] = success_key
    return EnvConfig(**{**trained.env.model_dump(), **changed}), trained.returns


def evaluate(flags: EvaluateFlags, foreign: Foreign, stop: StopSignal) -> int:
    """Run the command; return its exit status."""
    run = RunDirectory(flags.run_dir)
    config, returns = evaluated_settings(run, flags.env_args, flags.seed, flags.success_key)
    env = _environment(flags, config, returns, foreign)
    try:
        policy = load_policy(run, flags.policy, env.spec)
        env.check(np.random.default_rng(seed_sequence(config.seed, "check")))
        seeds = draw_seeds(np.random.default_rng(seed_sequence(config.seed, "evaluate")))
        outcome = run_episodes(env, policy, seeds, flags.episodes, stop)
        if not outcome.count:
            return 130
        summary = summarise(outcome.episodes, outcome.broken)
        print(json.dumps(summary) if flags.json_output else describe(summary), flush=True)
        foreign.status = 0  # the result is there, whatever the environment does from here on
        if isinstance(env, FilmedEnvironment):
            print(f"filmed {env.finish()} episodes: {flags.video}", file=sys.stderr)
        return 0
    finally:  # after the result: closing is foreign code, and may fail
        env.close()


def _environment(
    flags: EvaluateFlags, config: EnvConfig, returns: ReturnConfig, foreign: Foreign
) -> Environment:
    if flags.video is None:
        return Environment(config, returns, headless=flags.headless, foreign=foreign)
    if not flags.headless:
        raise ConfigError(f"--video {flags.video}: allowed only without a window (--headless)")
    return FilmedEnvironment(config, returns, Path(flags.video), flags.video_episodes, foreign)
