"""Domain randomization: parameters that vary between episodes so that a policy cannot rely on them.

In: ranges, a random generator. Out: the values of one episode.
Must not know: PyBullet, Gymnasium.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, NamedTuple

import numpy as np
from pydantic import Field

from graspfleet.actor.grasp.ranges import Delay, Deviation, Ordered, Ranges, Shift, read_ranges
from graspfleet.actor.grasp.robot import FINGER_FORCE_N

Factor = Annotated[float, Field(ge=0.1, le=10.0)]
Force = Annotated[float, Field(ge=1.0, le=100.0)]
Turn = Annotated[float, Field(ge=-1.5, le=1.5)]


class Sample(NamedTuple):
    """The parameters of one episode: the fields of `Randomization`, with `start_m` as x, y and z."""

    mass: float
    friction: float
    finger_force_n: float
    start_m: tuple[float, float, float]
    start_yaw_rad: float
    noise: float
    delay_steps: int


class Randomization(Ranges):
    """Ranges (lowest, highest) of uniform distributions, drawn once per episode; the defaults vary nothing.

    Attributes:
        mass: factor of the object's mass.
        friction: factor of the object's friction coefficient.
        finger_force_n: largest force of each finger.
        start_m: shift of the gripper's initial position along x, y and z; along z only upward, away from the
            object.
        start_yaw_rad: initial yaw of the gripper.
        noise: standard deviation of Gaussian noise on each number of the observation, which spans [-1, 1].
        delay_steps: control steps between an action and its effect; the gripper holds still at first.
    """

    mass: Annotated[tuple[Factor, Factor], Ordered] = (1.0, 1.0)
    friction: Annotated[tuple[Factor, Factor], Ordered] = (1.0, 1.0)
    finger_force_n: Annotated[tuple[Force, Force], Ordered] = (FINGER_FORCE_N, FINGER_FORCE_N)
    start_m: Annotated[tuple[Shift, Shift], Ordered] = (0.0, 0.0)
    start_yaw_rad: Annotated[tuple[Turn, Turn], Ordered] = (0.0, 0.0)
    noise: Annotated[tuple[Deviation, Deviation], Ordered] = (0.0, 0.0)
    delay_steps: Annotated[tuple[Delay, Delay], Ordered] = (0, 0)

    def draw(self, rng: np.random.Generator) -> Sample:
        """Return the values of one episode; always uses the same number of random numbers."""
        low, high = self.delay_steps
        x, y, z = (rng.uniform(*self.start_m) for _ in range(3))
        return Sample(
            mass=rng.uniform(*self.mass),
            friction=rng.uniform(*self.friction),
            finger_force_n=rng.uniform(*self.finger_force_n),
            start_m=(x, y, abs(z)),
            start_yaw_rad=rng.uniform(*self.start_yaw_rad),
            noise=rng.uniform(*self.noise),
            delay_steps=int(rng.integers(low, high + 1)),
        )


ALL = Randomization(
    mass=(0.5, 2.0),
    friction=(0.7, 1.3),
    finger_force_n=(12.0, 30.0),
    start_m=(-0.03, 0.03),
    start_yaw_rad=(-0.5, 0.5),
    noise=(0.0, 0.01),
    delay_steps=(0, 1),
)
"""All parameters, in ranges in which a trained policy still succeeds: `randomize="all"`."""


def randomization(setting: str | Mapping[str, Any] | None) -> Randomization | None:
    """Return the ranges that the argument `randomize` names; see `read_ranges`."""
    return read_ranges("randomize", setting, Randomization, ALL)
