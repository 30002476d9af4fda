"""`graspfleet evaluate`: deterministic episodes, and one line for every policy that cannot be used."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from graspfleet.actor.evaluate import evaluate, run_episodes
from graspfleet.actor.evaluate_flags import EvaluateFlags
from graspfleet.actor.policies import load_policy
from graspfleet.actor.watchdog import Watchdog
from graspfleet.common.errors import ConfigError, NoResultError
from graspfleet.common.messages import Ack, Weights
from graspfleet.common.policy import NumpyPolicy
from graspfleet.common.protocol import encode
from graspfleet.common.runtime.run_directory import RunDirectory
from graspfleet.common.runtime.signals import StopSignal
from graspfleet.common.settings.config import EnvConfig, ReplayConfig, ReturnConfig
from graspfleet.common.settings.files import dump_yaml
from graspfleet.common.settings.flags import TrainFlags
from graspfleet.common.settings.processes import EvaluatorConfig
from graspfleet.common.settings.transport import TransportConfig
from graspfleet.common.specs import EnvSpec
from tests.actor.misbehaving_envs import AlwaysBreaks, BreaksForOddSeeds, Closes, make, returning
from tests.actor.test_episode import Stage
from tests.fakes import ONE_LINE, SESSION

SPEC = EnvSpec(env="Fake-v0", obs_dim=3, action_dim=2, discount=0.99, n_step=1)


def arrays(spec: EnvSpec, *, bias: float = 0.0) -> dict[str, Any]:
    shapes = {"w0": (spec.obs_dim, 4), "b0": (4,), "w1": (4, 4), "b1": (4,), "w2": (4, 2 * spec.action_dim)}
    policy = {name: np.zeros(shape, np.float32) for name, shape in shapes.items()}
    return {**policy, "b2": np.full(2 * spec.action_dim, bias, np.float32)}


def weights(spec: EnvSpec = SPEC, **policy: Any) -> bytes:
    return encode(Weights(version=1, env_steps=2, updates=3, spec=spec, policy={**arrays(spec), **policy}))


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    run = RunDirectory(tmp_path)
    settings = TrainFlags(env=EnvConfig(env="Fake-v0", env_args=("success=true",)), returns=ReturnConfig())
    run.config.write_text(dump_yaml(settings))
    return run


DAMAGED = {
    "empty": b"",
    "garbage": b"garbage" * 10,
    "truncated": weights()[:-1],
    "flipped": weights()[:50] + bytes([weights()[50] ^ 1]) + weights()[51:],
    "another-message": encode(Ack(session_id=SESSION, next_seq=0)),
    "not-finite": weights(b2=np.full(4, np.nan, np.float32)),
    "layer-of-another-shape": weights(w1=np.zeros((4, 5), np.float32)),
    "layer-too-many": weights(w3=np.zeros((4, 4), np.float32)),
    "no-spec": encode(
        Weights(version=1, env_steps=2, updates=3, spec=SPEC, policy=arrays(SPEC)).model_copy(
            update={"spec": {}}
        )
    ),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_a_damaged_policy_is_answered_in_one_line(run: RunDirectory, name: str) -> None:
    run.policy("best").write_bytes(DAMAGED[name])
    with pytest.raises(ConfigError, match=ONE_LINE) as caught:
        load_policy(run, "best", SPEC)
    assert str(run.policy("best")) in str(caught.value)


def test_a_policy_that_is_not_there_is_answered_in_one_line(run: RunDirectory) -> None:
    with pytest.raises(ConfigError, match=ONE_LINE) as caught:
        load_policy(run, "last", SPEC)
    assert "no policy" in str(caught.value)
    run.policy("last").mkdir()
    with pytest.raises(ConfigError, match=ONE_LINE):
        load_policy(run, "last", SPEC)


@pytest.mark.parametrize(
    "other",
    [
        EnvSpec(env="Fake-v0", obs_dim=4, action_dim=2, discount=0.99, n_step=1),
        EnvSpec(env="Fake-v0", obs_dim=3, action_dim=1, discount=0.99, n_step=1),
    ],
)
def test_a_policy_of_other_shapes_is_answered_in_one_line(run: RunDirectory, other: EnvSpec) -> None:
    run.policy("best").write_bytes(weights(other))
    with pytest.raises(ConfigError, match=ONE_LINE) as caught:
        load_policy(run, "best", SPEC)
    assert f"trained with obs_dim {other.obs_dim} and action_dim {other.action_dim}" in str(caught.value)


def test_the_last_policy_stands_in_for_a_best_that_is_not_there_yet(run: RunDirectory) -> None:
    run.policy("last").write_bytes(weights(b2=np.full(4, 20.0, np.float32)))
    action = load_policy(run, "best", SPEC).act(np.zeros((1, 3), np.float32), deterministic=True)
    assert action.tolist() == [[1.0, 1.0]]


def test_the_average_is_evaluated_where_one_is_kept(run: RunDirectory) -> None:
    message = Weights(
        version=1,
        env_steps=2,
        updates=3,
        spec=SPEC,
        policy=arrays(SPEC, bias=3.0),
        ema=arrays(SPEC, bias=-3.0),
    )
    run.policy("best").write_bytes(encode(message))
    action = load_policy(run, "best", SPEC).act(np.zeros((1, 3), np.float32), deterministic=True)
    assert (action < -0.9).all()


def test_a_folder_without_a_run_is_answered_in_one_line(tmp_path: Path) -> None:
    for place in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(ConfigError, match=ONE_LINE) as caught:
            evaluate(EvaluateFlags(run_dir=str(place)), Watchdog(), StopSignal())
        assert str(place) in str(caught.value)


def test_evaluate_prints_a_summary(run: RunDirectory, capsys: pytest.CaptureFixture[str]) -> None:
    run.policy("best").write_bytes(weights())
    flags = EvaluateFlags(
        run_dir=str(run.path), episodes=3, json_output=True, env_args=("length=4", "success=true")
    )
    assert evaluate(flags, Watchdog(), StopSignal()) == 0
    summary = json.loads(capsys.readouterr().out)
    assert (summary["episodes"], summary["success_rate"], summary["mean_return"]) == (3, 1.0, 10.0)


def test_two_files_of_a_run_are_enough_anywhere(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    copy = RunDirectory(tmp_path)
    settings = TrainFlags(
        env=EnvConfig(env="Fake-v0", env_args=("length=4",)),
        evaluator=EvaluatorConfig(eval_env_args=("success=true",)),
        transport=TransportConfig(keys="/nowhere", key_name="nobody"),
        replay=ReplayConfig(demos="/nowhere/demos"),
    )
    copy.config.write_text(dump_yaml(settings))
    copy.policy("best").write_bytes(weights())
    assert evaluate(EvaluateFlags(run_dir=str(copy.path), episodes=2), Watchdog(), StopSignal()) == 0
    assert "success 100.0%" in capsys.readouterr().out
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.yaml", "policy-best.gfp"]


def test_broken_episodes_are_counted_and_none_of_their_numbers_kept() -> None:
    stage = Stage("length=2", "broken=[3]", "success=true")
    policy = NumpyPolicy(arrays(SPEC), SPEC, np.random.default_rng(0))
    outcome = run_episodes(stage.runner.env, policy, iter(range(3)), 3, StopSignal())
    assert [episode[:3] for episode in outcome.episodes] == [(3.0, 2, True), (3.0, 2, True)]
    assert (outcome.broken, outcome.count) == (1, 3)
    calls = stage.order()
    assert calls[calls.index("reinit") + 1] == "reset"


def run_with(folder: Path, kind: Any, *env_args: str) -> RunDirectory:
    """Return the run of a policy of zeros in an environment of this class."""
    env = make(kind, *env_args)
    run = RunDirectory(folder)
    run.config.write_text(dump_yaml(TrainFlags(env=EnvConfig(env=env.name, env_args=env_args))))
    run.policy("best").write_bytes(weights(env.spec))
    return run


def test_means_run_over_whole_episodes_and_the_others_are_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = run_with(tmp_path, BreaksForOddSeeds)
    for as_json in (True, False):
        flags = EvaluateFlags(run_dir=str(run.path), episodes=40, json_output=as_json)
        assert evaluate(flags, Watchdog(), StopSignal()) == 0
    said, line = capsys.readouterr().out.splitlines()
    summary = json.loads(said)
    assert (summary["mean_return"], summary["success_rate"]) == (-20.0, None)
    assert 0 < summary["broken_episodes"] < 40 == summary["episodes"] + summary["broken_episodes"]
    assert line.startswith(f"{summary['episodes']} episodes: return -20.00 ± 0.00; ")
    assert line.endswith(f"{summary['broken_episodes']} of 40 episodes broke")


def test_a_policy_whose_every_episode_breaks_has_no_return(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = run_with(tmp_path, AlwaysBreaks, "at=5")
    flags = EvaluateFlags(run_dir=str(run.path), episodes=100, json_output=True)
    with pytest.raises(NoResultError, match="every episode broke; last error: step"):
        evaluate(flags, Watchdog(), StopSignal())
    summary = json.loads(capsys.readouterr().out)
    assert (summary["mean_return"], summary["episodes"], summary["broken_episodes"]) == (None, 0, 100)


def test_an_environment_in_which_nothing_begins_any_more_ends_the_evaluation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("graspfleet.actor.patience.LONGEST_PAUSE_S", 0.0)
    run = run_with(tmp_path, AlwaysBreaks, "at=0")
    with pytest.raises(ConfigError, match=r"20 episodes in a row broke; .*no solution"):
        evaluate(EvaluateFlags(run_dir=str(run.path), episodes=100), Watchdog(), StopSignal())


def test_the_result_comes_before_what_close_raises(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    run = run_with(tmp_path, Closes)
    assert evaluate(EvaluateFlags(run_dir=str(run.path), episodes=2), Watchdog(), StopSignal()) == 0
    assert "2 episodes: return -20.00" in capsys.readouterr().out
    assert "close() raised RuntimeError: not connected" in caplog.text


BOUNDS = EnvSpec(
    env="Fake-v0",
    obs_dim=3,
    action_dim=2,
    discount=0.9,
    n_step=1,
    action_low=(-1.0, 0.1),
    action_high=(1.0, 2.0),
)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"action_low": (-100.0, 0.1)}, ["action 0", "low bound -1 ", "-100"]),
        ({"action_high": (1.0, 2.1)}, ["action 1", "high bound 2 ", "2.1"]),
        ({"env": "Other-v0"}, ["Fake-v0", "Other-v0"]),
        ({"obs_dim": 4}, ["obs_dim 3 ", "4 and 2"]),
    ],
)
def test_a_policy_whose_numbers_meant_something_else_is_refused(
    run: RunDirectory, changed: dict[str, Any], words: list[str]
) -> None:
    run.policy("best").write_bytes(weights(BOUNDS))
    with pytest.raises(ConfigError, match=ONE_LINE) as caught:
        load_policy(run, "best", EnvSpec(**{**BOUNDS.to_mapping(), **changed}))
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize(
    "changed",
    [
        {"discount": 0.5},
        {"n_step": 3},
        {"env": "package:Fake-v0"},
        {"action_low": (-1.0, float(np.float32(0.1)))},
        {"action_low": None, "action_high": None},
    ],
)
def test_what_does_not_change_the_meaning_of_a_policys_numbers_is_taken(
    run: RunDirectory, changed: dict[str, Any]
) -> None:
    run.policy("best").write_bytes(weights(BOUNDS))
    load_policy(run, "best", EnvSpec(**{**BOUNDS.to_mapping(), **changed}))


def test_another_success_key_may_be_named_afterwards(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = run_with(tmp_path, returning(step=lambda *values: (*values[:4], {"success": 1.0})))
    for key in (None, "success"):
        flags = EvaluateFlags(run_dir=str(run.path), episodes=2, json_output=True, success_key=key)
        assert evaluate(flags, Watchdog(), StopSignal()) == 0
    first, second = map(json.loads, capsys.readouterr().out.splitlines())
    assert (first["success_rate"], second["success_rate"]) == (None, 1.0)
