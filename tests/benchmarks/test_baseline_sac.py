"""SB3's policies as ours: the same actions, layer by layer, or the judging of a peer would be unfair."""

from pathlib import Path

import numpy as np
import pytest

from benchmarks.baseline_sac import kept, policy_arrays
from graspfleet.common.policy import NumpyPolicy
from graspfleet.common.specs import EnvSpec

OBS_DIM, ACTION_DIM = 39, 5


def test_a_converted_actor_acts_as_the_original() -> None:
    policies = pytest.importorskip("stable_baselines3.sac.policies", reason="needs the extra bench")
    from gymnasium.spaces import Box

    spaces = Box(-1, 1, (OBS_DIM,), np.float32), Box(-1, 1, (ACTION_DIM,), np.float32)
    model = policies.SACPolicy(*spaces, lambda _: 1e-3, net_arch=[16, 24])
    spec = EnvSpec(env="Grasp-v0", obs_dim=OBS_DIM, action_dim=ACTION_DIM, discount=0.95, n_step=1)
    ours = NumpyPolicy(policy_arrays(model.actor), spec, np.random.default_rng(0))
    obs = np.random.default_rng(1).uniform(-1, 1, (7, OBS_DIM)).astype(np.float32)
    theirs, _ = model.predict(obs, deterministic=True)
    np.testing.assert_allclose(ours.act(obs, deterministic=True), theirs, atol=1e-6)


def test_policies_are_in_order_of_time_not_of_name(tmp_path: Path) -> None:
    for name in ("10.00", "2.50", "100.25"):
        (tmp_path / f"{name}.gfp").write_bytes(name.encode())
    assert [snapshot.wall_s for snapshot in kept(tmp_path)] == [2.5, 10.0, 100.25]
