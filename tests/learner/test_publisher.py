"""Publishing: each policy once as soon as it has been copied, and the newest again for late joiners."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from graspfleet.common.messages import Weights
from graspfleet.common.protocol import decode
from graspfleet.common.runtime.run_directory import RunDirectory
from graspfleet.common.settings.processes import LearnerConfig
from graspfleet.learner.publishing.cadence import Cadence
from graspfleet.learner.publishing.policy_snapshot import PolicySnapshot
from graspfleet.learner.publishing.publisher import PolicyPublisher
from tests.fakes import SPEC


class Event:
    """Stands in for `torch.cuda.Event`: a copy arrives when the test says so, or when it is waited for."""

    def __init__(self) -> None:
        self.arrived = False

    def query(self) -> bool:
        return self.arrived

    def synchronize(self) -> None:
        self.arrived = True


class Learning:
    """A policy that changes with every look at it, and takes its time to the host if it has an event."""

    def __init__(self, event: Event | None = None) -> None:
        self.event = event
        self._looks = 0

    def policy(self) -> PolicySnapshot:
        self._looks += 1
        widths = (SPEC.obs_dim, 4, 4, 2 * SPEC.action_dim)
        arrays = {}
        for i, (n_in, n_out) in enumerate(pairwise(widths)):
            arrays[f"w{i}"] = np.full((n_in, n_out), self._looks, np.float32)
            arrays[f"b{i}"] = np.zeros(n_out, np.float32)
        return PolicySnapshot(arrays, arrival=self.event)


class Socket:
    def __init__(self) -> None:
        self.sent: list[tuple[int, int, int]] = []

    def publish(self, frame: bytes) -> None:
        message = decode(frame)
        assert isinstance(message, Weights)
        self.sent.append((message.version, message.env_steps, message.updates))


def make_publisher(folder: Path, learning: Learning) -> tuple[PolicyPublisher, Socket]:
    socket, cadence = Socket(), Cadence(LearnerConfig(), in_step=False)
    return PolicyPublisher(SPEC, learning, socket, RunDirectory(folder), cadence), socket


def test_what_is_copied_at_once_is_sent_at_once(tmp_path: Path) -> None:
    publisher, socket = make_publisher(tmp_path, Learning())
    for env_steps, updates, now_s in ((10, 1, 5.0), (20, 1, 5.1), (20, 1, 5.3), (30, 2, 5.31)):
        publisher.publish(now_s, env_steps, updates, 1, now=True)
        publisher.deliver()
    # The last one is repeated now and then, for whoever came late.
    assert socket.sent == [(1, 10, 1), (1, 10, 1), (2, 30, 2)]


@pytest.mark.parametrize("wait", [False, True])
def test_what_is_on_its_way_is_sent_when_it_arrives_or_is_waited_for(tmp_path: Path, wait: bool) -> None:
    event = Event()
    publisher, socket = make_publisher(tmp_path, Learning(event))
    publisher.publish(5.0, 10, 1, 1, now=True)
    publisher.deliver()
    publisher.publish(5.1, 20, 2, 1, now=True)  # one at a time, or none would ever arrive
    publisher.deliver()
    assert (socket.sent, publisher.version) == ([], 0)
    event.arrived = not wait
    publisher.deliver(wait=wait)
    publisher.deliver(wait=wait)
    assert socket.sent == [(1, 10, 1)]
    publisher.publish(5.2, 30, 3, 1, now=True)
    publisher.deliver(wait=True)
    assert socket.sent == [(1, 10, 1), (2, 30, 3)]
