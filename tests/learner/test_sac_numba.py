"""The update written by hand against the one by autograd, for every setting that changes its path."""

from copy import deepcopy

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from graspfleet.common.errors import ConfigError
from graspfleet.common.observations.fields import ObsField
from graspfleet.common.settings.processes import LearnerConfig
from graspfleet.common.specs import EnvSpec
from graspfleet.learner.sac.agent import SAC
from graspfleet.learner.sac.backends import choose_backend, choose_products, require_possible
from graspfleet.learner.sac.networks import squash
from graspfleet.learner.sac.numba import kernels, update_kernels
from graspfleet.learner.sac.numba.agent import NumbaSAC
from graspfleet.learner.sac.numba.matmul import BF16, FP32, FP32_THREADED, Product, Products
from graspfleet.learner.sac.settings import SACConfig
from tests.learner.test_encoder import LAYOUTS, batch_of, spec_of
from tests.learner.test_sac import SPEC, Trained, make_batch, update

SMALL = SACConfig(
    hidden_dim=16,
    tau=0.05,
    ema_tau=0.2,
    reward_scale=2.5,
    initial_temperature=0.3,
    learning_rate=1e-2,
)


def config(**changes: object) -> SACConfig:
    return SACConfig(**{**SMALL.model_dump(), **changes})


def vectors(agent: Trained) -> dict[str, NDArray[np.float32]]:
    return {name: flat.values.numpy().copy() for name, flat in agent.state.flat.items()}


def distance(a: torch.Tensor, b: torch.Tensor) -> float:
    return float((a - b).norm() / b.norm())


@pytest.mark.parametrize("layer_norm", [False, True])
@pytest.mark.parametrize("auto_entropy", [False, True])
@pytest.mark.parametrize("size", [1, 33])
@pytest.mark.parametrize("product", [FP32, FP32_THREADED])
def test_fp32_is_the_plain_update(layer_norm: bool, auto_entropy: bool, size: int, product: Product) -> None:
    require_parity(config(critic_layer_norm=layer_norm, auto_entropy=auto_entropy), size, product)


@pytest.mark.parametrize(("num_critics", "critic_subset"), [(1, None), (2, 2), (3, None), (5, 2)])
def test_any_number_of_critics_is_the_plain_update(num_critics: int, critic_subset: int | None) -> None:
    cfg = config(num_critics=num_critics, critic_subset=critic_subset, temperature_learning_rate=3e-2)
    require_parity(cfg, 33, FP32)


def require_parity(cfg: SACConfig, size: int, product: Product) -> None:
    """Take five updates on both sides and compare everything."""
    plain = SAC(SPEC, cfg, seed=1)
    quick = NumbaSAC(SPEC, cfg, batch_size=33, seed=1, products=Products(product, product))
    for seed in range(5):
        batch = make_batch(size, seed)
        expected, got = update(plain, batch), update(quick, batch)
        assert got.keys() == expected.keys()
        for name, value in expected.items():
            assert float(got[name]) == pytest.approx(float(value), rel=1e-4, abs=1e-5), name
        for name in ("policy", "critic"):
            assert distance(quick.state.flat[name].gradient, plain.state.flat[name].gradient) < 1e-4, name
    for name, vector in vectors(plain).items():
        np.testing.assert_allclose(vectors(quick)[name], vector, atol=1e-4)
    for name, array in plain.policy().ema().items():
        np.testing.assert_allclose(quick.policy().ema()[name], array, atol=1e-4)


@pytest.mark.parametrize("spec", [layout[0] for layout in LAYOUTS] + [spec_of(privileged=True)])
@pytest.mark.parametrize(("shift", "critic_subset"), [(0, None), (2, 1)])
def test_images_and_privileged_fields_are_the_plain_update(
    spec: EnvSpec, shift: int, critic_subset: int | None
) -> None:
    hidden = EnvSpec(**{**spec.model_dump(), "obs_fields": privileged(spec)})
    changes = {
        "latent_dim": 8,
        "random_shift": shift,
        "critic_subset": critic_subset,
        "critic_layer_norm": True,
    }
    cfg = config(**changes, learning_rate=1e-3)
    plain = SAC(hidden, cfg, seed=1)
    quick = NumbaSAC(hidden, cfg, batch_size=9, seed=1, products=Products())
    for seed in range(3):
        expected, got = (agent.update(batch_of(hidden, 9, seed)) for agent in (plain, quick))
        for name, value in expected.items():
            assert float(got[name]) == pytest.approx(float(value), rel=1e-3, abs=1e-4), name
        for name in plain.state.optimizers:
            gradients = (agent.state.flat[name].gradient for agent in (quick, plain))
            assert distance(*gradients) < 2e-3, name
    for name, vector in vectors(plain).items():
        np.testing.assert_allclose(vectors(quick)[name], vector, atol=1e-3)
    for name, array in plain.policy().ema().items():
        np.testing.assert_allclose(quick.policy().ema()[name], array, atol=1e-3)


def privileged(spec: EnvSpec) -> tuple[ObsField, ...]:
    """Return the fields with the last one privileged."""
    *others, last = spec.fields
    return (*others, last.model_copy(update={"privileged": True}))


def test_a_clipped_log_std_has_no_gradient_here_either() -> None:
    agents = [SAC(SPEC, SMALL, seed=1), NumbaSAC(SPEC, SMALL, batch_size=33, seed=1, products=Products())]
    for agent in agents:
        with torch.no_grad():
            agent.state.policy.b2[SPEC.action_dim :] = torch.tensor([-50.0, 0.0, 50.0])
        update(agent, make_batch(33, 0))
    biases = [agent.state.flat["policy"].views(agent.state.flat["policy"].gradient)["b2"] for agent in agents]
    np.testing.assert_allclose(biases[1], biases[0], rtol=1e-3, atol=1e-5)
    assert biases[1][SPEC.action_dim] == biases[1][SPEC.action_dim + 2] == 0.0
    assert biases[1][SPEC.action_dim + 1] != 0.0


