"""With one update an env step, actors and learner keep in step, however fast the environment is."""

import json

import pytest

from tests.end_to_end.harness import Fleet

STEPS, EXPLORE = 3000, 1000
MAX_ROWS_A_BATCH = 32


@pytest.mark.parametrize("num_actors", [1, 3])
def test_updates_follow_env_steps_and_policies_are_young(fleet: Fleet, num_actors: int) -> None:
    steps = ("--total-env-steps", str(STEPS), "--explore-steps", str(EXPLORE), "--log-interval-s", "0.25")
    fleet.start_learner(*steps, "--preset", "plain")
    for index in range(num_actors):
        fleet.start_actor(f"a{index}")
    assert fleet.wait("learner") == 0, fleet.output("learner")
    for index in range(num_actors):
        assert fleet.wait(f"a{index}") == 0, fleet.output(f"a{index}")
    rows = [json.loads(line) for line in fleet.run.metrics.read_text().splitlines()]
    last = rows[-1]
    assert STEPS <= last["env_steps"] <= STEPS + MAX_ROWS_A_BATCH
    assert last["updates"] == pytest.approx(last["env_steps"] - EXPLORE, rel=0.01)
    assert last["duplicates"] == last["resent"] == last["gaps"] == last["lost"] == 0
    for row in rows:  # at every moment, not only in the end
        assert abs(row["updates"] - max(0, row["env_steps"] - EXPLORE)) <= MAX_ROWS_A_BATCH
    ages = [row["policy_age"] for row in rows if row["updates"] > 100]
    assert ages
    assert max(ages) <= 10 * num_actors
