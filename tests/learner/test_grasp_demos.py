"""`graspfleet demos`: what it writes, the learner and Minari read; what is wrong is one line."""

from pathlib import Path

import minari
import numpy as np
import pytest

from graspfleet.actor.grasp import GraspEnv, demos
from graspfleet.common.errors import ConfigError
from graspfleet.common.settings.flags import parse
from graspfleet.common.settings.section import Section
from graspfleet.common.specs import EnvSpec
from graspfleet.learner.experience.demonstrations.loader import load_demos

SPEC = EnvSpec(
    env="Grasp-v0",
    obs_dim=39,
    action_dim=5,
    discount=0.99,
    n_step=1,
    action_low=(-1.0,) * 5,
    action_high=(1.0,) * 5,
)
FAST = ("--env-args", "physics=fast")


@pytest.fixture(autouse=True)
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_demonstrations_are_read_by_name_by_the_learner_and_by_minari(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert demos.main(["--episodes", "3", "--objects", "primitives", "--out", "mine", *FAST]) == 0
    said = capsys.readouterr().out
    assert "3 of 3 episodes succeeded (100.0%)" in said
    assert "--demos mine" in said
    assert len(load_demos("mine", SPEC, np.random.default_rng(0))) == 150
    dataset = minari.load_dataset("mine-v0")
    assert dataset.total_episodes == 3
    env = dataset.recover_environment()
    assert env.spec is not None
    assert env.spec.kwargs["objects"] == "primitives"
    for episode in dataset.iterate_episodes():
        assert episode.infos["is_success"][-1]
        assert episode.truncations.sum() == episode.truncations[-1] == 1
        assert max(episode.rewards) > 0.9
    env.close()


def test_demonstrations_go_into_a_folder_too_and_the_same_seed_gives_the_same() -> None:
    for folder in ("./a", "./b"):
        assert demos.main(["--episodes", "2", "--out", folder, "--seed", "3", *FAST]) == 0
    batches = [load_demos(folder, SPEC, np.random.default_rng(0)).sample(64) for folder in ("./a", "./b")]
    np.testing.assert_array_equal(*batches)


def test_failures_are_counted_and_left_out_unless_asked_for(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def play(env: GraspEnv, seed: int) -> demos.Played:
        observation, _ = env.reset(seed=seed)
        action = np.zeros(5, np.float32)
        return demos.Played(seed, [observation] * 2, [action], [0.5], ["hover"], success=next(outcomes))

    monkeypatch.setattr(demos, "play", play)
    outcomes = iter([True, False, True])
    demos.main(["--episodes", "3", "--out", "kept"])
    assert "2 of 3 episodes succeeded" in capsys.readouterr().out
    assert len(load_demos("kept", SPEC, np.random.default_rng(0))) == 2
    outcomes = iter([True, False, True])
    demos.main(["--episodes", "3", "--out", "all", "--keep-failures"])
    assert len(load_demos("all", SPEC, np.random.default_rng(0))) == 3
    outcomes = iter([False])
    with pytest.raises(ConfigError, match="no episode succeeded"):
        demos.main(["--episodes", "1", "--out", "none"])
    assert not Path("none-v0").exists()


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["--out", "x", "--objects", "unicorns"], "--objects unicorns.*cube"),
        (["--out", "x", "--env-args", "mass=3"], "mass"),
        (["--out", "x", "--episodes", "0"], "--episodes"),
        ([], "--out"),
    ],
)
def test_mistakes_are_one_line(argv: list[str], said: str) -> None:
    with pytest.raises(ConfigError, match=said) as caught:
        demos.main(argv)
    assert "\n" not in str(caught.value)


def test_a_dataset_is_never_overwritten() -> None:
    demos.main(["--episodes", "1", "--out", "mine", *FAST])
    with pytest.raises(ConfigError, match=r"--out mine: .*mine-v0 already exists"):
        demos.main(["--episodes", "1", "--out", "mine", *FAST])


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        (
            EnvSpec(env="Other-v0", obs_dim=38, action_dim=5, discount=0.99, n_step=1),
            r"observation space is Box.*39.*allowed: obs \(38,\)",
        ),
        (
            EnvSpec(env="Other-v0", obs_dim=39, action_dim=4, discount=0.99, n_step=1),
            "action space is Box.*5.*allowed: 4 numbers",
        ),
        (
            EnvSpec(
                env="Other-v0",
                obs_dim=39,
                action_dim=5,
                discount=0.99,
                n_step=1,
                action_low=(-2.0,) * 5,
                action_high=(1.0,) * 5,
            ),
            r"low bounds are \[-1.*allowed: \[-2",
        ),
        (
            EnvSpec(
                env="Other-v0",
                obs_dim=39,
                action_dim=5,
                discount=0.99,
                n_step=1,
                action_low=(-1.0,) * 5,
                action_high=(3.0,) * 5,
            ),
            r"high bounds are \[1.*allowed: \[3",
        ),
    ],
)
def test_a_dataset_of_another_environment_is_refused_by_the_difference(spec: EnvSpec, said: str) -> None:
    demos.main(["--episodes", "1", "--out", "mine", *FAST])
    with pytest.raises(ConfigError, match=said) as caught:
        load_demos("mine", spec, np.random.default_rng(0))
    assert "\n" not in str(caught.value)


def test_the_flags_are_a_section_like_all_others() -> None:
    assert issubclass(demos.DemosFlags, Section)
    assert parse(demos.DemosFlags, ["--out", "x"], prog="demos").objects == "cube"
