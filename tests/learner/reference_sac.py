"""One SAC update in float64 NumPy, sample by sample, every derivative written by hand.

It is slow on purpose and shares nothing with `learner`: it is what `learner.sac.agent` is held against.
Notation of Haarnoja et al. 2018 (arXiv 1812.05905): theta are the critics, theta_bar their targets, phi
the policy, alpha the temperature, H_bar the target entropy, eps the noise behind an action.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Net = dict[str, Array]
"""w0 b0 w1 b1 w2 b2, w [in, out]; with LayerNorm also scale0 shift0 scale1 shift1."""

LAYER_NORM_EPS = 1e-5
LOG_STD_MIN, LOG_STD_MAX = -20.0, 2.0


def forward(net: Net, x: Array) -> tuple[Array, list[Any]]:
    """Return a network's output for one input, and what `backward` needs."""
    tape: list[Any] = []
    for i in range(2):
        z = x @ net[f"w{i}"] + net[f"b{i}"]
        n, sigma = z, 1.0
        y = z
        if f"scale{i}" in net:
            sigma = np.sqrt(np.mean((z - z.mean()) ** 2) + LAYER_NORM_EPS)
            n = (z - z.mean()) / sigma
            y = net[f"scale{i}"] * n + net[f"shift{i}"]
        tape.append((x, n, sigma, y))
        x = np.maximum(y, 0.0)
    tape.append((x,))
    return x @ net["w2"] + net["b2"], tape


def backward(net: Net, tape: list[Any], dout: Array) -> tuple[Array, Net]:
    """Return the gradients by input and by parameters, given the one by the output."""
    (x,) = tape[2]
    grads = {"w2": np.outer(x, dout), "b2": dout}
    dx = net["w2"] @ dout
    for i in (1, 0):
        x, n, sigma, y = tape[i]
        dy = dx * (y > 0)
        dz = dy
        if f"scale{i}" in net:
            grads[f"scale{i}"], grads[f"shift{i}"] = dy * n, dy
            dn = dy * net[f"scale{i}"]
            dz = (dn - dn.mean() - n * np.mean(dn * n)) / sigma
        grads[f"w{i}"], grads[f"b{i}"] = np.outer(x, dz), dz
        dx = net[f"w{i}"] @ dz
    return dx, grads


def add(total: Net, grads: Net) -> None:
    """Add one sample's gradients to their sum over the batch."""
    for name, grad in grads.items():
        total[name] = total.get(name, np.zeros_like(grad)) + grad


@dataclass
class Adam:
    """Kingma and Ba 2015, algorithm 1, on one network."""

    learning_rate: float
    t: int = 0
    gradient: Net = field(default_factory=dict)
    m: Net = field(default_factory=dict)
    v: Net = field(default_factory=dict)

    def step(self, net: Net, grads: Net) -> None:
        """Change `net` in place."""
        self.t += 1
        self.gradient = grads
        for name, g in grads.items():
            self.m[name] = 0.9 * self.m.get(name, np.zeros_like(g)) + 0.1 * g
            self.v[name] = 0.999 * self.v.get(name, np.zeros_like(g)) + 0.001 * g * g
            m_hat = self.m[name] / (1 - 0.9**self.t)
            v_hat = self.v[name] / (1 - 0.999**self.t)
            net[name] = net[name] - self.learning_rate * m_hat / (np.sqrt(v_hat) + 1e-8)


@dataclass
class Action:
    """a ~ pi(.|s) with everything that its derivative needs."""

    a: Array
    log_pi: float
    std: Array
    eps: Array
    inside: NDArray[np.bool_]
    tape: list[Any]


def act(phi: Net, s: Array, eps: Array) -> Action:
    """Sample an action and its log-probability; 1 - tanh(u)^2 is written 1 / cosh(u)^2."""
    out, tape = forward(phi, s)
    mean, raw = np.split(out, 2)
    log_std = np.clip(raw, LOG_STD_MIN, LOG_STD_MAX)
    u = mean + np.exp(log_std) * eps
    log_normal = -0.5 * ((u - mean) / np.exp(log_std)) ** 2 - log_std - 0.5 * np.log(2 * np.pi)
    log_pi = float(np.sum(log_normal + 2 * np.log(np.cosh(u))))
    return Action(np.tanh(u), log_pi, np.exp(log_std), eps, raw == log_std, tape)


