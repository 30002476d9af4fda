"""A Minari dataset on disk: located, checked for size and opened before any large part of it is read.

In: a folder. Out: a dataset with known spaces, and its episodes one at a time; or a one-line error for any
exception of minari and h5py. Must not know: transitions.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from graspfleet.common.errors import ConfigError
from graspfleet.common.runtime.datasets import dataset_folder
from graspfleet.common.runtime.files import open_regular, read_limited

MAX_DEMOS_BYTES = 8 << 30
"""Largest dataset in bytes of memory, uncompressed."""
MAX_METADATA_BYTES = 1 << 20
"""Largest metadata file that is read, in bytes."""


def find_dataset(where: str) -> Path:
    """Return the folder of a Minari dataset.

    Raises:
        ConfigError: no such dataset.
    """
    folder = dataset_folder(where)
    if not folder.is_dir():
        raise ConfigError(f"--demos {where}: no dataset at {folder}; allowed: a name or folder of one")
    return folder


def open_dataset(where: str) -> Any:
    """Return a Minari dataset.

    Args:
        where: the dataset's folder, or its name in Minari's own folder.

    Raises:
        ConfigError: the dataset does not exist, cannot be read, or is too large.
    """
    try:
        import minari
    except ModuleNotFoundError:
        raise ConfigError(
            "--demos: needs minari; install it with: pip install 'graspfleet[learner]'"
        ) from None
    folder = find_dataset(where)
    try:
        data = folder / "data" if (folder / "data").is_dir() else folder
        _require_spaces(where, data)
        _require_size(where, data)
        return minari.MinariDataset(data)
    except ConfigError:
        raise
    except Exception as error:
        raise _unreadable(where, error) from None


def read_episodes(where: str, dataset: Any) -> Iterator[Any]:
    """Yield the dataset's episodes in order.

    Raises:
        ConfigError: an episode cannot be read.
    """
    try:
        yield from dataset.iterate_episodes()
    except Exception as error:
        raise _unreadable(where, error) from None


def _require_spaces(where: str, data: Path) -> None:
    """Refuse a dataset that does not name its spaces: minari would create its environment to get them."""
    metadata = json.loads(read_limited(data / "metadata.json", MAX_METADATA_BYTES))
    missing = {"observation_space", "action_space"} - set(metadata)
    if missing:
        raise ConfigError(f"--demos {where}: its metadata name no {' and no '.join(sorted(missing))}")


def _require_size(where: str, data: Path) -> None:
    """Refuse a dataset that would not fit in memory; a small compressed file may hold a large one."""
    import h5py  # type: ignore[import-untyped]

    path = data / "main_data.hdf5"
    if not path.exists():
        return  # another storage format; minari reports whether it can read it
    open_regular(path).close()
    total = 0

    def add(name: str, item: Any) -> None:
        nonlocal total
        total += item.nbytes if isinstance(item, h5py.Dataset) else 0

    with h5py.File(path, "r") as file:
        file.visititems(add)
    if total > MAX_DEMOS_BYTES:
        raise ConfigError(f"--demos {where}: holds {total:,} bytes; allowed: at most {MAX_DEMOS_BYTES:,}")


def _unreadable(where: str, error: Exception) -> ConfigError:
    """Return a one-line error; a damaged dataset can make minari and h5py raise almost any exception."""
    reason = " ".join(str(error).split())[:200] or type(error).__name__
    return ConfigError(f"--demos {where}: no readable Minari dataset ({reason})")
