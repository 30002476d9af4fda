"""Which policy `graspfleet evaluate` takes: the best by a comparison, and it says how that was chosen."""

import json
import signal
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest

from graspfleet.actor.evaluate import evaluate
from graspfleet.actor.evaluate_flags import EvaluateFlags
from graspfleet.actor.watchdog import Watchdog
from graspfleet.common.errors import ConfigError
from graspfleet.common.evaluation.candidates import Candidate, Key, Selected
from graspfleet.common.evaluation.policy_files import commit, read_selected, read_weights
from graspfleet.common.messages import Weights
from graspfleet.common.protocol import encode
from graspfleet.common.runtime.run_directory import RunDirectory
from graspfleet.common.runtime.signals import StopSignal
from graspfleet.common.settings.config import EnvConfig
from graspfleet.common.settings.files import dump_yaml
from graspfleet.common.settings.flags import TrainFlags
from graspfleet.common.settings.processes import EvaluatorConfig
from graspfleet.common.specs import EnvSpec
from tests.actor.test_evaluate import arrays
from tests.fakes import FakeEnv


class LevelEnv(FakeEnv):
    """Each step's reward is the first action as it was taken, in [-1, 3]."""

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        obs, _, *rest = super().step(action)
        return obs, float(action[0]), *rest  # type: ignore[return-value]


gymnasium.register("Level-v0", entry_point=LevelEnv)
SPEC = EnvSpec(
    env="Level-v0",
    obs_dim=3,
    action_dim=2,
    discount=0.99,
    n_step=1,
    action_low=(-1.0, 0.0),
    action_high=(3.0, 10.0),
)


def frame(version: int, level: float) -> bytes:
    """Return a policy that always takes the action `level`, in [-1, 1]."""
    policy = arrays(SPEC, bias=float(np.arctanh(level)))
    return encode(
        Weights(version=version, env_steps=100 * version, updates=version, spec=SPEC, policy=policy)
    )


def candidate(version: int, *seen: float) -> Candidate:
    whole = tuple((value, 3, None, seed) for seed, value in enumerate(seen))
    return Candidate(version=version, env_steps=100 * version, episodes=whole)


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    """A run whose evaluations say that version 2 is the best, whereas version 3 is the last one."""
    run = RunDirectory(tmp_path)
    run.config.write_text(dump_yaml(TrainFlags(env=EnvConfig(env="Level-v0"))))
    run.logs.mkdir()
    (run.path / "lock").touch()
    run.checkpoints.mkdir()
    (run.checkpoints / "step-000000000300.pt").touch()
    selected = Selected().with_candidate(candidate(1, 2.0, 2.0)).with_candidate(candidate(2, 9.0, 9.0))
    commit(run, selected, {Key(1, 100): frame(1, 0.2), Key(2, 200): frame(2, 0.1)})
    run.policy("last").write_bytes(frame(3, 0.5))
    return run


def evaluated(run: RunDirectory, capsys: pytest.CaptureFixture[str], **flags: Any) -> dict[str, Any]:
    words = {"episodes": 2, "compare_episodes": 100, **flags}
    asked = EvaluateFlags(run_dir=str(run.path), json_output=True, **words)
    assert evaluate(asked, Watchdog(), StopSignal()) == 0
    said = capsys.readouterr()
    told: dict[str, Any] = json.loads(said.out)
    assert (
        f"policy: {told['policy']}, from env step {told['policy_env_steps']}; {told['chosen_by']}" in said.err
    )
    return told


def best(run: RunDirectory) -> int:
    """Return the version in policy-best.gfp, which selection.json must name too."""
    version = read_weights(run.policy("best"))[0].version
    selected = read_selected(run).best
    assert selected is not None
    assert selected.version == version
    return version


def test_the_last_policy_is_a_candidate(run: RunDirectory, capsys: pytest.CaptureFixture[str]) -> None:
    told = evaluated(run, capsys)
    assert told["policy_env_steps"] == 300
    assert "comparison of 3 policies" in told["chosen_by"]
    assert best(run) == 3
    assert told["policy"] == str(run.policy("best"))
    assert evaluated(run, capsys) == told  # by what was written down


def test_a_finalist_that_is_clearly_better_than_the_last_is_taken(
    run: RunDirectory, capsys: pytest.CaptureFixture[str]
) -> None:
    run.policy("last").write_bytes(frame(3, -0.5))
    told = evaluated(run, capsys)
    assert told["policy_env_steps"] == 100  # 0.2 is more than 0.1, whatever two lucky episodes said
    assert "clearly better than the last one" in told["chosen_by"]
    assert best(run) == 1


def test_a_later_last_policy_is_compared_again(run: RunDirectory, capsys: pytest.CaptureFixture[str]) -> None:
    assert evaluated(run, capsys)["policy_env_steps"] == 300
    run.policy("last").write_bytes(frame(4, 0.6))
    assert evaluated(run, capsys)["policy_env_steps"] == 400
    run.policy("last").write_bytes(frame(5, 0.3))
    assert evaluated(run, capsys)["policy_env_steps"] == 400
    assert best(run) == 4


