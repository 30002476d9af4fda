"""Types and limits of the fields that messages, specs and run files are made of."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

MAX_EPISODES = 4096
MAX_EPISODE_BYTES = 32
"""Bytes of one episode summary in a header."""
MAX_ROWS = 4096
"""Largest number of transitions in a batch."""
MAX_HER_GOALS = 64
"""Largest number of relabeled transitions per env step."""
MAX_STATUS_KEYS = 4096
MAX_REFUSED_SHOWN = 64
"""Largest number of refused peers in a status."""
MAX_LINE = 300
"""Characters of a text shown to users."""
MAX_ROOM = 1 << 30
"""`Ack.room` from a learner without a limit; the actor's own limits are lower."""

Count = Annotated[int, Field(ge=0, lt=1 << 45)]
"""Counter, small enough that the sum over 100,000 sessions fits 63 bits."""
Total = Annotated[int, Field(ge=0, lt=1 << 63)]
Seq = Annotated[int, Field(ge=0, lt=(1 << 45) - 1)]
"""Number of a batch; the one after it is still a `Count`."""
MAX_ID = 64
"""Characters of an actor's id."""
ActorId = Annotated[str, Field(pattern=rf"^[A-Za-z0-9._-]{{1,{MAX_ID}}}$")]
SessionId = Annotated[str, Field(pattern=r"^[0-9a-f]{16}$")]
Challenge = Annotated[int, Field(ge=0, lt=1 << 45)]
"""Random number that only a live process can echo; 0: none."""
Line = Annotated[str, Field(pattern=r"^[ -~]*$", max_length=MAX_LINE)]
"""Printable text, so that a peer cannot send control characters to a terminal."""


def to_line(text: str) -> str:
    """Return a text as a `Line`: truncated, with question marks for unprintable characters."""
    return "".join(char if " " <= char <= "~" else "?" for char in text[:MAX_LINE])


Role = Literal["actor", "evaluator"]
State = Literal["alive", "late", "gone", "left", "refused"]
"""State of a peer in the learner's status."""
Finite = Annotated[float, Field(allow_inf_nan=False)]
Return = Annotated[float, Field(ge=-1e100, le=1e100)]
"""Sum of rewards, small enough that its square is finite."""

Episode = tuple[Return, Count, bool | None, Count]
"""Summary of a finished episode: return, length in env steps, success (None: not reported), seed."""


class Record(BaseModel):
    """Immutable model with strict validation: no conversions, no unknown fields."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)
