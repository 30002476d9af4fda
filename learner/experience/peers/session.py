"""Delivery state of one session of one actor; each start of the process begins a session."""

from dataclasses import dataclass, field, fields
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from graspfleet.common.errors import ProtocolError
from graspfleet.common.fields import MAX_HER_GOALS
from graspfleet.learner.experience.peers.frame_window import FrameWindow
from graspfleet.learner.reporting.metric import Metric

METRICS = {
    "produced": Metric(
        "transitions",
        "sum over sessions of the transitions that the actor reports as made, up to its last batch taken",
        "journaled",
    ),
    "inserted": Metric("transitions", "inserted into the replay", "journaled"),
    "rejected": Metric(
        "transitions",
        "malformed, or with frames that were lost or overwritten: acknowledged, counted, dropped",
        "journaled",
    ),
    "discarded": Metric(
        "env steps",
        "thrown away by actors, one per broken episode: the env step or the reset in which "
        "the environment raised an exception, or returned a value that is not finite or is "
        "too large",
        "journaled",
    ),
    "resent": Metric(
        "batches",
        "sum over sessions of the batches that the actor reports as sent again after a silence",
        "journaled",
    ),
}
"""Metrics that this part measures."""

Liveness = Literal["alive", "late", "gone", "left"]
Sender = tuple[str, str]
"""(actor_id, session_id)."""


@dataclass
class Session:
    """Delivery state of one session of one actor.

    Attributes:
        next_seq: sequence number of the only batch that is taken next.
        produced: transitions made, as the actor reports them up to its last batch taken.
        inserted: transitions in the replay.
        rejected: rejected transitions.
        relabeled: relabeled transitions in the replay.
        discarded: env steps that the actor threw away.
        resent: batches that the actor sent again.
        heard_s: monotonic time of its last message; minus infinity if none since this learner started.
        left: True after its goodbye.
        held: number of batches, from `next_seq` on, that wait for the rate limiter.
        held_bytes: their size in bytes.
        key: name of the key that its messages came with; None in plaintext, or before the first message.
        frames: where its newest frames are stored.
    """

    next_seq: int = 0
    produced: int = 0
    inserted: int = 0
    rejected: int = 0
    relabeled: int = 0
    discarded: int = 0
    resent: int = 0
    heard_s: float = float("-inf")
    left: bool = False
    held: int = 0
    held_bytes: int = 0
    key: str | None = None
    frames: FrameWindow = field(default_factory=FrameWindow)

    def require_relabeled(self, relabeled: NDArray[np.bool_]) -> None:
        """Check the share of relabeled transitions, which the rate limiter does not count.

        Args:
            relabeled: flag of each transition of the next batch.

        Raises:
            ProtocolError: more than `MAX_HER_GOALS` per env step.
        """
        more = int(np.count_nonzero(relabeled))
        env_steps = self.inserted - self.relabeled + len(relabeled) - more
        if self.relabeled + more > MAX_HER_GOALS * env_steps:
            raise ProtocolError("relabeled", f"more than {MAX_HER_GOALS} transitions per env step")


TOTALS = tuple(METRICS)
"""Fields that are summed over sessions."""
_TRANSIENT = {"heard_s", "held", "held_bytes", "key"}
KEPT = [each.name for each in fields(Session) if each.name not in {*_TRANSIENT, "frames"}]
"""Plain fields that a checkpoint keeps."""
