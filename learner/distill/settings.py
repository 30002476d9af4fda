"""Settings of learning from a teacher; must not import torch."""

from typing import Literal

from pydantic import Field, field_validator

from graspfleet.common.runtime.files import expand_home
from graspfleet.common.settings.config import ALGORITHM
from graspfleet.learner.distill.policy_file import read_teacher
from graspfleet.learner.sac.settings import SACConfig


class DistillConfig(SACConfig):
    """A teacher that sees the privileged fields, and a student that imitates it from the others."""

    algorithm: Literal["distill"] = Field("distill", description=ALGORITHM)
    teacher: str | None = Field(
        None,
        description="Policy that teaches: a run directory or a policy file, whose observations are the"
        " privileged fields. Default: a SAC policy that learns beside the student, with the same flags.",
    )
    student_learning_rate: float = Field(1e-3, gt=0, description="Adam's step size for the student.")
    teacher_acts: float = Field(
        0.7,
        ge=0,
        le=1,
        description="Share p of the transitions that the teacher collects after 1,000 updates; after n it is"
        " p^(n / 1000), so all of them at first (DAgger). 0: the student collects all.",
    )

    @field_validator("teacher")
    @classmethod
    def _is_absolute(cls, teacher: str | None) -> str | None:
        """Return an absolute path, so that a run can be resumed in another working directory."""
        return None if teacher is None else str(expand_home(teacher).absolute())

    @property
    def unscaled_inputs(self) -> str:
        """The teacher's flag: a given policy takes observations as the environment returns them."""
        return "" if self.teacher is None else f"--teacher {self.teacher}"

    def check(self) -> None:
        """Check that the given teacher can be read.

        Raises:
            ConfigError: it cannot.
        """
        if self.teacher is not None:
            read_teacher(self.teacher)

    @property
    def divergence_hint(self) -> str:
        """Flags that may be too large if training has diverged, with their values."""
        student = f"--student-learning-rate {self.student_learning_rate:g}"
        return student if self.teacher is not None else f"{student}, {super().divergence_hint}"

    @property
    def sizes(self) -> list[str]:
        """Flags that determine the form of the algorithm's state, with their values."""
        return [*super().sizes, "--teacher" if self.teacher is not None else "no --teacher"]
