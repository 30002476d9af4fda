"""The object sets: what is in them, how it lies, and that loading a thousand of them costs no memory."""

import importlib.util
import math
import os
import warnings
from pathlib import Path

import gymnasium
import numpy as np
import psutil
import pybullet
import pybullet_data
import pytest
from gymnasium.utils.env_checker import check_env

from graspfleet.actor.grasp import GraspEnv, objects
from graspfleet.actor.grasp.catalog import BROKEN_IDS, RandomObject, catalog
from graspfleet.actor.grasp.primitives import Box, Cylinder
from graspfleet.actor.grasp.scene import LOADS_PER_WORLD
from graspfleet.actor.grasp.simulation import Simulation, physics_preset
from graspfleet.actor.grasp.task import SUCCESS_HEIGHT_M

STILL = np.array([0, 0, 0, 0, 1], np.float32)
SETS = list(objects.OBJECT_SETS)


@pytest.mark.parametrize("name", SETS)
def test_every_set_passes_gymnasiums_checker_without_a_warning(name: str) -> None:
    env = gymnasium.make("Grasp-v0", physics="fast", objects=name)
    check_env(env.unwrapped, skip_render_check=True)
    env.close()


@pytest.mark.skipif(
    importlib.util.find_spec("stable_baselines3") is None,
    reason="stable-baselines3 is not installed; it comes with the extra bench",
)
@pytest.mark.parametrize("name", SETS)
def test_every_set_passes_stable_baselines3s_checker_without_a_warning(name: str) -> None:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="(?!stable_baselines3)")  # of what it imports
        from stable_baselines3.common.env_checker import check_env as check_for_sb3
    env = GraspEnv(physics="fast", objects=name)
    check_for_sb3(env)
    env.close()


def test_training_and_held_out_objects_are_apart_and_complete() -> None:
    drawn = {}
    for name in ("random", "random-heldout", "random-feasible", "random-heldout-feasible"):
        sample, rng = objects.object_set(name), np.random.default_rng(0)
        drawn[name] = {sample(rng) for _ in range(20_000)}
    ids = {name: {model.object_id for model in models} for name, models in drawn.items()}  # type: ignore[attr-defined]
    assert ids["random-heldout"] == set(range(0, 1000, 10))
    assert ids["random"] == set(range(1000)) - ids["random-heldout"] - BROKEN_IDS
    assert ids["random-feasible"] < ids["random"]
    assert ids["random-heldout-feasible"] <= ids["random-heldout"]


def test_the_only_objects_left_out_are_those_with_a_broken_mesh() -> None:
    folder = Path(pybullet_data.getDataPath()) / "random_urdfs"
    broken = {int(path.stem) for path in folder.glob("*/*.obj") if "nan" in path.read_text()}
    assert broken == BROKEN_IDS == set(range(1000)) - set(catalog())


def test_primitives_are_as_large_as_promised() -> None:
    rng = np.random.default_rng(0)
    drawn = [objects.draw_primitive(rng) for _ in range(500)]
    edges = np.array([model.extents_m for model in drawn])
    assert objects.SMALLEST_M <= edges.min() < 0.027
    assert 0.058 < edges.max() <= objects.LARGEST_M
    kinds = [type(model) for model in drawn]
    assert 150 < kinds.count(Box) < 350
    assert kinds.count(Box) + kinds.count(Cylinder) == 500


def test_a_cylinder_is_loaded_as_it_is_described() -> None:
    world = Simulation(physics_preset("fast"))
    cylinder = Cylinder("tin", 0.04, 0.06, 0.2, 0.9, 0.005, (1, 0, 0, 1))
    body = cylinder.load(world)
    mass, friction, inertia, *_ = pybullet.getDynamicsInfo(body, -1, physicsClientId=world.client)
    assert (mass, friction) == (0.2, 0.9)
    assert inertia == pytest.approx((0.2 * (3 * 0.0004 + 0.0036) / 12,) * 2 + (0.2 * 0.0004 / 2,))
    world.close()


