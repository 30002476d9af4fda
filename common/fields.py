"""Types and limits of the fields that messages, specs and run files are made of."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

MAX_EPISODES = 4096
MAX_EPISODE_BYTES = 32
"""Of one episode's summary in a header."""
MAX_ROWS = 4096
"""Transitions of one batch at the most."""
MAX_STATUS_KEYS = 4096
MAX_REFUSED_SHOWN = 64
"""Refused peers that a status names, with the reason of each."""
MAX_LINE = 300
"""Characters of a text for people."""
MAX_ROOM = 1 << 30
"""Transitions that an actor may be ahead of a learner that sets no limit; its own limits are lower."""

Count = Annotated[int, Field(ge=0, lt=1 << 45)]
"""Small enough that the sum over a hundred thousand sessions still fits 63 bits."""
Total = Annotated[int, Field(ge=0, lt=1 << 63)]
Seq = Annotated[int, Field(ge=0, lt=(1 << 45) - 1)]
"""Number of a batch; the one after it is still a `Count`."""
MAX_ID = 64
"""Characters of an actor's id."""
ActorId = Annotated[str, Field(pattern=rf"^[A-Za-z0-9._-]{{1,{MAX_ID}}}$")]
SessionId = Annotated[str, Field(pattern=r"^[0-9a-f]{16}$")]
Challenge = Annotated[int, Field(ge=0, lt=1 << 45)]
"""A random number that only a living process can say again; 0: none is asked for, or none was heard."""
Line = Annotated[str, Field(pattern=r"^[ -~]*$", max_length=MAX_LINE)]
"""Printable, so that a peer cannot move the cursor of whoever reads it."""


def to_line(text: str) -> str:
    """Return a text as a `Line`: cut off at the limit, with a question mark for whatever is not printable."""
    return "".join(char if " " <= char <= "~" else "?" for char in text[:MAX_LINE])


Role = Literal["actor", "evaluator"]
State = Literal["alive", "late", "gone", "left", "refused"]
"""Of a peer, as the learner's status tells it."""
Finite = Annotated[float, Field(allow_inf_nan=False)]
Return = Annotated[float, Field(ge=-1e100, le=1e100)]
"""A sum of rewards, small enough that its square is finite too."""

Episode = tuple[Return, Count, bool | None, Count]
"""One finished episode: return, length in env steps, success (None: the environment says nothing), seed."""


class Record(BaseModel):
    """Immutable model with strict validation: no conversions, no unknown fields."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)
