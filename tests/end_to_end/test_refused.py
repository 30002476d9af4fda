"""Whoever cannot be heard ends within seconds with one line and status 2, and the operator sees it."""

from pathlib import Path

from graspfleet.keys import main as keys_main
from tests.end_to_end.harness import Fleet

ENDLESS = ("--explore-steps", "1000000", "--total-env-steps", "1000000")
REFUSED_WITHIN_S = 30.0
"""Most of it is the start of an interpreter on a busy machine."""


def last_line(fleet: Fleet, name: str) -> str:
    """What a process that was refused has said at last."""
    assert fleet.wait(name, REFUSED_WITHIN_S) == 2, fleet.output(name)
    assert "Traceback" not in fleet.output(name)
    line = fleet.output(name).splitlines()[-1]
    assert line.startswith("error: --learner 127.0.0.1:"), line
    return line


def start_evaluator(fleet: Fleet, *flags: str) -> None:
    command = ("graspfleet", "evaluator", "--env", "Pendulum-v1", "--actor-id", "judge")
    fleet.start("judge", *command, *fleet.addresses(), *flags)


def test_everybody_with_another_spec_is_told_whatever_came_first(fleet: Fleet) -> None:
    fleet.start_learner(*ENDLESS)
    fleet.start_actor("first", "--discount", "0.5")  # before the learner has a spec
    start_evaluator(fleet, "--discount", "0.5")  # before there is a policy that it could compare
    for name in ("first", "judge"):
        assert "--discount 0.5, allowed 0.99" in last_line(fleet, name)
    statuses = fleet.statuses()
    waiting = statuses.until(lambda status: len(status.refused) == 2, "the operator sees both")
    assert (waiting.actors, waiting.evaluators) == ({"first": "refused"}, {"judge": "refused"})
    assert waiting.metrics["refused_actors"] == 2
    fleet.start_actor("second")
    statuses.until(lambda status: status.actors.get("second") == "alive", "a right one is heard")
    fleet.start_actor("third", "--n-step", "3")
    assert "--n-step 3, allowed 1" in last_line(fleet, "third")
    after = statuses.until(lambda status: "third" in status.refused, "the operator sees it too")
    assert after.actors == {"first": "refused", "second": "alive", "third": "refused"}
    assert after.metrics["rejected"] == 0
    assert fleet.output("learner").count("refused actor third") == 1
    statuses.close()


def test_a_second_live_actor_of_one_id_is_told_and_the_first_goes_on(fleet: Fleet) -> None:
    fleet.start_learner(*ENDLESS)
    first = fleet.start_actor("twin")
    statuses = fleet.statuses()
    statuses.until(lambda status: status.actors.get("twin") == "alive", "the first is heard")
    fleet.start_actor("other", "--actor-id", "twin")
    assert "another live process already uses the id twin" in last_line(fleet, "other")
    seen = statuses.until(lambda status: "twin" in status.refused, "the operator sees it")
    assert seen.actors == {"twin": "alive"}
    goal = seen.metrics["env_steps"] + 200
    statuses.until(lambda status: status.metrics["env_steps"] >= goal, "the first goes on")
    statuses.close()
    assert first.poll() is None


def test_a_key_that_the_learner_knows_by_another_name_is_told(fleet: Fleet, tmp_path: Path) -> None:
    keys = str(tmp_path / "keys")
    keys_main(["init", keys])
    keys_main(["add", keys, "lab"])
    Path(keys, "allowed", "lab.key").rename(Path(keys, "allowed", "robot.key"))
    fleet.start_learner(*ENDLESS, "--keys", keys)
    fleet.start_actor("lab-1", "--keys", keys, "--key-name", "lab")
    assert "key robot may not use id lab-1" in last_line(fleet, "lab-1")
