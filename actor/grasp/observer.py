"""The three forms of an observation: the state, what a robot with a camera measures, or both.

In: the scene and its state. Out: a vector, or a dict of arrays. Must not know: rewards, episodes' ends,
actions.

| field | shape | contents |
| --- | --- | --- |
| `depth`, of another camera `fixed_depth` | [S, S, 1] uint8 | see `actor.grasp.depth.optics` |
| `proprio` | [10] float32 | the numbers 0-8 and 11 of the state: what arm and gripper measure |
| `state` | [39] float32 | the exact state, see `actor.grasp.observation`; with `both` only |
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from gymnasium import Space, spaces
from numpy.typing import NDArray

from graspfleet.actor.grasp.depth.faults import sensor_ranges
from graspfleet.actor.grasp.depth.optics import camera_mount
from graspfleet.actor.grasp.depth.sensor import DepthSensor
from graspfleet.actor.grasp.observation import OBSERVATION_SIZE, GraspState, encode
from graspfleet.actor.grasp.scene import Scene

Floats = NDArray[np.float32]
Obs = Floats | dict[str, NDArray[Any]]
"""The vector of the state, or the fields of an observation by name."""

FORMS = ("state", "depth", "both")
DEFAULT_CAMERA, DEFAULT_SIZE = "hand", 32
PROPRIO = np.array([*range(9), 11])
"""Places in the state of the arm's and the gripper's own measurements; contacts need a sensor of their
own."""


class Observer:
    """Encodes the state, and renders the images of a camera.

    Args:
        form: one of `FORMS`.
        camera: name of the camera's mount; None: `DEFAULT_CAMERA`.
        image_size: S, pixels of each side of an image; None: `DEFAULT_SIZE`.
        sensor: ranges of the camera's faults, see `actor.grasp.depth.faults`.

    Attributes:
        space: of the observations.
        image: the newest image, [S, S]; None without a camera, or before the first `observe`.

    Raises:
        ValueError: an argument is not allowed.
    """

    def __init__(
        self,
        form: str,
        camera: str | None,
        image_size: int | None,
        sensor: str | Mapping[str, Any] | None,
    ) -> None:
        if form not in FORMS:
            raise ValueError(f"observation={form!r} is unknown; allowed: {', '.join(FORMS)}")
        state = spaces.Box(-1.0, 1.0, (OBSERVATION_SIZE,), np.float32)
        self._sensor: DepthSensor | None = None
        self.image: NDArray[np.uint8] | None = None
        self._has_state = form != "depth"
        self.space: Space[Any] = state
        if form == "state":
            for name, value in (("camera", camera), ("image_size", image_size), ("sensor", sensor)):
                if value is not None:
                    raise ValueError(f"{name}={value!r}: allowed only with observation=depth or both")
            return
        camera = DEFAULT_CAMERA if camera is None else camera
        size = DEFAULT_SIZE if image_size is None else image_size
        self._sensor = DepthSensor(camera_mount(camera), size, sensor_ranges(sensor))
        # Images of different cameras have different names, so that no policy is evaluated with another's.
        self._depth = "depth" if camera == DEFAULT_CAMERA else f"{camera}_depth"
        fields: dict[str, Space[Any]] = {
            self._depth: spaces.Box(0, 255, self._sensor.shape, np.uint8),
            "proprio": spaces.Box(-1.0, 1.0, PROPRIO.shape, np.float32),
        }
        self.space = spaces.Dict({**fields, "state": state} if self._has_state else fields)

    def reset(self, scene: Scene, rng: np.random.Generator) -> None:
        """Start an episode with the scene's object."""
        if self._sensor is not None:
            self._sensor.reset(scene, rng)

    def observe(self, scene: Scene, state: GraspState, noise: float, rng: np.random.Generator) -> Obs:
        """Return the observation of the current state in new arrays.

        Args:
            scene: the scene.
            state: its newest state.
            noise: standard deviation of the noise on the numbers that a robot measures.
            rng: source of all noise.
        """
        exact = encode(state)
        if self._sensor is None:
            return _noisy(exact, noise, rng)
        image = self._sensor.image(scene, state, rng)
        self.image = image[..., 0].copy()
        fields: dict[str, NDArray[Any]] = {
            self._depth: image,
            "proprio": _noisy(exact[PROPRIO], noise, rng),
        }
        return {**fields, "state": exact} if self._has_state else fields

    def close(self) -> None:
        """Free the camera's world, which the next `reset` builds anew."""
        if self._sensor is not None:
            self._sensor.close()


def _noisy(exact: Floats, noise: float, rng: np.random.Generator) -> Floats:
    if noise <= 0:
        return exact
    return np.clip(exact + np.float32(noise) * rng.standard_normal(exact.shape, np.float32), -1.0, 1.0)
