"""Pictures of the scene.

Enters: a client id. Leaves: [height, width, 3] uint8.
Must not know: the task, Gymnasium.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from actor.grasp.engine import pybullet

TARGET_M = (0.45, 0.0, 0.12)
DISTANCE_M = 1.1
YAW_DEG, PITCH_DEG = 50.0, -28.0
FIELD_OF_VIEW_DEG = 50.0
NEAR_M, FAR_M = 0.05, 5.0


def look(client: int) -> None:
    """Point the camera of an open window at the scene."""
    pybullet.resetDebugVisualizerCamera(DISTANCE_M, YAW_DEG, PITCH_DEG, TARGET_M, physicsClientId=client)


def picture(client: int, *, width: int = 480, height: int = 360) -> NDArray[np.uint8]:
    """Return the scene as [height, width, 3] uint8, drawn on the CPU."""
    view = pybullet.computeViewMatrixFromYawPitchRoll(
        TARGET_M, DISTANCE_M, YAW_DEG, PITCH_DEG, roll=0.0, upAxisIndex=2
    )
    projection = pybullet.computeProjectionMatrixFOV(FIELD_OF_VIEW_DEG, width / height, NEAR_M, FAR_M)
    pixels = pybullet.getCameraImage(
        width,
        height,
        view,
        projection,
        shadow=1,
        lightDirection=(0.5, 0.6, 1.5),
        renderer=pybullet.ER_TINY_RENDERER,
        physicsClientId=client,
    )[2]
    return np.array(pixels, dtype=np.uint8).reshape(height, width, 4)[:, :, :3].copy()
