"""A student imitates its teacher: the loss, the update by hand, given teachers, and what is refused."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from graspfleet.common.errors import ConfigError
from graspfleet.common.messages import Weights
from graspfleet.common.policy import LOG_STD_MAX, LOG_STD_MIN, NumpyPolicy, sees_everything
from graspfleet.common.protocol import encode
from graspfleet.common.settings.processes import LearnerConfig
from graspfleet.common.specs import EnvSpec, Records
from graspfleet.learner import distill, sac
from graspfleet.learner.distill.agent import Distill
from graspfleet.learner.distill.numba_student import NumbaStudent
from graspfleet.learner.distill.settings import DistillConfig
from graspfleet.learner.distill.student import LOG_STD_FLOOR, STD_WEIGHT, Student, imitation_loss
from graspfleet.learner.distill.teacher import GivenTeacher
from graspfleet.learner.numerics.encoder import Encoder
from graspfleet.learner.sac.flat_parameters import Flat
from graspfleet.learner.sac.networks import Policy
from graspfleet.learner.sac.numba.encoder import EncoderPass
from graspfleet.learner.sac.numba.matmul import Products
from tests.learner.test_encoder import LAYOUTS, batch_of, spec_of

SMALL = DistillConfig(
    hidden_dim=16, latent_dim=8, ema_tau=0.2, learning_rate=1e-2, student_learning_rate=1e-2
)
LEARNER = LearnerConfig(device="cpu", learner_threads=1)
SPEC = spec_of((12, 12), privileged=True)
"""A 12 x 12 image, two numbers of state, and a privileged mass."""


pytestmark = pytest.mark.usefixtures("one_thread")


def config(**changes: object) -> DistillConfig:
    return DistillConfig(**{**SMALL.model_dump(), **changes})


def build(spec: EnvSpec = SPEC, count: int = 16, seed: int = 0, **changes: object) -> Any:
    return distill.build(config(**changes), spec, LEARNER, batch_size=count, seed=seed)


# The loss


def test_the_loss_is_that_of_slow_numpy() -> None:
    rng = np.random.default_rng(0)
    mean, log_std, taught, taught_std = rng.normal(size=(4, 6, 3)) * 2
    taught_std[0] = -30.0
    total = 0.0
    for b in range(6):
        for a in range(3):
            p, q = ((1 + np.tanh(m[b, a])) / 2 for m in (taught, mean))
            total -= p * np.log(q) + (1 - p) * np.log(1 - q)
            total += STD_WEIGHT * (log_std[b, a] - max(taught_std[b, a], LOG_STD_FLOOR)) ** 2
    loss = imitation_loss(*map(torch.from_numpy, (mean, log_std, taught, taught_std)))
    assert float(loss) == pytest.approx(total / 6, rel=1e-6)


def test_its_gradient_is_the_difference_of_the_actions_and_does_not_vanish() -> None:
    mean = torch.tensor([[-9.0, 0.3]], requires_grad=True)
    taught, log_std = torch.tensor([[9.0, 0.5]]), torch.zeros(1, 2)
    (gradient,) = torch.autograd.grad(imitation_loss(mean, log_std, taught, log_std), mean)
    np.testing.assert_allclose(gradient, (mean.detach().tanh() - taught.tanh()).numpy(), atol=1e-5)
    assert gradient[0, 0] < -1.9


# The update by hand


@pytest.mark.parametrize("shift", [0, 2])
@pytest.mark.parametrize(("spec", "layers"), LAYOUTS)
def test_the_encoder_by_hand_is_the_encoder_by_autograd(spec: EnvSpec, layers: Any, shift: int) -> None:
    count = 7
    encoder = Encoder(spec, layers, 8, torch.Generator().manual_seed(0))
    with torch.no_grad():
        for parameter in encoder.parameters():
            parameter += 0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1))
    flat = Flat(encoder.named())
    by_hand = EncoderPass(spec, flat.views(flat.values), flat.views(flat.gradient), count)
    pixels = np.ascontiguousarray(batch_of(spec, count)["pixels"][0])
    rng = np.random.default_rng(0)
    shifts = [rng.integers(-shift, shift + 1, (count, 2)) for _ in spec.images] if shift else []
    latent = encoder(torch.from_numpy(pixels), [torch.from_numpy(each) for each in shifts])
    by_hand.forward(pixels, [torch.from_numpy(each) for each in shifts])
    np.testing.assert_allclose(by_hand.latent, latent.detach(), rtol=1e-4, atol=1e-5)
    d_latent = rng.normal(size=latent.shape).astype(np.float32)
    names = list(encoder.named())
    expected = torch.autograd.grad(
        (latent * torch.from_numpy(d_latent)).sum(), list(encoder.named().values())
    )
    by_hand.backward(d_latent)
    got = flat.views(flat.gradient)
    for name, gradient in zip(names, expected, strict=True):
        np.testing.assert_allclose(got[name], gradient, rtol=2e-3, atol=2e-4, err_msg=name)


@pytest.mark.parametrize(
    "spec", [SPEC, spec_of(privileged=True), spec_of((9, 10, 3), (8, 8), privileged=True)]
)
@pytest.mark.parametrize("shift", [0, 1])
def test_the_student_by_hand_is_the_plain_student(spec: EnvSpec, shift: int) -> None:
    plain, other = (Student(spec, config(random_shift=shift), seed=3) for _ in range(2))
    quick = NumbaStudent(other, Products())
    rng = np.random.default_rng(0)
    for number in range(5):
        batch = batch_of(spec, 16, number)[0]
        obs = torch.from_numpy(batch["obs"].copy())
        pixels = torch.from_numpy(batch["pixels"].copy()) if spec.images else None
        mean, log_std = torch.from_numpy(rng.normal(size=(2, 16, 2)).astype(np.float32))
        expected, got = plain.update(obs, pixels, (mean, log_std)), quick.update(obs, pixels, (mean, log_std))
        for name, value in expected.items():
            assert float(got[name]) == pytest.approx(float(value), rel=1e-4), name
        for name, flat in plain.flat.items():
            np.testing.assert_allclose(other.flat[name].gradient, flat.gradient, rtol=2e-3, atol=1e-5)
            np.testing.assert_allclose(other.flat[name].values, flat.values, atol=2e-4)
    for name, array in plain.snapshot().ema().items():
        np.testing.assert_allclose(quick.snapshot().ema()[name], array, atol=2e-4)


@pytest.mark.parametrize("bias", [LOG_STD_MIN - 5, LOG_STD_MAX + 5])
def test_a_clipped_log_std_has_no_gradient(bias: float) -> None:
    plain, other = Student(SPEC, SMALL, seed=3), Student(SPEC, SMALL, seed=3)
    quick = NumbaStudent(other, Products())
    batch = batch_of(SPEC)[0]
    inputs = torch.from_numpy(batch["obs"].copy()), torch.from_numpy(batch["pixels"].copy())
    for student in (plain, other):
        with torch.no_grad():
            student.policy.b2[2:] = bias
    for student in (plain, quick):
        student.update(*inputs, (torch.zeros(16, 2), torch.zeros(16, 2)))
    for student in (plain, other):
        assert not student.flat["policy"].views(student.flat["policy"].gradient)["b2"][2:].any()


# Learning


class FixedTeacher:
    """A teacher that turns its privileged number into an action."""

    def update(self, batches: Records) -> dict[str, float]:
        return {}

    def act(self, obs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        mean = torch.cat((obs[:, 2:], -obs[:, 2:]), dim=1)
        return mean, torch.full_like(mean, -1.0)

    def metrics(self) -> dict[str, float]:
        return {}

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: Any) -> None:
        pass

    def snapshot(self) -> None:
        return None


def hidden_in_the_image(count: int, seed: int) -> Records:
    """Return a batch whose privileged number, in [-1, 1], can be read off the image alone."""
    batch = batch_of(SPEC, count, seed)
    batch["pixels"] = ((batch["obs"][..., 2] + 1) * 127)[..., None]
    return batch


def test_a_student_learns_from_the_image_what_its_teacher_knows() -> None:
    student = NumbaStudent(Student(SPEC, config(random_shift=0), seed=0), Products())
    agent = Distill(SPEC, FixedTeacher(), student)
    for seed in range(300):
        metrics = agent.update(hidden_in_the_image(64, seed))
    assert float(metrics["imitation_error"]) < 0.1
    policy = NumpyPolicy(agent.policy().arrays(), SPEC, np.random.default_rng(0))
    batch = hidden_in_the_image(64, 1000)[0]
    mean, log_std = policy.mean_and_log_std(batch["obs"], batch["pixels"])
    assert (
        np.abs(np.tanh(mean) - np.tanh(np.stack((batch["obs"][:, 2], -batch["obs"][:, 2]), 1))).mean() < 0.1
    )
    assert np.abs(log_std + 1).mean() < 0.3
    blank = policy.mean_and_log_std(batch["obs"], np.zeros_like(batch["pixels"]))[0]
    assert np.ptp(blank[:, 0]) < 0.5 * np.ptp(mean[:, 0])


def test_teacher_and_student_learn_together_and_go_on_bit_by_bit() -> None:
    agent = build()
    for seed in range(3):
        metrics = agent.update(batch_of(SPEC, 16, seed))
    assert set(agent.metrics()) == set(distill.METRICS) == set(metrics)
    file = io.BytesIO()
    torch.save(agent.state_dict(), file)
    file.seek(0)
    other = build(seed=9)
    other.load_state_dict(torch.load(file))
    for each in (agent, other):
        each.update(batch_of(SPEC, 16, 7))
    for _ in range(2):  # the student's, and the teacher's
        expected, got = agent.policy(), other.policy()
        for part, own in ((expected.arrays(), got.arrays()), (expected.ema(), got.ema())):
            assert part.keys() == own.keys()
            for name, array in part.items():
                np.testing.assert_array_equal(own[name], array)


def test_the_published_policy_does_not_depend_on_the_privileged_field() -> None:
    agent = build(teacher_acts=0.0)
    policy = NumpyPolicy(agent.policy().arrays(), SPEC, np.random.default_rng(0))
    batch = batch_of(SPEC)[0]
    first = policy.mean_and_log_std(batch["obs"], batch["pixels"])[0]
    batch["obs"][:, 2] += 5
    np.testing.assert_array_equal(policy.mean_and_log_std(batch["obs"], batch["pixels"])[0], first)


def acting(agent: Any, spec: EnvSpec = SPEC) -> list[bool]:
    """Return for eight published policies whether the one that acts is the teacher's."""
    return [sees_everything(agent.policy().arrays(), spec) for _ in range(8)]


