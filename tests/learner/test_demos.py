"""Demonstrations from a Minari dataset: by name and by folder, scaled, n-step, refused in one line."""

import warnings
from collections.abc import Callable
from pathlib import Path

import minari
import numpy as np
import pytest
from gymnasium.spaces import Box, Discrete
from minari.data_collector import EpisodeBuffer

from common.errors import ConfigError
from common.specs import EnvSpec
from learner.demos import Demos, load_demos
from tests.fakes import ONE_LINE

NAME = "fake/demo-v0"
SPEC = EnvSpec("Fake-v0", obs_dim=2, action_dim=2, discount=0.5, n_step=2)
OBS = Box(-np.inf, np.inf, (2,), np.float32)
ACTION = Box(np.array([-1.0, 0.0], np.float32), np.array([3.0, 10.0], np.float32))

Make = Callable[..., Path]


def episode(number: int, length: int, *, spoil: float = 0.0) -> EpisodeBuffer:
    """Observation t is [number, t], reward t is t + 1, actions run from the lower to the upper bound."""
    observations = [np.array([number, t], np.float32) for t in range(length + 1)]
    observations[1] = observations[1] + np.float32(spoil)
    return EpisodeBuffer(
        id=number,
        observations=observations,
        actions=list(np.linspace(ACTION.low, ACTION.high, length).astype(np.float32)),
        rewards=[float(t + 1) for t in range(length)],
        terminations=[False] * length,
        truncations=[False] * (length - 1) + [True],
        infos={},
    )


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Make:
    """Return a function that writes a dataset and returns its folder."""
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    monkeypatch.chdir(tmp_path)

    def make_dataset(*episodes: EpisodeBuffer, obs: Box = OBS, action: Box | Discrete = ACTION) -> Path:
        with warnings.catch_warnings():
            # Minari would like to know author, code and environment of a dataset.
            warnings.filterwarnings("ignore", category=UserWarning, module="minari")
            minari.create_dataset_from_buffers(
                NAME, list(episodes), observation_space=obs, action_space=action
            )
        return tmp_path / NAME

    return make_dataset


def load(where: str | Path, spec: EnvSpec = SPEC) -> Demos:
    return load_demos(str(where), spec, np.random.default_rng(0))


def test_a_dataset_is_found_by_name_by_folder_and_by_its_data(make: Make) -> None:
    folder = make(episode(0, 3), episode(1, 4))
    wanted = load(NAME).sample(50).tobytes()
    for where in (folder, folder / "data"):
        assert len(load(where)) == 7
        assert load(where).sample(50).tobytes() == wanted


def test_actions_are_scaled_and_returns_sum_over_n_steps(make: Make) -> None:
    make(episode(0, 3))
    found = {tuple(row["obs"].tolist()): row for row in load(NAME).sample(200)}
    assert found.keys() == {(0, 0), (0, 1), (0, 2)}
    first, middle, last = (found[0, t] for t in range(3))
    assert [row["action"].tolist() for row in (first, middle, last)] == [[-1, -1], [0, 0], [1, 1]]
    assert [row["reward"] for row in (first, middle, last)] == [1 + 0.5 * 2, 2 + 0.5 * 3, 3]
    assert [row["discount"] for row in (first, middle, last)] == [0.25, 0.25, 0.5]
    assert [row["next_obs"].tolist() for row in (first, middle, last)] == [[0, 2], [0, 3], [0, 3]]
    assert [bool(row["truncated"]) for row in (first, middle, last)] == [False, True, True]


def test_an_episode_without_an_end_is_cut_and_does_not_leak_into_the_next(make: Make) -> None:
    unfinished = episode(0, 3)
    unfinished.truncations[-1] = False  # type: ignore[index]
    make(unfinished, episode(1, 3))
    demos = load(NAME)
    assert len(demos) == 6
    for row in demos.sample(200):
        assert row["obs"][0] == row["next_obs"][0]


@pytest.mark.parametrize(
    "where", ["nothing", "fake/nothing-v0", "fake/demo-v9", "/nowhere", "a b", "../x", ""]
)
def test_a_dataset_that_is_not_there_is_answered_in_one_line(make: Make, where: str) -> None:
    make(episode(0, 3))
    with pytest.raises(ConfigError, match=ONE_LINE) as caught:
        load(where)
    assert f"--demos {where}" in str(caught.value)


@pytest.mark.parametrize(
    "spec",
    [EnvSpec("Fake-v0", 3, 2, 0.5, 2), EnvSpec("Fake-v0", 2, 1, 0.5, 2)],
    ids=["observation", "action"],
)
def test_another_shape_is_refused_in_one_line(make: Make, spec: EnvSpec) -> None:
    make(episode(0, 3))
    with pytest.raises(ConfigError, match=ONE_LINE) as caught:
        load(NAME, spec)
    assert f"--demos {NAME}" in str(caught.value)
    assert "Fake-v0" in str(caught.value)


def test_an_unbounded_action_space_is_refused_in_one_line(make: Make) -> None:
    make(episode(0, 3), action=OBS)
    with pytest.raises(ConfigError, match="unbounded"):
        load(NAME)


@pytest.mark.parametrize("spoil", [np.nan, np.inf, 1e8])
def test_numbers_that_are_none_are_refused(make: Make, spoil: float) -> None:
    make(episode(0, 3, spoil=spoil))
    with pytest.raises(ConfigError, match="NaN, infinity or more than"):
        load(NAME)


@pytest.mark.parametrize("name", ["main_data.hdf5", "metadata.json"])
def test_a_damaged_dataset_is_answered_in_one_line(make: Make, name: str) -> None:
    folder = make(episode(0, 3))
    (folder / "data" / name).write_bytes(b"\0garbage")
    with pytest.raises(ConfigError, match=ONE_LINE) as caught:
        load(NAME)
    assert f"--demos {NAME}" in str(caught.value)
