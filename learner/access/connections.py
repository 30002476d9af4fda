"""The connections of the learner's sockets: their number, the limits on each, and how they are closed.

libzmq has no call that closes one connection of a bound socket or reports how much it buffers for it, but it
reports their file descriptors: the kernel knows the bytes received over each, and if the TCP connection is
shut down below libzmq, libzmq notices at once and cleans up.
"""

import logging
import secrets
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

import zmq

from graspfleet.common.net.monitor import Monitor
from graspfleet.common.settings.transport import TransportConfig
from graspfleet.learner.access.limits import HANDSHAKE_BYTES, MAX_UNREAD_MESSAGES, Allowance, Reader
from graspfleet.learner.access.poll_schedule import PollSchedule
from graspfleet.learner.access.tcp import ESTABLISHED, TcpConnection, can_examine

log = logging.getLogger(__name__)

STRANGERS_PAUSE_S = 0.002
"""Seconds between checks of unauthenticated connections; memory may grow by a megabyte per millisecond."""
PAUSE_S = 0.02
"""Seconds between checks of all connections."""
WIDE_BYTES = 1 << 30
"""Effectively unlimited, in bytes: the kernel's own receive window applies again."""
REMAINS_S = 10.0
"""Seconds after which the unread messages of a closed connection have been read, even under constant load."""
BROKEN = "it sent an invalid message, too long a message, or no data"
"""Reasons for which libzmq itself closes a connection, for the log."""

Key = tuple[int, int]
"""Index of the socket, and libzmq's descriptor. The index is needed because one socket may report a reused
descriptor before another socket reports that it closed it."""


@dataclass
class Connection:
    """An open connection; `ended` if the learner has shut it down and libzmq has not reported it yet."""

    tcp: TcpConnection
    allowance: Allowance
    ended: bool = False


class Remains(NamedTuple):
    """Bytes that a closed connection may have left in libzmq's queues, their reader, and the closing time."""

    unread: int
    reader: Reader
    emptied: int
    ended_s: float

    def are_there(self, now_s: float) -> bool:
        """Return whether libzmq may still hold some of the bytes."""
        return self.reader.emptied == self.emptied and now_s - self.ended_s < REMAINS_S


