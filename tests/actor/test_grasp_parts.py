"""What the environment is made of, one by one: arm, objects, simulation."""

import math
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pybullet
import pytest

from graspfleet.actor.grasp import GraspEnv, objects, robot, simulation
from graspfleet.actor.grasp.observation import WORKSPACE_HIGH_M, WORKSPACE_LOW_M


@pytest.fixture
def world() -> Iterator[simulation.Simulation]:
    built = simulation.Simulation(simulation.physics_preset("fast"))
    yield built
    built.close()


# Arm


@pytest.mark.parametrize("seed", range(3))
def test_the_arm_goes_exactly_where_it_is_told(world: simulation.Simulation, seed: int) -> None:
    arm = robot.Panda(world)
    rng = np.random.default_rng(seed)
    corners = np.array(np.meshgrid(*zip(WORKSPACE_LOW_M, WORKSPACE_HIGH_M, strict=True))).reshape(3, -1).T
    for x, y, z in [*corners.tolist(), *rng.uniform(WORKSPACE_LOW_M, WORKSPACE_HIGH_M, (50, 3)).tolist()]:
        yaw = float(rng.uniform(-robot.YAW_LIMIT_RAD + 0.1, robot.YAW_LIMIT_RAD))
        arm.reset(x, y, z, yaw)
        measured = arm.measure()
        assert math.dist(measured.position, (x, y, z)) < 1e-6
        np.testing.assert_allclose(measured.rotation[2::3], (0, 0, -1), atol=1e-6)
        assert math.atan2(measured.rotation[3], measured.rotation[0]) == pytest.approx(yaw, abs=1e-6)


def test_the_whole_workspace_is_within_the_joint_limits(world: simulation.Simulation) -> None:
    arm = robot.Panda(world)
    limits = [
        pybullet.getJointInfo(arm.body, joint, physicsClientId=world.client)[8:10] for joint in range(7)
    ]
    axes = [np.linspace(low, high, 7) for low, high in zip(WORKSPACE_LOW_M, WORKSPACE_HIGH_M, strict=True)]
    for x, y, z in np.array(np.meshgrid(*axes)).reshape(3, -1).T.tolist():
        for yaw in (-robot.YAW_LIMIT_RAD, robot.YAW_LIMIT_RAD):
            for angle, (low, high) in zip(robot.joints_for(x, y, z, yaw), limits, strict=True):
                assert low < angle < high


def test_a_point_out_of_reach_is_refused() -> None:
    with pytest.raises(ValueError, match=r"1\.200"):
        robot.joints_for(1.2, 0.0, 0.1, 0.0)


@pytest.mark.parametrize("physics", simulation.PHYSICS)
def test_the_arm_keeps_up_with_its_largest_actions(physics: str) -> None:
    env = GraspEnv(physics=physics)
    env.reset(seed=0)
    env.step(np.array([0, 0, 1, 0, 1.0]))
    before = env.scene.robot.measure().position
    env.step(np.array([0, 0, 1, 0, 1.0]))
    risen = env.scene.robot.measure().position[2] - before[2]
    assert risen == pytest.approx(robot.STEP_M, rel=0.3)
    env.close()


def test_the_commanded_pose_stays_close_and_inside(world: simulation.Simulation) -> None:
    arm = robot.Panda(world)
    arm.reset(0.5, 0.0, 0.2, 0.0)
    held_back = arm.measure()
    for _ in range(20):
        arm.act((1.0, 1.0, 1.0, 1.0, 1.0), held_back)
    assert math.dist(arm._command[:3], held_back.position) == pytest.approx(robot.LEAD_M)
    assert arm._command[3] == pytest.approx(robot.LEAD_YAW_RAD)
    for _ in range(60):
        arm.act((1.0, -1.0, -1.0, -1.0, 1.0), arm.measure())
        world.step()
    x, y, z, yaw = arm._command
    assert (x, y, z) == (WORKSPACE_HIGH_M[0], WORKSPACE_LOW_M[1], WORKSPACE_LOW_M[2])
    assert yaw == -robot.YAW_LIMIT_RAD


def test_being_near_is_not_touching(world: simulation.Simulation) -> None:
    arm = robot.Panda(world)
    body = objects.CUBE.load(world)
    arm.reset(0.5, 0.0, 0.02, 0.0)
    world.step()
    assert arm.touching(body) == (False, False)
    for _ in range(5):
        arm.act((0.0, 0.0, 0.0, 0.0, -1.0), arm.measure())
        world.step()
    assert arm.touching(body) == (True, True)
    assert arm.measure().finger_width_m == pytest.approx(0.04, abs=0.003)


# Objects


def test_the_cube_is_loaded_as_it_is_described(world: simulation.Simulation) -> None:
    body = objects.CUBE.load(world)
    mass, friction, inertia, *_ = pybullet.getDynamicsInfo(body, -1, physicsClientId=world.client)
    assert mass == 0.1
    assert friction == 1.0
    assert inertia == pytest.approx((0.1 * 0.04**2 / 6,) * 3)
    assert objects.Box("brick", (0.02, 0.04, 0.06), 1.2, 1, 0, (0, 0, 0, 1)).inertia_kg_m2 == pytest.approx(
        (0.1 * 0.0052, 0.1 * 0.004, 0.1 * 0.002)
    )


def test_another_set_of_objects_needs_no_other_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    low = replace(objects.CUBE, name="low", extents_m=(0.05, 0.03, 0.03))

    def either(rng: np.random.Generator) -> objects.ObjectModel:
        return low if rng.random() < 0.5 else objects.CUBE

    monkeypatch.setattr(objects, "OBJECT_SETS", {"two": lambda: either})
    env = GraspEnv(objects="two", physics="fast")

    def run() -> list[float]:
        values: list[float] = []
        for episode in range(8):
            first, _ = env.reset(seed=episode)
            values += first.tolist()
            values += env.step(np.array([0, 0, -1, 0, -1.0]))[0].tolist()
            assert pybullet.getNumBodies(env.scene.simulation.client) == 3
        return values

    once = run()
    assert len({max(once[k : k + 3]) for k in range(25, len(once), 39)}) == 2, "both must have been drawn"
    assert run() == once
    env.reinit()
    assert run() == once
    env.close()


# Simulation


@pytest.mark.parametrize(("physics", "timestep_s"), [("default", 1 / 240), ("fast", 1 / 120)])
def test_presets_fill_one_control_step(physics: str, timestep_s: float) -> None:
    preset = simulation.physics_preset(physics)
    assert preset.timestep_s == pytest.approx(timestep_s)
    built = simulation.Simulation(preset)
    parameters = pybullet.getPhysicsEngineParameters(built.client)
    assert parameters["fixedTimeStep"] == pytest.approx(timestep_s)
    assert parameters["numSolverIterations"] == preset.solver_iterations
    built.close()


def test_restoring_before_saving_is_refused(world: simulation.Simulation) -> None:
    with pytest.raises(RuntimeError, match="save"):
        world.restore()


def test_save_replaces_what_was_saved(world: simulation.Simulation) -> None:
    body = objects.CUBE.load(world)
    for height in (0.5, 0.7):
        pybullet.resetBasePositionAndOrientation(
            body, (0.5, 0, height), (0, 0, 0, 1), physicsClientId=world.client
        )
        world.save()
    world.step()
    world.restore()
    assert pybullet.getBasePositionAndOrientation(body, world.client)[0][2] == 0.7


def test_closing_twice_is_harmless(world: simulation.Simulation) -> None:
    world.close()
    world.close()
