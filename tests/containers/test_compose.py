"""`docker compose up --scale actor=16` with real containers, encrypted: start, crash, scale, stop, resume."""

import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.containers.engine import Engine
from tests.deploy.walkthrough import blocks
from tests.end_to_end.harness import until

pytestmark = [pytest.mark.containers, pytest.mark.timeout(900)]
_, START, LOOK, SCALE, STOP = blocks("Docker Compose")
STOP_LIMIT_S = 15.0


@pytest.fixture
def fleet(engine: Engine) -> Iterator[Engine]:
    engine.end()
    yield engine
    engine.end()


def scaled(block: str, count: int) -> str:
    """Return a block that scales to another number of actors."""
    head, equals, tail = block.partition("actor=")
    return head + equals + str(count) + tail.lstrip("0123456789")


def assert_audit_holds(status: dict[str, Any]) -> None:
    metrics = status["metrics"]
    assert metrics["produced"] == metrics["inserted"] + metrics["rejected"]
    assert metrics["rejected"] == metrics["lost"] == metrics["malformed"] == 0


def more(engine: Engine, env_steps: int) -> dict[str, Any]:
    """Return a status after so many env steps more."""
    first = until(engine.status, "the learner answers", 120)["metrics"]["env_steps"]
    return until(
        lambda: (status := engine.status()) and status["metrics"]["env_steps"] > first + env_steps and status,
        "env steps come in",
        120,
    )


def test_sixteen_actors_crash_scale_and_stop(fleet: Engine) -> None:
    fleet.run(START)
    fleet.until_alive(16)
    status = until(
        lambda: (s := fleet.status()) and "eval_return" in s["metrics"] and s, "an evaluation", 120
    )
    assert_audit_holds(status)
    assert all(name.startswith("actor-") for name in status["actors"]), "the key's name, then the container's"
    print(f"16 actors alive: {status['metrics']['env_steps']:,} env steps")
    looked = fleet.run(LOOK)
    assert looked.count(" alive") == 16
    (learner,) = fleet.containers("learner")
    exec_learner = f"docker exec {learner}"
    assert "step-" in fleet.run(f"{exec_learner} ls /runs/train/checkpoints")
    for service in ("learner", "actor", "evaluator"):
        fleet.assert_healthy(fleet.containers(service)[0])
    assert fleet.run(f"{exec_learner} stat -c %a /keys/fleet/learner.key_secret").strip() == "600"
    actor = fleet.containers("actor")[0]
    assert set(fleet.run(f"docker exec {actor} ls /keys").split()) == {"learner.key", "actor.key_secret"}

    fleet.crash(learner)
    fleet.crash(actor)
    after = more(fleet, 1000)
    assert after["metrics"]["env_steps"] >= status["metrics"]["env_steps"]
    fleet.until_alive(16)
    assert_audit_holds(until(fleet.status, "the learner answers"))
    assert len(fleet.containers("actor")) == 16

    for count in (4, 16, 2):
        fleet.run(scaled(SCALE, count))
        fleet.until_alive(count)
        assert len(fleet.containers("actor")) == count
        assert_audit_holds(more(fleet, 500))
    left = [state for state in fleet.status()["actors"].values() if state in ("left", "gone")]
    assert len(left) == len(fleet.status()["actors"]) - 2

    names = [
        (service, name) for service in ("learner", "actor", "evaluator") for name in fleet.containers(service)
    ]
    before_s = time.monotonic()
    fleet.run(STOP)
    took_s = time.monotonic() - before_s
    codes = {f"{service} {name}": fleet.inspect(name, "{{.State.ExitCode}}") for service, name in names}
    print(f"stopped {len(names)} processes in {took_s:.1f} s: {codes}")
    assert took_s <= STOP_LIMIT_S
    assert set(codes.values()) == {"0"}

    stopped_at = status["metrics"]["env_steps"]
    fleet.run(scaled(START, 2))
    resumed = more(fleet, 500)
    assert resumed["metrics"]["env_steps"] > stopped_at, "the run went on, from its volume"
    assert_audit_holds(resumed)
