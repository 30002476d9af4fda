"""Watching what happens to a socket's connections, without the two traps of libzmq's monitors.

libzmq's I/O thread waits for a watcher that does not read, or is gone, and with it waits every connection of
the process. So nothing limits what is queued here, and `Monitor.close` ends the watching before the watcher.
"""

from collections.abc import Iterator
from itertools import count

import zmq
from zmq.utils.monitor import recv_monitor_message

_NUMBERS = count()


class Monitor:
    """The events of one socket.

    Args:
        watched: the socket, not yet bound or connected.
        events: which (`zmq.EVENT_...`), or-ed.

    Attributes:
        socket: has something to receive when something has happened; for pollers.
    """

    def __init__(self, watched: "zmq.Socket[bytes]", events: int) -> None:
        self._watched = watched
        endpoint = f"inproc://monitor-{next(_NUMBERS)}"
        watched.monitor(endpoint, events)
        self.socket: zmq.Socket[bytes] = zmq.Context.instance().socket(zmq.PAIR)
        self.socket.set_hwm(0)
        self.socket.connect(endpoint)

    def events(self) -> Iterator[tuple[int, int, bytes]]:
        """Yield (event, value, endpoint) for all that has happened since the last call."""
        while self.socket.poll(0):
            event = recv_monitor_message(self.socket)
            yield event["event"], int(event["value"]), event["endpoint"]

    def close(self) -> None:
        """Stop; before the watched socket is closed, and in the thread that owns it."""
        self._watched.monitor(None, 0)
        self.socket.close(0)
