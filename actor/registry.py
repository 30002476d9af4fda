"""Construction of the environment named by `--env`.

In: `Id-v0`, `module:Id-v0` or `path/to/file.py:Id-v0`, and arguments. Out: a Gymnasium environment. Modules
are searched on Python's path, then in the working directory.
"""

import importlib
import importlib.util
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gymnasium

from graspfleet.actor.watchdog import PROCESS_ENDING
from graspfleet.common.errors import ConfigError
from graspfleet.common.observations.reading import reason
from graspfleet.common.runtime.files import expand_home

ALLOWED = "a Gymnasium id, module:Id-v0 or path/to/file.py:Id-v0"
STATISTICS = "RunningMeanStd"
"""Class of an attribute that identifies wrappers with running statistics; so does a name `*_rms`."""
MAX_LAYERS = 100
"""Largest number of wrappers that are inspected."""


def make(name: str, arguments: Mapping[str, Any]) -> "gymnasium.Env[Any, Any]":
    """Return a new environment.

    Args:
        name: value of `--env`.
        arguments: of its constructor.

    Raises:
        ConfigError: the name is unknown, its module or constructor raises, or a wrapper keeps running
            statistics.
    """
    if "" not in sys.path and (here := str(Path.cwd())) not in sys.path:
        sys.path.append(here)
    place, _, gymnasium_id = name.rpartition(":")
    words = f"--env {name} {dict(arguments) or ''}".rstrip()
    try:
        if place:
            _import(place)
        env = gymnasium.make(gymnasium_id, disable_env_checker=True, **arguments)
    except (ConfigError, *PROCESS_ENDING):
        raise
    except ModuleNotFoundError as error:
        if error.name is not None and f"{place}.".startswith(f"{error.name}."):
            raise ConfigError(f"{words}: {error}; allowed: {ALLOWED}") from None
        raise ConfigError(f"{words}: {reason(error)}") from None  # a module that it imports is missing
    except gymnasium.error.Error as error:
        hint = "" if place else f"; allowed: {ALLOWED}"
        raise ConfigError(f"{words}: {' '.join(str(error).split())}{hint}") from None
    except BaseException as error:
        hint = " (--render-mode, --no-headless, --video)" if "render_mode" in str(error) else ""
        raise ConfigError(f"{words}: {reason(error)}{hint}") from None
    _refuse_running_statistics(env, name)
    return env


def _import(place: str) -> None:
    """Import a module by its name or its file."""
    if not place.endswith(".py"):
        importlib.import_module(place)
        return
    path = expand_home(place).resolve()
    if not path.is_file():
        raise ConfigError(f"--env {place}: no such file; allowed: path/to/file.py:Id-v0")
    if str(path.parent) not in sys.path:  # for the file's own imports
        sys.path.append(str(path.parent))
    stem = re.sub(r"\W", "_", path.stem)
    # Import it under its own name if that resolves to this file, so that other imports get the same module.
    if (found := importlib.util.find_spec(stem)) and found.origin == str(path):
        importlib.import_module(stem)
        return
    spec = importlib.util.spec_from_file_location(f"file_{stem}", path)
    assert spec is not None
    assert spec.loader is not None
    if spec.name not in sys.modules:
        sys.modules[spec.name] = module = importlib.util.module_from_spec(spec)
        try:
            spec.loader.exec_module(module)
        except BaseException:
            del sys.modules[spec.name]
            raise


def _refuse_running_statistics(env: "gymnasium.Env[Any, Any]", name: str) -> None:
    """Check that no wrapper's output depends on the history of this process.

    Raises:
        ConfigError: a wrapper keeps running statistics.
    """
    layer: Any = env
    for _ in range(MAX_LAYERS):
        own = getattr(layer, "__dict__", {})
        kinds = {type(value).__name__ for value in own.values()}
        running = STATISTICS in kinds or any(key.endswith("_rms") for key in own)
        if running and own.get("_update_running_mean", True):  # False: frozen, the same everywhere
            raise ConfigError(
                f"--env {name}: {type(layer).__name__} normalizes with running statistics, which differ"
                " between processes; allowed: a fixed scale, or --normalize-obs (docs/environments.md)"
            )
        layer = own.get("env")