def test_random_objects_do_not_take_their_files_inertia() -> None:
    world = Simulation(physics_preset("fast"))
    body = catalog()[1].load(world)
    mass, friction, inertia, *_ = pybullet.getDynamicsInfo(body, -1, physicsClientId=world.client)
    assert (mass, friction) == (0.1, 1.0)
    assert max(inertia) < 0.1 * 0.15**2
    world.close()


@pytest.mark.parametrize("physics", ["default", "fast"])
@pytest.mark.parametrize("name", ["primitives", "random", "random-heldout"])
def test_objects_lie_still_from_the_start(name: str, physics: str) -> None:
    env = GraspEnv(objects=name, physics=physics)
    moved_m = []
    for seed in range(12):
        first, _ = env.reset(seed=seed)
        assert abs(first[24]) < 1e-6
        before, _ = pybullet.getBasePositionAndOrientation(env.scene.body, env.scene.simulation.client)
        for _ in range(10):
            env.step(STILL)
        after, _ = pybullet.getBasePositionAndOrientation(env.scene.body, env.scene.simulation.client)
        moved_m.append(math.dist(before, after))
    # A few of the random objects stand on an edge and still tip over a little.
    assert np.quantile(moved_m, 0.75) < 0.002
    assert max(moved_m) < 0.03
    env.close()


def test_no_object_reaches_the_success_height_by_being_tipped() -> None:
    for model in catalog().values():
        assert math.hypot(*model.extents_m) / 2 < SUCCESS_HEIGHT_M + model.rest_height_m


@pytest.mark.parametrize(
    ("name", "said"), [("random:168", "168"), ("random:1000", "1000"), ("random:x", "x")]
)
def test_an_object_that_does_not_exist_is_refused(name: str, said: str) -> None:
    with pytest.raises(ValueError, match=rf"no object '{said}'.*0 to 999"):
        GraspEnv(objects=name)


def test_an_object_whose_file_is_missing_is_named_and_others_can_still_be_used(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    missing = RandomObject(1234, (0.1, 0.1, 0.1), (0.0, 0.0, 0.0), 0.05, (0.0, 0.0, 0.0, 1.0), 1)
    env = GraspEnv(physics="fast", objects="random:5")
    there = env._draw_object
    env.reset(seed=0)
    monkeypatch.setattr(env, "_draw_object", lambda _: missing)
    with pytest.raises(FileNotFoundError, match=r"1234\.urdf"):
        env.reset()
    monkeypatch.setattr(env, "_draw_object", there)
    env.reset(seed=0)
    env.step(STILL)
    env.close()


def test_one_object_by_its_id_is_a_set_of_its_own() -> None:
    env = GraspEnv(physics="fast", objects="random:17")
    assert env.object_name == ""
    for _ in range(3):
        observation, _ = env.reset()
        assert env.object_name == "random:17"
        expected = np.minimum(np.array(catalog()[17].extents_m) / 0.2, 1)
        np.testing.assert_allclose(np.sort(observation[25:28]), np.sort(expected), atol=1e-6)
    env.close()


def test_a_world_is_left_before_its_memory_grows() -> None:
    env = GraspEnv(physics="fast", objects="random")
    worlds = set()
    for seed in range(2 * LOADS_PER_WORLD + 5):
        env.reset(seed=seed)
        worlds.add(id(env.scene.simulation))
        assert pybullet.getNumBodies(env.scene.simulation.client) == 3
    assert len(worlds) >= 2
    env.close()


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("observation", ["state", "depth"])
def test_ten_thousand_episodes_of_random_objects_cost_no_memory(observation: str) -> None:
    env = GraspEnv(physics="fast", objects="random", observation=observation)
    actions = np.random.default_rng(0).uniform(-1, 1, (50, 5)).astype(np.float32)
    process, after = psutil.Process(os.getpid()), {}
    for episode in range(1, 10_001):
        env.reset(seed=episode)
        for action in actions:
            *_, terminated, truncated, _ = env.step(action)
            if terminated or truncated:
                break
        if episode % 20 == 0:
            env.reinit()
        if episode in (500, 10_000):
            after[episode] = process.memory_info().rss
    growth_mb = (after[10_000] - after[500]) / 1e6
    print(f"resident {after[10_000] / 1e6:.1f} MB, grown by {growth_mb:.2f} MB")
    assert growth_mb < 5
    env.close()
