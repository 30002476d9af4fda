"""Location of a Minari dataset on disk, for reading and writing."""

import os
import re
from pathlib import Path

from graspfleet.common.runtime.files import expand_home


def dataset_folder(where: str) -> Path:
    """Return the folder of a dataset.

    Args:
        where: a path, if it is an existing folder or begins with `.`, `/` or `~`; otherwise the name of a
            dataset in Minari's own folder (`MINARI_DATASETS_PATH`), with version `-v0` by default.
    """
    path = expand_home(where)
    if where.startswith((".", "/", "~")) or path.is_dir():
        return path
    root = os.environ.get("MINARI_DATASETS_PATH") or expand_home("~/.minari/datasets")
    return Path(root) / dataset_name(where)


def dataset_name(where: str) -> str:
    """Return Minari's name of the dataset: the last part of a path, always with a version."""
    name = Path(where).name if where.startswith((".", "/", "~")) else where
    return name if re.search(r"-v\d+$", name) else f"{name}-v0"
