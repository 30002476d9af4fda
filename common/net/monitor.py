"""Connection events of a socket, without two pitfalls of libzmq's monitors.

libzmq's I/O thread, and with it every connection of the process, blocks on a monitor socket that is full or
gone. The queue here is therefore unlimited, and `Monitor.close` ends monitoring before it closes the socket.
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
        events: bitwise or of `zmq.EVENT_...`.

    Attributes:
        socket: readable when there are events; for pollers.
    """

    def __init__(self, watched: "zmq.Socket[bytes]", events: int) -> None:
        self._watched = watched
        endpoint = f"inproc://monitor-{next(_NUMBERS)}"
        watched.monitor(endpoint, events)
        self.socket: zmq.Socket[bytes] = zmq.Context.instance().socket(zmq.PAIR)
        self.socket.set_hwm(0)
        self.socket.connect(endpoint)

    def events(self) -> Iterator[tuple[int, int, bytes]]:
        """Yield (event, value, endpoint) of each event since the last call."""
        while self.socket.poll(0):
            event = recv_monitor_message(self.socket)
            yield event["event"], int(event["value"]), event["endpoint"]

    def close(self) -> None:
        """Stop monitoring; call it in the thread that owns the watched socket, before closing that socket."""
        self._watched.monitor(None, 0)
        self.socket.close(0)
