"""The place of each of a session's newest frames in the store.

In: ranges of a session's frames, each with its place in the store. Out: numbers of stored frames. Must not
know: pixels, rows, files.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from graspfleet.common.errors import ProtocolError
from graspfleet.common.specs import MAX_FRAME_REFERENCE

MISSING = np.uint64(2**64 - 1)
"""Number of a frame that was never stored, because its batch was lost or malformed."""


class FrameWindow:
    """Stored numbers of the newest `MAX_FRAME_REFERENCE` frames of a session.

    Args:
        ranges: values of an earlier window's `ranges`.

    Attributes:
        ranges: (first number in the session, first number in the store, count), oldest first.
    """

    __slots__ = ("ranges",)

    def __init__(self, ranges: Sequence[tuple[int, int, int]] = ()) -> None:
        self.ranges = [(first, start, count) for first, start, count in ranges]

    @property
    def end(self) -> int:
        """Number, in the session, after its newest stored frame."""
        return self.ranges[-1][0] + self.ranges[-1][2] if self.ranges else 0

    def require_next(self, first: int) -> None:
        """Check the number of the first frame of a batch.

        Raises:
            ProtocolError: it was used before.
        """
        if first < self.end:
            raise ProtocolError("frame", f"first frame {first}, allowed at least {self.end}")

    def add(self, first: int, start: int, count: int) -> None:
        """Note where frames are stored.

        Args:
            first: number of the first one in the session, at least `end`.
            start: its number in the store.
            count: number of frames, stored one after the other.
        """
        if count:
            follows = self.ranges and self.ranges[-1][1] + self.ranges[-1][2] == start
            if follows and self.end == first:
                first, start, before = self.ranges.pop()
                count += before
            self.ranges.append((first, start, count))
            while self.ranges[0][0] + self.ranges[0][2] <= self.end - MAX_FRAME_REFERENCE:
                del self.ranges[0]

    def numbers(self, first: int) -> NDArray[np.uint64]:
        """Return the stored numbers of the `MAX_FRAME_REFERENCE` frames before number `first`.

        Returns:
            [MAX_FRAME_REFERENCE], with `MISSING` for frames that were not stored.
        """
        table = np.full(MAX_FRAME_REFERENCE, MISSING)
        oldest = first - MAX_FRAME_REFERENCE
        for begin, start, count in self.ranges:
            skipped = max(0, oldest - begin)
            kept = min(count, first - begin) - skipped
            if kept > 0:
                place = begin + skipped - oldest
                table[place : place + kept] = np.arange(start + skipped, start + skipped + kept)
        return table
