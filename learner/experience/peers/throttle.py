"""Rate limit of each actor. Must not know: clocks, sockets."""

from dataclasses import dataclass

MAX_NAMES = 16_384
"""Number of names above which those that sent nothing during the last second are dropped."""


@dataclass
class Second:
    """Messages and bytes of an actor in the second that began at `start_s`."""

    start_s: float
    batches: int = 0
    size_bytes: int = 0


class Throttle:
    """Counts each actor's messages and bytes, second by second.

    A message over the limit is dropped before it is decoded. It is not acknowledged, so its sender resends
    it: an honest actor that is too fast is slowed down and loses nothing.

    Args:
        batches_per_s: messages per second.
        bytes_per_s: bytes per second; the message that exceeds it is still admitted, so that one of any size
            can pass.
    """

    def __init__(self, batches_per_s: float, bytes_per_s: float) -> None:
        self._batches_per_s = batches_per_s
        self._bytes_per_s = bytes_per_s
        self._seconds: dict[str, Second] = {}

    def admits(self, actor_id: str, size_bytes: int, now_s: float) -> bool:
        """Charge an actor for a message; return False if it has reached its limit for this second.

        Args:
            actor_id: an actor with a session, or a name shared by senders without one.
            size_bytes: size of the message.
            now_s: monotonic time, in seconds.
        """
        second = self._seconds.get(actor_id)
        if second is None or now_s - second.start_s >= 1:
            if len(self._seconds) > MAX_NAMES:
                self._seconds = {
                    name: last for name, last in self._seconds.items() if now_s - last.start_s < 1
                }
            second = self._seconds[actor_id] = Second(now_s)
        if second.batches >= self._batches_per_s or second.size_bytes >= self._bytes_per_s:
            return False
        second.batches += 1
        second.size_bytes += size_bytes
        return True
