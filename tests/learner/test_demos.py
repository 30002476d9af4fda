"""Demonstrations from a Minari dataset: by name and by folder, scaled, n-step, refused in one line."""

import dataclasses
import json
import os
import re
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import minari
import numpy as np
import pytest
from gymnasium.envs.registration import EnvSpec as EnvSpecOfGym
from gymnasium.spaces import Box, Dict, Discrete, Tuple
from minari.data_collector import EpisodeBuffer

from graspfleet.common.errors import ConfigError
from graspfleet.common.observations.space import ObservationSpace
from graspfleet.common.specs import EnvSpec
from graspfleet.learner.experience.demonstrations.loader import Demos, load_demos
from graspfleet.learner.experience.replay import Mixture, Replay
from tests.fakes import ONE_LINE

NAME = "fake/demo-v0"
SPEC = EnvSpec(env="Fake-v0", obs_dim=2, action_dim=2, discount=0.5, n_step=2)
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

    def make_dataset(*episodes: EpisodeBuffer, obs: Any = OBS, action: Box | Discrete = ACTION) -> Path:
        shutil.rmtree(tmp_path / NAME, ignore_errors=True)
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
    [
        EnvSpec(env="Fake-v0", obs_dim=3, action_dim=2, discount=0.5, n_step=2),
        EnvSpec(env="Fake-v0", obs_dim=2, action_dim=1, discount=0.5, n_step=2),
    ],
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


def changed(number: int, length: int, **fields: object) -> EpisodeBuffer:
    """Return an episode of which some parts are others."""
    return dataclasses.replace(episode(number, length), **fields)


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        (
            {"observations": np.zeros((3, 2), np.float32)},
            "3 observations for 3 actions; allowed: 4",
        ),
        (
            {"observations": np.zeros((5, 2), np.float32)},
            "5 observations for 3 actions; allowed: 4",
        ),
        ({"rewards": [1.0, 1.0]}, "2 rewards for 3 actions; allowed: 3"),
        ({"terminations": [False] * 4}, "4 terminations for 3 actions; allowed: 3"),
        ({"truncations": []}, "0 truncations for 3 actions; allowed: 3"),
        ({"terminations": [0.0, 0.5, 1.0]}, "its terminations are neither true nor false"),
        ({"rewards": [1.0, np.nan, 1.0]}, "its rewards hold NaN, infinity or more than"),
        ({"actions": np.full((3, 2), np.inf, np.float32)}, "its actions hold NaN, infinity"),
        ({"observations": np.full((4, 2), 1e300)}, "its observations hold NaN, infinity or more"),
        (
            {"observations": np.zeros((4, 3), np.float32)},
            r"its observations are \[4, 3\] of float32",
        ),
        ({"rewards": np.zeros((3, 1))}, r"its rewards are \[3, 1\] of float64"),
        ({"observations": {"a": np.zeros((4, 2))}}, "no readable"),
    ],
)
def test_an_episode_that_does_not_fit_is_named(make: Make, fields: dict[str, object], says: str) -> None:
    make(episode(0, 3))
    folder = Path(NAME) / "data" / "main_data.hdf5"
    with h5py.File(folder, "a") as file:
        file.copy("episode_0", "episode_1")
        for name, value in fields.items():
            del file["episode_1"][name]
            if isinstance(value, dict):
                for key, part in value.items():
                    file["episode_1"].require_group(name)[key] = part
            else:
                file["episode_1"][name] = np.asarray(value)
    metadata = json.loads((folder.parent / "metadata.json").read_text())
    (folder.parent / "metadata.json").write_text(json.dumps({**metadata, "total_episodes": 2}))
    with pytest.raises(ConfigError, match=ONE_LINE) as caught:
        load(NAME)
    who = "" if says == "no readable" else "episode 1: "
    assert re.search(f"--demos {NAME}: {who}{says}", str(caught.value))


def test_actions_outside_their_bounds_are_refused_with_the_share(make: Make) -> None:
    spread = [np.array([number, 5], np.float32) for number in (0, 2, 4, 6)]  # up to 3 is allowed
    make(episode(0, 4), changed(1, 4, actions=spread))
    with pytest.raises(ConfigError, match=ONE_LINE) as caught:
        load(NAME)
    assert "25.0% of its actions (2 of 8) lie outside its own bounds" in str(caught.value)


