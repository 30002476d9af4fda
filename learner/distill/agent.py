"""A teacher and its student as one algorithm.

In: batches of packed transitions. Out: the student's policy, for actors. Must not know: replay, sockets,
files, environments.
"""

from collections.abc import Mapping
from typing import Any, Protocol, SupportsFloat

import numpy as np
import torch
from torch import Tensor

from graspfleet.common.specs import EnvSpec, Records
from graspfleet.learner.distill.student import Taught
from graspfleet.learner.numerics.records import require_batches, unpack
from graspfleet.learner.publishing.policy_snapshot import PolicySnapshot

SHARE_UPDATES = 1000
"""Updates after which the teacher's share is p times as large."""


class Teacher(Protocol):
    """A policy that sees the privileged fields."""

    def update(self, batches: Records) -> Mapping[str, SupportsFloat]:
        """Take one gradient step with each of K batches."""

    def act(self, obs: Tensor) -> Taught:
        """Return the Gaussians at observations [B, obs_dim]."""

    def metrics(self) -> Mapping[str, float]:
        """Return the newest values of its metrics."""

    def state_dict(self) -> dict[str, Any]:
        """Return everything that the next update depends on."""

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore the state from `state_dict()`."""

    def snapshot(self) -> PolicySnapshot | None:
        """Return a copy of the policy that can act in the actors; None if it cannot."""


class Student(Protocol):
    """A policy that imitates a teacher; see `learner.distill.student.Student`."""

    @property
    def device(self) -> str:
        """Torch device of its inputs."""

    def update(self, obs: Tensor, pixels: Tensor | None, taught: Taught) -> Mapping[str, SupportsFloat]:
        """Take one step toward the teacher."""

    def snapshot(self) -> PolicySnapshot:
        """Return a copy of the policy after the updates so far."""

    def state_dict(self) -> dict[str, Any]:
        """Return everything that the next update depends on."""

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore the state from `state_dict()`."""


class Distill:
    """A student that imitates a teacher on its own transitions; an `Algorithm`.

    Both act in the actors in turn (DAgger): the teacher's transitions are the better ones to learn from at
    first, later the student is corrected where it goes itself. Evaluations are of the student.

    Args:
        spec: shapes and dtypes of a transition.
        teacher: the teacher.
        student: the student.
        teacher_acts: p in the share of the published policies that are the teacher's, p^(updates / 1000).
    """

    def __init__(
        self, spec: EnvSpec, teacher: Teacher, student: Student, *, teacher_acts: float = 0.0
    ) -> None:
        self._spec, self._teacher, self._student = spec, teacher, student
        self._teacher_acts, self._turn, self._updates = teacher_acts, 0.0, 0
        self._metrics: Mapping[str, SupportsFloat] = {}

    def update(self, batches: Records) -> Mapping[str, SupportsFloat]:
        """Take one gradient step of teacher and student with each of K batches.

        Raises:
            ValueError: the batches have another dtype or shape.
        """
        require_batches(batches, self._spec)
        taught = self._teacher.update(batches)
        self._updates += len(batches)
        packed = torch.from_numpy(batches.view(np.uint8).reshape(*batches.shape, -1)).to(self._student.device)
        for batch in packed:
            data = unpack(batch, self._spec)
            gaussian = self._teacher.act(data["obs"])
            self._metrics = self._student.update(data["obs"], data.get("pixels"), gaussian)
        return {**taught, **self._metrics}

    def policy(self) -> PolicySnapshot:
        """Return a copy of the policies after the updates so far: the student's, and the one that acts."""
        share = self._teacher_acts ** (self._updates / SHARE_UPDATES) if self._teacher_acts else 0.0
        own, self._turn = self._student.snapshot(), self._turn + share
        if self._turn < 1:
            return own
        self._turn -= 1
        acting = self._teacher.snapshot()
        return own if acting is None else own.acting(acting)

    def metrics(self) -> Mapping[str, float]:
        """Return the scalars of the newest update."""
        own = {name: float(value) for name, value in self._metrics.items()}
        return {**self._teacher.metrics(), **own}

    def state_dict(self) -> dict[str, Any]:
        """Return the states of teacher and student."""
        return {
            "teacher": self._teacher.state_dict(),
            "student": self._student.state_dict(),
            "updates": self._updates,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore the states from `state_dict()`; see `Algorithm`."""
        self._teacher.load_state_dict(state["teacher"])
        self._student.load_state_dict(state["student"])
        self._updates = int(state["updates"])
