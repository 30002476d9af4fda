"""The frames of the batch that is being filled: each is sent once, and referred to by later batches.

In: frames of transitions in the order in which they are added. Out: references, and the frames to send. Must
not know: the rest of a batch, sockets.
"""

import numpy as np

from graspfleet.common.observations.fields import Frame, Pixels
from graspfleet.common.specs import MAX_FRAME_REFERENCE, EnvSpec
from graspfleet.common.transition import REFERENCES

NO_FRAMES: Pixels = np.empty((0, 0), np.uint8)


class OpenFrames:
    """Numbers the frames of a session, and collects those of one batch.

    A frame that an earlier batch holds is sent again only if more than `MAX_FRAME_REFERENCE` frames follow
    it, as after a long reset beside faster environments.

    Args:
        spec: of the transitions.
    """

    def __init__(self, spec: EnvSpec) -> None:
        self._spec = spec
        self._first = 0  # number of the first frame of the batch
        self._pixels: list[Pixels] = []

    @property
    def size_bytes(self) -> int:
        """Size of the frames in the batch."""
        return len(self._pixels) * self._spec.frame_bytes

    @property
    def is_full(self) -> bool:
        """True if the frames of one more transition might not fit in the batch."""
        return len(self._pixels) + 2 > self._spec.max_batch_frames

    def refer(self, frame: Frame | None, next_frame: Frame | None) -> bytes:
        """Return the references of a transition to its frames, as the last bytes of its record.

        Raises:
            ValueError: a frame is missing or has another size.
        """
        return REFERENCES.pack(self._place(frame), self._place(next_frame))

    def take(self) -> tuple[int, Pixels]:
        """Return the number of the batch's first frame, and its frames [m, frame_bytes]; start the next.

        Without new frames, the array is empty.
        """
        if not self._pixels:
            return self._first, NO_FRAMES
        first, frames = self._first, np.frombuffer(b"".join(pixels.data for pixels in self._pixels), np.uint8)
        self._first += len(self._pixels)
        shape = len(self._pixels), self._spec.frame_bytes
        self._pixels.clear()
        return first, frames.reshape(shape)

    def _place(self, frame: Frame | None) -> int:
        """Return the place of a frame, counted from `MAX_FRAME_REFERENCE` frames before the batch."""
        if frame is None or frame.pixels.nbytes != self._spec.frame_bytes:
            raise ValueError(f"an observation without a frame of {self._spec.frame_bytes} bytes")
        oldest = self._first - MAX_FRAME_REFERENCE
        if frame.number < max(0, oldest):
            frame.number = self._first + len(self._pixels)
            self._pixels.append(frame.pixels)
        return frame.number - oldest
