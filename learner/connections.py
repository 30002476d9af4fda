"""How many connections the learner's sockets have, and the way to end them.

libzmq has no call that ends one connection of a bound socket, but it tells their file descriptors: shutting
the TCP connection down below it is noticed at once and cleaned up.
"""

import logging
import resource
import socket
from collections import Counter

import zmq

from common.config import TransportConfig
from common.monitor import Monitor

log = logging.getLogger(__name__)

RESERVED_FILES_N = 256
"""Descriptors that are not for connections: the replay, checkpoints, logs, libzmq itself."""


class Connections:
    """Counts what bound sockets accept, and closes at once what is too much.

    Args:
        at_most_n: open at a time, over all sockets.
        counters: `refused_connections` is counted in it.
    """

    def __init__(self, at_most_n: int, counters: Counter[str]) -> None:
        self._at_most_n = at_most_n
        self._counters = counters
        self._monitors: list[Monitor] = []
        # (which socket, descriptor) -> the learner's port; one socket's news of a descriptor may come before
        # another's news that it gave that descriptor back.
        self._open: dict[tuple[int, int], int] = {}

    def __len__(self) -> int:
        return len(self._open)

    def watch(self, bound: "zmq.Socket[bytes]", poller: zmq.Poller) -> None:
        """Watch a socket that is about to be bound; what happens is told through `poller`."""
        monitor = Monitor(bound, zmq.EVENT_ACCEPTED | zmq.EVENT_DISCONNECTED)
        self._monitors.append(monitor)
        poller.register(monitor.socket, zmq.POLLIN)

    def look(self) -> None:
        """Take note of what has happened since the last time."""
        for which, monitor in enumerate(self._monitors):
            for event, descriptor, endpoint in monitor.news():
                if event == zmq.EVENT_DISCONNECTED:
                    self._open.pop((which, descriptor), None)
                    continue
                port = int(endpoint.rsplit(b":", 1)[1])
                if len(self._open) >= self._at_most_n:
                    self._counters["refused_connections"] += 1
                    _end(descriptor, port)
                else:
                    self._open[which, descriptor] = port

    def end_all(self) -> None:
        """End every connection; their owners come back by themselves if they may."""
        self.look()
        for (_, descriptor), port in self._open.items():
            _end(descriptor, port)

    def close(self) -> None:
        """Stop watching; before the sockets are closed, and in the thread that owns them."""
        for monitor in self._monitors:
            monitor.close()


def allow_connections(config: TransportConfig) -> int:
    """Raise this process's limit on open files as far as needed; return how many connections it allows.

    Without this reserve a flood of connections would leave no descriptor for the next checkpoint.
    """
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    room = config.max_connections_n if most == resource.RLIM_INFINITY else max(3, most - RESERVED_FILES_N)
    if room < config.max_connections_n:
        log.warning(
            "--max-connections-n %d: only %d, as this system allows %d open files (ulimit -Hn)",
            config.max_connections_n,
            room,
            most,
        )
    return min(room, config.max_connections_n)


def _end(descriptor: int, port: int) -> None:
    """Shut a TCP connection down, if the descriptor still stands for one of ours."""
    try:
        with socket.fromfd(descriptor, socket.AF_INET, socket.SOCK_STREAM) as connection:
            if connection.getsockname()[1] == port:  # libzmq may have closed it, and the number be another's
                connection.shutdown(socket.SHUT_RDWR)
    except (OSError, IndexError):
        pass  # gone already
