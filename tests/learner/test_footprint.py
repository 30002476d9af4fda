"""What a run takes is bounded by the operator, and a peer that asks for more is told so."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch

from graspfleet.common.errors import ConfigError
from graspfleet.common.net.control import ControlSubscriber
from graspfleet.common.observations.fields import MAX_DIM
from graspfleet.common.runtime.signals import StopSignal
from graspfleet.common.settings.config import EnvConfig, ReplayConfig, ReturnConfig
from graspfleet.common.settings.flags import LearnerFlags
from graspfleet.common.settings.processes import LearnerConfig
from graspfleet.common.settings.transport import TransportConfig
from graspfleet.common.specs import EnvSpec
from graspfleet.learner.access.footprint import require_room, run_bytes
from graspfleet.learner.experience.replay import Replay
from graspfleet.learner.publishing.published_frames import KEPT_BYTES
from graspfleet.learner.sac import BATCHES
from graspfleet.learner.sac.settings import SACConfig
from graspfleet.learner.sac.training_state import TrainingState
from graspfleet.learner.startup import wait_for_spec
from tests.end_to_end.harness import until
from tests.fakes import ONE_LINE, OTHER_SESSION, SESSION, SPEC, make_writer
from tests.learner.auth_fixtures import HOST, auth_server

HUGE = EnvSpec(
    env=SPEC.env, obs_dim=MAX_DIM, action_dim=SPEC.action_dim, discount=SPEC.discount, n_step=SPEC.n_step
)


def make_flags(**learner: int) -> LearnerFlags:
    return LearnerFlags(
        env=EnvConfig(env=SPEC.env),
        returns=ReturnConfig(discount=SPEC.discount, n_step=SPEC.n_step),
        learner=LearnerConfig(updates_per_dispatch=1, **learner),
        algorithm=SACConfig(hidden_dim=512, ema_tau=0.1),
        replay=ReplayConfig(replay_capacity="5000"),
        transport=TransportConfig(max_message_bytes=64 << 20),
    )


def test_the_estimate_covers_replay_and_networks_and_little_more(tmp_path: Path) -> None:
    flags = make_flags()
    spec = EnvSpec(env="Wide-v0", obs_dim=2000, action_dim=4, discount=0.99, n_step=1)
    Replay(tmp_path / "replay.bin", spec, 5000, np.random.default_rng(0))
    assert isinstance(flags.algorithm, SACConfig)
    state = TrainingState(spec, flags.algorithm, seed=0)
    vectors = [flat.vector for flat in state.flat.values()]
    weights = sum(vector.numel() for vector in vectors) * 4
    taken = os.path.getsize(tmp_path / "replay.bin") + weights
    estimate = run_bytes(flags, spec) - KEPT_BYTES
    assert taken < estimate < 2 * taken + (1 + BATCHES) * flags.replay.batch_size * spec.record.itemsize * 2
    assert all(vector.dtype == torch.float32 for vector in vectors)


def test_one_byte_too_many_is_one_line_that_names_the_flag() -> None:
    needed = run_bytes(make_flags(), HUGE)
    require_room(
        make_flags(max_run_bytes=needed).model_copy(update={"algorithm": SACConfig(hidden_dim=8)}), HUGE
    )
    with pytest.raises(ConfigError, match=ONE_LINE) as caught:
        require_room(make_flags(max_run_bytes=needed - 1), HUGE)
    assert f"--max-run-bytes {needed - 1}" in str(caught.value)
    assert f"{MAX_DIM} observations" in str(caught.value)


@pytest.mark.parametrize("limit", [{"max_run_bytes": 1 << 30}, {"max_run_bytes": 1 << 40}])
def test_a_hello_that_asks_for_too_much_is_refused_and_the_learner_waits_on(
    tmp_path: Path, limit: dict[str, int]
) -> None:
    """Too much for the run, or for a message."""
    with auth_server(tmp_path) as door, door.sender() as giant, ControlSubscriber(door.config()) as control:
        control.connect(HOST, door.endpoints.control_port)
        huge = make_writer(HUGE, "actor-1", SESSION)
        fitting = make_writer(SPEC, "actor-2", OTHER_SESSION)

        class Asked(StopSignal):
            """Both say hello while the learner waits: the giant until it is refused, the other one then."""

            def is_set(self) -> bool:
                giant.send(huge.hello() if not door.sockets.refusals.count else fitting.hello())
                return super().is_set()

        flags = make_flags(**limit).model_copy(update={"transport": TransportConfig()})
        spec = until(lambda: wait_for_spec(flags, door.sockets, Asked()), "the fitting one is taken", 10)
        assert spec == SPEC
        assert door.sockets.refusals.count == 1
        reason = door.sockets.refusals.reasons()["actor-1"]
        assert ("--max-run-bytes" if limit["max_run_bytes"] == 1 << 30 else "--max-message-bytes") in reason
