"""Host names and addresses: their syntax, and the lookup of names."""

import ipaddress
import re
import socket
import threading

FORM = "a host name or address without a port (127.0.0.1, ::1, learner.example); ports have their own flags"
"""Description of a valid host for error messages."""
_LABEL = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?")
_MAX_NAME = 253
_LOCAL_LOOKUP_S = 0.2
"""Seconds that the constructor waits for a lookup: enough for names in this machine's hosts file."""


def host_of(text: str, *, wildcard: bool = False) -> str:
    """Return a validated host; the brackets of an IPv6 address are removed.

    Args:
        text: as the user wrote it.
        wildcard: whether `*` is allowed.

    Raises:
        ValueError: the text is an endpoint or a path, is empty, or contains spaces.
    """
    inner = text[1:-1] if text.startswith("[") and text.endswith("]") else text
    if inner != text or ":" in inner:
        if not _is_address(inner, 6):
            raise ValueError(f"allowed: {FORM}")
        return inner
    if (wildcard and text == "*") or _is_address(text, 4):
        return text
    labels = text.removesuffix(".").split(".")
    looks_like_an_address = labels[-1].isdigit()
    if looks_like_an_address or len(text) > _MAX_NAME or not all(map(_LABEL.fullmatch, labels)):
        raise ValueError(f"allowed: {FORM}")
    return text


def _is_address(text: str, version: int) -> bool:
    try:
        return ipaddress.ip_address(text).version == version
    except ValueError:
        return False


class Addresses:
    """Endless cycle over the addresses of a host.

    A name is looked up in a separate thread, because a lookup has no time limit, and again in each cycle,
    because its addresses may change.

    Args:
        host: a name or an address.

    Attributes:
        error: reason of a failed lookup, for the user; None after a success and before the first result.
    """

    def __init__(self, host: str) -> None:
        self.error: str | None = None
        self._host = host
        self._left: list[str] = []
        self._found: list[str] = []
        self._search: threading.Thread | None = None
        if _is_address(host, 4) or _is_address(host, 6):
            self._found = [host]
        else:
            self._begin()
            assert self._search is not None
            self._search.join(_LOCAL_LOOKUP_S)

    def next(self) -> str | None:
        """Return the next address to try; None while none is known."""
        if not self._left:
            self._left = list(self._found)
            if self._search is not None and not self._search.is_alive():
                self._begin()
        return self._left.pop(0) if self._left else None

    def _begin(self) -> None:
        self._search = threading.Thread(target=self._look_up, name="addresses", daemon=True)
        self._search.start()

    def _look_up(self) -> None:
        try:
            answers = socket.getaddrinfo(self._host, None, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            self.error = f"{self._host}: {getattr(error, 'strerror', None) or error}"
            return
        self._found = list(dict.fromkeys(str(address[0]) for *_, address in answers))
        self.error = None
