"""The newest published policies, kept so that later evaluations of them can be counted."""

from collections import OrderedDict

from graspfleet.common.evaluation.candidates import Key

KEPT_VERSIONS = 1024
"""Largest number of published frames kept."""
KEPT_BYTES = 64 << 20
"""Largest total size in bytes of the frames kept; the newest one is kept regardless of its size."""
MAX_PINS = 16
"""Largest number of evaluations in progress whose policies are kept until they end."""

Process = tuple[str, str]
"""An evaluator: its actor id and session id."""


class PublishedFrames:
    """Frames by policy: the newest ones, and those being evaluated."""

    def __init__(self) -> None:
        self._recent: OrderedDict[Key, bytes] = OrderedDict()
        self._pins: OrderedDict[Process, tuple[Key, bytes]] = OrderedDict()
        self._recent_bytes = 0

    def __len__(self) -> int:
        """Return the number of frames kept."""
        return len(self._recent.keys() | {key for key, _ in self._pins.values()})

    def add(self, key: Key, frame: bytes) -> None:
        """Keep a frame that was published; drop the oldest ones beyond the limits."""
        self._recent_bytes += len(frame) - len(self._recent.pop(key, b""))
        self._recent[key] = frame
        while len(self._recent) > 1 and (
            len(self._recent) > KEPT_VERSIONS or self._recent_bytes > KEPT_BYTES
        ):
            self._recent_bytes -= len(self._recent.popitem(last=False)[1])

    def pin(self, evaluator: Process, key: Key) -> None:
        """Keep a frame until the same evaluator pins another one, or `MAX_PINS` other evaluators have."""
        frame = self.get(key)
        self._pins.pop(evaluator, None)
        if frame is not None:
            self._pins[evaluator] = (key, frame)
        while len(self._pins) > MAX_PINS:
            self._pins.popitem(last=False)

    def get(self, key: Key) -> bytes | None:
        """Return the frame of a policy, if it is kept."""
        pinned = (frame for held, frame in self._pins.values() if held == key)
        return self._recent.get(key) or next(pinned, None)
