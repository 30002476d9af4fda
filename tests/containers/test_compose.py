"""`docker compose up --scale actor=16` with real containers, encrypted: start, crash, scale, stop, resume."""

import re
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
PROCESSES = ("learner", "actor", "evaluator")


@pytest.fixture(scope="module")
def running(engine: Engine) -> Iterator[Engine]:
    engine.end()
    yield engine
    engine.end()


@pytest.fixture
def fleet(running: Engine) -> Engine:
    """Return a fleet with sixteen actors, as the page starts it; one that is there already stays."""
    running.run(START)
    running.until_alive(16)
    return running


def scaled(block: str, count: int) -> str:
    """Return a block that scales to another number of actors."""
    head, equals, tail = block.partition("actor=")
    return head + equals + str(count) + tail.lstrip("0123456789")


def assert_audit_holds(status: dict[str, Any]) -> None:
    metrics = status["metrics"]
    assert metrics["produced"] == metrics["inserted"] + metrics["rejected"]
    assert metrics["rejected"] == metrics["lost"] == metrics["malformed"] == 0


def evaluated(status: dict[str, Any] | None) -> dict[str, Any] | None:
    return status if status is not None and "eval_return" in status["metrics"] else None


def more(engine: Engine, env_steps: int) -> dict[str, Any]:
    """Return a status after so many env steps more."""
    first = engine.known_status()["metrics"]["env_steps"]
    return until(
        lambda: (status := engine.status()) and status["metrics"]["env_steps"] > first + env_steps and status,
        "env steps come in",
        120,
    )


def test_sixteen_actors_deliver_and_are_evaluated(fleet: Engine) -> None:
    status = until(lambda: evaluated(fleet.status()), "an evaluation", 120)
    print(f"16 actors alive, {status['metrics']['env_steps']:,} env steps")
    assert_audit_holds(status)
    assert all(name.startswith("actor-") for name in status["actors"]), "the key's name, then the container's"
    assert len(re.findall(r"^actor .* alive", fleet.run(LOOK), re.MULTILINE)) == 16
    (learner,) = fleet.containers("learner")
    assert "step-" in fleet.run(f"docker exec {learner} ls /runs/train/checkpoints")
    for service in ("learner", "actor", "evaluator"):
        fleet.assert_healthy(fleet.containers(service)[0])


def test_each_side_sees_its_own_keys_alone(fleet: Engine) -> None:
    (learner,), (actor, *_) = fleet.containers("learner"), fleet.containers("actor")
    assert fleet.run(f"docker exec {learner} stat -c %a /keys/fleet/learner.key_secret").strip() == "600"
    assert set(fleet.run(f"docker exec {actor} ls /keys").split()) == {"learner.key", "actor.key_secret"}
    with pytest.raises(AssertionError, match="plaintext is allowed on loopback only"):
        fleet.run(f"docker exec {actor} graspfleet actor --learner learner")


def test_a_crashed_learner_and_a_crashed_actor_come_back(fleet: Engine) -> None:
    before = fleet.known_status()
    fleet.crash(fleet.containers("learner")[0])
    fleet.crash(fleet.containers("actor")[0])
    after = more(fleet, 1000)
    assert after["metrics"]["env_steps"] > before["metrics"]["env_steps"]
    fleet.until_alive(16)
    assert_audit_holds(fleet.known_status())
    assert len(fleet.containers("actor")) == 16


def test_scaling_while_training(fleet: Engine) -> None:
    for count in (4, 16, 2):
        fleet.run(scaled(SCALE, count))
        fleet.until_alive(count)
        assert len(fleet.containers("actor")) == count
        assert_audit_holds(more(fleet, 500))
    states = list(fleet.known_status()["actors"].values())
    print("4 -> 16 -> 2:", {state: states.count(state) for state in sorted(set(states))})
    assert states.count("left") + states.count("gone") == len(states) - 2


def test_a_stop_saves_and_a_start_goes_on(fleet: Engine) -> None:
    names = [name for service in PROCESSES for name in fleet.containers(service)]
    before = fleet.known_status()
    begun_s = time.monotonic()
    fleet.run(STOP)
    took_s = time.monotonic() - begun_s
    statuses = [fleet.inspect(name, "{{.State.ExitCode}}") for name in names]
    print(f"stopped {len(names)} processes in {took_s:.1f} s, exit statuses {sorted(set(statuses))}")
    assert took_s <= STOP_LIMIT_S
    assert statuses == ["0"] * (16 + 2)
    fleet.run(scaled(START, 2))
    resumed = more(fleet, 500)
    assert resumed["metrics"]["env_steps"] > before["metrics"]["env_steps"], "the run began anew"
    assert_audit_holds(resumed)
