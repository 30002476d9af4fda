"""The learner's three bound sockets as one object."""

from collections.abc import Mapping

from graspfleet.common.messages import Ack, Refusal, Status
from graspfleet.common.net.control import ControlPublisher
from graspfleet.common.net.experience import ExperienceReceiver, Received
from graspfleet.common.net.security import is_loopback, learner_keys
from graspfleet.common.net.weights import WeightsPublisher
from graspfleet.common.protocol import encode
from graspfleet.common.runtime.run_directory import Endpoints
from graspfleet.common.settings.flags import LearnerFlags
from graspfleet.learner.access.allow_list import AllowList
from graspfleet.learner.access.authenticator import Authenticator
from graspfleet.learner.access.refusals import Refusals
from graspfleet.learner.reporting.metric import Metric

METRICS = {
    "connections": Metric("connections", "open now on all three sockets; each actor has three"),
    "refused_connections": Metric(
        "connections",
        "closed at once because `--max-connections` were already open",
        "counter",
    ),
    "refused_handshakes": Metric(
        "connections",
        "closed because their key is not allowed",
        "counter",
    ),
    "cut_handshakes": Metric(
        "connections",
        "closed because they sent more than 4 KiB before showing a key, or because more than "
        "`--max-handshakes` were in progress",
        "counter",
    ),
    "cut_connections": Metric(
        "connections",
        "closed because the data that they had sent and the learner had not read exceeded "
        "twice `--max-message-bytes`, or together with that of all others "
        "`--max-unread-bytes`; or because a subscriber sent more than 4 KiB",
        "counter",
    ),
    "broken_connections": Metric(
        "connections",
        "closed by the learner because of an invalid message, a message over the limit, or 10 "
        "s without data; also those closed by either side before the learner could examine "
        "them",
        "counter",
    ),
    "revoked_frames": Metric(
        "frames",
        "dropped because the sender's key was revoked after they arrived",
        "counter",
    ),
    "keys": Metric("keys", "allowed now; 0 in plaintext"),
    "insecure": Metric("0 or 1", "1: plaintext on a non-loopback address (`--insecure`)"),
    "refused_actors": Metric(
        "processes",
        "actors and evaluators that were refused and told the reason",
        "counter",
    ),
}
"""Metrics that this part measures."""


class Sockets:
    """Binds the experience, weights and control sockets.

    Args:
        flags: host, ports, keys and limits.

    Attributes:
        refusals: peers to be told that they are refused.

    Raises:
        ConfigError: a port is in use, the host is not an address of this machine, or the keys cannot be
            trusted.
    """

    def __init__(self, flags: LearnerFlags) -> None:
        host, ports = flags.learner.bind, flags.transport
        keys = learner_keys(ports)
        self._insecure = keys is None and not is_loopback(host)
        self._revoked = 0
        self.refusals = Refusals()
        self.authenticator = Authenticator(None if keys is None else AllowList(keys.allowed), ports)
        self.experience = ExperienceReceiver(ports)
        self.weights = WeightsPublisher(ports)
        self.control = ControlPublisher(ports)
        self.authenticator.watch(self.experience.socket, self.experience)
        self.authenticator.watch(self.weights.socket)
        self.authenticator.watch(self.control.socket)
        self.endpoints = Endpoints(
            host,
            self.experience.bind(host, ports.experience_port, "experience_port"),
            self.weights.bind(host, ports.weights_port, "weights_port"),
            self.control.bind(host, ports.control_port, "control_port"),
        )
        self.wait = self.experience.wait
        self.authenticator.start()

    def receive(self) -> Received | None:
        """Return the next frame from an allowed key, or None if none is waiting."""
        while (received := self.experience.receive()) is not None:
            if self.authenticator.lets_in(received.key):
                return received
            self._revoked += 1  # it arrived before the connection was closed
        return None

    def metrics(self) -> Mapping[str, float]:
        """Return counts of connections and refusals."""
        return {
            **self.authenticator.counts(),
            "revoked_frames": self._revoked,
            "insecure": int(self._insecure),
            "refused_actors": self.refusals.count,
        }

    def acknowledge(self, actor_id: str, ack: Ack) -> None:
        """Send an acknowledgement."""
        self.control.acknowledge(actor_id, encode(ack))

    def refuse(self) -> None:
        """Send all pending refusals."""
        for (actor_id, session_id, _, key), reason, detail in self.refusals.due():
            public = "" if key is None else self.authenticator.public_key(key)
            refusal = Refusal(session_id=session_id, key=public, reason=reason, detail=detail)
            self.control.refuse(actor_id, encode(refusal))

    def status(self, status: Status) -> None:
        """Send a status to everyone."""
        self.control.status(encode(status))

    def close(self) -> None:
        """Close all three sockets, after a short time to send the last messages."""
        self.authenticator.close()
        self.experience.close()
        self.weights.close(linger_s=0.2)
        self.control.close(linger_s=0.5)