@pytest.mark.parametrize("layer_norm", [False, True])
def test_bf16_points_the_same_way(layer_norm: bool) -> None:
    cfg = config(hidden_dim=64, critic_layer_norm=layer_norm)
    plain, quick = (
        SAC(SPEC, cfg, seed=1),
        NumbaSAC(SPEC, cfg, batch_size=33, seed=1, products=Products(middle=BF16)),
    )
    batch = make_batch(128, 0)
    update(plain, batch)
    update(quick, batch)
    assert distance(quick.state.flat["critic"].gradient, plain.state.flat["critic"].gradient) < 0.02
    assert distance(quick.state.flat["policy"].gradient, plain.state.flat["policy"].gradient) < 0.1


@pytest.mark.parametrize("there_and_back", [False, True])
def test_either_goes_on_from_the_other(there_and_back: bool) -> None:
    plain, quick = SAC(SPEC, SMALL, seed=1), NumbaSAC(SPEC, SMALL, batch_size=33, seed=2, products=Products())
    first, second = (quick, plain) if there_and_back else (plain, quick)
    update(first, make_batch(33, 0))
    second.load_state_dict(deepcopy(first.state_dict()))
    for agent in (first, second):
        update(agent, make_batch(33, 1))
    for name, vector in vectors(first).items():
        np.testing.assert_allclose(vectors(second)[name], vector, atol=1e-5)


def test_batches_may_change_their_size() -> None:
    plain, quick = SAC(SPEC, SMALL, seed=1), NumbaSAC(SPEC, SMALL, batch_size=33, seed=1, products=Products())
    for seed, size in enumerate((33, 7, 33)):
        for agent in (plain, quick):
            update(agent, make_batch(size, seed))
    for name, vector in vectors(plain).items():
        np.testing.assert_allclose(vectors(quick)[name], vector, atol=1e-4)


def test_actions_near_zero_and_far_beyond_the_bounds() -> None:
    mean = np.array([[0.0, 1e-6, -0.3], [3.0, -12.0, 90.0]], np.float32)
    head, noise = np.concatenate((mean, np.zeros_like(mean)), axis=1), np.zeros_like(mean)
    action, log_prob = np.empty_like(mean), np.empty(2, np.float32)
    update_kernels.squash(head, noise, action, log_prob)
    expected = squash(*map(torch.from_numpy, (mean, np.zeros_like(mean), noise)))
    np.testing.assert_allclose(action, expected[0], atol=2e-7)
    np.testing.assert_allclose(log_prob, expected[1], rtol=1e-6)


@pytest.mark.parametrize("shift", [0.0, 1e4])
def test_layer_norm_is_torchs_also_far_from_zero(shift: float) -> None:
    rng = np.random.default_rng(0)
    x = (rng.standard_normal((2, 9, 64)) + shift).astype(np.float32)
    x[0, :, 0] += 100  # the value that the others are taken relative to, itself far off
    zeros, ones = np.zeros((2, 64), np.float32), np.ones((2, 64), np.float32)
    expected = torch.nn.functional.layer_norm(torch.from_numpy(x).double(), (64,))
    normal, rstd = np.empty_like(x), np.empty((2, 9), np.float32)
    kernels.normalize(x.copy(), zeros, ones, zeros, normal, rstd, kernels.RELU)
    np.testing.assert_allclose(normal, expected, atol=1e-4)


def test_adam_is_torchs() -> None:
    values = torch.nn.Parameter(torch.linspace(-1, 1, 50))
    ours, moments = values.detach().clone().numpy(), np.zeros((2, 50), np.float32)
    adam = torch.optim.Adam([values], lr=0.01)
    for step in range(1, 6):
        values.grad = torch.sin(step * torch.arange(50.0))
        adam.step()
        update_kernels.adam(ours, values.grad.numpy(), *moments, float(step), 0.01, (0.9, 0.999), 1e-8)
    np.testing.assert_allclose(ours, values.detach().numpy(), rtol=1e-5, atol=1e-7)


def test_not_finite_numbers_stay_seen() -> None:
    hidden = np.array([[[1.0, np.nan, np.inf]]], np.float32)
    kernels.activate(hidden, np.zeros((1, 3), np.float32))
    assert not np.isfinite(hidden).all()


def test_bf16_is_refused_where_the_cpu_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", dict)
    with pytest.raises(ConfigError, match=r"--precision bf16: .* allowed: fp32, auto"):
        require_possible(config(precision="bf16"), LearnerConfig())  # before any actor is waited for
    with pytest.raises(ConfigError, match="--precision bf16"):
        choose_backend(config(precision="bf16"), SPEC, LearnerConfig(), batch_size=33, seed=0)
    chosen = choose_backend(config(precision="auto"), SPEC, LearnerConfig(), batch_size=33, seed=0)
    assert isinstance(chosen, NumbaSAC)


def test_auto_takes_bf16_where_the_products_are_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": True})
    taken = [
        choose_products(SACConfig(precision="auto"), 256, threads=1),
        choose_products(SACConfig(hidden_dim=128, precision="auto"), 128, threads=1),
        choose_products(SACConfig(), 256, threads=1),
        choose_products(SACConfig(precision="auto"), 256, threads=2),
    ]
    assert [products.middle for products in taken] == [BF16, FP32, FP32, BF16]
