"""The size check of messages against the transport's limit."""

from graspfleet.common.errors import ConfigError

ENVELOPE_BYTES = 4096
"""Allowance for the fixed part of a header and for encryption."""


def require_fit(max_message_bytes: int, size_bytes: int, name: str) -> None:
    """Raise ConfigError if the limit is below the largest message, which would end its connection.

    Args:
        max_message_bytes: the limit.
        size_bytes: size of the message's arrays and of the variable part of its header.
        name: the message, for the user.

    Raises:
        ConfigError: `--max-message-bytes` is too small.
    """
    if size_bytes + ENVELOPE_BYTES > max_message_bytes:
        raise ConfigError(
            f"--max-message-bytes {max_message_bytes}: too small for {name};"
            f" allowed: at least {size_bytes + ENVELOPE_BYTES}, on both sides"
        )
