"""The base class of all messages."""

from typing import Any, ClassVar

from numpy.typing import NDArray
from pydantic import ConfigDict

from common.fields import Record

Arrays = dict[str, NDArray[Any]]


class Message(Record):
    """What every message is: immutable fields, checked strictly, unknown ones refused.

    Attributes:
        kind: name of the class in a header.
        carried: names of the fields that travel as raw bytes behind the header.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True)
    kind: ClassVar[str]
    carried: ClassVar[frozenset[str]] = frozenset()

    def arrays(self) -> Arrays:
        """Return what the carried fields hold, by the names that they travel under."""
        return {}

    @classmethod
    def fields_of(cls, arrays: Arrays) -> dict[str, Any]:
        """Return the carried fields that `arrays` came from."""
        return dict(arrays)
