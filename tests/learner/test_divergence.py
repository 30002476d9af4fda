"""A training that left the finite numbers ends with one line; nothing of it is published or saved."""

from pathlib import Path

import numpy as np
import pytest
import torch

from graspfleet.common.errors import DivergedError
from graspfleet.common.messages import Weights
from graspfleet.common.policy import NumpyPolicy
from graspfleet.common.protocol import decode
from graspfleet.common.runtime.run_directory import RunDirectory
from graspfleet.learner.numerics.divergence import MAX_WEIGHT, require_policy, require_state
from graspfleet.learner.storage.checkpoint import Checkpoints
from tests.fakes import ONE_LINE, SPEC
from tests.learner.test_checkpoint import state
from tests.learner.test_resume import captured_on_host, learn, plain


@pytest.mark.parametrize("captured", [False, True])
def test_a_diverged_run_ends_and_keeps_what_was_finite(tmp_path: Path, captured: bool) -> None:
    build = captured_on_host if captured else plain
    often = ("--publish-interval-s", "0.001", "--checkpoint-interval-s", "0.001")
    with pytest.raises(DivergedError, match=ONE_LINE) as caught:
        learn(tmp_path, 400, "--learning-rate", "1e30", *often, build=build)
    assert "diverged after" in str(caught.value)
    kept = sorted((tmp_path / "checkpoints").glob("step-*.pt"))
    assert kept
    for path in kept:
        require_state(torch.load(path, weights_only=True))
    last = RunDirectory(tmp_path).policy("last")
    if last.exists():
        weights = decode(last.read_bytes())
        assert isinstance(weights, Weights)
        require_policy(weights.policy, weights.updates)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 2 * MAX_WEIGHT, -2 * MAX_WEIGHT])
def test_one_bad_weight_is_found_and_named(value: float) -> None:
    arrays = {"w0": np.ones((3, 3), np.float32), "b0": np.ones(3, np.float32)}
    require_policy(arrays, 7)
    arrays["b0"][1] = value
    with pytest.raises(DivergedError, match="after 7 updates: the policy's b0 holds"):
        require_policy(arrays, 7)


def test_the_largest_weights_that_are_let_through_still_act() -> None:
    """The bound is where three layers would leave float32, not one that a training could meet."""
    width = 256
    shapes = {"w0": (SPEC.obs_dim, width), "w1": (width, width), "w2": (width, 2 * SPEC.action_dim)}
    arrays = {name: np.full(shape, MAX_WEIGHT, np.float32) for name, shape in shapes.items()}
    arrays |= {f"b{name[1]}": np.full(shape[1], MAX_WEIGHT, np.float32) for name, shape in shapes.items()}
    require_policy(arrays, 1)
    policy = NumpyPolicy(arrays, SPEC, np.random.default_rng(0))
    action = policy.act(np.full((1, SPEC.obs_dim), 1 << 24, np.float32), deterministic=True)
    assert np.isfinite(action).all()


def test_a_state_that_is_not_finite_replaces_none_and_is_passed_over(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    checkpoints = Checkpoints(tmp_path, num_kept=1, flags=["--algorithm sac"])
    checkpoints.save(state(1), 1)
    broken = state(2)
    broken["weights"][3] = torch.nan
    with pytest.raises(DivergedError, match="after 2 updates: weights is not finite"):
        checkpoints.save(broken, 2)
    assert [path.name for path in tmp_path.iterdir()] == ["step-000000000001.pt"]
    torch.save(broken, tmp_path / "step-000000000002.pt")  # as versions before this wrote them
    assert checkpoints.load_newest()["updates"] == 1
    assert "step-000000000002.pt" in caplog.text