def test_more_episodes_than_there_were_are_another_comparison(
    run: RunDirectory, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "up to 30 episodes" in evaluated(run, capsys, compare_episodes=30)["chosen_by"]
    assert "up to 30 episodes" in evaluated(run, capsys, compare_episodes=25)["chosen_by"]
    assert "up to 100 episodes" in evaluated(run, capsys)["chosen_by"]


def test_a_few_episodes_decide_nothing_and_that_is_said(
    run: RunDirectory, capsys: pytest.CaptureFixture[str]
) -> None:
    told = evaluated(run, capsys, episodes=19, compare_episodes=None)
    assert told["policy_env_steps"] == best(run) * 100 == 200
    assert told["chosen_by"].endswith("; not compared with the last policy yet")
    assert "up to 20 episodes" in evaluated(run, capsys, episodes=20, compare_episodes=None)["chosen_by"]


def test_the_policy_that_is_asked_for_is_taken(run: RunDirectory, capsys: pytest.CaptureFixture[str]) -> None:
    told = evaluated(run, capsys, policy="last")
    assert (told["policy"], told["policy_env_steps"]) == (str(run.policy("last")), 300)
    assert told["chosen_by"] == "requested with --policy last"
    assert best(run) == 2


def test_nothing_is_written_while_a_learner_is_at_work(
    run: RunDirectory, capsys: pytest.CaptureFixture[str]
) -> None:
    learner = RunDirectory(run.path)
    learner.claim(resume=True)
    before = {path.name: path.read_bytes() for path in run.path.glob("*.*")}
    told = evaluated(run, capsys)
    assert (told["policy"], told["policy_env_steps"]) == (str(run.policy("best")), 200)
    assert told["chosen_by"] == (
        "chosen by evaluations during training, 2 episodes; not compared with the last policy yet"
    )
    assert {path.name: path.read_bytes() for path in run.path.glob("*.*")} == before
    learner.release()


def test_nobody_else_changes_a_run_during_its_comparison(
    run: RunDirectory, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    reset, refused = FakeEnv.reset, []

    def resumed(env: FakeEnv, **arguments: Any) -> Any:
        if len(env.calls) > 100 and not refused:
            with pytest.raises(ConfigError, match="in use by another learner or evaluation") as caught:
                RunDirectory(run.path).claim(resume=True)
            refused.append(caught)
        return reset(env, **arguments)

    monkeypatch.setattr(FakeEnv, "reset", resumed)
    evaluated(run, capsys)
    assert refused
    RunDirectory(run.path).claim(resume=True)  # it is given back


def test_without_an_evaluation_it_is_said_that_the_last_one_stands_in(
    run: RunDirectory, capsys: pytest.CaptureFixture[str]
) -> None:
    run.selection.unlink()
    run.policy("best").unlink()
    told = evaluated(run, capsys)
    assert told["policy"] == str(run.policy("last"))
    assert told["chosen_by"] == "it is the last one; no policy has been evaluated yet"


def test_a_copy_of_two_files_is_taken_as_it_is(tmp_path: Path, run: RunDirectory, capsys: Any) -> None:
    copy = RunDirectory(tmp_path / "copy")
    copy.path.mkdir()
    for path in (run.config, run.policy("best"), run.policy("last")):
        (copy.path / path.name).write_bytes(path.read_bytes())
    told = evaluated(copy, capsys)
    assert told["policy_env_steps"] == 200
    assert told["chosen_by"] == "the run has no record of how it was chosen"
    assert len(list(copy.path.iterdir())) == 3


def test_another_environment_than_the_runs_own_decides_nothing(
    run: RunDirectory, capsys: pytest.CaptureFixture[str]
) -> None:
    told = evaluated(run, capsys, env_args=("length=5",))
    assert told["policy_env_steps"] == 200
    assert "not compared with the last policy yet" in told["chosen_by"]
    assert best(run) == 2
    evaluated(run, capsys)
    assert "not compared" not in evaluated(run, capsys, env_args=("length=5",))["chosen_by"]


def test_a_last_policy_that_is_damaged_costs_the_comparison_alone(
    run: RunDirectory, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    run.policy("last").write_bytes(b"damaged")
    assert evaluated(run, capsys)["policy_env_steps"] == 200
    assert "no comparison with the last policy" in caplog.text
    with pytest.raises(ConfigError, match="not a readable policy"):
        evaluate(EvaluateFlags(run_dir=str(run.path), policy="last"), Watchdog(), StopSignal())


def test_a_disk_that_refuses_does_not_hide_the_result(
    run: RunDirectory, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    run.selection.unlink()
    run.selection.mkdir()
    assert evaluated(run, capsys)["policy_env_steps"] == 300
    assert "could not be stored" in caplog.text


def test_a_directory_that_nobody_may_write_is_left_as_it_is(
    run: RunDirectory, capsys: pytest.CaptureFixture[str]
) -> None:
    (run.path / "lock").unlink()
    (run.path / "lock").mkdir()  # root may write anything else
    told = evaluated(run, capsys)
    assert told["policy_env_steps"] == 200
    assert "not compared with the last policy yet" in told["chosen_by"]
    assert best(run) == 2


def test_a_stop_during_the_comparison_writes_nothing(
    run: RunDirectory, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    stop, reset = StopSignal().install(), FakeEnv.reset

    def stopping(env: FakeEnv, **arguments: Any) -> Any:
        if len(env.calls) > 100:
            signal.raise_signal(signal.SIGTERM)
        return reset(env, **arguments)

    monkeypatch.setattr(FakeEnv, "reset", stopping)
    try:
        assert evaluate(EvaluateFlags(run_dir=str(run.path)), Watchdog(stop), stop) == 130
    finally:
        for number, handler in zip((signal.SIGINT, signal.SIGTERM), before, strict=True):
            signal.signal(number, handler)
    assert best(run) == 2
    assert capsys.readouterr().out == ""


def test_more_episodes_than_one_message_holds_are_refused_at_the_start() -> None:
    with pytest.raises(ConfigError, match=r"--eval-episodes 5000: allowed: an integer, 1 to 4096"):
        EvaluatorConfig(eval_episodes=5000)
