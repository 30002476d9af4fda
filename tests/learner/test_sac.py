"""SAC: one update against deliberately slow NumPy, masking, refusals, resuming, parity with the actors."""

import io
from collections.abc import Mapping
from itertools import chain
from typing import Protocol, SupportsFloat

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.distributions import Normal, TanhTransform, TransformedDistribution

from graspfleet.common.policy import LOG_STD_MAX, LOG_STD_MIN, NumpyPolicy
from graspfleet.common.specs import EnvSpec, Records
from graspfleet.learner.algorithm import Algorithm
from graspfleet.learner.sac import METRICS
from graspfleet.learner.sac.agent import SAC
from graspfleet.learner.sac.losses import critic_loss, policy_loss, td_target, temperature_loss
from graspfleet.learner.sac.networks import squash
from graspfleet.learner.sac.settings import SACConfig
from graspfleet.learner.sac.training_state import TrainingState
from tests.learner.reference_sac import Array, Net, SlowSAC

SPEC = EnvSpec(env="Fake-v0", obs_dim=6, action_dim=3, discount=0.97, n_step=3)
SMALL = SACConfig(hidden_dim=8, tau=0.05, reward_scale=2.5, initial_temperature=0.3, learning_rate=1e-2)


pytestmark = pytest.mark.usefixtures("one_thread")


def make_batch(size: int = 16, seed: int = 0, spec: EnvSpec = SPEC) -> Records:
    rng = np.random.default_rng(seed)
    batch = np.zeros(size, spec.record)
    for name in ("obs", "next_obs", "action"):
        batch[name] = rng.uniform(-1, 1, batch[name].shape)
    batch["reward"] = rng.uniform(-1, 1, size)
    batch["discount"] = spec.discount ** rng.integers(1, spec.n_step + 1, size)
    batch["terminated"] = rng.random(size) < 0.3
    batch["truncated"] = rng.random(size) < 0.3
    return batch


class Trained(Protocol):
    """Any back end."""

    state: TrainingState


def update(agent: Algorithm, batch: Records) -> Mapping[str, SupportsFloat]:
    """Take one update."""
    return agent.update(batch[None])


def config(**changes: object) -> SACConfig:
    return SACConfig(**{**SMALL.model_dump(), **changes})


def parameters(agent: Trained) -> list[Tensor]:
    networks = (agent.state.policy, agent.state.critic, agent.state.target)
    return [*chain.from_iterable(network.parameters() for network in networks), agent.state.log_temperature]


def copies(agent: Trained) -> list[Tensor]:
    return [parameter.detach().clone() for parameter in parameters(agent)]


def policy_net(named: dict[str, Tensor]) -> Net:
    return {name: value.double().numpy().T.copy() for name, value in named.items()}


def critic_net(named: dict[str, Tensor], i: int) -> Net:
    """Critic i of a stacked module in the slow implementation's layout: w2 [H, 1], vectors [H]."""
    net = {name: value.double().numpy()[i].copy() for name, value in named.items()}
    matrices = {"w0": net["w0"], "w1": net["w1"], "w2": net["w2"].T}
    return {name: matrices[name] if name in matrices else value.reshape(-1) for name, value in net.items()}


def gradients(agent: Trained, name: str) -> dict[str, Tensor]:
    """Adam's first moment after one update is a tenth of the gradient."""
    first_moment = agent.state_dict()["optimizers"][name]["state"][0]["exp_avg"]
    views = agent.state.flat[name].views(first_moment * 10)
    return {key: view for key, view in views.items() if key != "log_temperature"}


def slow_twin(agent: Trained, cfg: SACConfig) -> SlowSAC:
    state = agent.state_dict()
    return SlowSAC(
        phi=policy_net(state["policy"]),
        theta=[critic_net(state["critic"], i) for i in range(2)],
        theta_bar=[critic_net(state["target"], i) for i in range(2)],
        log_alpha=float(state["log_temperature"]),
        H_bar=-SPEC.action_dim if cfg.target_entropy is None else cfg.target_entropy,
        learning_rate=cfg.learning_rate,
        tau=cfg.tau,
        reward_scale=cfg.reward_scale,
        auto_entropy=cfg.auto_entropy,
    )


