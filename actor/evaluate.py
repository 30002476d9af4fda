"""Deterministic episodes of a policy, for `graspfleet evaluate RUN_DIR` and the evaluator."""

import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from graspfleet.actor.comparison import ROUND_EPISODES
from graspfleet.actor.environment import Environment
from graspfleet.actor.evaluate_flags import EvaluateFlags
from graspfleet.actor.policies import Choice, RunPolicies
from graspfleet.actor.video import RecordedEnvironment
from graspfleet.actor.watchdog import Interrupted, Watchdog
from graspfleet.common.errors import BrokenEpisodeError, ConfigError, NoResultError
from graspfleet.common.evaluation.statistics import describe, summarize
from graspfleet.common.fields import Episode
from graspfleet.common.policy import NumpyPolicy
from graspfleet.common.runtime.reports import RESULT, report
from graspfleet.common.runtime.run_directory import RunDirectory
from graspfleet.common.runtime.seeds import draw_seeds, seed_sequence
from graspfleet.common.runtime.signals import StopSignal
from graspfleet.common.settings.config import EnvConfig, ReturnConfig
from graspfleet.common.settings.env_args import evaluated_env_args
from graspfleet.common.settings.files import load_yaml
from graspfleet.common.settings.flags import EvaluatorFlags


class StoppedError(Exception):
    """A stop before the result was complete."""


@dataclass(frozen=True)
class Outcome:
    """The result of a series of episodes.

    Attributes:
        episodes: summaries of the complete ones.
        broken: number of broken ones.
        cut: number of `episodes` that were cut at `Environment.cut_after`.
    """

    episodes: list[Episode]
    broken: int
    cut: int = 0

    @property
    def count(self) -> int:
        """Number of episodes, complete or broken."""
        return len(self.episodes) + self.broken


def run_episode(env: Environment, policy: NumpyPolicy, seed: int) -> Episode:
    """Run one episode with the policy's mean actions, cut at `env.cut_after`; return its summary.

    Raises:
        BrokenEpisodeError: the environment failed after `steps` env steps.
        Interrupted: a stop was requested.
    """
    obs = env.reset(seed)
    total, length = 0.0, 0
    while True:
        env.watchdog.poll()
        action = policy.act(*obs.batch(), deterministic=True)[0]
        try:
            obs, reward, terminated, truncated, info = env.step(action)
        except BrokenEpisodeError as error:
            error.steps = length
            raise
        total += reward
        length += 1
        if terminated or truncated or length >= env.cut_after:
            return total, length, env.success(info), seed


