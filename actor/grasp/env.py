"""`GraspEnv`: the grasping task as a Gymnasium environment.

In: actions, [5] float32 in [-1, 1]. Out: observations, vectors in [-1, 1] and depth images, rewards, episode
ends.
Must not know: policies, learners, sockets.

This module combines the others: `scene` (with `simulation`, `robot` and `objects`) simulates, `observer`
makes observations of the state and of a camera's images, `task` computes rewards and episode ends,
`randomization` varies the parameters, and `pictures` renders images for people.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Mapping
from typing import Any, NoReturn

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.error import ClosedEnvironmentError, ResetNeeded
from numpy.typing import NDArray

from graspfleet.actor.grasp import pictures, task
from graspfleet.actor.grasp.objects import object_set
from graspfleet.actor.grasp.observation import GraspState, encode
from graspfleet.actor.grasp.observer import Obs, Observer
from graspfleet.actor.grasp.randomization import Sample, randomization
from graspfleet.actor.grasp.robot import checked_action
from graspfleet.actor.grasp.scene import Scene
from graspfleet.actor.grasp.simulation import CONTROL_HZ, physics_preset

START_LOW_M, START_HIGH_M = (0.47, -0.03, 0.15), (0.53, 0.03, 0.20)
"""Bounds of the grasp point's initial position (m), above the middle of the object positions."""
OBJECT_LOW, OBJECT_HIGH = (0.40, -0.10, -math.pi), (0.60, 0.10, math.pi)
"""Bounds of x (m), y (m) and yaw (rad) of the object at the start."""
STILL = [0.0, 0.0, 0.0, 0.0, 1.0]
"""The action that holds the open gripper in place."""


