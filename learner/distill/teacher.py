"""The two teachers: a policy that learns by SAC beside the student, and one that is given.

In: batches of transitions without images. Out: the Gaussians of the teacher's actions. Must not know:
students.
"""

import hashlib
import logging
from collections.abc import Mapping
from typing import Any, SupportsFloat

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from graspfleet.common.errors import ConfigError, ProtocolError
from graspfleet.common.policy import NumpyPolicy
from graspfleet.common.settings.processes import LearnerConfig
from graspfleet.common.specs import EnvSpec, Records
from graspfleet.learner.distill.policy_file import read_teacher
from graspfleet.learner.distill.student import Taught
from graspfleet.learner.publishing.policy_snapshot import PolicySnapshot
from graspfleet.learner.sac.backends import choose_backend
from graspfleet.learner.sac.settings import SACConfig

log = logging.getLogger(__name__)


def without_images(spec: EnvSpec) -> EnvSpec:
    """Return the spec of the vector alone, none of it privileged: what a teacher learns from."""
    values = spec.model_dump(exclude={"obs_fields"})
    return EnvSpec(**values)


class LearningTeacher:
    """A SAC policy that sees the whole vector.

    Args:
        settings: of SAC.
        spec: of the environment.
        learner: device and threads.
        batch_size: transitions per batch.
        seed: of the initial weights and of every action sampled here.
    """

    def __init__(
        self, settings: SACConfig, spec: EnvSpec, learner: LearnerConfig, batch_size: int, seed: int
    ) -> None:
        self._spec = without_images(spec)
        own = settings.model_copy(update={"ema_tau": 1.0})  # the average that is published is the student's
        self._sac = choose_backend(own, self._spec, learner, batch_size=batch_size, seed=seed)
        self._policy = self._sac.state.policy

    def update(self, batches: Records) -> Mapping[str, SupportsFloat]:
        """Take one gradient step with each of K batches; see `Algorithm.update`."""
        own = np.empty(batches.shape, self._spec.record)
        for name in self._spec.record.names or ():
            own[name] = batches[name]
        return self._sac.update(own)

    @torch.no_grad()
    def act(self, obs: Tensor) -> Taught:
        """Return the Gaussians at observations [B, obs_dim]."""
        mean, log_std = self._policy(obs)
        return mean, log_std

    def snapshot(self) -> PolicySnapshot:
        """Return a copy of the policy."""
        return self._sac.policy()

    def metrics(self) -> Mapping[str, float]:
        """Return the metrics of SAC."""
        return self._sac.metrics()

    def state_dict(self) -> dict[str, Any]:
        """Return the state of SAC."""
        return self._sac.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore the state from `state_dict()`."""
        self._sac.load_state_dict(state)


class GivenTeacher:
    """A trained policy whose observations are the privileged fields.

    Args:
        path: of a policy file, or of a run directory, whose best policy is taken.
        spec: of the environment.

    Raises:
        ConfigError: there is no readable policy, or it does not fit the environment.
    """

    def __init__(self, path: str, spec: EnvSpec) -> None:
        weights, frame = read_teacher(path)
        try:
            self._policy = NumpyPolicy(weights.eval_policy, weights.spec, np.random.default_rng(0))
        except ProtocolError as error:
            raise ConfigError(f"--teacher {path}: no readable policy ({error})") from None
        self._path, self._digest = path, hashlib.blake2b(frame, digest_size=8).hexdigest()
        self._hidden_from = spec.policy_dim
        if differs := _misfit(weights.spec, spec):
            raise ConfigError(f"--teacher {path}: {differs}")

    def update(self, batches: Records) -> Mapping[str, SupportsFloat]:
        """Do nothing: the policy is given."""
        return {}

    def act(self, obs: Tensor) -> Taught:
        """Return the Gaussians at observations [B, obs_dim]."""
        seen: NDArray[np.float32] = obs[:, self._hidden_from :].cpu().numpy()
        mean, log_std = self._policy.mean_and_log_std(seen)
        return torch.from_numpy(mean).to(obs.device), torch.from_numpy(log_std).to(obs.device)

    def snapshot(self) -> None:
        """Return nothing: actors cannot run a policy that sees the privileged fields alone."""

    def metrics(self) -> Mapping[str, float]:
        """Return no metrics."""
        return {}

    def state_dict(self) -> dict[str, Any]:
        """Return the digest of the policy's file, which a resumed run reads again."""
        return {"digest": self._digest}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Compare the policy with the one of the run so far; log a difference."""
        if state["digest"] != self._digest:
            log.warning("--teacher %s: another policy than the one that this run began with", self._path)


def _misfit(taught: EnvSpec, spec: EnvSpec) -> str:
    """Return the reason why a policy cannot teach in an environment; "" if it can."""
    hidden = spec.obs_dim - spec.policy_dim
    if taught.images or taught.policy_dim != hidden:
        return f"it sees {taught.seen_layout}; allowed: {hidden} numbers, the privileged fields"
    if taught.action_dim != spec.action_dim:
        return f"it has {taught.action_dim} numbers in an action; allowed: {spec.action_dim}"
    for mine, other in ((taught.action_low, spec.action_low), (taught.action_high, spec.action_high)):
        if mine is not None and other is not None and not np.allclose(mine, other):
            return f"the bounds of its actions are {mine}; allowed: {other}"
    return ""
