"""Who may be spoken to: the rule that plaintext stays on this machine."""

import ipaddress
import logging

from common.errors import ConfigError

log = logging.getLogger(__name__)


def is_loopback(host: str) -> bool:
    """Return whether traffic to `host` cannot leave this machine."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def require_private(flag: str, host: str, *, insecure: bool) -> None:
    """Refuse plaintext beyond this machine unless the user asked for it.

    Args:
        flag: the flag that `host` came from, for the message.
        host: address or host name to bind or connect to.
        insecure: the user's explicit consent; it is logged.

    Raises:
        ConfigError: `host` is another machine (or faces one) and `insecure` is false.
    """
    if is_loopback(host):
        return
    if not insecure:
        raise ConfigError(f"{flag} {host}: plaintext is allowed on loopback only; --insecure overrides")
    log.warning("%s %s: everything crosses the network unencrypted and unauthenticated", flag, host)