def noise_of_next_update(agent: Trained, size: int) -> tuple[Array, Array]:
    state = agent.state.generator.get_state()
    noise = agent.state.noise(2, size, SPEC.action_dim).double().numpy()
    agent.state.generator.set_state(state)
    return noise[0], noise[1]


def assert_near(ours: Net, slow: Net, tolerance: float) -> None:
    assert set(ours) == set(slow)
    for name in ours:
        np.testing.assert_allclose(ours[name], slow[name], rtol=0, atol=tolerance, err_msg=name)


@pytest.mark.parametrize("layer_norm", [False, True])
@pytest.mark.parametrize("auto_entropy", [False, True])
@pytest.mark.parametrize("updates", [1, 3])
def test_update_equals_slow_numpy(layer_norm: bool, auto_entropy: bool, updates: int) -> None:
    cfg = config(critic_layer_norm=layer_norm, auto_entropy=auto_entropy)
    agent = SAC(SPEC, cfg, seed=3)
    with torch.no_grad():
        agent.state.policy.b2[-1] = 3.0  # one log_std beyond its clip, whose gradient must be none
        for name, parameter in chain(
            agent.state.critic.named_parameters(), agent.state.target.named_parameters()
        ):
            if name.startswith(("scale", "shift")):  # the two critics must not share them
                parameter.add_(0.3 * agent.state.noise(*parameter.shape))
    slow = slow_twin(agent, cfg)

    for i in range(updates):
        batch = make_batch(seed=i)
        expected = slow.update(batch, *noise_of_next_update(agent, len(batch)))
        metrics = update(agent, batch)
        assert set(metrics) == set(expected) == METRICS.keys()
        for name, value in metrics.items():
            assert float(value) == pytest.approx(expected[name], abs=1e-5), name

    ours = slow_twin(agent, cfg)
    assert_near(ours.phi, slow.phi, 1e-5)
    for i in range(2):
        assert_near(ours.theta[i], slow.theta[i], 1e-5)
        assert_near(ours.theta_bar[i], slow.theta_bar[i], 1e-5)
    assert ours.log_alpha == pytest.approx(slow.log_alpha, abs=1e-6)
    if updates == 1:  # Adam's first step hides a gradient's size, so look at the gradients themselves
        assert_near(policy_net(gradients(agent, "policy")), slow.adam_phi.gradient, 1e-5)
        for i in range(2):
            assert_near(critic_net(gradients(agent, "critic"), i), slow.adam_theta[i].gradient, 1e-5)


def test_terminated_masks_the_bootstrap_and_truncated_does_not() -> None:
    two, q = torch.ones(2), torch.tensor([[5.0, 5.0], [4.0, 6.0]])
    y = td_target(
        two, torch.tensor([False, True]), q, 3 * two, discount=0.5 * two, temperature=torch.tensor(0.1)
    )
    assert y.tolist() == pytest.approx([1 + 0.5 * (4 - 0.3), 1.0])


@pytest.mark.parametrize(("flag", "bootstraps"), [("terminated", False), ("truncated", True)])
def test_next_obs_matters_only_where_the_episode_could_go_on(flag: str, bootstraps: bool) -> None:
    losses = []
    for shift in (0.0, 0.5):
        batch = make_batch()
        batch["terminated"], batch["truncated"] = False, False
        batch[flag] = True
        batch["next_obs"] += shift
        losses.append(float(update(SAC(SPEC, SMALL, seed=0), batch)["critic_loss"]))
    assert (losses[0] != losses[1]) == bootstraps


def test_losses_refuse_shapes_that_would_broadcast() -> None:
    b, column, q, alpha = torch.zeros(4), torch.zeros(4, 1), torch.zeros(2, 4), torch.tensor(0.1)
    done = torch.zeros(4, dtype=torch.bool)

    def target(**changes: Tensor) -> None:
        good = {"reward": b, "terminated": done, "next_q": q, "next_log_prob": b, "discount": b}
        td_target(**{**good, **changes}, temperature=alpha)

    target()
    one = {"reward": b[:1, None], "terminated": done[:1, None], "next_q": q[:, :1]}
    bad_calls = [
        lambda: target(reward=column),
        lambda: target(terminated=done[:, None]),
        lambda: target(next_q=q[:, :, None]),
        lambda: target(next_q=b),
        lambda: target(next_log_prob=column),
        lambda: target(discount=b[:1]),
        lambda: target(**one, next_log_prob=b[:1], discount=b[:1]),
        lambda: critic_loss(q, column),
        lambda: critic_loss(q[:, :, None], b),
        lambda: critic_loss(b, b),
        lambda: policy_loss(column, q, alpha),
        lambda: policy_loss(b, q[:, :3], alpha),
        lambda: temperature_loss(alpha, column, -1.0),
        lambda: squash(column, column, torch.zeros(4, 3)),
        lambda: squash(b, b, b),
    ]
    for call in bad_calls:
        with pytest.raises(ValueError, match=r"differ|expected"):
            call()


