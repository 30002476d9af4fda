"""The messages on the wire: their fields and the limits of each field.

In and out: plain values and arrays. No bytes (see `common.protocol`), no sockets, no clocks.
"""

from graspfleet.common.messages.base import Arrays, Message
from graspfleet.common.messages.from_learner import Ack, Refusal, Status, Weights
from graspfleet.common.messages.to_learner import Batch, Bye, Evaluation, EvaluationStarted, Hello

KINDS: dict[str, type[Message]] = {
    message.kind: message
    for message in (Hello, Batch, Bye, Evaluation, EvaluationStarted, Weights, Ack, Refusal, Status)
}
"""Kind in a header -> class of the message."""

__all__ = [
    "KINDS",
    "Ack",
    "Arrays",
    "Batch",
    "Bye",
    "Evaluation",
    "EvaluationStarted",
    "Hello",
    "Message",
    "Refusal",
    "Status",
    "Weights",
]
