"""The simulated grasping task, `Grasp-v0`.

In: nothing; importing this package registers the task with Gymnasium.
Out: `register()` and, on first use, the class `GraspEnv`.
Must not know: sockets, policies, learners. Importing this package must not import PyBullet, so that a process
that needs only the name of the task does not load the simulator.

Gymnasium 1.x loads no plug-ins by itself: import `graspfleet.actor.grasp` before calling
`gymnasium.make("Grasp-v0")`, or name the module in the id: `graspfleet.actor.grasp:Grasp-v0`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gymnasium.envs.registration import register as gymnasium_register
from gymnasium.envs.registration import registry

if TYPE_CHECKING:
    from graspfleet.actor.grasp.env import GraspEnv

__all__ = ["ENV_ID", "GraspEnv", "register"]

ENV_ID = "Grasp-v0"


def register() -> None:
    """Register `Grasp-v0` with Gymnasium; further calls have no effect.

    `gymnasium.make("Grasp-v0", max_episode_steps=...)` overrides the time limit of 50 steps.
    """
    if ENV_ID not in registry:
        # Gymnasium's wrapper counts the steps, not the environment, so that `make` can set another limit.
        entry_point, own_limit = "graspfleet.actor.grasp.env:GraspEnv", {"max_episode_steps": None}
        gymnasium_register(id=ENV_ID, entry_point=entry_point, max_episode_steps=50, kwargs=own_limit)


def __getattr__(name: str) -> Any:
    """Import `GraspEnv`, and PyBullet with it, on first use."""
    if name == "GraspEnv":
        from graspfleet.actor.grasp.env import GraspEnv

        return GraspEnv
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


register()
