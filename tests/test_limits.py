"""Messages that would not fit are told about at the start, and the sizes said are those of real frames."""

import re
from pathlib import Path

import numpy as np
import pytest

from graspfleet.common.errors import ConfigError
from graspfleet.common.fields import MAX_EPISODE_BYTES
from graspfleet.common.messages import Weights
from graspfleet.common.messages.sizes import ENVELOPE_BYTES, require_fit
from graspfleet.common.policy import policy_bytes
from graspfleet.common.protocol import encode
from graspfleet.common.settings.flags import LearnerFlags
from graspfleet.common.settings.processes import ActorConfig, LearnerConfig, RunConfig
from graspfleet.common.settings.transport import TransportConfig
from graspfleet.common.specs import EnvSpec
from graspfleet.learner.access.footprint import require_room
from graspfleet.learner.sac.settings import SACConfig
from tests.fakes import ONE_LINE, make_batch, make_records

LARGEST = (1 << 45) - 1


@pytest.mark.parametrize("action_dim", [1, 300])
def test_a_policy_is_as_large_as_said(action_dim: int) -> None:
    bound = tuple(float(number) for number in range(action_dim))
    spec = EnvSpec(
        env="Long-name-v0" * 9,
        obs_dim=33,
        action_dim=action_dim,
        discount=0.99,
        n_step=3,
        action_low=bound,
        action_high=bound,
    )
    widths = [33, 64, 64, 2 * action_dim]
    policy = {}
    for i in range(3):
        policy[f"w{i}"] = np.zeros((widths[i], widths[i + 1]), np.float32)
        policy[f"b{i}"] = np.zeros(widths[i + 1], np.float32)
    counts = {"version": LARGEST, "env_steps": LARGEST, "updates": LARGEST}
    frame = encode(Weights(**counts, spec=spec, policy=policy))
    assert 0 < len(frame) - policy_bytes(spec, 64) < ENVELOPE_BYTES / 2


def test_a_policy_with_its_average_needs_twice_the_room() -> None:
    spec = EnvSpec(env="Fake-v0", obs_dim=33, action_dim=4, discount=0.99, n_step=1)
    limits = TransportConfig(max_message_bytes=policy_bytes(spec, 64) * 3 // 2 + ENVELOPE_BYTES)
    require_room(LearnerFlags(algorithm=SACConfig(hidden_dim=64), transport=limits), spec)
    averaging = SACConfig(hidden_dim=64, ema_tau=0.1)
    with pytest.raises(ConfigError, match="hidden-dim 64"):
        require_room(LearnerFlags(algorithm=averaging, transport=limits), spec)


@pytest.mark.parametrize("count", [1, 4096])
def test_a_full_batch_is_as_large_as_said(count: int) -> None:
    episodes = ((1e100, LARGEST, True, LARGEST),) * count
    numbers = {"seq": LARGEST - 1, "produced": LARGEST, "discarded": LARGEST, "resent": LARGEST}
    batch = make_batch(make_records(count), episodes=episodes, actor_id="a" * 64, **numbers)
    assert len(encode(batch)) < count * (make_records(1).itemsize + MAX_EPISODE_BYTES) + ENVELOPE_BYTES / 2


def test_what_does_not_fit_is_one_line() -> None:
    require_fit(10_000, 10_000 - ENVELOPE_BYTES, "it")
    with pytest.raises(ConfigError, match=ONE_LINE) as caught:
        require_fit(10_000, 10_001 - ENVELOPE_BYTES, "the policy (--hidden-dim 8)")
    assert "--max-message-bytes 10000" in str(caught.value)


def test_the_page_names_flags_that_exist_and_every_limit() -> None:
    page = (Path(__file__).parents[1] / "SECURITY.md").read_text()
    named = {name.replace("-", "_") for name in re.findall(r"--([a-z][a-z-]+)", page)}
    sections = (TransportConfig, LearnerConfig, ActorConfig, RunConfig)
    fields = {name for section in sections for name in section.model_fields}
    assert named <= fields
    assert {name for name in TransportConfig.model_fields if name.startswith("max_")} <= named
