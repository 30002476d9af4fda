"""The control channel: status, acknowledgements and refusals from the learner (PUB/SUB)."""

import zmq

from graspfleet.common.net.channel import LOST_AFTER_MS, Channel
from graspfleet.common.protocol import Buffer
from graspfleet.common.settings.transport import TransportConfig

ACK_TOPIC = b"ack/%s\0"
"""Topic of one actor or evaluator: its acknowledgements and its refusal."""
STATUS_TOPIC = b"status\0"


class ControlPublisher(Channel):
    """The learner's end of the control channel."""

    def __init__(self, config: TransportConfig) -> None:
        super().__init__(zmq.PUB, config, hwm=config.control_hwm)

    def acknowledge(self, actor_id: str, frame: Buffer) -> None:
        """Send an `Ack` to one actor."""
        self._send([ACK_TOPIC % actor_id.encode(), frame])

    def refuse(self, actor_id: str, frame: Buffer) -> None:
        """Send a `Refusal` to one actor or evaluator."""
        self._send([ACK_TOPIC % actor_id.encode(), frame])

    def status(self, frame: Buffer) -> None:
        """Send a `Status` to all subscribers."""
        self._send([STATUS_TOPIC, frame])


class ControlSubscriber(Channel):
    """A subscriber to the learner's status and, given `actor_id`, to messages for that actor or evaluator."""

    silent_after_s = LOST_AFTER_MS / 1000

    def __init__(self, config: TransportConfig, actor_id: str | None = None) -> None:
        super().__init__(zmq.SUB, config, hwm=config.control_hwm)
        self.socket.subscribe(STATUS_TOPIC)
        if actor_id is not None:
            self.socket.subscribe(ACK_TOPIC % actor_id.encode())

    def receive(self) -> memoryview | None:
        """Return the next frame; None if there is none."""
        parts = self._receive()
        return None if parts is None else parts[-1].buffer
