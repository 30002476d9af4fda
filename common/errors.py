"""The one exception tree: whose fault is it?

`ConfigError` is the user's, `ProtocolError` the peer's, `StorageError` the disk's. Anything else that is
raised is our own bug and keeps its traceback.
"""


class GraspfleetError(Exception):
    """Root of everything this project raises on purpose."""


class ConfigError(GraspfleetError):
    """The user asked for something impossible; the message is one line for them, exit status 2."""


class StorageError(GraspfleetError):
    """The disk refuses what must be written before going on; one line for the user, exit status 1."""


class ProtocolError(GraspfleetError):
    """A peer sent bytes that are no valid message; count it, log it once, drop it.

    Args:
        reason: short stable slug, used as the counter's name (``"checksum"``).
        detail: the offending values, for the log.
    """

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason
