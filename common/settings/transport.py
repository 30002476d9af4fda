"""Sections of socket settings: keys, ports, timeouts, and all limits on what a peer can consume."""

from functools import partial
from typing import Annotated

from pydantic import AfterValidator, Field, model_validator

from graspfleet.common.net.addresses import host_of
from graspfleet.common.settings.section import Section, flag

Port = Annotated[int, Field(ge=0, le=65_535)]
Host = Annotated[str, AfterValidator(host_of)]
BoundHost = Annotated[str, AfterValidator(partial(host_of, wildcard=True))]


class KeysConfig(Section):
    """Authentication of learner and actors; without keys, plaintext on loopback only."""

    keys: str | None = Field(None, description="Folder from `graspfleet keys init`; enables encryption.")
    key_name: str | None = Field(
        None, description="Name of the actor key in --keys; default: the only one, or `actor`."
    )
    learner_secret: str | None = Field(None, description="Private key of the learner, instead of --keys.")
    allowed: str | None = Field(
        None, description="Folder of public keys that the learner allows, instead of --keys."
    )
    learner_public: str | None = Field(
        None, description="Public key of the learner, for an actor, instead of --keys."
    )
    actor_secret: str | None = Field(None, description="Private key of the actor, instead of --keys.")
    insecure: bool = Field(False, description="Allow plaintext beyond this machine.")

    @model_validator(mode="after")
    def _whole_pairs(self) -> "KeysConfig":
        for one, other in (("learner_secret", "allowed"), ("learner_public", "actor_secret")):
            for name, partner in ((one, other), (other, one)):
                if getattr(self, name) is None:
                    continue
                if self.keys is not None:
                    raise ValueError(f"{flag(name)} {getattr(self, name)}: allowed only without --keys")
                if getattr(self, partner) is None:
                    raise ValueError(f"{flag(name)} {getattr(self, name)}: requires {flag(partner)}")
        return self


class TransportConfig(KeysConfig):
    """Ports, timeouts and limits of the sockets."""

    experience_port: Port = Field(
        5555, description="Port for transitions, actors to learner; 0: any free port."
    )
    weights_port: Port = Field(
        5556, description="Port for policy weights, learner to actors; 0: any free port."
    )
    control_port: Port = Field(5557, description="Port for acknowledgements and status; 0: any free port.")
    experience_hwm: int = Field(64, ge=1, description="Experience messages queued per connection.")
    control_hwm: int = Field(1000, ge=1, description="Control messages queued per connection.")
    max_message_bytes: int = Field(
        16 << 20, ge=1024, description="Largest message, bytes; a larger one ends its connection."
    )
    handshake_timeout_s: float = Field(
        10.0, gt=0, description="Seconds that a new connection has for its handshake."
    )
    linger_s: float = Field(5.0, ge=0, description="Seconds that a leaving actor waits for acknowledgements.")
    resend_after_s: float = Field(
        2.0, gt=0, description="Seconds after which unacknowledged batches are resent."
    )
    reconnect_max_s: float = Field(
        2.0, gt=0, description="Longest pause between reconnection attempts, seconds."
    )
    connect_timeout_s: float = Field(
        60.0, gt=0, description="Seconds without an answer of the learner after which a new actor gives up."
    )
    max_connections: int = Field(
        12_288, ge=3, description="Limit of open connections of the learner; each actor uses three."
    )
    max_handshakes: int = Field(512, ge=3, description="Limit of simultaneous unfinished handshakes.")
    max_unread_bytes: int = Field(
        1 << 30,
        ge=1 << 20,
        description="Limit of received bytes, over all actors, that the learner has not read yet.",
    )
    max_actors_per_key: int = Field(4096, ge=1, description="Limit of simultaneous actors per key.")
    max_actor_batches_per_s: float = Field(
        50_000.0,
        gt=0,
        description="Limit of messages per second from one actor; any beyond it are dropped and resent.",
    )
    max_actor_bytes_per_s: float = Field(
        float(512 << 20),
        gt=0,
        description="Limit of bytes per second from one actor; messages beyond it are dropped and resent.",
    )
    silent_after_s: float = Field(
        5.0, gt=0, description="Seconds of silence after which an actor is listed as late."
    )
    gone_after_s: float = Field(
        30.0, gt=0, description="Seconds of silence after which an actor is listed as gone."
    )
