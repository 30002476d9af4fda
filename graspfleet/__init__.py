"""Distributed actor-learner reinforcement learning over ZeroMQ, with a grasping task for robot arms."""

import importlib
from importlib import metadata
from typing import Any

_PUBLIC = {"GraspEnv": "graspfleet.actor.grasp"}
"""Public name -> module, imported on first access so that no command imports another one's packages."""

__all__ = ["GraspEnv", "__version__"]


def __getattr__(name: str) -> Any:
    """Return a public name, or the installed version ("unknown" in a source tree that is not installed)."""
    if name == "__version__":
        try:
            return metadata.version("graspfleet")
        except metadata.PackageNotFoundError:
            return "unknown"
    if name in _PUBLIC:
        return getattr(importlib.import_module(_PUBLIC[name]), name)
    raise AttributeError(f"module 'graspfleet' has no attribute {name!r}")
