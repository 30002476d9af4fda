"""Observation spaces of every allowed form as one flat vector, field by field."""

import json
from collections import OrderedDict
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.spaces import Box, Dict, Discrete, MultiBinary, MultiDiscrete, Tuple

from graspfleet.common.errors import BrokenEpisodeError, ConfigError
from graspfleet.common.observations.reading import ContractError
from graspfleet.common.observations.space import ObservationSpace
from graspfleet.common.specs import EnvSpec, differences
from tests.fakes import ONE_LINE

UNIT = Box(-1, 1, (2,), np.float32)
MATRIX = Box(-1, 1, (2, 3), np.float64)


def fields(space: "gymnasium.Space[Any]") -> dict[str, tuple[int, ...]] | None:
    found = ObservationSpace(space, "Own-v0").fields
    return None if found is None else {field.name: field.shape for field in found}


def read(space: "gymnasium.Space[Any]", obs: Any) -> list[float]:
    vector = ObservationSpace(space, "Own-v0").read("step()", obs).vector
    assert vector.dtype == np.float32
    return list(vector.tolist())


CASES: list[tuple[Any, dict[str, tuple[int, ...]] | None, Any, list[float]]] = [
    (UNIT, None, [0.5, -0.5], [0.5, -0.5]),
    (Box(-1, 1, (), np.float32), {"obs": ()}, 0.25, [0.25]),
    (MATRIX, {"obs": (2, 3)}, np.arange(6.0).reshape(2, 3) / 8, [0, 0.125, 0.25, 0.375, 0.5, 0.625]),
    (Discrete(3), {"obs": (3,)}, 1, [0, 1, 0]),
    (Discrete(3, start=-1), {"obs": (3,)}, np.int64(-1), [1, 0, 0]),
    (MultiDiscrete([2, 3]), {"obs": (5,)}, np.array([1, 2]), [0, 1, 0, 0, 1]),
    (MultiBinary(3), None, np.array([1, 0, 1], np.int8), [1, 0, 1]),
    (
        Dict({"b": UNIT, "a": Discrete(2)}),  # Gymnasium sorts the keys of a dict
        {"a": (2,), "b": (2,)},
        {"b": [0.5, 1.0], "a": 1},
        [0, 1, 0.5, 1],
    ),
    (Dict({0: UNIT, 1: Discrete(2)}), {"0": (2,), "1": (2,)}, {0: [0.5, 1.0], 1: 0}, [0.5, 1, 1, 0]),
    (
        Dict(OrderedDict(arm=Dict(tip=UNIT), rest=Tuple((Discrete(2), MATRIX)))),
        {"arm.tip": (2,), "rest.0": (2,), "rest.1": (2, 3)},
        {"arm": {"tip": (0.0, 1.0)}, "rest": (0, np.zeros((2, 3))), "more": "is not looked at"},
        [0, 1, 1, 0, *[0.0] * 6],
    ),
]


@pytest.mark.parametrize(("space", "shapes", "obs", "vector"), CASES, ids=lambda part: str(part)[:40])
def test_every_form_is_read_field_by_field(space: Any, shapes: Any, obs: Any, vector: list[float]) -> None:
    assert fields(space) == shapes
    assert read(space, obs) == vector


@pytest.mark.parametrize("space", [case[0] for case in CASES], ids=lambda space: str(space)[:40])
def test_samples_of_a_space_are_observations_of_it(space: "gymnasium.Space[Any]") -> None:
    reader = ObservationSpace(space, "Own-v0")
    for _ in range(20):
        vector = reader.read("reset()", space.sample()).vector
        assert vector.shape == (reader.obs_dim,)
        assert reader.outside(vector) is None


def test_a_vector_keeps_nothing_of_the_environments_memory() -> None:
    obs = {"a": np.zeros(2, np.float32), "b": np.zeros((2, 3))}
    vector = ObservationSpace(Dict({"a": UNIT, "b": MATRIX}), "Own-v0").read("step()", obs).vector
    obs["a"][:], obs["b"][:] = 7, 7
    assert not vector.any()


IMAGE = Box(0, 255, (12, 10, 3), np.uint8)


