"""Distributed actor-learner reinforcement learning over ZeroMQ, and a task that robot arms learn with it."""

import importlib
from importlib import metadata
from typing import Any

_PUBLIC = {"GraspEnv": "graspfleet.actor.grasp"}
"""Name -> module; imported when it is asked for, so that no command pays for another one's packages."""

__all__ = ["GraspEnv", "__version__"]


def __getattr__(name: str) -> Any:
    """Return a public name, or the version of the installed package ("unknown" in a tree that is not)."""
    if name == "__version__":
        try:
            return metadata.version("graspfleet")
        except metadata.PackageNotFoundError:
            return "unknown"
    if name in _PUBLIC:
        return getattr(importlib.import_module(_PUBLIC[name]), name)
    raise AttributeError(f"module 'graspfleet' has no attribute {name!r}")
