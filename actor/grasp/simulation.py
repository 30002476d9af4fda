"""One PyBullet world: client, physics preset, ground, saved state.

In: a physics preset, and whether to load visual shapes.
Out: a client id for the other modules of this package, `step`, `save`, `restore`, `close`.
Must not know: the robot, the object, the task, Gymnasium.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import pybullet_data

from graspfleet.actor.grasp.engine import pybullet

CONTROL_HZ = 20
GRAVITY_M_S2 = 9.81
CONTACT_ERP = 0.5
"""Fraction of a penetration that is corrected per substep. With PyBullet's default of 0.2, the closed hand
can press a cube 33 mm into the ground with `fast` physics, and policies learn to exploit this; with 0.5 it is
14 mm. In exchange, of 70 cubes shaken as hard as the arm can, 94 % stay in the hand instead of 99 %. Values
above 0.5 change little."""


class UnstableSimulationError(RuntimeError):
    """The simulated state is not finite or has exploded; the current episode is lost.

    `recoverable` tells an actor loop to discard the transition, call `reinit()` and `reset()`, and count it.
    """

    recoverable: bool = True


@dataclass(frozen=True, slots=True)
class PhysicsPreset:
    """Parameters of the simulation of one control step of 1 / `CONTROL_HZ` s.

    Attributes:
        substeps: PyBullet steps per control step.
        solver_iterations: constraint solver iterations per substep.
        position_gain: fraction of a joint's position error that its motor removes *per substep*; a preset
            with fewer substeps therefore needs a higher gain for the same arm speed.
        residual_threshold: the solver stops early when an iteration changes less than this. The default
            physics grasps, holds and presses as well with 1e-3 as with PyBullet's default of 1e-7, and is a
            quarter faster.
    """

    substeps: int
    solver_iterations: int
    position_gain: float
    residual_threshold: float

    @property
    def timestep_s(self) -> float:
        """Duration of one substep in seconds."""
        return 1.0 / (CONTROL_HZ * self.substeps)


PHYSICS: Mapping[str, PhysicsPreset] = MappingProxyType(
    {
        "default": PhysicsPreset(
            substeps=12, solver_iterations=50, position_gain=0.1, residual_threshold=1e-3
        ),
        "fast": PhysicsPreset(substeps=6, solver_iterations=20, position_gain=0.3, residual_threshold=1e-7),
    }
)


def physics_preset(name: str) -> PhysicsPreset:
    """Return the preset called `name`.

    Raises:
        ValueError: there is no such preset; the message lists the allowed ones.
    """
    if name not in PHYSICS:
        raise ValueError(f"physics={name!r} is unknown; allowed: {', '.join(PHYSICS)}")
    return PHYSICS[name]


class Simulation:
    """A separate PyBullet client with gravity and, if wanted, a ground plane at z = 0.

    Every PyBullet call in this package passes `client`: a call without it would go to the first client of the
    process.

    Args:
        preset: time step, solver iterations and gains.
        gui: open a window; needs a display.
        visuals: load visual shapes, too. Without them, loading is faster and leaks no memory (PyBullet keeps
            about 54 KB for each visual model that it has ever loaded).
        ground: load the ground plane.

    Raises:
        RuntimeError: there is no display, or PyBullet has no room for another client.
    """

    def __init__(
        self, preset: PhysicsPreset, *, gui: bool = False, visuals: bool = False, ground: bool = True
    ) -> None:
        """Connect and build the static scene."""
        self.preset = preset
        self.visuals = visuals or gui
        self.urdf_flags: int = 0 if self.visuals else pybullet.URDF_IGNORE_VISUAL_SHAPES
        self.client: int = _connect(gui)
        self._saved_state: int | None = None
        pybullet.setGravity(0.0, 0.0, -GRAVITY_M_S2, physicsClientId=self.client)
        pybullet.setPhysicsEngineParameter(
            fixedTimeStep=preset.timestep_s,
            numSolverIterations=preset.solver_iterations,
            solverResidualThreshold=preset.residual_threshold,
            # Without this the order of contacts, and every bit after the first contact, may differ by run.
            deterministicOverlappingPairs=1,
            contactERP=CONTACT_ERP,
            physicsClientId=self.client,
        )
        self.plane = self.load_urdf("plane.urdf") if ground else -1

    def load_urdf(
        self,
        path: str,
        *,
        fixed_base: bool = False,
        position: tuple[float, float, float] = (0.0, 0.0, 0.0),
        quaternion: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 1.0),
    ) -> int:
        """Load a model and return its body id.

        Args:
            path: relative to PyBullet's data folder.
            fixed_base: weld the base to the world.
            position: meters.
            quaternion: world_from_model.

        Raises:
            FileNotFoundError: there is no such file, or PyBullet cannot read it.
        """
        full = os.path.join(pybullet_data.getDataPath(), path)
        try:
            body: int = pybullet.loadURDF(
                full,
                position,
                quaternion,
                useFixedBase=fixed_base,
                flags=self.urdf_flags,
                physicsClientId=self.client,
            )
        except pybullet.error as error:
            raise FileNotFoundError(f"{full}: PyBullet cannot load it ({error})") from None
        return body

    def step(self) -> None:
        """Advance by one control step."""
        step_simulation, client = pybullet.stepSimulation, self.client
        for _ in range(self.preset.substeps):
            step_simulation(client)

    def save(self) -> None:
        """Save the current state for `restore`; it replaces an earlier one."""
        if self._saved_state is not None:
            pybullet.removeState(self._saved_state, physicsClientId=self.client)
        self._saved_state = pybullet.saveState(physicsClientId=self.client)

    def restore(self) -> None:
        """Return all bodies to the saved state, which does not include motor targets.

        Raises:
            RuntimeError: nothing was saved.
        """
        if self._saved_state is None:
            raise RuntimeError("restore() was called before save()")
        pybullet.restoreState(self._saved_state, physicsClientId=self.client)

    def close(self) -> None:
        """Disconnect; has no effect if called again, or after the user has closed the window."""
        if self.client >= 0 and pybullet.isConnected(self.client):
            pybullet.disconnect(self.client)
        self.client = -1


def _connect(gui: bool) -> int:
    """Return a new client id; for errors see `Simulation`."""
    if not gui:
        client: int = pybullet.connect(pybullet.DIRECT)
    else:
        # Without a display PyBullet ends the whole process instead of raising, so check first.
        if sys.platform.startswith("linux") and not os.environ.get("DISPLAY"):
            raise RuntimeError(
                "a window was requested (headless=False or render_mode='human') but DISPLAY is not set; "
                "use headless=True, or render_mode='rgb_array' for images"
            )
        client = pybullet.connect(pybullet.GUI)
    if client < 0:
        raise RuntimeError(f"PyBullet refused another client (gui={gui}); close unused environments")
    return client
