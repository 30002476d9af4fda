"""`graspfleet demos`: episodes of the scripted expert, stored as a Minari dataset.

In: number of episodes and object set. Out: a dataset for `--demos` and any other reader of Minari.
Must not know: learners, sockets.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from pydantic import Field
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from graspfleet.actor.grasp import ENV_ID
from graspfleet.actor.grasp.env import GraspEnv
from graspfleet.actor.grasp.expert import Played, play
from graspfleet.actor.grasp.observer import Obs
from graspfleet.common.errors import ConfigError
from graspfleet.common.runtime.datasets import dataset_folder, dataset_name
from graspfleet.common.runtime.seeds import seed_sequence, training_seeds
from graspfleet.common.runtime.signals import StopSignal
from graspfleet.common.settings.env_args import parse_env_args
from graspfleet.common.settings.flags import parse
from graspfleet.common.settings.section import Section

DESCRIPTION = "Episodes of the scripted expert of Grasp-v0: hover, descend, close, lift."


class DemosFlags(Section):
    """Record episodes of the scripted expert as demonstrations."""

    out: str = Field(description="Name of the Minari dataset to write, or a folder (./FOLDER).")
    episodes: int = Field(100, ge=1, description="Number of episodes.")
    objects: str = Field("cube", description="Object set, see docs/grasp-env.md.")
    env_args: tuple[str, ...] = Field((), description="Further arguments of Grasp-v0, as KEY=VALUE.")
    keep_failures: bool = Field(False, description="Store failed episodes, too.")
    seed: int = Field(0, ge=0, description="Root seed of the episodes.")


def main(argv: list[str]) -> int:
    """Run the command; return its exit status."""
    flags = parse(DemosFlags, argv, prog="graspfleet demos")
    folder = dataset_folder(flags.out)
    if folder.exists() and any(folder.iterdir()):
        raise ConfigError(f"--out {flags.out}: {folder} already exists; allowed: a new name")
    minari()
    arguments = {"objects": flags.objects, **parse_env_args(flags.env_args)}
    try:
        env = GraspEnv(**arguments)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ConfigError(
            f"--objects {flags.objects} --env-args {' '.join(flags.env_args)}: {error}"
        ) from None
    played = collect(env, flags.episodes, flags.seed, StopSignal().install())
    env.close()
    kept = [episode for episode in played if episode.success or flags.keep_failures]
    successes = sum(episode.success for episode in played)
    print(f"{successes} of {len(played)} episodes succeeded ({successes / max(len(played), 1):.1%})")
    if not kept:
        raise ConfigError(f"--episodes {flags.episodes}: no episode succeeded, so nothing was written")
    write(kept, folder, dataset_name(flags.out), env, arguments)
    print(f"{len(kept)} episodes, {sum(len(e.rewards) for e in kept)} transitions in {folder}")
    words = " ".join([f"objects={flags.objects}", *flags.env_args])
    mixed = f"--demos {flags.out} --demo-fraction 0.5"
    print(f"graspfleet train --env-args {words} {mixed}")
    return 0


def minari() -> Any:
    """Return the package `minari`.

    Raises:
        ConfigError: the package is not installed.
    """
    try:
        import minari as package
    except ModuleNotFoundError:
        raise ConfigError("demos: needs minari; install it with: pip install 'graspfleet[demos]'") from None
    return package


def collect(env: GraspEnv, episodes: int, seed: int, stop: StopSignal) -> list[Played]:
    """Return `episodes` episodes of the expert, fewer after a stop, and show a progress bar."""
    seeds = training_seeds(np.random.default_rng(seed_sequence(seed, "demos")))
    columns = "demonstrations", BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[rate]}")
    played: list[Played] = []
    with Progress(*columns, TimeRemainingColumn()) as progress:
        task = progress.add_task("", total=episodes, rate="")
        while len(played) < episodes and not stop.is_set():
            played.append(play(env, next(seeds)))
            rate = sum(episode.success for episode in played) / len(played)
            progress.update(task, advance=1, rate=f"{rate:.1%} succeeded")
    return played


def write(
    episodes: Sequence[Played], folder: Path, name: str, env: GraspEnv, arguments: dict[str, Any]
) -> None:
    """Store episodes as a Minari dataset.

    Args:
        episodes: at least one.
        folder: of the dataset; must be new or empty.
        name: of the dataset, with its version.
        env: the environment of the episodes.
        arguments: of that environment, for `dataset.recover_environment()`.

    Raises:
        ConfigError: the folder cannot be written.
    """
    package = minari()
    spec = copy.deepcopy(gymnasium.spec(ENV_ID))
    spec.kwargs.update(arguments)
    try:
        # Absolute: Minari's storage joins a relative path to itself.
        data = folder.absolute() / "data"
        data.mkdir(parents=True, exist_ok=True)
        storage = package.dataset.minari_storage.MinariStorage.new(
            data,
            env.observation_space,
            env.action_space,
            spec,
            jpeg_encoding=False,  # it would change depths
        )
        storage.update_episodes(_buffer(package, number, played) for number, played in enumerate(episodes))
        storage.update_metadata(
            {
                "dataset_id": name,
                "algorithm_name": "scripted expert",
                "description": DESCRIPTION,
                "minari_version": package.__version__,
            }
        )
    except OSError as error:
        raise ConfigError(f"--out {folder}: {' '.join(str(error).split())}") from None


def _buffer(package: Any, number: int, played: Played) -> Any:
    length = len(played.rewards)
    ends = np.arange(length) == length - 1
    return package.data_collector.EpisodeBuffer(
        id=number,
        seed=played.seed,
        observations=_stack(played.observations),
        actions=np.stack(played.actions),
        rewards=np.array(played.rewards),
        terminations=ends & played.terminated,
        truncations=ends & (not played.terminated),
        infos={"is_success": ends & played.success},
    )


def _stack(observations: Sequence[Obs]) -> Any:
    """Return vectors as one array, or the fields of dicts as arrays by name."""
    fields = [each for each in observations if isinstance(each, dict)]
    if fields:
        return {name: np.stack([each[name] for each in fields]) for name in fields[0]}
    return np.array(observations)
