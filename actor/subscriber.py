"""The learner's broadcasts to an actor or evaluator: run state, refusals and policies."""

import logging
import time

import numpy as np

from graspfleet.common.errors import ConfigError, ProtocolError
from graspfleet.common.messages import Message, Refusal, Status, Weights
from graspfleet.common.net.control import ControlSubscriber
from graspfleet.common.net.security import actor_keys
from graspfleet.common.net.weights import WeightsSubscriber
from graspfleet.common.policy import NumpyPolicy
from graspfleet.common.protocol import Buffer, decode
from graspfleet.common.settings.transport import TransportConfig
from graspfleet.common.specs import EnvSpec, differences

log = logging.getLogger(__name__)


class Subscriber:
    """Receives the learner's control messages and weights.

    Args:
        host: of the learner.
        config: ports and limits.
        actor_id: id whose acknowledgements and refusals to receive; None: none.
        session_id: of this process; refusals of other sessions are ignored.

    Attributes:
        state: last announced state of the learner; None before the first.
        refused: whether the learner has refused this process, which must send nothing more.
    """

    def __init__(
        self, host: str, config: TransportConfig, actor_id: str | None = None, session_id: str | None = None
    ) -> None:
        self._host, self._config = host, config
        self._actor_id, self._session_id = actor_id, session_id
        keys = actor_keys(config)
        self._key = "" if keys is None else keys.public.decode()
        self.refused = False
        self.control = ControlSubscriber(config, actor_id)
        self.control.connect(host, config.control_port)
        self.weights = WeightsSubscriber(config)
        self.weights.connect(host, config.weights_port)
        self.state: str | None = None
        self.malformed = 0
        self._started_s = time.monotonic()
        self._heard = False

    def next_control(self) -> Message | None:
        """Return the next control message; None if there is none.

        Raises:
            ConfigError: no learner answered within `connect_timeout_s`, or the learner refuses this process.
        """
        message = self._decode(self.control.receive())
        where = f"{self._host}:{self._config.control_port}"
        if isinstance(message, Status):
            self.state = message.state
        if isinstance(message, Refusal) and (message.session_id, message.key) == (
            self._session_id,
            self._key,
        ):
            self.refused = True
            raise ConfigError(f"--learner {where}: the learner refuses {self._actor_id}: {message.detail}")
        if not self._heard and time.monotonic() - self._started_s > self._config.connect_timeout_s:
            if self.control.refused:
                raise ConfigError(
                    f"--learner {where}: the learner rejects this key;"
                    " allowed: a key in `graspfleet keys list`"
                )
            if self.control.lookup_error is not None:
                raise ConfigError(f"--learner {self.control.lookup_error}; allowed: a host name or address")
            raise ConfigError(
                f"--learner {where}: no answer within {self._config.connect_timeout_s:g} s"
                " (--connect-timeout-s); allowed: the host, ports and keys of a running `graspfleet learner`"
            )
        return message

    def newest_policy(
        self, spec: EnvSpec, rng: np.random.Generator, *, evaluation: bool = False
    ) -> tuple[Weights, NumpyPolicy] | None:
        """Return the newest unseen policy and its message; None if there is none.

        Args:
            spec: of this process's environment.
            rng: source of the policy's exploration noise.
            evaluation: return `Weights.eval_policy` instead of the exploring policy.

        Raises:
            ConfigError: the learner's spec differs from `spec`.
        """
        message = self._decode(self.weights.newest())
        if not isinstance(message, Weights):
            return None
        if message.spec != spec:
            difference = differences(spec.described(), message.spec.described())
            raise ConfigError(f"--learner {self._host}: trains in another environment: {difference}")
        try:
            return message, NumpyPolicy(message.eval_policy if evaluation else message.policy, spec, rng)
        except ProtocolError as error:
            self._refuse(error)
            return None

    def close(self) -> None:
        """Close both sockets."""
        self.control.close()
        self.weights.close()

    def _decode(self, frame: Buffer | None) -> Message | None:
        if frame is None:
            return None
        self._heard = True
        try:
            return decode(frame)
        except ProtocolError as error:
            if error.reason == "version":
                self.refused = True
                raise ConfigError(
                    f"--learner {self._host}: uses protocol {error}; allowed: the same release on both sides"
                ) from None
            self._refuse(error)
            return None

    def _refuse(self, error: ProtocolError) -> None:
        self.malformed += 1
        if self.malformed == 1:
            log.warning("dropped an invalid frame from the learner: %s (others are only counted)", error)
