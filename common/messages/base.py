"""The base class of all messages."""

from typing import Any, ClassVar

from numpy.typing import NDArray
from pydantic import ConfigDict

from graspfleet.common.fields import Record

Arrays = dict[str, NDArray[Any]]


class Message(Record):
    """Base of all messages: immutable, strictly validated fields.

    Attributes:
        kind: name of the class in a frame's header.
        carried: names of the fields that are sent as raw bytes after the header.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True)
    kind: ClassVar[str]
    carried: ClassVar[frozenset[str]] = frozenset()

    def arrays(self) -> Arrays:
        """Return the arrays of the carried fields, by their names in the frame."""
        return {}

    @classmethod
    def fields_of(cls, arrays: Arrays) -> dict[str, Any]:
        """Return the carried fields built from `arrays`: the inverse of `arrays()`."""
        return dict(arrays)