@pytest.mark.parametrize("space", [IMAGE, Dict({"cam": IMAGE, "a": UNIT}), Tuple((IMAGE, UNIT, IMAGE))])
def test_images_are_copied_as_they_are(space: "gymnasium.Space[Any]") -> None:
    reader, sample = ObservationSpace(space, "Own-v0"), space.sample()
    obs = reader.read("reset()", sample)
    parts = (
        list(sample.values())
        if isinstance(space, Dict)
        else sample
        if isinstance(space, Tuple)
        else (sample,)
    )
    images = [part for part in parts if part.shape == IMAGE.shape]
    assert obs.frame is not None
    assert obs.frame.pixels.tobytes() == b"".join(image.tobytes() for image in images)
    images[0][:] += 1
    assert obs.frame.pixels.tobytes() != b"".join(image.tobytes() for image in images)
    assert reader.outside(obs.vector) is None
    spec = spec_of(space)
    assert (spec.obs_dim, spec.frame_bytes) == (0 if len(parts) == 1 else 2, 360 * len(images))
    assert EnvSpec.from_mapping(json.loads(json.dumps(spec.to_mapping()))) == spec


@pytest.mark.parametrize("shape", [(7, 7, 3), (84,), (4, 8, 8, 3)])
def test_other_bytes_are_numbers(shape: tuple[int, ...]) -> None:
    reader = ObservationSpace(Box(0, 255, shape, np.uint8), "Own-v0")
    assert reader.obs_dim == np.prod(shape)
    assert reader.read("reset()", np.full(shape, 255, np.uint8)).frame is None


@pytest.mark.parametrize(
    "image", [np.zeros((12, 10, 3), np.int8), np.zeros((12, 10, 3)), np.zeros((12, 10, 1), np.uint8), None, 3]
)
def test_an_image_of_another_kind_is_refused(image: Any) -> None:
    with pytest.raises(ContractError, match=ONE_LINE) as caught:
        ObservationSpace(Dict({"cam": IMAGE, "a": UNIT}), "Own-v0").read(
            "step()", {"cam": image, "a": [0, 0]}
        )
    assert "step(), cam: returned" in str(caught.value)


NESTED = Dict({"cam": IMAGE, "sim": Dict({"mass": UNIT, "pose": UNIT}), "arm": UNIT})


def test_privileged_fields_come_last() -> None:
    reader = ObservationSpace(NESTED, "Own-v0", ("sim",))
    assert reader.fields is not None
    assert [field.name for field in reader.fields] == ["arm", "cam", "sim.mass", "sim.pose"]
    values = {"cam": IMAGE.sample(), "arm": [1, 2], "sim": {"mass": [3, 4], "pose": [5, 6]}}
    assert reader.read("reset()", values).vector.tolist() == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize(
    ("names", "line"),
    [
        (
            ("sim.mas",),
            "--privileged-obs sim.mas: no field of --env Own-v0; allowed: arm, sim.mass, sim.pose",
        ),
        (("cam",), "--privileged-obs cam: an image; allowed: fields of numbers"),
    ],
)
def test_what_cannot_be_privileged_is_refused(names: tuple[str, ...], line: str) -> None:
    with pytest.raises(ConfigError) as caught:
        ObservationSpace(NESTED, "Own-v0", names)
    assert str(caught.value) == line


def test_the_policy_sees_at_least_one_field_and_may_do_without_the_privileged_ones() -> None:
    with pytest.raises(ConfigError, match="--privileged-obs a b: allowed: all fields but one"):
        ObservationSpace(Dict({"a": UNIT, "b": UNIT}), "Own-v0", ("a", "b"))
    assert ObservationSpace(Dict({"a": UNIT}), "Own-v0", ("b",), may_lack=True).obs_dim == 2