@pytest.mark.parametrize("spec", [SPEC, spec_of(privileged=True)])
@pytest.mark.parametrize(
    ("base", "updates", "turns"),
    [(0.0, 0, 0), (0.5, 0, 8), (0.5, 1000, 4), (0.5, 2000, 2), (0.5, 9000, 0), (1.0, 9000, 8)],
)
def test_teacher_and_student_act_in_turn_and_the_student_is_evaluated(
    spec: EnvSpec, base: float, updates: int, turns: int
) -> None:
    agent = build(spec, teacher_acts=base)
    agent._updates = updates
    assert sum(acting(agent, spec)) == turns
    batch = batch_of(spec)[0]
    pixels = batch["pixels"] if spec.images else None
    snapshot = agent.policy()
    evaluated = NumpyPolicy(snapshot.ema(), spec, np.random.default_rng(0))
    before = evaluated.mean_and_log_std(batch["obs"], pixels)[0]
    batch["obs"][:, 2] += 1
    np.testing.assert_array_equal(evaluated.mean_and_log_std(batch["obs"], pixels)[0], before)


def test_the_evaluated_policy_is_the_students_without_an_average_too() -> None:
    agent = build(teacher_acts=1.0, ema_tau=1.0)
    snapshot = agent.policy()
    assert sees_everything(snapshot.arrays(), SPEC)
    assert not sees_everything(snapshot.ema(), SPEC)


