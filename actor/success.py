"""Success of an episode as reported by the environment: `info[--success-key]` of the last step."""

import logging
from collections.abc import Mapping
from typing import Any

import numpy as np

from graspfleet.common.observations.reading import reason, shown
from graspfleet.common.runtime.reports import hint

log = logging.getLogger(__name__)

LIKELY_KEYS = ("is_success", "success", "task_success", "goal_achieved", "solved")
"""Common names of the key; one of them is suggested if the configured key is missing."""


class SuccessReader:
    """Reads success from the last info of each episode.

    Args:
        key: the info's key that holds success.

    Attributes:
        likely: common key found in an info without `key`; None if none was found.
    """

    def __init__(self, key: str) -> None:
        self.likely: str | None = None
        self._key = key
        self._has_warned = False

    def __call__(self, info: Mapping[str, Any]) -> bool | None:
        """Return success; None if the environment reports none or a value that is not boolean."""
        try:
            return self._read(info)
        except Exception as error:  # an info and its values may be of any class
            self._warn(f"info[{self._key!r}] cannot be read: {reason(error)}")
            return None

    def _read(self, info: Mapping[str, Any]) -> bool | None:
        said = info.get(self._key)
        if said is None:
            self._point_at_another(info)
            return None
        if type(said) is bool:
            return said
        value = np.asarray(said)
        if value.shape == () and value.dtype.kind in "fiub" and value.item() in (0, 1):
            return bool(value.item())
        self._warn(f"info[{self._key!r}] is {shown(said)}, not a success flag; allowed: a bool, 0 or 1")
        return None

    def _point_at_another(self, info: Mapping[str, Any]) -> None:
        others = [key for key in LIKELY_KEYS if key != self._key and info.get(key) is not None]
        if others:
            self.likely = others[0]
            if not self._has_warned:
                self._has_warned = True
                told = f"info has no key {self._key!r}, but {others[0]!r}"
                hint("--success-key", f"{told}: use --success-key {others[0]} to read success from it")

    def _warn(self, text: str) -> None:
        if not self._has_warned:
            self._has_warned = True
            log.warning("%s", text)