BROKEN = Dict({"a": UNIT, "b": Tuple((Discrete(3), MATRIX))})
RIGHT: dict[str, Any] = {"a": [0, 0], "b": (0, np.zeros((2, 3)))}
MISTAKES: list[tuple[Any, str]] = [
    ([1, 2], "step() returned an observation without a: a list of 2; allowed: a dict"),
    ({"b": RIGHT["b"]}, "an observation without a: "),
    ({**RIGHT, "b": 3}, "an observation without b.0: int 3; allowed: a tuple with 0"),
    ({**RIGHT, "b": (0,)}, "an observation without b.1: "),
    ({**RIGHT, "b": (3, RIGHT["b"][1])}, "step(), b.0: returned int 3; allowed: a value of Discrete(3)"),
    ({**RIGHT, "b": (-1, RIGHT["b"][1])}, "b.0: returned int -1"),
    ({**RIGHT, "b": (0.5, RIGHT["b"][1])}, "b.0: returned float 0.5 as observation; allowed: integers"),
    ({**RIGHT, "a": [0, 0, 0]}, "a: returned a list of 3 as observation; allowed: numbers of shape (2,)"),
    ({**RIGHT, "a": ["x", "y"]}, "a: returned a list of 2"),
    ({**RIGHT, "a": None}, "a: returned None"),
]


@pytest.mark.parametrize(("obs", "line"), MISTAKES, ids=lambda part: str(part)[:40])
def test_what_does_not_fit_is_named_with_its_field(obs: Any, line: str) -> None:
    with pytest.raises(ContractError, match=ONE_LINE) as caught:
        ObservationSpace(BROKEN, "Own-v0").read("step()", obs)
    assert line in str(caught.value)


@pytest.mark.parametrize("number", [np.nan, np.inf, 1e30])
def test_a_number_that_no_record_could_hold_breaks_the_episode(number: float) -> None:
    matrix = np.zeros((2, 3))
    matrix[1, 2] = number
    with pytest.raises(BrokenEpisodeError, match="at index 5") as caught:
        ObservationSpace(BROKEN, "Own-v0").read("step()", {**RIGHT, "b": (0, matrix)})
    assert not isinstance(caught.value, ContractError)


def test_the_first_number_outside_its_bounds_is_named() -> None:
    reader = ObservationSpace(BROKEN, "Own-v0")
    assert reader.outside(reader.read("reset()", {**RIGHT, "a": [0, 3]}).vector) == ("a index 1", 3.0)


@pytest.mark.parametrize(
    "space",
    [
        Dict({"a": UNIT, "a.b": UNIT, "a b": UNIT}),
        Dict({"a": Dict({"b": UNIT}), "a.b": UNIT}),
        Dict({str(index): UNIT for index in range(300)}),
        Dict({"x" * 65: UNIT}),
        Dict({"a": Dict({})}),
        Box(-1, 1, (300, 300), np.float32),
        Box(-1, 1, (1,) * 9, np.float32),
        Tuple((Discrete(40_000), Discrete(40_000))),
    ],
    ids=lambda space: str(space)[:30],
)
def test_spaces_beyond_a_limit_are_refused_in_one_line(space: "gymnasium.Space[Any]") -> None:
    with pytest.raises(ConfigError, match=ONE_LINE) as caught:
        ObservationSpace(space, "Own-v0")
    assert "--env Own-v0: its observation space is" in str(caught.value)


def spec_of(space: "gymnasium.Space[Any]") -> EnvSpec:
    reader = ObservationSpace(space, "Own-v0")
    return EnvSpec(
        env="Own-v0",
        obs_dim=reader.obs_dim,
        action_dim=1,
        discount=0.9,
        n_step=1,
        obs_fields=reader.fields,
    )


def test_two_spaces_of_one_size_are_two_specs() -> None:
    one, other = spec_of(Dict({"a": UNIT, "b": Discrete(3)})), spec_of(Dict({"a": UNIT, "c": Discrete(3)}))
    assert one.obs_dim == other.obs_dim
    assert one.digest != other.digest
    text = differences(one.described(), other.described())
    assert text == "observations a (2,), b (3,), allowed a (2,), c (3,)"
    assert "observations obs (2,), allowed a (2,)" in differences(
        spec_of(UNIT).described(), other.described()
    )
    assert (one.layout, spec_of(UNIT).layout) == ("a (2,), b (3,)", "obs (2,)")


def test_a_spec_with_fields_goes_over_the_wire_and_through_a_file() -> None:
    spec = spec_of(BROKEN)
    assert EnvSpec.from_mapping(spec.to_mapping()) == spec
    assert EnvSpec.from_mapping(json.loads(json.dumps(spec.to_mapping()))) == spec
    assert "obs_fields" not in spec_of(UNIT).to_mapping()  # flat ones are what they were before
