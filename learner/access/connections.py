"""The connections of the learner's sockets: how many there are, what each may cost, and the way to end them.

libzmq has no call that ends one connection of a bound socket and none that tells what it holds of it, but it
tells their file descriptors: the kernel knows what came over each, and shutting the TCP connection down below
libzmq is noticed at once and cleaned up.
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
"""Between two looks at those who are not let in yet; memory may grow by a megabyte in each millisecond."""
PAUSE_S = 0.02
"""Between two looks at everybody."""
WIDE_BYTES = 1 << 30
"""Effectively unlimited: the kernel's own receive window applies again."""
REMAINS_S = 10.0
"""Seconds by which the unread messages of a closed connection have been taken, even under constant load."""
BROKEN = "it sent what is no message, too long a one, or nothing"
"""Why libzmq itself ends a connection, for the log."""

Key = tuple[int, int]
"""Which socket, and libzmq's descriptor; one socket's news of a descriptor may come before another's that it
gave that descriptor back."""


@dataclass
class Connection:
    """An open connection; `ended` once the learner has ended it and libzmq has not said so yet."""

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
        """Return whether some of it may still be held."""
        return self.reader.emptied == self.emptied and now_s - self.ended_s < REMAINS_S


class Connections:
    """Counts what bound sockets accept, and ends what is too much.

    Args:
        config: limits.
        max_open: open at a time, over all sockets.
        counters: `refused_connections`, `cut_handshakes`, `cut_connections` and `broken_connections` are
            counted in it.
        encrypted: nobody is let in before the end of a handshake.
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
        """Watch a socket that is about to be bound; what happens is told through `poller`.

        Args:
            bound: the socket.
            reader: takes what arrives there; None where only subscriptions do.
            poller: gets something to poll.
        """
        monitor = Monitor(bound, zmq.EVENT_ACCEPTED | zmq.EVENT_DISCONNECTED)
        self._bound.append((monitor, reader))
        poller.register(monitor.socket, zmq.POLLIN)

    def look(self) -> None:
        """Take note of what has happened since the last time, and end who sends too much."""
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
        """End every connection; their owners come back by themselves if they may."""
        self.look()
        for connection in self._open.values():
            self._end(connection)

    def close(self) -> None:
        """Stop watching; before the sockets are closed, and in the thread that owns them."""
        for monitor, _ in self._bound:
            monitor.close()
        for connection in self._open.values():
            connection.tcp.close()

    def _accept(self, key: Key, port: int) -> None:
        try:
            tcp = TcpConnection(key[1], port)
        except OSError:  # libzmq was faster, which ends at once what is no message or too long a one
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
        """Forget a connection that libzmq has closed, and note what it left."""
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
        """Look at connections; end who has sent too much, and note who has been let in."""
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
        """Return whether a connection has sent too much, and whether its peer is still there."""
        taken = connection.allowance.taken
        try:
            state = connection.tcp.look()
        except OSError:
            return False, False
        return connection.allowance.exceeded(state, taken), state.state == ESTABLISHED

    def _bound_total(self) -> None:
        """End those who have the most unread until all together have no more than they may."""
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
            self._end(connection, "cut_connections", "all together have sent more than --max-unread-bytes")

    def _drop_a_stranger(self) -> None:
        """End one of those in a handshake, by chance: who lingers is hit, who is quick is rarely there."""
        while self._strangers:
            key = secrets.choice(list(self._strangers))
            connection = self._strangers.pop(key)
            self._examine(connection)
            if not connection.allowance.welcomed:
                self._end(connection, "cut_handshakes", "more than --max-handshakes at a time")
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
            log.warning("ended a connection: %s (further ones are only counted)", why)
