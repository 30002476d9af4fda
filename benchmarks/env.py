"""`python -m benchmarks.env`: environment steps a second of GraspEnv, beside what it can be compared with.

All sides take turns in one process on one core, so that a noisy machine is unfair to none of them; the
medians of the turns are compared. Bare physics is the same scene, driven with the motor commands that a
GraspEnv episode gave, and nothing else: no observation, no reward, no contact query.

panda-gym belongs to the extra `bench`; without it its rows are missing.
"""

import argparse
import contextlib
import io
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pybullet

from graspfleet.actor.grasp import GraspEnv

EPISODE_STEPS = 50
Side = Callable[[int], int]
"""Takes a seed and runs some episodes of random actions; returns their steps."""


def grasp_env(physics: str, objects: str = "cube", **camera: Any) -> Side:
    """Return episodes of GraspEnv, resets included."""
    env = GraspEnv(physics=physics, objects=objects, **camera)
    return lambda seed: _play(env, seed)


def panda_gym() -> Side:
    """Return episodes of panda-gym's PickAndPlace-v3, resets included.

    Raises:
        ModuleNotFoundError: it is not installed.
    """
    import panda_gym  # noqa: F401  (registers its environments)

    with contextlib.redirect_stdout(io.StringIO()):
        env = gymnasium.make("PandaPickAndPlace-v3")
    return lambda seed: _play(env, seed)


def bare_physics(physics: str) -> Side:
    """Return GraspEnv's scene and motor commands with nothing around them."""
    env = GraspEnv(physics=physics)

    def run(seed: int) -> int:
        env.reset(seed=seed)
        scene, client = env.scene, env.scene.simulation.client
        substeps = scene.simulation.preset.substeps
        commands = _recorded(env, seed)
        env.reset(seed=seed)
        began = time.perf_counter()
        for command in commands:
            pybullet.setJointMotorControlArray(**command)
            for _ in range(substeps):
                pybullet.stepSimulation(client)
        run.seconds = time.perf_counter() - began  # type: ignore[attr-defined]
        return len(commands)

    return run


def _recorded(env: GraspEnv, seed: int) -> list[dict[str, Any]]:
    """Return the motor commands of one episode of random actions, after its `reset`."""
    commands: list[dict[str, Any]] = []
    original = pybullet.setJointMotorControlArray

    def record(*args: Any, **kwargs: Any) -> None:
        names = ("bodyUniqueId", "jointIndices", "controlMode")
        commands.append(dict(zip(names, args, strict=True)) | kwargs)
        original(*args, **kwargs)

    pybullet.setJointMotorControlArray = record
    try:
        for action in _actions(env, seed):
            *_, terminated, truncated, _ = env.step(action)
            if terminated or truncated:
                break
    finally:
        pybullet.setJointMotorControlArray = original
    return commands


def _actions(env: "gymnasium.Env[Any, Any]", seed: int) -> Any:
    assert env.action_space.shape is not None
    shape = (EPISODE_STEPS, *env.action_space.shape)
    return np.random.default_rng(seed).uniform(-1, 1, shape).astype(np.float32)


def _play(env: "gymnasium.Env[Any, Any]", seed: int) -> int:
    env.reset(seed=seed)
    for step, action in enumerate(_actions(env, seed), 1):
        *_, terminated, truncated, _ = env.step(action)
        if terminated or truncated:
            return step
    return EPISODE_STEPS


def measure(run: Side, first_seed: int, episodes: int) -> float:
    """Return steps a second over `episodes` episodes."""
    steps, seconds = 0, 0.0
    for seed in range(first_seed, first_seed + episodes):
        began = time.perf_counter()
        steps += run(seed)
        # Bare physics times its own loop: recording the commands is not part of it.
        seconds += getattr(run, "seconds", time.perf_counter() - began)
    return steps / seconds


def sides() -> dict[str, Side]:
    """Return all that can be run here, by name."""
    found = {
        "GraspEnv default": grasp_env("default"),
        "GraspEnv default, bare physics": bare_physics("default"),
        "GraspEnv fast": grasp_env("fast"),
        "GraspEnv fast, bare physics": bare_physics("fast"),
        "GraspEnv fast, random objects": grasp_env("fast", "random"),
        "GraspEnv fast, depth 32 x 32": grasp_env("fast", observation="depth"),
        "GraspEnv fast, random objects, depth 48 x 48": grasp_env(
            "fast", "random", observation="depth", image_size=48
        ),
    }
    try:
        found["panda-gym PickAndPlace-v3"] = panda_gym()
    except ModuleNotFoundError as error:
        print(f"without panda-gym: {error}", file=sys.stderr)
    return found


def ratios(medians: dict[str, float]) -> dict[str, float]:
    """Return what the targets are about."""
    default, fast = medians["GraspEnv default"], medians["GraspEnv fast"]
    result = {
        "default / bare default": default / medians["GraspEnv default, bare physics"],
        "fast / bare fast": fast / medians["GraspEnv fast, bare physics"],
    }
    if (baseline := medians.get("panda-gym PickAndPlace-v3")) is not None:
        result |= {"default / panda-gym": default / baseline, "fast / panda-gym": fast / baseline}
    return result


def main(argv: Sequence[str]) -> None:
    """Run the benchmark and print its table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.env", description=__doc__.splitlines()[0])
    parser.add_argument("--repetitions", type=int, default=7, help="turns of each side")
    parser.add_argument("--episodes", type=int, default=40, help="episodes a turn")
    parser.add_argument("--json", type=Path, help="file to write the numbers into")
    flags = parser.parse_args(argv)
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    runs = sides()
    speeds: dict[str, list[float]] = {name: [] for name in runs}
    for run in runs.values():
        measure(run, 0, 2)  # what happens once only
    for turn in range(flags.repetitions):
        for name, run in runs.items():
            speeds[name].append(measure(run, 1000 * (turn + 1), flags.episodes))
    medians = {name: statistics.median(values) for name, values in speeds.items()}
    print(f"{'env steps/s, one core':34} {'median':>8} {'lowest':>8} {'highest':>8}")
    for name, values in speeds.items():
        print(f"{name:34} {medians[name]:8.0f} {min(values):8.0f} {max(values):8.0f}")
    for name, ratio in ratios(medians).items():
        print(f"{name:34} {ratio:8.2f}")
    if flags.json is not None:
        report = {"machine": platform.machine(), "python": platform.python_version(), "speeds": speeds}
        report |= {"medians": medians, "ratios": ratios(medians)}
        flags.json.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
