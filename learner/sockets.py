"""The learner's three bound sockets, as one thing."""

from common.flags import LearnerFlags
from common.protocol import Ack, Status, encode
from common.run_directory import Endpoints
from common.transport import ControlPublisher, ExperienceReceiver, WeightsPublisher


class Sockets:
    """Binds experience, weights and control.

    Args:
        flags: host, ports and limits.

    Raises:
        ConfigError: a port is taken or the host is not this machine's.
    """

    def __init__(self, flags: LearnerFlags) -> None:
        host, ports = flags.learner.bind, flags.transport
        self.experience = ExperienceReceiver(ports)
        self.weights = WeightsPublisher(ports)
        self.control = ControlPublisher(ports)
        self.endpoints = Endpoints(
            host,
            self.experience.bind(host, ports.experience_port, "experience_port"),
            self.weights.bind(host, ports.weights_port, "weights_port"),
            self.control.bind(host, ports.control_port, "control_port"),
        )
        self.receive = self.experience.receive
        self.wait = self.experience.wait

    def acknowledge(self, actor_id: str, ack: Ack) -> None:
        """Send an acknowledgement."""
        self.control.acknowledge(actor_id, encode(ack))

    def status(self, status: Status) -> None:
        """Send a status to everyone."""
        self.control.status(encode(status))

    def close(self) -> None:
        """Close all three; the last messages get a moment to leave."""
        self.experience.close()
        self.weights.close(linger_s=0.2)
        self.control.close(linger_s=0.5)
