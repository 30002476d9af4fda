"""One TCP connection as the kernel sees it, beside the library that reads it."""

import contextlib
import errno
import socket
import struct
from typing import NamedTuple

ESTABLISHED = 1
"""`TCP_ESTABLISHED` of the kernel: neither end has closed."""
_INFO = struct.Struct("=B119xQQ")
"""Of `struct tcp_info` (linux/tcp.h): tcpi_state, tcpi_bytes_acked and tcpi_bytes_received."""


def can_examine() -> bool:
    """Return whether this system tells how much has come over a connection (Linux does, macOS does not)."""
    return hasattr(socket, "TCP_INFO")


class TcpState(NamedTuple):
    """State of a connection as reported by the kernel.

    Attributes:
        state: `TCP_...` of the kernel.
        acknowledged: bytes sent to the peer that its kernel has confirmed.
        received: bytes that the peer has sent, read or not.
    """

    state: int
    acknowledged: int
    received: int


class TcpConnection:
    """A second descriptor of a connection whose first one is libzmq's.

    libzmq may close its own at any time, and the number may then stand for something else; this one stays
    what it is. The peer sees the end of the connection when both are closed.

    Args:
        descriptor: libzmq's.
        port: the learner's, for whoever took over the number meanwhile is another's.

    Raises:
        OSError: the connection is gone already.
    """

    def __init__(self, descriptor: int, port: int) -> None:
        self._socket = socket.fromfd(descriptor, socket.AF_INET, socket.SOCK_STREAM)
        try:
            if self._socket.getsockname()[1] != port:
                raise OSError(errno.EBADF, "another's")
        except (OSError, IndexError, TypeError) as error:
            self._socket.close()
            raise OSError(errno.EBADF, "gone") from error

    def look(self) -> TcpState:
        """Return what the kernel knows of the connection now.

        Raises:
            OSError: the kernel tells nothing of it, or less than Linux 4.1 does.
        """
        if not can_examine():
            raise OSError(errno.ENOSYS, "no TCP_INFO on this system")
        info = self._socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _INFO.size)
        if len(info) < _INFO.size:
            raise OSError(errno.ENOSYS, "TCP_INFO is too short")
        return TcpState._make(_INFO.unpack(info))

    def narrow(self, window_bytes: int) -> None:
        """Have the peer send no more at a time than this, from what is on its way already (64 KiB) on.

        Raises:
            OSError: the connection is gone.
        """
        if hasattr(socket, "TCP_WINDOW_CLAMP"):
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_WINDOW_CLAMP, window_bytes)

    def end(self) -> None:
        """Shut the connection down; libzmq notices at once and frees what it holds of it."""
        with contextlib.suppress(OSError):  # the peer was faster
            self._socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Give the descriptor back."""
        self._socket.close()
