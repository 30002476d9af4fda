"""The weights channel: policies from the learner to actors and evaluators (PUB/SUB, newest only)."""

import zmq

from graspfleet.common.net.channel import Channel
from graspfleet.common.protocol import Buffer
from graspfleet.common.settings.transport import TransportConfig


class WeightsPublisher(Channel):
    """The learner's end of the weights channel; a slow subscriber gets only the newest frame."""

    def __init__(self, config: TransportConfig) -> None:
        super().__init__(zmq.PUB, config, hwm=1, conflate=True)

    def publish(self, frame: Buffer) -> None:
        """Send a `Weights` frame to all subscribers."""
        self._send([frame])


class WeightsSubscriber(Channel):
    """An actor's or evaluator's end of the weights channel."""

    def __init__(self, config: TransportConfig) -> None:
        super().__init__(zmq.SUB, config, hwm=1, conflate=True)
        self.socket.subscribe(b"")

    def newest(self) -> memoryview | None:
        """Return the newest unseen frame; None if there is none."""
        parts = self._receive()
        return parts[0].buffer if parts else None