def test_a_rounded_bound_is_no_other_action(make: Make) -> None:
    rounded = [np.array([3.000001, 10.000002], np.float32), np.array([-1.000001, -0.000002], np.float32)]
    make(changed(0, 2, actions=rounded))
    assert np.abs(load(NAME).sample(50)["action"]).max() == 1.0


def test_a_part_of_the_action_that_cannot_move_is_zero(make: Make) -> None:
    box = Box(np.array([-1.0, 2.0], np.float32), np.array([1.0, 2.0], np.float32))
    make(changed(0, 2, actions=[np.array([0.5, 2.0], np.float32)] * 2), action=box)
    assert load(NAME).sample(1)["action"].tolist() == [[0.5, 0.0]]
    make(changed(0, 2, actions=[np.array([0.5, 7.0], np.float32)] * 2), action=box)
    with pytest.raises(ConfigError, match=r"100.0% of its actions \(2 of 2\)"):
        load(NAME)


def test_whole_numbers_as_actions_are_refused(make: Make) -> None:
    box = Box(-1, 1, (2,), np.int32)
    make(changed(0, 2, actions=[np.ones(2, np.int32)] * 2), action=box)
    with pytest.raises(ConfigError, match="holds int32; allowed: floats"):
        load(NAME)


@pytest.mark.parametrize("name", ["Fake-v0", "Other-v3", None])
def test_the_log_says_what_was_loaded_and_from_where(
    make: Make, name: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    make(episode(0, 3), episode(1, 4))
    path = Path(NAME) / "data" / "metadata.json"
    metadata = json.loads(path.read_text())
    if name is not None:
        metadata["env_spec"] = EnvSpecOfGym(name, entry_point="nowhere:Nothing").to_json()
    path.write_text(json.dumps(metadata))
    load(NAME)
    where = name or "an environment without a name"
    assert f"--demos {NAME}: 7 transitions of 2 episodes, recorded in {where}" in caplog.text
    assert ("but this run uses Fake-v0" in caplog.text) == (name == "Other-v3")


def test_a_dataset_never_makes_an_environment(make: Make, tmp_path: Path) -> None:
    make(episode(0, 3))
    path = Path(NAME) / "data" / "metadata.json"
    metadata = json.loads(path.read_text())
    del metadata["observation_space"]
    trap = EnvSpecOfGym("Trap-v0", entry_point="os:mkdir", kwargs={"path": str(tmp_path / "sprung")})
    path.write_text(json.dumps({**metadata, "env_spec": trap.to_json()}))
    with pytest.raises(ConfigError, match="its metadata name no observation_space"):
        load(NAME)
    assert not (tmp_path / "sprung").exists()


def test_what_is_larger_than_memory_is_refused_before_it_is_read(make: Make) -> None:
    make(episode(0, 3))
    with h5py.File(Path(NAME) / "data" / "main_data.hdf5", "a") as file:
        del file["episode_0"]["rewards"]
        shape, chunks = (1 << 31,), (1 << 20,)
        file["episode_0"].create_dataset("rewards", shape, np.float64, chunks=chunks, compression="gzip")
    with pytest.raises(ConfigError, match=r"holds 17,179,\d{3},\d{3} bytes; allowed: at most"):
        load(NAME)


@pytest.mark.timeout(20)
def test_a_pipe_is_no_dataset(make: Make) -> None:
    folder = make(episode(0, 3))
    (folder / "data" / "main_data.hdf5").unlink()
    os.mkfifo(folder / "data" / "main_data.hdf5")
    with pytest.raises(ConfigError, match="not a regular file"):
        load(NAME)


def test_an_episode_without_a_step_is_left_out_and_said(make: Make, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    make(episode(0, 3))
    with h5py.File(Path(NAME) / "data" / "main_data.hdf5", "a") as file:
        group = file.create_group("episode_1")
        for name, shape in (("observations", (1, 2)), ("actions", (0, 2))):
            group[name] = np.zeros(shape, np.float32)
        for name in ("rewards", "terminations", "truncations"):
            group[name] = np.zeros(0)
    path = Path(NAME) / "data" / "metadata.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "total_episodes": 2}))
    assert len(load(NAME)) == 3
    assert "3 transitions of 1 episodes (empty episodes skipped: 1)" in caplog.text


CAMERA = Box(0, 255, (8, 9), np.uint8)
PARTS = Dict({"camera": CAMERA, "rest": Tuple((Discrete(3), OBS)), "mass": Box(0, 9, (1,), np.float32)})


def spec_of(space: Any, *privileged: str) -> EnvSpec:
    reader = ObservationSpace(space, "Fake-v0", privileged)
    return EnvSpec(
        env="Fake-v0", obs_dim=reader.obs_dim, action_dim=2, discount=0.5, n_step=2, obs_fields=reader.fields
    )


def episode_of_parts(number: int, length: int) -> EpisodeBuffer:
    """Observation t has the image 10 * number + t, the choice t mod 3, [number, t] and the mass number."""
    steps = range(length + 1)
    observations = {
        "camera": [np.full((8, 9), 10 * number + t, np.uint8) for t in steps],
        "rest": ([np.int64(t % 3) for t in steps], [np.array([number, t], np.float32) for t in steps]),
        "mass": [np.array([number], np.float32) for _ in steps],
    }
    return dataclasses.replace(episode(number, length), observations=observations)


def test_parts_and_images_are_read_as_those_of_the_environment(make: Make) -> None:
    folder = make(episode_of_parts(0, 4), episode_of_parts(1, 3), obs=PARTS)
    spec = spec_of(PARTS, "mass")
    demos = load(folder, spec)
    assert len(demos) == 7
    batch = demos.sample(3, 200)
    assert (batch.shape, batch.dtype) == ((3, 200), spec.sample)
    for row in batch.ravel():
        number, t = row["obs"][3], row["obs"][4]
        after = min(t + 2, {0: 4, 1: 3}[number])  # n = 2
        assert row["obs"].tolist() == [*np.eye(3)[int(t) % 3], number, t, number]
        assert row["next_obs"].tolist() == [*np.eye(3)[int(after) % 3], number, after, number]
        assert set(row["pixels"]) == {10 * number + t}
        assert set(row["next_pixels"]) == {10 * number + after}


def test_a_mixture_with_images_holds_both_sources(make: Make, tmp_path: Path) -> None:
    spec = spec_of(PARTS)
    replay = Replay(tmp_path / "replay.bin", spec, 20, np.random.default_rng(0))
    record = np.zeros(1, spec.record)
    record["frame"] = record["next_frame"] = 0
    replay.insert(record, np.full((1, spec.frame_bytes), 99, np.uint8))
    batch = Mixture(replay, load(make(episode_of_parts(0, 4), obs=PARTS), spec), 0.5).sample(2, 8)
    assert batch.dtype == spec.sample
    assert (batch["pixels"][:, :4] == 99).all()
    assert (batch["pixels"][:, 4:] < 20).all()


@pytest.mark.parametrize(
    "space",
    [
        OBS,
        CAMERA,
        Dict({"camera": CAMERA, "rest": Tuple((Discrete(3), OBS))}),
        Dict({**PARTS.spaces, "camera": Box(0, 255, (9, 8), np.uint8)}),
        Dict({**PARTS.spaces, "mass": Discrete(2)}),
    ],
)
def test_other_parts_are_refused_in_one_line(make: Make, space: Any) -> None:
    folder = make(episode_of_parts(0, 3), obs=PARTS)
    with pytest.raises(ConfigError, match=ONE_LINE) as caught:
        load(folder, spec_of(space))
    assert "its observation space is Dict(" in str(caught.value)
    assert ", as in Fake-v0" in str(caught.value)


def test_a_part_that_is_no_observation_is_named(make: Make) -> None:
    bad = episode_of_parts(0, 3)
    assert isinstance(bad.observations, dict)
    bad.observations["mass"][2] = np.array([np.nan], np.float32)
    with pytest.raises(ConfigError, match=ONE_LINE) as caught:
        load(make(bad, obs=PARTS), spec_of(PARTS))
    assert "episode 0, step 2, mass: returned nan in an observation" in str(caught.value)