def test_the_teachers_policy_acts_on_the_whole_vector() -> None:
    agent = build(teacher_acts=1.0)
    agent.update(batch_of(SPEC))
    policy = NumpyPolicy(agent.policy().arrays(), SPEC, np.random.default_rng(0))
    obs = batch_of(SPEC)[0]["obs"]
    mean, log_std = policy.mean_and_log_std(obs, batch_of(SPEC)[0]["pixels"])
    for got, expected in zip((mean, log_std), agent._teacher.act(torch.from_numpy(obs.copy())), strict=True):
        np.testing.assert_allclose(got, expected.detach(), atol=1e-5)


def test_scaled_inputs_reach_both_policies(tmp_path: Path) -> None:
    spec = spec_of(privileged=True)
    agent = build(spec, teacher_acts=1.0)
    mean, std = np.array([1.0, -2.0, 3.0]), np.array([2.0, 0.5, 4.0])
    snapshot, scaled = agent.policy(), agent.policy().with_inputs(mean, std, spec.policy_dim)
    obs = batch_of(spec)[0]["obs"]
    raw = (obs * std + mean).astype(np.float32)
    for plain, own in ((snapshot.arrays(), scaled.arrays()), (snapshot.ema(), scaled.ema())):
        expected = NumpyPolicy(plain, spec, np.random.default_rng(0)).mean_and_log_std(obs)[0]
        got = NumpyPolicy(own, spec, np.random.default_rng(0)).mean_and_log_std(raw)[0]
        np.testing.assert_allclose(got, expected, atol=1e-4)


# A given teacher


def write_teacher(path: Path, obs_dim: int = 1, action_dim: int = 2, seed: int = 0, **spec: Any) -> Policy:
    """Write a policy file; return the policy."""
    own = EnvSpec(env="Fake-v0", obs_dim=obs_dim, action_dim=action_dim, discount=0.5, n_step=1, **spec)
    policy = Policy(obs_dim, action_dim, 8, torch.Generator().manual_seed(seed))
    arrays = {name: value.detach().numpy().T.copy() for name, value in policy.named_parameters()}
    path.write_bytes(encode(Weights(version=1, env_steps=5, updates=3, spec=own, policy=arrays)))
    return policy


