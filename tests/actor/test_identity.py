"""Ids that nobody chose are unlike any other, and whatever starts again repeats nothing."""

import re
import socket

import pytest

from graspfleet.actor.__main__ import actor_id_of, unique_name
from graspfleet.actor.loop import Actor
from graspfleet.common.fields import MAX_ID
from graspfleet.common.settings.config import EnvConfig
from graspfleet.common.settings.flags import ActorFlags
from graspfleet.common.settings.processes import ActorConfig
from graspfleet.common.settings.transport import TransportConfig

FLAGS = ActorFlags(
    env=EnvConfig(env="Pendulum-v1", seed=7),
    actor=ActorConfig(envs_per_actor=2),
    transport=TransportConfig(experience_port=1, weights_port=1, control_port=1),
)


@pytest.mark.parametrize("host", ["lab", "x" * 253, "node-with-a-long-name-1", "ünï_cödé host", ""])
def test_made_up_names_are_allowed_differ_and_say_as_much_of_the_host_as_fits(host: str) -> None:
    names = {unique_name(host, MAX_ID) for _ in range(100)}
    assert len(names) == 100
    for name in names:
        assert re.fullmatch(r"[A-Za-z0-9._-]{1,64}", name)
        assert name.startswith(re.sub(r"[^a-z0-9.-]", "-", host)[:51] + "-")
    assert len(unique_name(host, 20)) <= 20


def test_two_hosts_of_one_name_and_one_process_id_have_different_ids(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "gethostname", lambda: "the-same-twenty-letters-everywhere")
    monkeypatch.setattr("os.getpid", lambda: 1)
    ids = {actor_id_of(FLAGS) for _ in range(10)}
    assert len(ids) == 10
    assert all(name.startswith("the-same-twenty-letters-everywhere-") for name in ids)


def test_an_actor_that_starts_again_repeats_neither_seeds_nor_actions() -> None:
    seen = []
    for _ in range(3):
        actor = Actor(FLAGS, "the-same-id")
        actor._begin()
        actions = [actor._act() for _ in range(5)]
        seen.append(({runner._seed for runner in actor.runners}, [row for rows in actions for row in rows]))
        actor.client.leave(0.0)
    seeds = [seed for start, _ in seen for seed in start]
    assert len(set(seeds)) == 3 * 2
    rows = [row.tobytes() for _, start in seen for row in start]
    assert len(set(rows)) == 3 * 5 * 2
