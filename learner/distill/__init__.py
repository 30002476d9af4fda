"""Learning from a teacher: its settings, metrics and memory; a `learner.algorithm.Definition`.

A policy that sees the privileged fields learns by SAC, or is given; a student that sees only the other fields
imitates it on the transitions that the student itself collects.

Sources: Ross et al. 2011, A Reduction of Imitation Learning and Structured Prediction to No-Regret Online
Learning (arXiv 1011.0686, DAgger); Pinto et al. 2017, Asymmetric Actor Critic for Image-Based Robot Learning
(arXiv 1710.06542).
"""

from graspfleet.common.errors import ConfigError
from graspfleet.common.policy import policy_bytes
from graspfleet.common.settings.processes import LearnerConfig
from graspfleet.common.specs import EnvSpec
from graspfleet.learner import sac
from graspfleet.learner.algorithm import Algorithm, Memory
from graspfleet.learner.distill.settings import DistillConfig as Settings
from graspfleet.learner.reporting.metric import Metric

__all__ = ["METRICS", "Settings", "build", "memory", "updates_per_dispatch"]

METRICS = {
    **sac.METRICS,
    "imitation_loss": Metric(
        "nats",
        "Σⱼ H(Bernoulli(½ + ½ tanh μₜⱼ), Bernoulli(½ + ½ tanh μₛⱼ)) + 0.1 (log σₛⱼ − log σₜⱼ)², over the"
        " numbers j of an action; t teacher, s student",
    ),
    "imitation_error": Metric("action", "√ mean (tanh μₛ − tanh μₜ)², over the numbers of an action"),
}


def memory(settings: Settings, spec: EnvSpec, batch_size: int) -> Memory:
    """Return the size of the networks and of the arrays of one update.

    Raises:
        ConfigError: no field is privileged, or the encoder's layers are too large for the images.
    """
    if spec.policy_dim == spec.obs_dim:
        raise ConfigError(
            f"--algorithm distill: --env {spec.env} has no privileged field that the teacher could see;"
            " allowed: --privileged-obs NAME ..."
        )
    student = sac.memory(settings, spec, batch_size)
    teacher = sac.POLICIES * policy_bytes(spec, settings.hidden_dim)  # a little less than it has
    return student._replace(held=student.held + teacher)


def updates_per_dispatch(settings: Settings, learner: LearnerConfig) -> int:
    """Return the number of updates per call on this machine.

    Raises:
        ConfigError: the requested device or precision is not available.
    """
    return sac.updates_per_dispatch(settings, learner)


def build(
    settings: Settings, spec: EnvSpec, learner: LearnerConfig, *, batch_size: int, seed: int
) -> Algorithm:
    """Return teacher and student in their initial state; see `learner.algorithm.Definition`.

    Raises:
        ConfigError: the given teacher cannot be read, or does not fit the environment.
    """
    from graspfleet.learner.distill.agent import Distill
    from graspfleet.learner.distill.numba_student import NumbaStudent
    from graspfleet.learner.distill.student import Student
    from graspfleet.learner.distill.teacher import GivenTeacher, LearningTeacher
    from graspfleet.learner.numerics.device import on_gpu
    from graspfleet.learner.sac.backends import choose_products

    device = "cuda" if on_gpu(learner) else "cpu"
    if settings.teacher is None:
        teacher: GivenTeacher | LearningTeacher = LearningTeacher(settings, spec, learner, batch_size, seed)
    else:
        teacher = GivenTeacher(settings.teacher, spec)
    student = Student(spec, settings, seed=seed, device=device)
    if device == "cuda":
        return Distill(spec, teacher, student, teacher_acts=settings.teacher_acts)
    products = choose_products(settings, batch_size, threads=learner.learner_threads)
    quick = NumbaStudent(student, products)
    return Distill(spec, teacher, quick, teacher_acts=settings.teacher_acts)