class Connections:
    """Counts the connections of bound sockets, and closes those that exceed a limit.

    Args:
        config: limits.
        max_open: largest number of open connections, over all sockets.
        counters: receives the counts of `refused_connections`, `cut_handshakes`, `cut_connections` and
            `broken_connections`.
        encrypted: whether connections have to complete an authenticated handshake.
    """

    def __init__(
        self, config: TransportConfig, max_open: int, counters: Counter[str], *, encrypted: bool
    ) -> None:
        self._config, self._max_open = config, max_open
        self._counters, self._guarded = counters, encrypted and can_examine()
        self._bound: list[tuple[Monitor, Reader | None]] = []
        self._open: dict[Key, Connection] = {}
        self._strangers: dict[Key, Connection] = {}
        self._remains: list[Remains] = []
        self._logged: set[str] = set()
        self._looks_at_strangers = PollSchedule(STRANGERS_PAUSE_S)
        self._looks = PollSchedule(PAUSE_S)

    def __len__(self) -> int:
        return len(self._open)

    @property
    def pause_s(self) -> float:
        """Seconds until the next call of `look` is due."""
        if not self._open:
            return 1.0
        return (self._looks_at_strangers if self._strangers else self._looks).pause_s

    def watch(self, bound: "zmq.Socket[bytes]", reader: Reader | None, poller: zmq.Poller) -> None:
        """Watch a socket that is about to be bound; its events wake `poller`.

        Args:
            bound: the socket.
            reader: receives the socket's messages; None if only subscriptions arrive there.
            poller: the socket's monitor is registered with it.
        """
        monitor = Monitor(bound, zmq.EVENT_ACCEPTED | zmq.EVENT_DISCONNECTED)
        self._bound.append((monitor, reader))
        poller.register(monitor.socket, zmq.POLLIN)

    def look(self) -> None:
        """Handle connection events since the last call, and close connections that send too much."""
        for which, (monitor, _) in enumerate(self._bound):
            for event, descriptor, endpoint in monitor.events():
                if event == zmq.EVENT_DISCONNECTED:
                    self._close((which, descriptor))
                else:
                    self._accept((which, descriptor), int(endpoint.rsplit(b":", 1)[1]))
        if self._strangers and self._looks_at_strangers.due():
            self._account(list(self._strangers.items()))
            self._looks_at_strangers.done()
        if self._open and self._looks.due():
            self._account(list(self._open.items()))
            self._bound_total()
            self._looks.done()

    def end_all(self) -> None:
        """Close every connection; peers whose keys are still allowed reconnect by themselves."""
        self.look()
        for connection in self._open.values():
            self._end(connection)

    def close(self) -> None:
        """Stop watching; call before the sockets are closed, in the thread that owns them."""
        for monitor, _ in self._bound:
            monitor.close()
        for connection in self._open.values():
            connection.tcp.close()

    def _accept(self, key: Key, port: int) -> None:
        try:
            tcp = TcpConnection(key[1], port)
        except OSError:  # libzmq has closed it already, as it does after an invalid or too long message
            self._count("broken_connections", BROKEN)
            return
        self._close(key)
        if len(self._open) >= self._max_open:
            self._count("refused_connections", f"more than {self._max_open} (--max-connections, ulimit -n)")
            tcp.end()
            tcp.close()
            return
        limit = MAX_UNREAD_MESSAGES * self._config.max_message_bytes
        reader = self._bound[key[0]][1]
        allowance = Allowance(key[1], reader, unread_bytes=limit, welcomed=not self._guarded)
        connection = self._open[key] = Connection(tcp, allowance)
        if not allowance.welcomed:
            tcp.narrow(HANDSHAKE_BYTES)
            self._strangers[key] = connection
            if len(self._strangers) > self._config.max_handshakes:
                self._drop_a_stranger()

    def _close(self, key: Key) -> None:
        """Drop a connection that libzmq has closed, and record the bytes it left unread."""
        connection = self._open.pop(key, None)
        self._strangers.pop(key, None)
        if connection is None:
            return
        exceeded, established = self._examine(connection)
        if not connection.ended:
            if exceeded:
                self._count_excess(connection)
            elif established:
                self._count("broken_connections", BROKEN)
        reader = self._bound[key[0]][1]
        if reader is not None and connection.allowance.unread:
            remains = Remains(connection.allowance.unread, reader, reader.emptied, time.monotonic())
            self._remains.append(remains)
        connection.tcp.close()

    def _account(self, whose: Iterable[tuple[Key, Connection]]) -> None:
        """Check connections: close those that sent too much, and note those that have authenticated."""
        for key, connection in whose:
            if connection.ended:
                continue
            exceeded, _ = self._examine(connection)
            if connection.allowance.welcomed and self._strangers.pop(key, None) is not None:
                connection.tcp.narrow(WIDE_BYTES)
            if exceeded:
                self._count_excess(connection)
                self._end(connection)

    @staticmethod
    def _examine(connection: Connection) -> tuple[bool, bool]:
        """Return whether a connection has sent too much, and whether it is still established."""
        taken = connection.allowance.taken
        try:
            state = connection.tcp.look()
        except OSError:
            return False, False
        return connection.allowance.exceeded(state, taken), state.state == ESTABLISHED

    def _bound_total(self) -> None:
        """Close the connections with the most unread bytes until the total is within its limit."""
        now_s = time.monotonic()
        self._remains = [remains for remains in self._remains if remains.are_there(now_s)]
        senders = [each for (which, _), each in self._open.items() if self._bound[which][1] is not None]
        unread = sum(each.allowance.unread for each in senders) + sum(each.unread for each in self._remains)
        if unread <= self._config.max_unread_bytes:
            return
        for connection in sorted(senders, key=lambda each: each.allowance.unread, reverse=True):
            if unread <= self._config.max_unread_bytes or not connection.allowance.unread:
                return
            unread -= connection.allowance.unread
            self._end(connection, "cut_connections", "the unread total was more than --max-unread-bytes")

    def _drop_a_stranger(self) -> None:
        """Close a random connection in its handshake; slow ones are likely to be hit, quick ones are not."""
        while self._strangers:
            key = secrets.choice(list(self._strangers))
            connection = self._strangers.pop(key)
            self._examine(connection)
            if not connection.allowance.welcomed:
                self._end(connection, "cut_handshakes", "more than --max-handshakes in progress")
                return

    def _count_excess(self, connection: Connection) -> None:
        self._count(*connection.allowance.excess)

    def _end(self, connection: Connection, counter: str | None = None, why: str = "") -> None:
        if counter is not None and not connection.ended:
            self._count(counter, why)
        connection.ended = True
        connection.tcp.end()

    def _count(self, counter: str, why: str) -> None:
        self._counters[counter] += 1
        if why not in self._logged:
            self._logged.add(why)
            log.warning("closed a connection: %s (further ones are only counted)", why)
