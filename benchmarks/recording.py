"""Episodes watched from inside the simulation, one object at a time; see `benchmarks.failures`.

In: a run directory, an object's name, seeds. Out: figures of each failure, and pictures. The policy sees its
observation and nothing more.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.contact_sheet import Tile
from benchmarks.failure_rule import Outcome, last_closing, lying_m, outcome
from graspfleet.actor.environment import Environment
from graspfleet.actor.evaluate import evaluated_settings, run_episode
from graspfleet.actor.grasp import GraspEnv, pictures
from graspfleet.actor.grasp.catalog import MASS_KG
from graspfleet.actor.grasp.observation import GraspState
from graspfleet.actor.grasp.scene import Scene
from graspfleet.actor.policies import load_policy
from graspfleet.common.errors import BrokenEpisodeError, ConfigError
from graspfleet.common.observations.fields import Floats, Observation, Pixels
from graspfleet.common.policy import NumpyPolicy
from graspfleet.common.runtime.run_directory import RunDirectory

SEED = 3_000_017
"""Root of the episodes' seeds: neither training's nor `graspfleet evaluate`'s."""
CLOSE_M = 0.45
"""From the camera to the object in a picture."""


class StateRecorder(Environment):
    """An environment that remembers the states of its present episode.

    Attributes:
        states: after the reset and after each step.
        terminated: of the last step.
    """

    @property
    def scene(self) -> Scene:
        """The simulated scene."""
        return self._grasp_env.scene

    @property
    def image(self) -> Pixels | None:
        """Newest image of the camera, [S, S]; None without one."""
        return self._grasp_env.image

    @property
    def _grasp_env(self) -> GraspEnv:
        assert isinstance(self.env.unwrapped, GraspEnv)
        return self.env.unwrapped

    def reset(self, seed: int) -> Observation:
        """Reset, see `Environment.reset`."""
        self.states: list[GraspState] = []
        self.terminated = False
        obs = super().reset(seed)
        self.states.append(self.scene.read())
        return obs

    def step(self, action: Floats) -> tuple[Observation, float, bool, bool, Mapping[str, Any]]:
        """Step, see `Environment.step`."""
        result = super().step(action)
        self.states.append(self.scene.read())
        self.terminated = result[2]
        return result


def open_run(
    path: str, which: str, object_name: str, render_mode: str | None = None
) -> tuple[StateRecorder, NumpyPolicy]:
    """Return the environment with one object and the policy.

    Raises:
        ConfigError: there is no run, or it is of another task.
    """
    run = RunDirectory(path)
    config, returns = evaluated_settings(run, (f"objects={object_name}",), SEED)
    if config.env.rpartition(":")[2] != "Grasp-v0":
        raise ConfigError(f"{path}: trained in {config.env}; allowed: a run of Grasp-v0")
    env = StateRecorder(config, returns, render_mode=render_mode)
    return env, load_policy(run, which, env.spec)


def try_object(path: str, which: str, seeds: Sequence[int], object_name: str) -> dict[str, Any]:
    """Return how the policy does with one object."""
    env, policy = open_run(path, which, object_name)
    failures = []
    for seed in seeds:
        success = broken = False
        try:
            success = bool(run_episode(env, policy, seed)[2])
        except BrokenEpisodeError:
            broken = True
            env.reinit()
        states = env.states
        how = outcome(states, success=success, terminated=env.terminated, broken=broken)
        if how is not Outcome.SUCCESS:
            failures.append({"seed": seed, "how": how.value, **measures(states)})
    width, length, height = lying_m(states[0])
    env.close()
    return {
        "object": object_name,
        "width_cm": round(100 * width, 2),
        "length_cm": round(100 * length, 2),
        "height_cm": round(100 * height, 2),
        "mass_kg": MASS_KG,
        "episodes": len(seeds),
        "successes": len(seeds) - len(failures),
        "failures": failures,
    }


def measures(states: Sequence[GraspState]) -> dict[str, float | int]:
    """Return the numbers behind an outcome: how far the object went, and which step to look at."""
    first, last = states[0].object_position, states[-1].object_position
    return {
        "highest_cm": round(100 * max(state.object_height_m for state in states), 1),
        "moved_cm": round(100 * math.dist(first[:2], last[:2]), 1),
        "last_closing_step": last_closing(states),
    }


def photograph(path: str, which: str, row: dict[str, Any]) -> Tile:
    """Return a picture of an object's first failure, played again: with pictures the bits are the same."""
    failure = row["failures"][0]
    env, policy = open_run(path, which, row["object"], render_mode="rgb_array")
    obs = env.reset(failure["seed"])
    for _ in range(failure["last_closing_step"]):
        obs = env.step(policy.act(*obs.batch(), deterministic=True)[0])[0]
    client, target_m = env.scene.simulation.client, env.states[-1].object_position
    pixels = pictures.picture(client, target_m=target_m, distance_m=CLOSE_M)
    if env.image is not None:
        pixels = pictures.beside(pixels, env.image)
    env.close()
    return Tile(pixels, (f"{row['object']}   {row['successes']} of {row['episodes']}", failure["how"]))
