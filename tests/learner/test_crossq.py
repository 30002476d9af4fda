"""CrossQ: batch renormalization against slow NumPy, one pass for both halves of a batch, and learning."""

import io

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from graspfleet.common.policy import NumpyPolicy
from graspfleet.learner.crossq import METRICS
from graspfleet.learner.crossq.agent import CrossQ
from graspfleet.learner.crossq.networks import D_MAX, EPSILON, MOMENTUM, R_MAX, BatchRenorm, RenormMLP
from graspfleet.learner.crossq.settings import CrossQConfig
from graspfleet.learner.numerics.records import unpack
from tests.learner.test_sac import SPEC, make_batch

SMALL = CrossQConfig(hidden_dim=16, critic_dim=32, renorm_warmup=3, policy_delay=2)
Array = NDArray[np.float64]


pytestmark = pytest.mark.usefixtures("one_thread")


class SlowRenorm:
    """Batch renormalization of one feature, number by number (Ioffe 2017, algorithm 1)."""

    def __init__(self, warmup: int) -> None:
        self.mean, self.var, self.batches, self._warmup = 0.0, 1.0, 0, warmup

    def __call__(self, values: Array) -> Array:
        mean, var = float(np.mean(values)), float(np.var(values))
        sigma, running = np.sqrt(var + EPSILON), np.sqrt(self.var + EPSILON)
        r, d = 1.0, 0.0
        if self.batches >= self._warmup:
            r = min(max(sigma / running, 1 / R_MAX), R_MAX)
            d = min(max((mean - self.mean) / running, -D_MAX), D_MAX)
        normal = np.array([(value - mean) / sigma * r + d for value in values])
        self.mean = MOMENTUM * self.mean + (1 - MOMENTUM) * mean
        self.var = MOMENTUM * self.var + (1 - MOMENTUM) * var
        self.batches += 1
        return normal


def test_batch_renorm_equals_slow_numpy_before_and_after_its_warmup() -> None:
    rng = np.random.default_rng(0)
    norm = BatchRenorm((2, 3), warmup=2)
    with torch.no_grad():
        norm.scale += torch.arange(6).reshape(2, 1, 3)
        norm.shift -= torch.arange(6).reshape(2, 1, 3) / 4
    scale, shift = norm.scale.detach().numpy(), norm.shift.detach().numpy()
    slow = {(n, f): SlowRenorm(2) for n in range(2) for f in range(3)}
    spreads = (1.0, 0.1, 0.5, 30.0, 1.0)  # beyond both bounds of r, and of d
    for spread in spreads:
        x = (rng.standard_normal((2, 8, 3)) * spread + 6 * spread).astype(np.float32)
        ours = norm(torch.from_numpy(x), train=True).detach().numpy()
        for (n, f), each in slow.items():
            expected = each(x[n, :, f].astype(float)) * scale[n, 0, f] + shift[n, 0, f]
            np.testing.assert_allclose(ours[n, :, f], expected, rtol=2e-4, atol=2e-4)
    x = rng.standard_normal((2, 8, 3)).astype(np.float32)
    ours = norm(torch.from_numpy(x), train=False).detach().numpy()
    for (n, f), each in slow.items():
        normal = (x[n, :, f] - each.mean) / np.sqrt(each.var + EPSILON)
        np.testing.assert_allclose(
            ours[n, :, f], normal * scale[n, 0, f] + shift[n, 0, f], rtol=1e-4, atol=1e-4
        )


def test_the_correction_has_no_gradient() -> None:
    """After the warm-up, d out / d in is that of plain batch normalization times r."""
    x = torch.randn(1, 16, 1, generator=torch.Generator().manual_seed(0))
    plain, warm = BatchRenorm((1, 1), warmup=9), BatchRenorm((1, 1), warmup=0)
    weight = torch.arange(16.0)[None, :, None]
    gradients = []
    for norm in (plain, warm):
        leaf = x.clone().requires_grad_()
        (norm(leaf, train=True) * weight).sum().backward()
        assert leaf.grad is not None
        gradients.append(leaf.grad)
    r = ((x.var(correction=0) + EPSILON) / (1 + EPSILON)).sqrt()
    torch.testing.assert_close(gradients[1], gradients[0] * r)


def trained(updates: int = 8, **changes: object) -> CrossQ:
    agent = CrossQ(SPEC, CrossQConfig(**{**SMALL.model_dump(), **changes}), seed=3)
    for seed in range(updates):
        agent.update(make_batch(32, seed)[None])
    return agent


