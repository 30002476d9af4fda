"""The one exception tree: whose fault is it?

`ConfigError` is the user's, `ProtocolError` the peer's, `StorageError` the disk's, `DivergedError` the
training's, `BrokenEpisodeError` and `NoResultError` the environment's. Anything else that is raised is our
own bug and keeps its traceback.
"""

import errno

DISK_ERRNOS = frozenset((errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS))
"""Of an `OSError` those that tell of a disk, whatever was being written; never a bug of ours."""


class GraspfleetError(Exception):
    """Root of everything this project raises on purpose.

    Attributes:
        status: exit status of a command that ends with it.
    """

    status = 1


class ConfigError(GraspfleetError):
    """The user asked for something impossible; the message is one line for them, exit status 2."""

    status = 2


class StorageError(GraspfleetError):
    """The disk refuses what must be written before going on; one line for the user, exit status 1."""


class DivergedError(GraspfleetError):
    """Training left the finite numbers and cannot come back; one line for the user, exit status 3."""

    status = 3


class ProtocolError(GraspfleetError):
    """A peer sent bytes that are no valid message; count it, log it once, drop it.

    Args:
        reason: short stable slug, used as the counter's name (``"checksum"``).
        detail: the offending values, for the log.
    """

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason


class BrokenEpisodeError(GraspfleetError):
    """An environment raised, or returned no finite number: discard the episode, count it, begin another.

    Attributes:
        steps: env steps of the episode that were sound.
    """

    steps = 0


class NoResultError(GraspfleetError):
    """Every episode of an evaluation broke, so there is nothing to report; one line, exit status 1."""


class RefusedError(ProtocolError):
    """Nothing that this peer sends can be taken, whatever it says next; it is told so."""