def test_update_refuses_another_record() -> None:
    agent = SAC(SPEC, SMALL, seed=0)
    other = EnvSpec(env="Fake-v0", obs_dim=7, action_dim=3, discount=0.97, n_step=3)
    for bad in (make_batch(spec=other)[None], make_batch(), make_batch()[None, :0]):
        with pytest.raises(ValueError, match="expected"):
            agent.update(bad)


def test_squash_equals_torch_distributions_and_stays_finite() -> None:
    generator = torch.Generator().manual_seed(0)
    mean, log_std, noise = torch.randn(3, 64, 5, generator=generator, dtype=torch.float64).unbind()
    action, log_prob = squash(mean, log_std, noise)
    reference = TransformedDistribution(Normal(mean, log_std.exp()), [TanhTransform(cache_size=1)])
    inside = action.abs().amax(1) < 1 - 1e-9  # beyond, atanh of the reference loses its digits
    expected = reference.log_prob(action).sum(1)
    torch.testing.assert_close(log_prob[inside], expected[inside], rtol=1e-5, atol=1e-5)

    far = torch.tensor([[-1e3, 1e3, 40.0]], requires_grad=True)
    action, log_prob = squash(far, torch.full((1, 3), LOG_STD_MIN), torch.ones(1, 3))
    (log_prob.sum() + action.sum()).backward()
    assert torch.isfinite(log_prob).all()
    assert far.grad is not None
    assert torch.isfinite(far.grad).all()


def test_fixed_temperature_stays() -> None:
    agent = SAC(SPEC, config(auto_entropy=False), seed=0)
    metrics = update(agent, make_batch())
    assert float(metrics["temperature_loss"]) == 0.0
    assert float(update(agent, make_batch())["temperature"]) == pytest.approx(SMALL.initial_temperature)


@pytest.mark.parametrize(("target_entropy", "grows"), [(50.0, True), (-50.0, False)])
def test_temperature_moves_the_entropy_towards_its_target(target_entropy: float, grows: bool) -> None:
    agent = SAC(SPEC, config(target_entropy=target_entropy), seed=0)
    first = update(agent, make_batch())["temperature"]
    assert bool(update(agent, make_batch())["temperature"] > first) == grows


def test_metrics_are_detached_scalars_and_no_global_random_number_is_drawn() -> None:
    before = torch.random.get_rng_state()
    agent, twin = (SAC(SPEC, SMALL, seed=5) for _ in range(2))
    metrics, same = update(agent, make_batch()), update(twin, make_batch())
    assert torch.equal(before, torch.random.get_rng_state())
    for name, value in metrics.items():
        assert value.shape == ()
        assert not value.requires_grad
        assert torch.equal(value, same[name])
    assert not torch.equal(SAC(SPEC, SMALL, seed=6).state.policy.w0, agent.state.policy.w0)


@pytest.mark.parametrize("layer_norm", [False, True])
@pytest.mark.parametrize("ema_tau", [0.1, 1.0])
def test_resuming_is_bit_exact(layer_norm: bool, ema_tau: float) -> None:
    cfg = config(critic_layer_norm=layer_norm, ema_tau=ema_tau)
    straight = SAC(SPEC, cfg, seed=1)
    for i in range(10):
        update(straight, make_batch(seed=i))

    first = SAC(SPEC, cfg, seed=1)
    for i in range(5):
        update(first, make_batch(seed=i))
    file = io.BytesIO()
    torch.save(first.state_dict(), file)
    file.seek(0)
    resumed = SAC(SPEC, cfg, seed=99)
    resumed.load_state_dict(torch.load(file, weights_only=True))
    for i in range(5, 10):
        update(resumed, make_batch(seed=i))

    assert all(torch.equal(a, b) for a, b in zip(copies(straight), copies(resumed), strict=True))
    for name, array in straight.policy().ema().items():
        assert np.array_equal(resumed.policy().ema()[name], array)
    assert torch.equal(straight.state.generator.get_state(), resumed.state.generator.get_state())


