"""The exception tree, ordered by fault.

`ConfigError` is the user's fault, `ProtocolError` the peer's, `StorageError` the disk's, `DivergedError` the
training's, `BrokenEpisodeError` and `NoResultError` the environment's. Any other exception is a bug of this
program and keeps its traceback.
"""

import errno
import re

DISK_ERRNOS = frozenset((errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS))
"""`OSError` numbers that mean a disk problem, whatever was being written."""


WORD = re.compile(r"[\w@%+=:,./~-]+")
"""Text that is shown without quotes; other text is quoted, so that spaces and control characters show."""


class GraspfleetError(Exception):
    """Root of all exceptions that this project defines.

    Attributes:
        status: exit status of a command that ends with this error.
    """

    status = 1


class ConfigError(GraspfleetError):
    """An impossible request by the user; one line for the user, exit status 2."""

    status = 2


class StorageError(GraspfleetError):
    """A failure of a required write to disk; one line for the user, exit status 1."""


class DivergedError(GraspfleetError):
    """Unrecoverable non-finite numbers in training; one line for the user, exit status 3."""

    status = 3


class ProtocolError(GraspfleetError):
    """An invalid message from a peer: counted, logged once, dropped.

    Args:
        reason: short stable slug, used as the name of the counter (``"checksum"``).
        detail: the offending values, for the log.
    """

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason


class BrokenEpisodeError(GraspfleetError):
    """An error or a non-finite number from an environment: the episode is discarded, counted and replaced.

    Attributes:
        steps: valid env steps of the episode.
    """

    steps = 0


class NoResultError(GraspfleetError):
    """An evaluation without a complete episode, hence without a result; one line, exit status 1."""


class RefusedError(ProtocolError):
    """A peer whose messages can never be accepted; it gets a `Refusal`."""


def shown(value: object) -> str:
    """Return a value as text for the user, in quotes unless it is a plain word."""
    return value if isinstance(value, str) and WORD.fullmatch(value) else repr(value)
