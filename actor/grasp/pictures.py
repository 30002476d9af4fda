"""Images of the scene.

In: a client id. Out: [height, width, 3] uint8.
Must not know: the task, Gymnasium.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from graspfleet.actor.grasp.engine import pybullet

TARGET_M = (0.44, 0.0, 0.17)
DISTANCE_M = 0.95
YAW_DEG, PITCH_DEG = 52.0, -24.0
FIELD_OF_VIEW_DEG = 46.0
LIGHT = (0.5, 0.6, 1.5)
"""Direction of the light."""
NEAR_M, FAR_M = 0.05, 8.0


def picture(
    client: int,
    *,
    width: int = 480,
    height: int = 360,
    smoothing: int = 1,
    target_m: tuple[float, float, float] = TARGET_M,
    distance_m: float = DISTANCE_M,
) -> NDArray[np.uint8]:
    """Return an image of the scene, rendered on the CPU.

    Args:
        client: PyBullet's client id.
        width: of the image, pixels.
        height: of the image, pixels.
        smoothing: antialiasing factor: render at this multiple of width and height, then average; 1 takes
            0.2 s, 2 takes 0.6 s.
        target_m: point at the center of the image, world frame.
        distance_m: from the target to the camera.

    Returns:
        [height, width, 3] uint8.
    """
    view = pybullet.computeViewMatrixFromYawPitchRoll(
        target_m, distance_m, YAW_DEG, PITCH_DEG, roll=0.0, upAxisIndex=2
    )
    projection = pybullet.computeProjectionMatrixFOV(FIELD_OF_VIEW_DEG, width / height, NEAR_M, FAR_M)
    wide, high = width * smoothing, height * smoothing
    pixels = pybullet.getCameraImage(
        wide,
        high,
        view,
        projection,
        shadow=1,
        lightDirection=LIGHT,
        renderer=pybullet.ER_TINY_RENDERER,
        physicsClientId=client,
    )[2]
    blocks = np.array(pixels, np.uint8).reshape(height, smoothing, width, smoothing, 4)[..., :3]
    picture: NDArray[np.uint8] = blocks.mean(axis=(1, 3), dtype=np.float32).astype(np.uint8)
    return picture


def beside(picture: NDArray[np.uint8], image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return a picture [H, W, 3] with a gray image [S, S], scaled to [H, H], to its right."""
    height, size = len(picture), len(image)
    places = np.arange(height) * size // height
    gray = image[places][:, places, None]
    return np.concatenate((picture, np.broadcast_to(gray, (height, height, 3))), axis=1)