def test_an_average_that_is_kept_from_a_checkpoint_on_begins_with_its_policy() -> None:
    first = SAC(SPEC, SMALL, seed=0)
    update(first, make_batch())
    resumed = SAC(SPEC, config(ema_tau=0.1), seed=1)
    resumed.load_state_dict(first.state_dict())
    assert np.array_equal(resumed.policy().ema()["w1"], first.policy().arrays()["w1"])


def test_loading_keeps_the_settings_and_refuses_another_network() -> None:
    state = SAC(SPEC, SMALL, seed=0).state_dict()
    agent = SAC(SPEC, config(learning_rate=1e-9), seed=0)
    agent.load_state_dict(state)
    update(agent, make_batch())
    torch.testing.assert_close(agent.state.policy.w1, state["policy"]["w1"], rtol=0, atol=1e-8)
    with pytest.raises(RuntimeError, match="size mismatch"):
        SAC(SPEC, config(hidden_dim=9), seed=0).load_state_dict(state)


def test_target_critics_start_equal_and_follow_slowly() -> None:
    agent = SAC(SPEC, SMALL, seed=0)
    assert torch.equal(agent.state.target.w1, agent.state.critic.w1)
    start = agent.state.target.w1.clone()
    update(agent, make_batch())
    torch.testing.assert_close(agent.state.target.w1, start.lerp(agent.state.critic.w1, SMALL.tau))


def test_the_average_follows_the_policy_and_leaves_beside_it() -> None:
    agent = SAC(SPEC, config(ema_tau=0.25), seed=0)
    average = agent.state.policy.w1.detach().clone()
    for seed in range(3):
        update(agent, make_batch(seed=seed))
        average = average.lerp(agent.state.policy.w1.detach(), 0.25)
    copy = agent.policy()
    np.testing.assert_allclose(copy.ema()["w1"], average.numpy().T, rtol=0, atol=1e-6)
    assert np.array_equal(copy.arrays()["w1"], agent.state.policy.w1.detach().numpy().T)
    assert not np.allclose(copy.ema()["w1"], copy.arrays()["w1"], atol=1e-4)
    assert SAC(SPEC, SMALL, seed=0).policy().ema() == {}


def test_critics_learn_the_reward_of_terminal_transitions() -> None:
    agent = SAC(SPEC, SACConfig(hidden_dim=32, learning_rate=3e-3), seed=0)
    batch = make_batch(32)
    batch["terminated"] = True
    first = float(update(agent, batch)["critic_loss"])
    for _ in range(300):
        last = float(update(agent, batch)["critic_loss"])
    assert last < first / 100


def test_numpy_policy_equals_torch_policy() -> None:
    agent = SAC(SPEC, SACConfig(hidden_dim=256), seed=2)
    with torch.no_grad():
        agent.state.policy.b2[-1], agent.state.policy.b2[-2] = 9.0, -99.0  # both ends of the clip
    obs = make_batch(8)["obs"].copy()
    policy = NumpyPolicy(agent.policy().arrays(), SPEC, np.random.default_rng(0))
    with torch.no_grad():
        mean, log_std = agent.state.policy(torch.from_numpy(obs))
    assert log_std[0, -2:].tolist() == [LOG_STD_MIN, LOG_STD_MAX]
    for rows in (slice(0, 1), slice(0, 8), slice(2, 6)):  # K may change between calls
        ours = policy.mean_and_log_std(obs[rows])
        np.testing.assert_allclose(ours[0], mean[rows].numpy(), rtol=0, atol=1e-6)
        np.testing.assert_allclose(ours[1], log_std[rows].numpy(), rtol=0, atol=1e-6)
        action = policy.act(obs[rows], deterministic=True)
        np.testing.assert_allclose(action, mean[rows].tanh().numpy(), rtol=0, atol=1e-6)


def test_policy_arrays_are_copies() -> None:
    agent = SAC(SPEC, SMALL, seed=0)
    arrays = agent.policy().arrays()
    before = arrays["w1"].copy()
    update(agent, make_batch())
    assert np.array_equal(arrays["w1"], before)
    assert all(array.flags.c_contiguous and array.dtype == np.float32 for array in arrays.values())
