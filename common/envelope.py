"""Whether a message fits the limit that its connection has."""

from common.config import TransportConfig
from common.errors import ConfigError

ENVELOPE_BYTES = 4096
"""Room for the fixed part of a header, and for what encryption adds."""


def require_fit(config: TransportConfig, size_bytes: int, what: str) -> None:
    """Refuse a limit that the largest message would not fit; each copy of it would end its connection.

    Args:
        config: the limits.
        size_bytes: of the message's arrays and of whatever in its header grows.
        what: the message, for the user.

    Raises:
        ConfigError: `--max-message-bytes` is too small.
    """
    if size_bytes + ENVELOPE_BYTES > config.max_message_bytes:
        raise ConfigError(
            f"--max-message-bytes {config.max_message_bytes}: too small for {what};"
            f" allowed: at least {size_bytes + ENVELOPE_BYTES}, on both sides"
        )
