"""The seam between the learner and what learns: the protocol of an algorithm, and the registry of all.

The loop, the replay, the publisher and the checkpoints know nothing else of an algorithm. To add one, write a
module with the names of `Definition` and enter it in `ALGORITHMS`; `docs/architecture.md` has an example.
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
}
"""Name -> module that defines the algorithm; imported when the algorithm is asked for."""


class Algorithm(Protocol):
    """Everything that learns."""

    def update(self, batches: Records) -> Mapping[str, SupportsFloat]:
        """Take one gradient step with each of K batches, in turn.

        Args:
            batches: [K, B] of `EnvSpec.record`, contiguous and writable; may be overwritten afterwards.

        Returns:
            Scalars of the last step, perhaps still on their way; the next call may overwrite them.
        """

    def policy(self) -> PolicySnapshot:
        """Return the policy as it is after the updates so far, perhaps still on its way from the device."""

    def metrics(self) -> Mapping[str, float]:
        """Return the newest values of the metrics that the definition declares; waits for the device."""

    def state_dict(self) -> dict[str, Any]:
        """Return all that the next update depends on, as tensors and plain values."""

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from `state_dict()`, bit-exactly on the same kind of device; every setting stays as it is.

        Raises:
            LookupError, RuntimeError, TypeError, ValueError: it is another network's state.
        """


class Memory(NamedTuple):
    """Bytes that a run takes for an algorithm.

    Attributes:
        held: networks, optimizers and the batches of one update.
        published: the policy's arrays in a weights message.
        policy: name of what is published, with the flag that decides its size.
    """

    held: int
    published: int
    policy: str


class Definition(Protocol):
    """Names that the module of an algorithm has; importing it needs no torch, so flags are read quickly.

    Attributes:
        Settings: its flags; their `algorithm` is its name.
        METRICS: what `Algorithm.metrics` returns.
    """

    @property
    def Settings(self) -> type[AlgorithmConfig]:  # noqa: N802
        """Model of its flags."""

    @property
    def METRICS(self) -> Metrics:  # noqa: N802
        """Declarations of its metrics."""

    def memory(self, settings: Any, spec: EnvSpec, batch_size: int) -> Memory:
        """Return what a run takes, before anything is allocated."""

    def updates_per_dispatch(self, settings: Any, learner: LearnerConfig) -> int:
        """Return how many batches one call of `update` takes here.

        Raises:
            ConfigError: the settings ask for what this machine does not have.
        """

    def build(
        self, settings: Any, spec: EnvSpec, learner: LearnerConfig, *, batch_size: int, seed: int
    ) -> Algorithm:
        """Return the algorithm at its beginning.

        Args:
            settings: a `Settings`.
            spec: shapes and dtypes of a transition, and the discount.
            learner: device and threads to run on.
            batch_size: transitions of every batch.
            seed: of the initial weights and of every random number drawn while learning.

        Raises:
            ConfigError: the settings ask for what this machine does not have.
        """


def definition(name: str) -> Definition:
    """Return the definition of an algorithm.

    Raises:
        ConfigError: there is none of that name.
    """
    if name not in ALGORITHMS:
        raise ConfigError(f"--algorithm {name}: allowed: {', '.join(sorted(ALGORITHMS))}")
    return cast(Definition, importlib.import_module(ALGORITHMS[name]))


def all_settings() -> dict[str, type[AlgorithmConfig]]:
    """Return the model of each algorithm's flags."""
    return {name: definition(name).Settings for name in ALGORITHMS}
