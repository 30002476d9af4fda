"""The protocol that an algorithm implements, and the registry of algorithms.

The loop, the replay, the publisher and the checkpoints use nothing else of an algorithm. To add one, write a
module with the names of `Definition` and add it to `ALGORITHMS`; `docs/architecture.md` has an example.
"""

import importlib
from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol, SupportsFloat, cast

from graspfleet.common.errors import ConfigError
from graspfleet.common.settings.config import AlgorithmConfig
from graspfleet.common.settings.processes import LearnerConfig
from graspfleet.common.specs import EnvSpec, Records
from graspfleet.learner.publishing.policy_snapshot import PolicySnapshot
from graspfleet.learner.reporting.metric import Metrics

ALGORITHMS = {
    "sac": "graspfleet.learner.sac",
    "crossq": "graspfleet.learner.crossq",
    "distill": "graspfleet.learner.distill",
}
"""Module that defines each algorithm, by name; imported on demand."""


class Algorithm(Protocol):
    """A learning algorithm with its networks and optimizers."""

    def update(self, batches: Records) -> Mapping[str, SupportsFloat]:
        """Take one gradient step with each of K batches, in turn.

        Args:
            batches: [K, B] of `EnvSpec.record`, contiguous and writable; may be overwritten afterwards.

        Returns:
            Scalars of the last step, possibly still in transfer; the next call may overwrite them.
        """

    def policy(self) -> PolicySnapshot:
        """Return the policy after the updates so far, possibly still in transfer from the device."""

    def metrics(self) -> Mapping[str, float]:
        """Return the newest values of the metrics that the definition declares; this waits for the device."""

    def state_dict(self) -> dict[str, Any]:
        """Return everything that the next update depends on, as tensors and plain values."""

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore the state from `state_dict()`, bit-exactly on the same kind of device; settings are kept.

        Raises:
            LookupError, RuntimeError, TypeError, ValueError: the state does not fit the networks.
        """


class Memory(NamedTuple):
    """Memory that an algorithm needs in a run.

    Attributes:
        held: bytes of the networks, the optimizers and the batches of one update.
        published: bytes of the policy's arrays in a weights message.
        policy: name of the published policy for error messages, with the flag that sets its size.
    """

    held: int
    published: int
    policy: str


class Definition(Protocol):
    """Names that an algorithm's module defines; importing it must not need torch, so that flags parse fast.

    Attributes:
        Settings: model of its flags; the field `algorithm` holds its name.
        METRICS: declarations of the values that `Algorithm.metrics` returns.
    """

    @property
    def Settings(self) -> type[AlgorithmConfig]:  # noqa: N802
        """Model of its flags."""

    @property
    def METRICS(self) -> Metrics:  # noqa: N802
        """Declarations of its metrics."""

    def memory(self, settings: Any, spec: EnvSpec, batch_size: int) -> Memory:
        """Return the memory that a run needs, before anything is allocated."""

    def updates_per_dispatch(self, settings: Any, learner: LearnerConfig) -> int:
        """Return the number of batches that one call of `update` takes on this machine.

        Raises:
            ConfigError: the settings require hardware that this machine does not have.
        """

    def build(
        self, settings: Any, spec: EnvSpec, learner: LearnerConfig, *, batch_size: int, seed: int
    ) -> Algorithm:
        """Return the algorithm in its initial state.

        Args:
            settings: an instance of `Settings`.
            spec: shapes and dtypes of a transition, and the discount.
            learner: device and threads to run on.
            batch_size: transitions per batch.
            seed: seed of the initial weights and of every random number drawn while learning.

        Raises:
            ConfigError: the settings require hardware that this machine does not have.
        """


def definition(name: str) -> Definition:
    """Return the definition of an algorithm.

    Raises:
        ConfigError: no algorithm has that name.
    """
    if name not in ALGORITHMS:
        raise ConfigError(f"--algorithm {name}: allowed: {', '.join(sorted(ALGORITHMS))}")
    return cast(Definition, importlib.import_module(ALGORITHMS[name]))


def all_settings() -> dict[str, type[AlgorithmConfig]]:
    """Return the model of each algorithm's flags."""
    return {name: definition(name).Settings for name in ALGORITHMS}
