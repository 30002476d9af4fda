"""Learner and actors as real processes over real sockets."""

import json

import numpy as np
import psutil

from graspfleet.actor.environment import Environment
from graspfleet.actor.subscriber import Subscriber
from graspfleet.common.settings.config import EnvConfig, ReturnConfig
from tests.end_to_end.harness import Fleet, free_endpoints, until


def last_row(fleet: Fleet) -> dict[str, float]:
    return json.loads(fleet.run.metrics.read_text().splitlines()[-1])


def assert_audit_holds(row: dict[str, float]) -> None:
    assert row["produced"] == row["inserted"] + row["rejected"]
    assert row["rejected"] == row["lost"] == row["malformed"] == 0


def test_one_learner_and_four_actors_end_by_themselves_with_nothing_lost(fleet: Fleet) -> None:
    # Long enough for the last of four interpreters to start while the others step.
    fleet.start_learner("--total-env-steps", "15000", "--explore-steps", "200", "--updates-per-step", "0.2")
    for index in range(4):
        fleet.start_actor(f"a{index}")
    assert fleet.wait("learner") == 0, fleet.output("learner")
    assert [fleet.wait(f"a{index}") for index in range(4)] == [0] * 4, fleet.output("a0")
    row = last_row(fleet)
    assert row["env_steps"] >= 15000
    assert row["updates"] > 100
    assert_audit_holds(row)
    produced = [int(fleet.output(f"a{index}").split("leaves: ")[1].split()[0]) for index in range(4)]
    assert min(produced) > 0
    assert sum(produced) == row["produced"]


def test_a_late_joiner_gets_weights_within_two_publish_intervals(fleet: Fleet) -> None:
    fleet.start_learner("--explore-steps", "100", "--publish-interval-s", "1.0")
    fleet.start_actor("a0")
    statuses = fleet.statuses()
    before = statuses.until(
        lambda status: status.metrics.get("weights_version", 0) >= 2, "some weights went out"
    )
    statuses.close()
    env = Environment(EnvConfig(env="Pendulum-v1"), ReturnConfig())
    joiner = Subscriber("127.0.0.1", fleet.transport())
    rng = np.random.default_rng(0)
    weights, policy = until(lambda: joiner.newest_policy(env.spec, rng), "weights for the late joiner")
    joiner.close()
    env.close()
    # Each publish makes one version here, and the status is up to a second (one version) old.
    assert weights.version <= before.metrics["weights_version"] + 1 + 2
    assert policy.act(np.zeros((1, 3), np.float32), deterministic=True).shape == (1, 1)


def test_a_killed_actor_and_its_replacement_do_not_disturb_the_others(fleet: Fleet) -> None:
    # The other may end the run while the replacement still imports: then the learner waits for the victim.
    ends = ("--total-env-steps", "15000", "--drain-timeout-s", "60")
    fleet.start_learner(*ends, "--explore-steps", "100", "--updates-per-step", "0.2")
    fleet.start_actor("victim")
    fleet.start_actor("other")
    statuses = fleet.statuses()
    statuses.until(
        lambda status: status.metrics.get("actors_alive", 0) == 2 and status.metrics["env_steps"] >= 500,
        "both are at work",
    )
    fleet.kill("victim")
    fleet.start_actor("victim")  # the same name, another session
    statuses.until(lambda status: status.state in ("draining", "done"), "the run comes to its end")
    statuses.close()
    assert fleet.wait("learner") == 0, fleet.output("learner")
    assert fleet.wait("victim") == fleet.wait("other") == 0
    for name in ("victim", "other"):
        assert "all acknowledged" in fleet.output(name)
    row = last_row(fleet)
    assert row["env_steps"] >= 15000
    assert_audit_holds(row)


def test_a_finished_run_that_is_started_again_tells_its_actors_so(fleet: Fleet) -> None:
    flags = (
        "--total-env-steps",
        "500",
        "--explore-steps",
        "100",
        "--updates-per-step",
        "0.2",
        "--auto-resume",
    )
    fleet.start_learner(*flags)
    fleet.start_actor("a0")
    assert fleet.wait("learner") == fleet.wait("a0") == 0, fleet.output("learner")
    steps = last_row(fleet)["env_steps"]
    fleet.run.endpoints.unlink()
    fleet.start_learner(*flags, "--drain-timeout-s", "3")
    fleet.start_actor("a1")
    assert fleet.wait("learner") == fleet.wait("a1") == 0, fleet.output("learner")
    assert steps <= last_row(fleet)["env_steps"] <= steps + 1000  # what a1 made before it heard


def test_a_learner_that_starts_after_the_actors_works(fleet: Fleet) -> None:
    fleet.endpoints = free_endpoints()
    ports = tuple(fleet.addresses())
    actor = fleet.start_actor("early", "--max-unacked-transitions", "64")
    process = psutil.Process(actor.pid)
    until(lambda: process.num_threads() > 2, "libzmq's threads try to connect")
    assert actor.poll() is None
    fleet.start_learner(
        "--total-env-steps", "1000", "--explore-steps", "100", "--updates-per-step", "0.2", ports=ports
    )
    assert fleet.wait("learner") == 0, fleet.output("learner")
    assert fleet.wait("early") == 0, fleet.output("early")
    assert_audit_holds(last_row(fleet))


def test_an_actor_imports_no_torch_and_stays_small(fleet: Fleet) -> None:
    run = (
        "--env",
        "Grasp-v0",
        "--explore-steps",
        "100",
        "--hidden-dim",
        "256",
        "--total-env-steps",
        "100000",
    )
    fleet.start_learner(*run, "--preset", "plain")
    actor = fleet.start_actor("a0", "--env", "Grasp-v0", "--preset", "plain")
    statuses = fleet.statuses()
    statuses.until(lambda status: status.metrics.get("weights_version", 0) >= 3, "the actor runs a policy")
    statuses.close()
    process = psutil.Process(actor.pid)
    assert process.memory_info().rss <= 150e6
    assert not [entry.path for entry in process.memory_maps() if "torch" in entry.path]


def test_an_idle_learner_does_not_sleep_on_acknowledgements(fleet: Fleet) -> None:
    fleet.start_learner("--explore-steps", "1000000", "--total-env-steps", "1000000")
    one_by_one = (
        "--max-unacked-transitions",
        "1",
        "--max-batch-transitions",
        "1",
        "--max-batch-delay-s",
        "0",
    )
    fleet.start_actor("a0", *one_by_one, "--max-episodes", "5")
    # 1,000 transitions take 1,000 round trips: seconds, or 50 s if each waited for the learner to wake up.
    assert fleet.wait("a0", 30.0) == 0, fleet.output("a0")