def policy_gradient(phi: Net, action: Action, dlog_pi: float, da: Array) -> Net:
    """Return the gradients of dlog_pi * log pi(a|s) + da . a by phi, eps held fixed."""
    # d log pi / du: the normal's density at u moves along with u, what is left is -log(1 - tanh(u)^2).
    du = da * (1 - action.a**2) + dlog_pi * 2 * action.a
    dlog_std = (du * action.std * action.eps - dlog_pi) * action.inside
    return backward(phi, action.tape, np.concatenate([du, dlog_std]))[1]


@dataclass
class SlowSAC:
    """The agent's whole state, and its update."""

    phi: Net
    theta: list[Net]
    theta_bar: list[Net]
    log_alpha: float
    H_bar: float
    learning_rate: float
    tau: float
    reward_scale: float
    auto_entropy: bool

    def __post_init__(self) -> None:
        self.adam_phi = Adam(self.learning_rate)
        self.adam_theta = [Adam(self.learning_rate) for _ in self.theta]
        self.adam_alpha = Adam(self.learning_rate)

    def update(self, batch: NDArray[np.void], eps: Array, next_eps: Array) -> dict[str, float]:
        """Take one step of everything; eps and next_eps are [B, A]."""
        alpha = float(np.exp(self.log_alpha))
        actions = [act(self.phi, s, e) for s, e in zip(batch["obs"].astype(float), eps, strict=True)]
        log_pi = float(np.mean([action.log_pi for action in actions]))
        metrics = {"temperature": alpha, "entropy": -log_pi, "temperature_loss": 0.0}
        y = [self._target(t, e, alpha) for t, e in zip(batch, next_eps, strict=True)]
        if self.auto_entropy:
            metrics["temperature_loss"] = -alpha * (log_pi + self.H_bar)
            net = {"log_alpha": np.array(self.log_alpha)}
            # d/d(log alpha) of -alpha * (...) is the loss itself.
            self.adam_alpha.step(net, {"log_alpha": np.array(metrics["temperature_loss"])})
            self.log_alpha = float(net["log_alpha"])
        metrics |= self._update_critics(batch, y)
        metrics["policy_loss"] = self._update_policy(batch, actions, alpha)
        for theta, theta_bar in zip(self.theta, self.theta_bar, strict=True):
            for name in theta:
                theta_bar[name] = (1 - self.tau) * theta_bar[name] + self.tau * theta[name]
        return metrics

    def _target(self, transition: np.void, eps: Array, alpha: float) -> float:
        reward = self.reward_scale * float(transition["reward"])
        if transition["terminated"]:
            return reward
        s = transition["next_obs"].astype(float)
        action = act(self.phi, s, eps)
        q = min(forward(theta, np.concatenate([s, action.a]))[0].item() for theta in self.theta_bar)
        return reward + float(transition["discount"]) * (q - alpha * action.log_pi)

    def _update_critics(self, batch: NDArray[np.void], y: list[float]) -> dict[str, float]:
        loss, q_sum = 0.0, 0.0
        for theta, adam in zip(self.theta, self.adam_theta, strict=True):
            total: Net = {}
            for transition, y_b in zip(batch, y, strict=True):
                x = np.concatenate([transition["obs"], transition["action"]]).astype(float)
                q, tape = forward(theta, x)
                loss += 0.5 * (q.item() - y_b) ** 2 / len(batch)
                q_sum += q.item()
                add(total, backward(theta, tape, (q - y_b) / len(batch))[1])
            adam.step(theta, total)
        return {"critic_loss": loss, "q_mean": q_sum / len(batch) / len(self.theta)}

    def _update_policy(self, batch: NDArray[np.void], actions: list[Action], alpha: float) -> float:
        loss = 0.0
        total: Net = {}
        for transition, action in zip(batch, actions, strict=True):
            s = transition["obs"].astype(float)
            values = [forward(theta, np.concatenate([s, action.a])) for theta in self.theta]
            least = int(np.argmin([q.item() for q, _ in values]))
            q, tape = values[least]
            dx, _ = backward(self.theta[least], tape, np.array([-1.0 / len(batch)]))
            loss += (alpha * action.log_pi - q.item()) / len(batch)
            add(total, policy_gradient(self.phi, action, alpha / len(batch), dx[len(s) :]))
        self.adam_phi.step(self.phi, total)
        return loss
