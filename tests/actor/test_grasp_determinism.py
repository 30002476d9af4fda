"""Replayable runs: the same seed and actions give the same bits, whatever happened before."""

import hashlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pybullet
import pytest
from gymnasium.error import ResetNeeded

from graspfleet.actor.grasp import GraspEnv
from graspfleet.actor.grasp.objects import OBJECT_SETS
from graspfleet.actor.grasp.simulation import UnstableSimulationError

STILL = np.zeros(5, np.float32)
PHYSICS = ("default", "fast")


@pytest.fixture
def env() -> Iterator[GraspEnv]:
    environment = GraspEnv(physics="fast")
    yield environment
    environment.shutdown()


def actions(count: int, seed: int = 7) -> np.ndarray[Any, Any]:
    return np.random.default_rng(seed).uniform(-1, 1, (count, 5)).astype(np.float32)


def environment() -> dict[str, str]:
    """Return the variables of a process that finds this module and the packages."""
    here = Path(__file__).parent
    return os.environ | {"PYTHONPATH": os.pathsep.join([str(here), str(here.parents[1])])}


def bits(observation: Any) -> bytes:
    """Return every bit of an observation, a vector or a dict of arrays."""
    parts = observation.values() if isinstance(observation, dict) else [observation]
    return b"".join(part.tobytes() for part in parts)


def run_digest(env: GraspEnv, seed: int) -> str:
    """Run two episodes of random actions and return a digest of every bit that came out."""
    digest = hashlib.sha256()
    for episode, reset_seed in enumerate((seed, None)):
        digest.update(bits(env.reset(seed=reset_seed)[0]))
        for action in actions(50, seed=episode):
            observation, reward, terminated, truncated, info = env.step(action)
            digest.update(bits(observation) + np.float64(reward).tobytes())
            digest.update(bytes([terminated, truncated, info["is_success"]]))
            if terminated or truncated:
                break
    return digest.hexdigest()


def test_pictures_do_not_change_the_physics(env: GraspEnv) -> None:
    seen = GraspEnv(physics="fast", render_mode="rgb_array")
    assert run_digest(seen, 3) == run_digest(env, 3)
    seen.close()


@pytest.mark.parametrize("physics", PHYSICS)
@pytest.mark.parametrize("objects", OBJECT_SETS)
def test_the_same_seed_gives_the_same_bits_after_episodes_and_reinit(objects: str, physics: str) -> None:
    env = GraspEnv(physics=physics, objects=objects)
    expected = run_digest(env, 5)
    assert run_digest(env, 6) != expected
    assert run_digest(env, 5) == expected
    env.reinit()
    assert run_digest(env, 5) == expected
    other = GraspEnv(physics=physics, objects=objects)
    assert run_digest(other, 5) == expected
    other.close()
    env.close()


@pytest.mark.parametrize("objects", ["random:5", "random:440", "random:732"])
def test_an_object_that_stays_loaded_forgets_the_last_episode(objects: str) -> None:
    env = GraspEnv(physics="fast", objects=objects)
    expected = [run_digest(env, seed) for seed in range(5)]
    assert [run_digest(env, seed) for seed in range(5)] == expected
    env.close()


@pytest.mark.parametrize("objects", ["cube", "primitives", "random", "random-heldout"])
def test_the_same_seed_gives_the_same_bits_in_another_process(objects: str) -> None:
    env = GraspEnv(physics="fast", objects=objects, randomize="all")
    code = (
        "from test_grasp_determinism import GraspEnv, run_digest\n"
        f"print('digest', run_digest(GraspEnv(physics='fast', objects={objects!r}, randomize='all'), 5))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment(), check=True
    )
    assert f"digest {run_digest(env, 5)}" in done.stdout
    env.close()


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("physics", PHYSICS)
@pytest.mark.parametrize("objects", ["cube", "primitives", "random", "random-heldout"])
def test_the_same_seed_gives_the_same_bits_after_a_thousand_episodes(objects: str, physics: str) -> None:
    env = GraspEnv(physics=physics, objects=objects)
    expected = [run_digest(env, seed) for seed in range(3)]
    for seed in range(500):  # of two episodes each
        run_digest(env, 100 + seed)
    assert [run_digest(env, seed) for seed in range(3)] == expected
    env.close()


def test_reinit_goes_on_with_the_random_numbers(env: GraspEnv) -> None:
    env.reset(seed=1)
    first = env.reset()[0]
    env.reset(seed=1)
    env.reinit()
    with pytest.raises(ResetNeeded):
        env.step(STILL)
    assert np.array_equal(env.reset()[0], first)


@pytest.mark.parametrize("speed", [float("nan"), float("inf"), 90.0])
def test_an_exploding_simulation_is_recoverable(env: GraspEnv, speed: float) -> None:
    expected = run_digest(env, 5)
    env.reset(seed=0)
    client = env.scene.simulation.client
    pybullet.resetBaseVelocity(env.scene.body, (0, 0, speed), (0, 0, 0), physicsClientId=client)
    with pytest.raises(UnstableSimulationError) as caught:
        env.step(STILL)
    assert caught.value.recoverable
    with pytest.raises(ResetNeeded):
        env.step(STILL)
    env.reinit()
    assert run_digest(env, 5) == expected
