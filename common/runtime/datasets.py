"""Where a Minari dataset is on disk: one rule for those who write and those who read."""

import os
import re
from pathlib import Path

from common.runtime.files import expand_home


def dataset_folder(where: str) -> Path:
    """Return the folder of a dataset that a user names.

    Args:
        where: a path, if it has a separator in it that leads somewhere or begins with a dot or a slash; else
            the dataset's name in Minari's own folder (`MINARI_DATASETS_PATH`), its version `-v0` if it has
            none.
    """
    path = expand_home(where)
    if where.startswith((".", "/", "~")) or path.is_dir():
        return path
    root = os.environ.get("MINARI_DATASETS_PATH") or expand_home("~/.minari/datasets")
    return Path(root) / dataset_name(where)


def dataset_name(where: str) -> str:
    """Return the name that Minari knows the dataset by: the last part of a path, always with a version."""
    name = Path(where).name if where.startswith((".", "/", "~")) else where
    return name if re.search(r"-v\d+$", name) else f"{name}-v0"