class GraspEnv(gymnasium.Env[Obs, NDArray[np.float32]]):
    """Grasp an object from the table and hold it up, with a Panda arm at 20 Hz.

    The same seed and actions give bitwise identical observations and rewards in any process, after any
    number of other episodes, and after `reinit()`.

    Attributes:
        action_space: Box(-1, 1, (5,), float32): change of x, y, z and yaw, opening of the gripper.
        observation_space: Box(-1, 1, (39,), float32), the layout is in `actor.grasp.observation`; with a
            camera a Dict of `depth`, Box(0, 255, (S, S, 1), uint8), `proprio`, Box(-1, 1, (10,), float32),
            and for `both` also `state`, the vector without noise.

    Args:
        headless: if False, open a window and run no faster than real time.
        objects: name of an object set, see `actor.grasp.objects`.
        physics: name of a physics preset, `default` or `fast`.
        reward: `shaped` or `sparse`.
        max_episode_steps: steps after which an episode is truncated, 1 or more; None: a wrapper does it, as
            with `gymnasium.make`.
        render_mode: None, `human` (the same as headless=False) or `rgb_array`.
        randomize: None, `all`, or ranges by name, see `actor.grasp.randomization`.
        observation: `state`, `depth` (what a robot with a camera measures) or `both` (the state is for
            critics).
        camera: `hand` or `fixed`, see `actor.grasp.depth.optics`; None: `hand`.
        image_size: S, pixels of each side of an image; None: 32.
        sensor: faults of the camera: None, `all`, or ranges by name, see `actor.grasp.depth.faults`.

    Raises:
        ValueError: a setting is not allowed.
        RuntimeError: a window was requested but there is no display.
    """

    # Not a ClassVar: Gymnasium declares it as an instance variable.
    metadata: dict[str, Any] = {"render_modes": ["human", "rgb_array"], "render_fps": CONTROL_HZ}  # noqa: RUF012

    def __init__(
        self,
        headless: bool = True,
        objects: str = "cube",
        physics: str = "default",
        reward: str = "shaped",
        max_episode_steps: int | None = 50,
        render_mode: str | None = None,
        randomize: str | Mapping[str, Any] | None = None,
        observation: str = "state",
        camera: str | None = None,
        image_size: int | None = None,
        sensor: str | Mapping[str, Any] | None = None,
    ) -> None:
        if render_mode not in (None, "human", "rgb_array"):
            raise ValueError(f"render_mode={render_mode!r} is unknown; allowed: None, human, rgb_array")
        if max_episode_steps is not None and max_episode_steps < 1:
            raise ValueError(f"max_episode_steps={max_episode_steps!r} must be at least 1")
        self.action_space = spaces.Box(-1.0, 1.0, (5,), np.float32)
        self.render_mode = render_mode if headless or render_mode is not None else "human"
        self._gui = not headless or render_mode == "human"
        self._max_episode_steps = math.inf if max_episode_steps is None else max_episode_steps
        self._draw_object = object_set(objects)
        self._observer = Observer(observation, camera, image_size, sensor)
        self.observation_space = self._observer.space
        self._reward = task.reward_function(reward)
        self._randomization = randomization(randomize)
        self._scene = Scene(physics_preset(physics), gui=self._gui, visuals=self.render_mode is not None)
        self._sample: Sample | None = None
        self._state: GraspState | None = None
        self._delayed: deque[list[float]] = deque()
        self._steps = 0
        self._closed = False
        self._needs_reset = True
        self._next_frame_s = 0.0

    @property
    def scene(self) -> Scene:
        """The simulation, for code that may use more information than a policy."""
        return self._scene

    @property
    def state_vector(self) -> NDArray[np.float32]:
        """The exact state, [39], for code that may use more information than a policy.

        Raises:
            ResetNeeded: no episode has been started.
        """
        if self._state is None:
            raise ResetNeeded("state_vector was read before reset()")
        return encode(self._state)

    @property
    def image(self) -> NDArray[np.uint8] | None:
        """The camera's newest image, [S, S]; None without a camera."""
        return self._observer.image

    @property
    def object_name(self) -> str:
        """Name of the object on the table; empty before the first `reset`."""
        return self._scene.object_name

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Obs, dict[str, Any]]:
        """Start an episode with the open gripper above the table and the object somewhere below it.

        Args:
            seed: reseeds the random generator; None: continue with its current state.
            options: ignored.

        Returns:
            The observation, and an info with `is_success`, False.

        Raises:
            ClosedEnvironmentError: after `close()`.
        """
        if self._closed:
            raise ClosedEnvironmentError("reset() was called after close()")
        super().reset(seed=seed)
        rng = self.np_random
        start = rng.uniform(START_LOW_M, START_HIGH_M)
        model = self._draw_object(rng)
        x, y, yaw = rng.uniform(OBJECT_LOW, OBJECT_HIGH).tolist()
        if self._randomization is None:
            self._scene.reset(model, (x, y, yaw), (*start.tolist(), 0.0))
        else:
            sample = self._sample = self._randomization.draw(rng)
            start += sample.start_m
            self._delayed = deque([STILL] * sample.delay_steps)
            self._scene.reset(model, (x, y, yaw), (*start.tolist(), sample.start_yaw_rad))
            self._scene.set_dynamics(sample.mass, sample.friction, sample.finger_force_n)
        self._observer.reset(self._scene, rng)
        self._steps = 0
        self._needs_reset = False
        return self._observe(self._scene.read()), {"is_success": False}

    def step(self, action: NDArray[np.float32]) -> tuple[Obs, float, bool, bool, dict[str, Any]]:
        """Simulate 1 / 20 s.

        Args:
            action: [5], each in [-1, 1]; see `actor.grasp.robot.Panda.act`.

        Returns:
            The observation; the reward, at most 1; terminated: the object has left the
            workspace; truncated: the time limit; an info with `is_success`, whether the object is held up at
            this step.

        Raises:
            ValueError: the action has a wrong shape, or a value that is not finite or not in [-1, 1].
            ResetNeeded: the episode is over, or none has been started.
            ClosedEnvironmentError: after `close()`.
            UnstableSimulationError: the simulated state is not finite or has exploded.
        """
        command = checked_action(action)
        if self._needs_reset:
            self._refuse_step()
        self._needs_reset = True  # until this step has completed, since it may raise
        if self._delayed:
            self._delayed.append(command)
            command = self._delayed.popleft()
        self._scene.step(command)
        state = self._scene.read()
        self._steps += 1
        terminated = task.is_lost(state)
        truncated = not terminated and self._steps >= self._max_episode_steps
        self._needs_reset = terminated or truncated
        if self._gui:
            self._keep_real_time()
        success = task.is_success(state)
        return self._observe(state), self._reward(state), terminated, truncated, {"is_success": success}

    def render(self) -> NDArray[np.uint8] | None:
        """Return [360, 480, 3] uint8 if render_mode is `rgb_array`, else None.

        With a camera, its newest image stands to the right of the scene: [360, 840, 3].

        Raises:
            ClosedEnvironmentError: after `close()`.
        """
        if self._closed:
            raise ClosedEnvironmentError("render() was called after close()")
        if self.render_mode != "rgb_array":
            return None
        picture = pictures.picture(self._scene.simulation.client)
        return picture if self.image is None else pictures.beside(picture, self.image)

    def reinit(self) -> None:
        """Rebuild the simulation with the same settings and random generator; call `reset` next.

        Raises:
            ClosedEnvironmentError: after `close()`.
        """
        if self._closed:
            raise ClosedEnvironmentError("reinit() was called after close()")
        self._needs_reset = True
        self._scene.rebuild()
        self._observer.close()

    def close(self) -> None:
        """Free the simulation; further calls have no effect."""
        self._closed = self._needs_reset = True
        self._scene.close()
        self._observer.close()

    def shutdown(self) -> None:
        """The same as `close()`."""
        self.close()

    def _observe(self, state: GraspState) -> Obs:
        self._state = state
        noise = 0.0 if self._sample is None else self._sample.noise
        return self._observer.observe(self._scene, state, noise, self.np_random)

    def _refuse_step(self) -> NoReturn:
        if self._closed:
            raise ClosedEnvironmentError("step() was called after close()")
        raise ResetNeeded("step() was called before reset(), or after the end of an episode")

    def _keep_real_time(self) -> None:
        now = time.perf_counter()
        time.sleep(max(self._next_frame_s - now, 0.0))
        self._next_frame_s = max(self._next_frame_s, now) + 1 / CONTROL_HZ
