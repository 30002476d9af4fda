"""A host that runs actors alone, with a key of its own, against a learner that is somewhere else."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.containers.engine import Engine
from tests.deploy.walkthrough import ROOT, blocks
from tests.end_to_end.harness import until

pytestmark = [pytest.mark.containers, pytest.mark.timeout(600)]
ON_LEARNER, ON_ACTORS = blocks("Several hosts")
REVOKE = "docker compose run --rm -T keys 'graspfleet keys revoke /keys/fleet hostb'"


@pytest.fixture
def fleet(engine: Engine) -> Iterator[Engine]:
    engine.end()
    yield engine
    engine.end()
    (ROOT / "hostb.tar").unlink(missing_ok=True)


def test_a_second_hosts_actors_join_and_leave_when_their_key_is_revoked(fleet: Engine) -> None:
    fleet.run(ON_LEARNER)
    fleet.until_alive(2, "actor-")
    (learner,) = fleet.containers("learner")
    # From another network of this machine the learner is behind the ports that this machine publishes.
    gateway = fleet.inspect(learner, "{{range .NetworkSettings.Networks}}{{.Gateway}}{{end}}")
    fleet.run(ON_ACTORS.replace("192.0.2.10", gateway).replace("actor=16", "actor=4"))
    fleet.until_alive(4, "hostb-")
    metrics = until(fleet.status, "the learner answers")["metrics"]
    assert metrics["produced"] == metrics["inserted"] > 0
    assert metrics["lost"] == metrics["rejected"] == 0
    assert Path(ROOT / "hostb.tar").exists()
    fleet.run(REVOKE)
    fleet.until_alive(0, "hostb-")
    assert fleet.alive("actor-") == 2
