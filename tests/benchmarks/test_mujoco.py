"""MuJoCo beside Stable-Baselines3: the same settings and episodes on both sides, and what the tables say."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.mujoco import load, store
from benchmarks.mujoco_sides import (
    LAST,
    REPORTED,
    Result,
    baseline_arguments,
    episode_seeds,
    run_side,
    train_words,
)
from benchmarks.mujoco_table import is_in_step, keeps, table
from graspfleet.actor import evaluate as evaluation
from graspfleet.actor.evaluate_flags import EvaluateFlags
from graspfleet.actor.watchdog import Watchdog
from graspfleet.common.messages import Weights
from graspfleet.common.protocol import encode
from graspfleet.common.runtime.run_directory import RunDirectory
from graspfleet.common.runtime.signals import StopSignal
from graspfleet.common.settings.files import dump_yaml
from graspfleet.common.settings.flags import TrainFlags, parse
from graspfleet.common.specs import EnvSpec
from graspfleet.learner.algorithm import all_settings

ENV = "Pendulum-v1"
SETTINGS = {"env": ENV, "who": "ours", "steps": 2000, "episodes": 10}


def run(seed: int, *, env_steps: int = 2000, updates: int = 1000, **policies: float) -> Result:
    evaluated = {name: {"mean_return": value} for name, value in policies.items()}
    return {"seed": seed, "env_steps": env_steps, "updates": updates, "policies": evaluated}


def shown(folder: Path, **sides: list[Result]) -> list[str]:
    for who, runs in sides.items():
        store(folder / f"{who}.json", {**SETTINGS, "who": who}, runs)
    return list(table(folder))


def test_the_baseline_has_the_settings_of_the_preset() -> None:
    flags = parse(TrainFlags, train_words(ENV, 2000, 7), prog="train", algorithms=all_settings())
    arguments = baseline_arguments(flags)
    assert (arguments["train_freq"], arguments["gradient_steps"]) == (1, flags.rate.updates_per_step)
    assert flags.algorithm.auto_entropy
    assert flags.algorithm.target_entropy is None
    assert (flags.algorithm.reward_scale, flags.algorithm.critic_layer_norm, flags.algorithm.ema_tau) == (
        1,
        False,
        1,
    )
    changed = ["--discount", "0.9", "--n-step", "3", "--learning-rate", "1e-3", "--tau", "0.01"]
    changed += ["--batch-size", "64", "--hidden-dim", "32", "--initial-temperature", "0.1"]
    changed += ["--explore-steps", "50", "--replay-capacity", "5000"]
    assert baseline_arguments(
        parse(TrainFlags, [*train_words(ENV, 1, 7), *changed], prog="train", algorithms=all_settings())
    ) == {
        "gamma": 0.9,
        "n_steps": 3,
        "learning_rate": 1e-3,
        "tau": 0.01,
        "batch_size": 64,
        "ent_coef": "auto_0.1",
        "buffer_size": 5000,
        "learning_starts": 50,
        "train_freq": 1,
        "gradient_steps": 1,
        "policy_kwargs": {"net_arch": [32, 32]},
    }


def test_stable_baselines3_takes_the_arguments() -> None:
    sac = pytest.importorskip("stable_baselines3", reason="needs the extra bench").SAC
    arguments = baseline_arguments(
        parse(TrainFlags, train_words(ENV, 2000, 7), prog="train", algorithms=all_settings())
    )
    model = sac("MlpPolicy", ENV, seed=7, device="cpu", **{**arguments, "buffer_size": 10})
    sizes = [layer.out_features for layer in model.actor.latent_pi if hasattr(layer, "out_features")]
    assert (sizes, model.target_entropy, float(model.log_ent_coef.detach().exp())) == ([256, 256], -1.0, 1.0)


def test_both_sides_are_evaluated_on_the_same_episodes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flags = parse(
        TrainFlags,
        [*train_words(ENV, 2000, 7), "--max-episode-steps", "1"],
        prog="train",
        algorithms=all_settings(),
    )
    spec, rundir = EnvSpec(env=ENV, obs_dim=3, action_dim=1, discount=0.99, n_step=1), RunDirectory(tmp_path)
    shapes = {"w0": (3, 4), "b0": (4,), "w1": (4, 4), "b1": (4,), "w2": (4, 2), "b2": (2,)}
    policy = {name: np.zeros(shape, np.float32) for name, shape in shapes.items()}
    rundir.config.write_text(dump_yaml(flags))
    frame = Weights(version=1, env_steps=2, updates=3, spec=spec, policy=policy)
    rundir.policy("last").write_bytes(encode(frame))
    seeds, run_episodes = [], evaluation.run_episodes

    def recorded(*arguments: Any, **named: Any) -> Any:
        outcome = run_episodes(*arguments, **named)
        seeds.extend(episode[3] for episode in outcome.episodes)
        return outcome

    monkeypatch.setattr(evaluation, "run_episodes", recorded)
    wanted = EvaluateFlags(run_dir=str(tmp_path), policy="last", episodes=5)
    assert evaluation.evaluate(wanted, Watchdog(), StopSignal()) == 0
    assert seeds == episode_seeds(5)


@pytest.mark.parametrize(
    ("who", "policies", "package"),
    [("ours", [REPORTED, LAST], "mujoco"), ("sb3", [LAST], "stable_baselines3")],
)
def test_a_short_run_of_each_side(tmp_path: Path, who: str, policies: list[str], package: str) -> None:
    pytest.importorskip("mujoco", reason="needs the extra mujoco")
    pytest.importorskip(package, reason="needs the extra bench")
    result = run_side(who, "InvertedDoublePendulum-v5", 1050, 3, 2, tmp_path)
    assert (result["seed"], list(result["policies"])) == (3, policies)
    assert result["env_steps"] >= 1050
    assert 0 < result["updates"] < result["env_steps"]
    for evaluated in result["policies"].values():
        assert evaluated["episodes"] == 2
        assert (
            evaluated["mean_return"] > 10.0
        )  # it gets up to 10 a step for standing, whatever the policy does
    json.dumps(result)


def test_an_interrupted_command_goes_on_with_what_is_there(tmp_path: Path) -> None:
    path = tmp_path / "new" / "results.json"
    assert load(path, SETTINGS) == []
    store(path, SETTINGS, [run(1, last=1.0), run(0, last=2.0)])
    assert [one["seed"] for one in load(path, SETTINGS)] == [0, 1]
    assert json.loads(path.read_text())["machine"]["cores"] >= 1
    with pytest.raises(ValueError, match=r"has steps 2000, not 10; move it away"):
        load(path, {**SETTINGS, "steps": 10})


def test_the_table_shows_means_and_what_holds(tmp_path: Path) -> None:
    ours = [run(0, reported=950, last=1000), run(1, reported=2000, last=1500, env_steps=2030)]
    theirs = [run(0, last=1000.0), run(1, last=1100.0), run(2, last=99999.0)]
    lines = shown(tmp_path, ours=ours, sb3=theirs)
    assert lines[0] == "Pendulum-v1, 2,000 env steps, mean return of 10 episodes:"
    assert "| 1 | 2,000 | 1,500 | 1,100 | 2,030, 1,000 | 2,000, 1,000 |" in lines
    assert "| 2 |  |  | 99,999 |  | 2,000, 1,000 |" in lines
    assert "| mean | 1,475 | 1,250 | 34,033 |  |  |" in lines
    assert [line for line in lines if line.startswith("- ")] == [
        "- the reported policy has at least 0.9 of the last one's return, 2 of 2 seeds: yes",
        "- env steps and updates within 1%, 1 of 2 seeds: **no**",
        "- reported policies' mean less Stable-Baselines3's at least 0 (425): yes",  # of the seeds of both
        "- the same at least minus the latter's deviation (−70.71): yes",
    ]


def test_a_side_that_has_not_run_has_no_column_and_no_claim(tmp_path: Path) -> None:
    lines = shown(tmp_path, sb3=[run(0, last=-4.0)])
    assert lines[2] == "| seed | Stable-Baselines3, last policy | Stable-Baselines3: env steps, updates |"
    assert lines[4] == "| 0 | −4.00 | 2,000, 1,000 |"
    assert "| standard deviation |  |  |" in lines
    assert not [line for line in lines if line.startswith("- ")]


@pytest.mark.parametrize(
    ("reported", "last", "kept"),
    [(900, 1000, True), (899, 1000, False), (-11, -10, True), (-11.1, -10, False)],
)
def test_a_tenth_of_the_last_policys_return_may_be_lost(reported: float, last: float, kept: bool) -> None:
    assert keeps(reported, last) is kept


@pytest.mark.parametrize(
    ("env_steps", "updates", "expected"),
    [(2020, 1010, True), (1980, 990, True), (2021, 1000, False), (2000, 989, False)],
)
def test_one_update_for_each_env_step_after_exploration(env_steps: int, updates: int, expected: bool) -> None:
    assert is_in_step(run(0, env_steps=env_steps, updates=updates), 2000) is expected
