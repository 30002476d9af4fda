"""Environments that are slow or endless: processes stay alive, deliver, and leave when they are told to."""

import json
import os
import signal
import time
from pathlib import Path

import pytest

from graspfleet.actor.environment import Environment
from graspfleet.actor.watchdog import CLOSE_S
from graspfleet.common.settings.config import EnvConfig, ReturnConfig
from graspfleet.common.settings.files import dump_yaml
from graspfleet.common.settings.flags import TrainFlags
from tests.actor.test_evaluate import weights
from tests.end_to_end.harness import Fleet, until

SLOW = ("--env", "tests.end_to_end.slow_envs:Slow-v0", "--preset", "plain", "--env-args")
STOP_S = 5.0
"""A stop is heard within a second; the rest is for a machine that is busy with other tests."""


def start_learner(fleet: Fleet, *flags: str) -> None:
    fleet.start_learner("--explore-steps", "1000000", *SLOW[:2], *flags)


def stopped_s(fleet: Fleet, name: str, status: int = 0) -> float:
    """Tell a process to stop; return how long it took."""
    began_s = time.monotonic()
    fleet.signal(name, signal.SIGTERM)
    assert fleet.wait(name) == status, fleet.output(name)
    return time.monotonic() - began_s


def until_slow(fleet: Fleet, name: str, method: str) -> None:
    until(lambda: f"slow {method}" in fleet.output(name), f"{name} is in a slow {method}")


@pytest.fixture
def heartbeat(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    file = tmp_path / "heartbeat"
    monkeypatch.setenv("GRASPFLEET_HEARTBEAT", str(file))
    return file


def assert_beats(heartbeat: Path) -> None:
    os.utime(heartbeat, (1, 1))
    until(lambda: heartbeat.stat().st_mtime > 1, "the heart beats", 10.0)


def test_a_slow_reset_delays_neither_what_is_finished_nor_a_sign_of_life(
    fleet: Fleet, heartbeat: Path
) -> None:
    start_learner(fleet, "--silent-after-s", "4", "--gone-after-s", "5")
    fleet.start_actor("a0", *SLOW, "slow=reset", "after=3")  # the check's, and those of two episodes
    until_slow(fleet, "a0", "reset")
    statuses = fleet.statuses()
    statuses.until(lambda status: status.metrics.get("inserted") == 40, "both episodes are there")
    assert_beats(heartbeat)
    later_s = time.monotonic() + 6.0
    seen = statuses.until(lambda _: time.monotonic() > later_s, "some seconds go by")
    statuses.close()
    assert seen.actors["a0"] == "alive"
    assert stopped_s(fleet, "a0") < STOP_S
    assert "leaves: 40 transitions" in fleet.output("a0")
    assert "all acknowledged" in fleet.output("a0")


@pytest.mark.parametrize(
    ("method", "after", "made"),
    [("make", 0, None), ("reset", 0, None), ("step", 30, 29), ("reinit", 1, 40)],  # the check takes a step
)
def test_a_stop_ends_any_slow_call_and_what_is_finished_is_delivered(
    fleet: Fleet, heartbeat: Path, method: str, after: int, made: int | None
) -> None:
    start_learner(fleet)
    fleet.start_actor("a0", *SLOW, f"slow={method}", f"after={after}", "--reinit-episodes", "1")
    until_slow(fleet, "a0", method)
    assert_beats(heartbeat)
    if made is not None:
        statuses = fleet.statuses()
        statuses.until(lambda status: status.metrics.get("inserted") == made, "all that is finished is there")
        statuses.close()
    assert stopped_s(fleet, "a0") < STOP_S
    if made is not None:
        assert f"leaves: {made} transitions" in fleet.output("a0")
        assert "all acknowledged" in fleet.output("a0")


def test_a_slow_close_delays_no_delivery_and_ends(fleet: Fleet) -> None:
    start_learner(fleet)
    fleet.start_actor("a0", *SLOW, "slow=close", "--max-episodes", "2")
    until_slow(fleet, "a0", "close")
    assert "leaves: 40 transitions" in fleet.output("a0")
    began_s = time.monotonic()
    assert fleet.wait("a0") == 0
    assert time.monotonic() - began_s < CLOSE_S + STOP_S
    assert "did not close" in fleet.output("a0")


def test_a_run_that_ends_during_a_slow_reset_does_not_wait_for_it(fleet: Fleet) -> None:
    short = ("--explore-steps", "40", "--total-env-steps", "40", "--drain-timeout-s", "3600")
    fleet.start_learner(*short, *SLOW[:2])
    fleet.start_actor("a0", *SLOW, "slow=reset", "after=3")  # for an hour
    assert fleet.wait("learner", 120.0) == 0, fleet.output("learner")
    assert fleet.wait("a0") == 0, fleet.output("a0")
    assert "all acknowledged" in fleet.output("a0")


def test_an_evaluator_lives_through_episodes_without_an_end_and_leaves_in_their_midst(
    fleet: Fleet, heartbeat: Path
) -> None:
    fleet.start_learner("--explore-steps", "40", *SLOW[:2], "--silent-after-s", "4", "--gone-after-s", "5")
    fleet.start_actor("a0", *SLOW, "length=20")
    fleet.start("judge", "graspfleet", "evaluator", *fleet.addresses(), *SLOW, "slow=step", "after=1",
                "seconds=0.05", "length=0")  # fmt: skip
    until_slow(fleet, "judge", "step")
    assert_beats(heartbeat)
    assert stopped_s(fleet, "judge") < STOP_S


@pytest.fixture
def trained(fleet: Fleet) -> Fleet:
    """A run with a policy, as two files."""
    config = EnvConfig(env=SLOW[1])
    spec = Environment(config, ReturnConfig()).spec
    fleet.run.path.mkdir()
    fleet.run.config.write_text(dump_yaml(TrainFlags(env=config)))
    fleet.run.policy("best").write_bytes(weights(spec))
    return fleet


def test_evaluate_stops_in_the_midst_of_an_episode_without_an_end(trained: Fleet) -> None:
    command = ("graspfleet", "evaluate", str(trained.run.path), "--env-args", "slow=step", "after=1")
    trained.start("quick", *command, "seconds=0.01", "length=0")
    until_slow(trained, "quick", "step")
    assert stopped_s(trained, "quick", status=130) < STOP_S
    trained.start("hangs", *command)
    until_slow(trained, "hangs", "step")
    assert stopped_s(trained, "hangs", status=130) < STOP_S


def test_an_evaluation_of_episodes_without_an_end_ends_and_says_so(trained: Fleet) -> None:
    command = ("graspfleet", "evaluate", str(trained.run.path), "--episodes", "2", "--env-args", "length=0")
    trained.start("cut", *command)
    assert trained.wait("cut") == 0, trained.output("cut")
    said = trained.output("cut")
    assert "return -10000.00" in said
    assert "2 of 2 episodes did not end and were cut (--max-episode-steps sets" in said
    trained.start("asked", *command, "--max-episode-steps", "30", "--json")
    assert trained.wait("asked") == 0, trained.output("asked")
    summary = json.loads(trained.output("asked").splitlines()[-1])
    assert (summary["mean_return"], summary["cut_episodes"]) == (-30.0, 0)


def test_a_result_is_there_before_a_slow_close(trained: Fleet) -> None:
    words = ("--episodes", "2", "--env-args", "slow=close")
    trained.start("late", "graspfleet", "evaluate", str(trained.run.path), *words)
    until_slow(trained, "late", "close")
    assert "2 episodes: return -20.00" in trained.output("late")
    assert trained.wait("late") == 0