def run_episodes(
    env: Environment,
    policy: NumpyPolicy,
    seeds: Iterator[int],
    count: int,
    stop: StopSignal,
) -> Outcome:
    """Run `count` episodes, fewer after a stop; broken ones are counted and have no summary.

    Raises:
        ConfigError: too many in a row broke before their first step completed.
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
    return Outcome(episodes, broken, sum(episode[1] >= env.cut_after for episode in episodes))


def trained_settings(run: RunDirectory) -> EvaluatorFlags:
    """Return the evaluation settings in a run's `config.yaml`.

    Raises:
        ConfigError: the directory contains no run.
    """
    if not run.config.exists():
        raise ConfigError(f"{run.path}: no run found; allowed: a run directory")
    settings = load_yaml(run.config, "RUN_DIR")
    return EvaluatorFlags(
        **{
            name: values
            for name, values in settings.items()
            if name in EvaluatorFlags.model_fields and name != "run"
        }
    )


def evaluated_settings(
    run: RunDirectory, env_args: tuple[str, ...], seed: int, success_key: str | None = None
) -> tuple[EnvConfig, ReturnConfig]:
    """Return the evaluation environment of a run: its `config.yaml`, overridden by `env_args`.

    Raises:
        ConfigError: the directory contains no run.
    """
    trained = trained_settings(run)
    changed: dict[str, object] = {
        "env_args": (*evaluated_env_args(trained.env, trained.evaluator), *env_args),
        "seed": seed,
    }
    if success_key is not None:
        changed["success_key"] = success_key
    return EnvConfig(**{**trained.env.model_dump(), **changed}), trained.returns


def evaluate(
    flags: EvaluateFlags, watchdog: Watchdog, stop: StopSignal, tell: Callable[[str], None] = print
) -> int:
    """Run the command; return its exit status.

    Args:
        flags: settings.
        watchdog: calls the environment.
        stop: the request to stop.
        tell: receives the result.

    Raises:
        ConfigError: the run, its policy or the environment cannot be used.
        NoResultError: every episode broke; this is raised after the result has been printed.
    """
    run = RunDirectory(Path(flags.run_dir).absolute())  # the environment may change the working directory
    config, returns = evaluated_settings(run, flags.env_args, flags.seed, flags.success_key)
    if flags.max_episode_steps is not None:
        config = EnvConfig(**{**config.model_dump(), "max_episode_steps": flags.max_episode_steps})
    env = _environment(flags, config, returns, watchdog)
    try:
        env.check(np.random.default_rng(seed_sequence(config.seed, "check")))
        choice = _choose(flags, run, env, stop)
        print(choice.describe(), file=sys.stderr, flush=True)
        seeds = draw_seeds(np.random.default_rng(seed_sequence(config.seed, "evaluate")))
        outcome = run_episodes(env, choice.file.policy, seeds, flags.episodes, stop)
        if not outcome.count:
            return 130
        summary = summarize(outcome.episodes, outcome.broken, outcome.cut)
        fields = json.dumps({**summary, **choice.summary(), "likely_success_key": env.success.likely})
        tell(fields if flags.json_output else describe(summary))
        report(RESULT, fields)
        sys.stdout.flush()
        # The result is complete, so later failures of the environment do not change the exit status.
        watchdog.status = 0 if outcome.episodes else NoResultError.status
        if isinstance(env, RecordedEnvironment):
            print(f"recorded {env.finish()} episodes in {flags.video}", file=sys.stderr)
        if not outcome.episodes:
            raise NoResultError(f"--env {env.name}: every episode broke; last error: {env.patience.last}")
        return 0
    except StoppedError:
        return 130
    finally:  # after the result, because closing may fail
        env.close()


def _choose(flags: EvaluateFlags, run: RunDirectory, env: Environment, stop: StopSignal) -> Choice:
    """Return the requested policy, after a comparison if the best one has not been chosen yet.

    Raises:
        StoppedError: a stop was requested.
    """
    policies = RunPolicies(run, env.spec)
    episodes = flags.compare_episodes
    if episodes is None:
        episodes = min(flags.episodes, trained_settings(run).evaluator.compare_episodes)
    elsewhere = (flags.env_args, flags.success_key, flags.video, flags.max_episode_steps)
    as_trained = flags.headless and not any(elsewhere)
    asked = flags.policy == "best" and as_trained and episodes >= ROUND_EPISODES
    if not (asked and policies.is_open(episodes)):
        return policies.choose(flags.policy, episodes)
    try:
        run.claim(resume=True)
    except ConfigError:  # a learner is running there, or the directory is read-only
        return policies.choose(flags.policy, episodes)

    def run_more(policy: NumpyPolicy, seeds: Iterator[int], count: int) -> tuple[list[Episode], int]:
        outcome = run_episodes(env, policy, seeds, count, stop)
        if outcome.count < count:
            raise StoppedError
        return outcome.episodes, outcome.broken

    try:
        print("comparing the finalists of the run with its last policy", file=sys.stderr, flush=True)
        return RunPolicies(run, env.spec).compare(run_more, flags.seed, episodes)
    finally:
        run.release()


def _environment(
    flags: EvaluateFlags, config: EnvConfig, returns: ReturnConfig, watchdog: Watchdog
) -> Environment:
    if flags.video is None:
        return Environment(config, returns, headless=flags.headless, watchdog=watchdog, evaluates=True)
    if not flags.headless:
        raise ConfigError(f"--video {flags.video}: allowed only without a window (--headless)")
    return RecordedEnvironment(config, returns, Path(flags.video).absolute(), flags.video_episodes, watchdog)