def test_both_halves_of_a_batch_go_through_the_critics_together(monkeypatch: pytest.MonkeyPatch) -> None:
    agent, seen = trained(0), []
    forward = agent.critic.forward

    def note(x: torch.Tensor, *, train: bool) -> torch.Tensor:
        seen.append((len(x), train, x[:, : SPEC.obs_dim].clone()))
        return forward(x, train=train)

    monkeypatch.setattr(agent.critic, "forward", note)
    batch = make_batch(32)
    agent.update(batch[None])
    (size, train, obs), (of_policy, trains_policy, _) = seen
    assert (size, train, of_policy, trains_policy) == (64, True, 32, False)
    np.testing.assert_array_equal(obs.numpy(), np.concatenate((batch["obs"], batch["next_obs"])))
    joint = np.concatenate((batch["obs"], batch["next_obs"])).mean(axis=0)
    norm = agent.critic.norms[0]
    assert isinstance(norm, BatchRenorm)
    np.testing.assert_allclose(norm.mean[0, 0, : SPEC.obs_dim], joint * (1 - MOMENTUM), rtol=1e-3, atol=1e-6)


def test_the_target_is_the_critics_own_and_has_no_gradient() -> None:
    """There is no target network: y comes from the same pass as Q, and counts as a number."""
    agent, twin, batch = trained(0), trained(0), make_batch(32)
    agent.update(batch[None])

    data = unpack(torch.from_numpy(batch.view(np.uint8).reshape(32, -1)), SPEC)
    with torch.no_grad():
        action, log_prob = twin._act(data["next_obs"], train=False)
    both = torch.cat((data["obs"], data["next_obs"])), torch.cat((data["action"], action))
    q, next_q = twin._values(*both, train=True).chunk(2, dim=1)
    alpha = SMALL.initial_temperature
    bootstrap = data["discount"] * ~data["terminated"] * (next_q.amin(dim=0) - alpha * log_prob)
    y = (data["reward"] + bootstrap).detach()
    loss = 0.5 * (q - y).square().mean(dim=1).sum()
    assert agent.metrics()["critic_loss"] == pytest.approx(float(loss.detach()), rel=1e-5)
    expected = torch.autograd.grad(loss, list(twin.critic.parameters()))
    for parameter, gradient in zip(agent.critic.parameters(), expected, strict=True):
        assert parameter.grad is not None
        torch.testing.assert_close(parameter.grad, gradient)


def test_the_policy_that_leaves_is_the_one_that_acts() -> None:
    agent = trained(12)
    obs = make_batch(8)["obs"].copy()
    policy = NumpyPolicy(agent.policy().arrays(), SPEC, np.random.default_rng(0))
    with torch.no_grad():
        mean, log_std = agent.actor(torch.from_numpy(obs), train=False)[0].chunk(2, dim=1)
    ours = policy.mean_and_log_std(obs)
    np.testing.assert_allclose(ours[0], mean.numpy(), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(ours[1], log_std.clamp(-20, 2).numpy(), rtol=1e-4, atol=1e-5)


def test_the_policy_waits_for_its_turn() -> None:
    agent = trained(1)
    before, temperature = agent.policy().arrays()["w1"], float(agent.log_temperature.detach())
    agent.update(make_batch(32, 1)[None])
    np.testing.assert_array_equal(agent.policy().arrays()["w1"], before)
    agent.update(make_batch(32, 2)[None])
    assert not np.array_equal(agent.policy().arrays()["w1"], before)
    assert float(agent.log_temperature.detach()) != temperature
    assert agent.metrics().keys() == METRICS.keys()


def test_resuming_is_bit_exact() -> None:
    straight, first = trained(7), trained(3)
    file = io.BytesIO()
    torch.save(first.state_dict(), file)
    file.seek(0)
    resumed = CrossQ(SPEC, SMALL, seed=99)
    resumed.load_state_dict(torch.load(file, weights_only=True))
    resumed.update(np.stack([make_batch(32, seed) for seed in range(3, 7)]))
    for one, other in zip(
        (*straight.actor.state_dict().values(), *straight.critic.state_dict().values()),
        (*resumed.actor.state_dict().values(), *resumed.critic.state_dict().values()),
        strict=True,
    ):
        assert torch.equal(one, other)
    assert straight.metrics() == resumed.metrics()


def test_networks_side_by_side_do_not_mix() -> None:
    generator = torch.Generator().manual_seed(0)
    net = RenormMLP(2, (3, 8, 8, 1), 0, generator)
    x = torch.randn(16, 3, generator=generator)
    before = net(x, train=False)
    with torch.no_grad():
        net.get_parameter("w1")[0] += 1
    after = net(x, train=False)
    assert torch.equal(before[1], after[1])
    assert not torch.equal(before[0], after[0])


def test_it_learns_the_best_action() -> None:
    """A bandit: the reward is least the farther an action is from 0.5."""
    agent = trained(0, initial_temperature=0.05, target_entropy=-6.0, policy_delay=1)
    rng = np.random.default_rng(0)
    for _ in range(600):
        batch = make_batch(64, int(rng.integers(1 << 30)))
        batch["terminated"] = True
        batch["reward"] = -((batch["action"] - 0.5) ** 2).sum(axis=1)
        agent.update(batch[None])
    policy = NumpyPolicy(agent.policy().arrays(), SPEC, np.random.default_rng(0))
    actions = policy.act(make_batch(64, 1)["obs"].copy(), deterministic=True)
    assert np.abs(actions - 0.5).mean() < 0.15
