"""Episodes of the scripted expert.

In: an environment and a seed. Out: the recorded episode.
Must not know: how episodes are stored, sockets, learners.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from graspfleet.actor.grasp.env import GraspEnv
from graspfleet.actor.grasp.observer import Obs
from graspfleet.actor.grasp.plan import plan_grasp
from graspfleet.actor.grasp.scripted import ScriptedGrasp
from graspfleet.actor.grasp.simulation import UnstableSimulationError

Floats = NDArray[np.float32]


@dataclass
class Played:
    """One episode of T steps.

    Attributes:
        seed: of its reset.
        observations: T + 1 of the environment's.
        actions: T arrays, [5] each.
        rewards: T numbers.
        stages: T names of the expert's stages.
        terminated: whether the object left the workspace.
        success: whether the object was held up at the last step.
    """

    seed: int
    observations: list[Obs]
    actions: list[Floats] = field(default_factory=list)
    rewards: list[float] = field(default_factory=list)
    stages: list[str] = field(default_factory=list)
    terminated: bool = False
    success: bool = False


def play(env: GraspEnv, seed: int) -> Played:
    """Return an episode of the expert; if the simulation becomes unstable, it ends there as a failure."""
    observation, _ = env.reset(seed=seed)
    expert = ScriptedGrasp(lambda: plan_grasp(env.scene), env.scene.object_rotation)
    played = Played(seed, [observation])
    ended = False
    while not ended:
        action = expert.act(observation if isinstance(observation, np.ndarray) else env.state_vector)
        try:
            observation, reward, played.terminated, truncated, info = env.step(action)
        except UnstableSimulationError:
            env.reinit()
            played.success = False
            break
        played.observations.append(observation)
        played.actions.append(action)
        played.rewards.append(reward)
        played.stages.append(expert.stage)
        played.success = info["is_success"]
        ended = played.terminated or truncated
    return played
