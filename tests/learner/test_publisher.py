"""Publishing: each policy once as soon as it has been copied, and the newest again for late joiners."""

from pathlib import Path
from typing import Any

import pytest

from common.messages import Weights
from common.protocol import decode
from common.runtime.run_directory import RunDirectory
from learner.publishing.policy_snapshot import PolicySnapshot
from learner.publishing.publisher import PolicyPublisher
from learner.sac.agent import SACAgent
from tests.fakes import SPEC
from tests.learner.test_sac_numba import SMALL


class Event:
    """Stands in for `torch.cuda.Event`: a copy arrives when the test says so, or when it is waited for."""

    def __init__(self) -> None:
        self.arrived = False

    def query(self) -> bool:
        return self.arrived

    def synchronize(self) -> None:
        self.arrived = True


class SlowAgent(SACAgent):
    """An agent whose policy takes its time to the host."""

    def copy_policy(self) -> PolicySnapshot:
        self.event = Event()
        parts = {name: value.detach().clone() for name, value in self.policy.named_parameters()}
        return PolicySnapshot([parts], self.event)  # type: ignore[arg-type]


class Socket:
    def __init__(self) -> None:
        self.sent: list[tuple[int, int, int]] = []

    def publish(self, frame: bytes) -> None:
        message = decode(frame)
        assert isinstance(message, Weights)
        self.sent.append((message.version, message.env_steps, message.updates))


def make_publisher(folder: Path, agent: SACAgent) -> tuple[PolicyPublisher, Socket]:
    socket: Any = Socket()
    return PolicyPublisher(SPEC, agent, socket, RunDirectory(folder)), socket


def test_what_is_copied_at_once_is_sent_at_once(tmp_path: Path) -> None:
    publisher, socket = make_publisher(tmp_path, SACAgent(SPEC, SMALL, seed=0))
    for env_steps, updates, now_s in ((10, 1, 5.0), (20, 1, 5.1), (20, 1, 5.3), (30, 2, 5.31)):
        publisher.publish(env_steps, updates, now_s)
        publisher.deliver()
    # The last one is repeated now and then, for whoever came late.
    assert socket.sent == [(1, 10, 1), (1, 10, 1), (2, 30, 2)]


@pytest.mark.parametrize("wait", [False, True])
def test_what_is_on_its_way_is_sent_when_it_arrives_or_is_waited_for(tmp_path: Path, wait: bool) -> None:
    agent = SlowAgent(SPEC, SMALL, seed=0)
    publisher, socket = make_publisher(tmp_path, agent)
    publisher.publish(10, 1, 5.0)
    publisher.deliver()
    publisher.publish(20, 2, 5.1)  # one at a time, or none would ever arrive
    publisher.deliver()
    assert (socket.sent, publisher.version) == ([], 0)
    agent.event.arrived = not wait
    publisher.deliver(wait=wait)
    publisher.deliver(wait=wait)
    assert socket.sent == [(1, 10, 1)]
    publisher.publish(30, 3, 5.2)
    publisher.deliver(wait=True)
    assert socket.sent == [(1, 10, 1), (2, 30, 3)]
