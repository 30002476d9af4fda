"""Construction of the environment named by `--env`.

In: `Id-v0`, `module:Id-v0` or `path/to/file.py:Id-v0`, and arguments. Out: a Gymnasium environment. Modules
are searched on Python's path, then in the working directory. A module of the user never shadows one of this
program.
"""

import contextlib
import importlib
import importlib.util
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType
from typing import Any

import gymnasium

from actor.contract import reason
from actor.watchdog import PROCESS_ENDING
from common.errors import ConfigError
from common.runtime.files import expand_home

ALLOWED = "a Gymnasium id, module:Id-v0 or path/to/file.py:Id-v0"
OURS = ("actor", "common", "learner")
STATISTICS = "RunningMeanStd"
"""Class that identifies wrappers with running statistics, as does an attribute `*_rms`."""
MAX_LAYERS = 100
"""Largest number of wrappers that are inspected."""

_theirs: dict[Path, dict[str, ModuleType]] = {}
"""Folder -> the user's modules with the same names as ours."""


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
        with _names_of(_folder(place) if place else None):
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
    if str(path.parent) not in sys.path:  # for what it imports itself
        sys.path.append(str(path.parent))
    stem = re.sub(r"\W", "_", path.stem)
    # Under its own name if that resolves to this file, so that other imports of it find it loaded.
    if stem not in OURS and (found := importlib.util.find_spec(stem)) and found.origin == str(path):
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


def _folder(place: str) -> Path | None:
    """Return the folder of a user's module; None if it is one of ours, or not found."""
    if place.endswith(".py"):
        return expand_home(place).resolve().parent
    root = place.partition(".")[0]
    spec = None if root in OURS else importlib.util.find_spec(root)
    if spec is None:
        return None
    places = list(spec.submodule_search_locations or ())
    origin = places[0] if places else spec.origin
    return Path(origin).resolve().parent if origin else None


class _Finder(MetaPathFinder):
    """A finder that resolves some names in one folder only."""

    def __init__(self, folder: Path, names: list[str]) -> None:
        self._folder, self._names = folder, names

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return the spec of a module, see `importlib.abc.MetaPathFinder.find_spec`."""
        return PathFinder.find_spec(fullname, [str(self._folder)]) if fullname in self._names else None


@contextlib.contextmanager
def _names_of(folder: Path | None) -> Iterator[None]:
    """Resolve module names shared with this program to the user's modules while `folder` is imported."""
    shared = [] if folder is None else [name for name in OURS if _holds(folder, name)]
    if folder is None or not shared:
        yield
        return
    ours = _take_out(shared)
    sys.modules.update(_theirs.pop(folder, {}))
    finder = _Finder(folder, shared)
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)
        _theirs[folder] = _take_out(shared)
        sys.modules.update(ours)


def _holds(folder: Path, name: str) -> bool:
    """Return whether a folder contains a module `name` other than this program's."""
    package = Path(sys.modules[name].__path__[0]) if name in sys.modules else None
    candidate = folder / name
    if package is not None and candidate.is_dir() and candidate.samefile(package):
        return False
    return candidate.is_dir() or candidate.with_suffix(".py").is_file()


def _take_out(roots: list[str]) -> dict[str, ModuleType]:
    """Remove modules and their submodules from `sys.modules`, and return them."""
    names = [name for name in sys.modules if name.partition(".")[0] in roots]
    return {name: sys.modules.pop(name) for name in names}


def _refuse_running_statistics(env: "gymnasium.Env[Any, Any]", name: str) -> None:
    """Refuse wrappers whose output depends on the history of this process.

    Raises:
        ConfigError: there is such a wrapper.
    """
    layer: Any = env
    for _ in range(MAX_LAYERS):
        own = getattr(layer, "__dict__", {})
        kinds = {type(value).__name__ for value in own.values()}
        running = STATISTICS in kinds or any(key.endswith("_rms") for key in own)
        if running and own.get("_update_running_mean", True):  # False: frozen, the same everywhere
            raise ConfigError(
                f"--env {name}: {type(layer).__name__} normalizes by running statistics, which differ between"
                " processes; allowed: a fixed scale (docs/environments.md)"
            )
        layer = own.get("env")
