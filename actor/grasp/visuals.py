"""Visual bodies of the scene: table, floor, walls, colors.

In: a simulation. Out: nothing; the bodies have no collision shapes.
Must not know: the task, Gymnasium.
"""

from __future__ import annotations

from graspfleet.actor.grasp.engine import pybullet
from graspfleet.actor.grasp.robot import FINGER_JOINTS
from graspfleet.actor.grasp.simulation import Simulation

Vector = tuple[float, float, float]
Color = tuple[float, float, float, float]

TABLE: Color = (0.80, 0.71, 0.58, 1.0)
LEG: Color = (0.36, 0.33, 0.30, 1.0)
FLOOR: Color = (0.42, 0.46, 0.52, 1.0)
WALL: Color = (0.66, 0.72, 0.78, 1.0)
FINGER: Color = (0.25, 0.27, 0.30, 1.0)
INVISIBLE: Color = (0.0, 0.0, 0.0, 0.0)
PLATE_HALF_M, PLATE_AT_M = (0.50, 0.55, 0.02), (0.32, 0.0, -0.02)
LEG_HALF_M, LEGS_AT_M = (0.03, 0.03, 0.35), (-0.14, 0.78, -0.5, 0.5)
FLOOR_AT_Z_M = -2 * PLATE_HALF_M[2] - 2 * LEG_HALF_M[2]
ROOM_HALF_M, ROOM_AT_M = 2.5, (0.3, 0.0)


def decorate(simulation: Simulation, arm: int) -> None:
    """Place the arm on a table in a plain room; the ground plane becomes invisible and acts as the table top.

    Args:
        simulation: with visuals.
        arm: body id of the arm.
    """
    client = simulation.client
    pybullet.changeVisualShape(simulation.plane, -1, rgbaColor=INVISIBLE, physicsClientId=client)
    _box(client, PLATE_HALF_M, PLATE_AT_M, TABLE)
    west, east, south, north = LEGS_AT_M
    for x in (west, east):
        for y in (south, north):
            _box(client, LEG_HALF_M, (x, y, FLOOR_AT_Z_M + LEG_HALF_M[2]), LEG)
    x, y, half = *ROOM_AT_M, ROOM_HALF_M
    _box(client, (half, half, 0.01), (x, y, FLOOR_AT_Z_M - 0.01), FLOOR)
    for side in (-half, half):
        _box(client, (0.01, half, half), (x + side, y, FLOOR_AT_Z_M + half), WALL)
        _box(client, (half, 0.01, half), (x, y + side, FLOOR_AT_Z_M + half), WALL)
    for finger in FINGER_JOINTS:
        pybullet.changeVisualShape(arm, finger, rgbaColor=FINGER, physicsClientId=client)


def _box(client: int, half_m: Vector, center_m: Vector, color: Color) -> None:
    shape = pybullet.createVisualShape(
        pybullet.GEOM_BOX, halfExtents=half_m, rgbaColor=color, physicsClientId=client
    )
    pybullet.createMultiBody(0, -1, shape, basePosition=center_m, physicsClientId=client)
