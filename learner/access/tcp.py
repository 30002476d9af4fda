"""Kernel state of one TCP connection, which libzmq reads from."""

import contextlib
import errno
import socket
import struct
from typing import NamedTuple

ESTABLISHED = 1
"""The kernel's `TCP_ESTABLISHED`: neither end has closed."""
_INFO = struct.Struct("=B119xQQ")
"""Fields of `struct tcp_info` (linux/tcp.h): tcpi_state, tcpi_bytes_acked and tcpi_bytes_received."""


def can_examine() -> bool:
    """Return whether the kernel reports the bytes received per connection (Linux does, macOS does not)."""
    return hasattr(socket, "TCP_INFO")


class TcpState(NamedTuple):
    """State of a connection as reported by the kernel.

    Attributes:
        state: one of the kernel's `TCP_...` states.
        acknowledged: bytes sent to the peer and acknowledged by its kernel.
        received: bytes that the peer has sent, read or not.
    """

    state: int
    acknowledged: int
    received: int


class TcpConnection:
    """A duplicate descriptor of a connection owned by libzmq.

    libzmq may close its own descriptor at any time, and the number may then be reused; the duplicate stays
    valid. The peer sees the end of the connection when both are closed.

    Args:
        descriptor: libzmq's descriptor.
        port: the learner's port; another local port means that the number was reused for something else.

    Raises:
        OSError: the connection is already gone.
    """

    def __init__(self, descriptor: int, port: int) -> None:
        self._socket = socket.fromfd(descriptor, socket.AF_INET, socket.SOCK_STREAM)
        try:
            if self._socket.getsockname()[1] != port:
                raise OSError(errno.EBADF, "reused")
        except (OSError, IndexError, TypeError) as error:
            self._socket.close()
            raise OSError(errno.EBADF, "gone") from error

    def look(self) -> TcpState:
        """Return the current kernel state of the connection.

        Raises:
            OSError: the kernel reports nothing, or less than Linux 4.1 does.
        """
        if not can_examine():
            raise OSError(errno.ENOSYS, "no TCP_INFO on this system")
        info = self._socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _INFO.size)
        if len(info) < _INFO.size:
            raise OSError(errno.ENOSYS, "TCP_INFO is too short")
        return TcpState._make(_INFO.unpack(info))

    def narrow(self, window_bytes: int) -> None:
        """Limit the receive window; up to 64 KiB that are already in flight may still arrive.

        Raises:
            OSError: the connection is gone.
        """
        if hasattr(socket, "TCP_WINDOW_CLAMP"):
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_WINDOW_CLAMP, window_bytes)

    def end(self) -> None:
        """Shut the connection down; libzmq notices at once and frees its buffers."""
        with contextlib.suppress(OSError):  # the peer has closed it already
            self._socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Close the duplicate descriptor."""
        self._socket.close()