def test_a_given_teacher_acts_on_the_privileged_fields(tmp_path: Path) -> None:
    policy = write_teacher(tmp_path / "policy.gfp")
    teacher = GivenTeacher(str(tmp_path / "policy.gfp"), SPEC)
    obs = torch.from_numpy(batch_of(SPEC)[0]["obs"].copy())
    for got, expected in zip(teacher.act(obs), policy(obs[:, 2:]), strict=True):
        np.testing.assert_allclose(got, expected.detach(), atol=1e-5)
    agent = build(teacher=str(tmp_path / "policy.gfp"))
    agent.update(batch_of(SPEC))
    assert {"imitation_loss", "imitation_error"} == set(agent.metrics())


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ({"obs_dim": 4}, "allowed: 1 numbers, the privileged fields"),
        ({"action_dim": 3}, "3 numbers in an action; allowed: 2"),
    ],
)
def test_a_teacher_that_does_not_fit_is_refused(tmp_path: Path, written: Any, message: str) -> None:
    write_teacher(tmp_path / "policy.gfp", **written)
    with pytest.raises(ConfigError, match=message):
        GivenTeacher(str(tmp_path / "policy.gfp"), SPEC)


def test_a_teacher_with_other_bounds_is_refused(tmp_path: Path) -> None:
    write_teacher(tmp_path / "policy.gfp", action_low=(-1.0, -1.0), action_high=(1.0, 1.0))
    spec = SPEC.model_copy(update={"action_low": (-2.0, -2.0), "action_high": (2.0, 2.0)})
    with pytest.raises(ConfigError, match="bounds of its actions"):
        GivenTeacher(str(tmp_path / "policy.gfp"), spec)


@pytest.mark.parametrize("content", [None, b"", b"not a policy"])
def test_an_unreadable_teacher_is_one_line(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "policy.gfp"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError, match=r"--teacher .*: no readable policy \(.*\); allowed: a run"):
        GivenTeacher(str(path), SPEC)


def test_nothing_privileged_is_nothing_to_teach() -> None:
    with pytest.raises(ConfigError, match=r"no privileged field .* allowed: --privileged-obs NAME"):
        distill.memory(SMALL, spec_of((12, 12)), 16)


def test_another_teacher_in_a_resumed_run_is_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = str(tmp_path / "policy.gfp")
    write_teacher(tmp_path / "policy.gfp")
    first = GivenTeacher(path, SPEC)
    first.load_state_dict(first.state_dict())
    assert not caplog.records
    write_teacher(tmp_path / "policy.gfp", seed=1)
    GivenTeacher(path, SPEC).load_state_dict(first.state_dict())
    assert "another policy than the one that this run began with" in caplog.text


def test_a_teachers_place_is_absolute_and_a_bad_one_is_found_before_an_environment(tmp_path: Path) -> None:
    settings = config(teacher="nowhere")
    assert settings.teacher == str(Path("nowhere").absolute())
    with pytest.raises(ConfigError, match="no readable policy"):
        settings.check()
    with pytest.raises(ConfigError, match=r"no readable policy .* allowed: a run directory or a policy file"):
        config(teacher=str(tmp_path)).check()
    with pytest.raises(ConfigError, match="home directory of this user is unknown"):
        config(teacher="~nobody-has-this-name/x")
    config().check()


def test_a_policy_with_images_cannot_teach(tmp_path: Path) -> None:
    agent = build(teacher_acts=0.0)
    message = Weights(version=1, env_steps=5, updates=3, spec=SPEC, policy=agent.policy().arrays())
    (tmp_path / "policy.gfp").write_bytes(encode(message))
    with pytest.raises(ConfigError, match=r"it sees .* allowed: 1 numbers, the privileged fields"):
        GivenTeacher(str(tmp_path / "policy.gfp"), SPEC)


def test_the_memory_counts_both_policies() -> None:
    spec = spec_of(privileged=True)
    assert distill.memory(SMALL, spec, 16).held > sac.memory(SMALL, spec, 16).held


def test_a_divergence_names_the_students_step_too() -> None:
    assert config().divergence_hint.startswith("--student-learning-rate 0.01, --learning-rate 0.01")
    assert config(teacher="x").divergence_hint == "--student-learning-rate 0.01"


@pytest.mark.parametrize("count", [1, 3])
def test_small_batches(count: int) -> None:
    agent = build(count=count)
    assert all(np.isfinite(float(value)) for value in agent.update(batch_of(SPEC, count)).values())
