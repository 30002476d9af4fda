"""What a process hears of being refused, over real sockets: only what is meant for it, and in one line."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from graspfleet.actor.learner_client import LearnerClient
from graspfleet.actor.subscriber import Subscriber
from graspfleet.common.errors import ConfigError
from graspfleet.common.messages import Ack, Refusal, Status
from graspfleet.common.net.control import ControlPublisher, ControlSubscriber
from graspfleet.common.net.experience import ExperienceSender
from graspfleet.common.net.security import actor_keys
from graspfleet.common.net.weights import WeightsPublisher
from graspfleet.common.protocol import VERSION, encode
from graspfleet.common.settings.transport import TransportConfig
from graspfleet.keys import main as keys_main
from graspfleet.status import describe, read_status
from tests.end_to_end.harness import until
from tests.fakes import ONE_LINE, OTHER_SESSION, SESSION, make_writer, seal

STATUS = Status(state="running", metrics={}, actors={})


class Learner:
    """The learner's two publishing sockets, and a process that listens to them."""

    def __init__(self, stack: ExitStack, config: TransportConfig) -> None:
        self.control = stack.enter_context(ControlPublisher(config))
        weights = stack.enter_context(WeightsPublisher(config))
        ports = {
            "control_port": self.control.bind("127.0.0.1", 0, "control_port"),
            "weights_port": weights.bind("127.0.0.1", 0, "weights_port"),
        }
        self.config = config.model_copy(update=ports)
        self.subscriber = Subscriber("127.0.0.1", self.config, "a", SESSION)
        stack.callback(self.close)

    def close(self) -> None:
        """Close the subscriber, unless its owner has left."""
        if not self.subscriber.control.socket.closed:
            self.subscriber.close()

    def hears_acknowledgements(self) -> bool:
        """Say something harmless until it is heard: subscriptions take a moment."""
        self.control.acknowledge("a", encode(Ack(session_id=SESSION, next_seq=0)))
        self.subscriber.control.wait(0.05)
        return self.subscriber.next_control() is not None

    def next_control(self) -> None:
        """Read until there is nothing more."""
        self.subscriber.control.wait(1.0)
        while self.subscriber.next_control() is not None:
            pass


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def learner(stack: ExitStack) -> Learner:
    learner = Learner(stack, TransportConfig())
    until(learner.hears_acknowledgements, "it listens")
    return learner


def refusal(session_id: str = SESSION, key: str = "") -> bytes:
    return encode(Refusal(session_id=session_id, key=key, reason="spec", detail="spec: obs_dim 4, allowed 3"))


def test_a_refusal_of_its_own_boot_ends_it_with_the_learners_reason(learner: Learner) -> None:
    for frame in (refusal(OTHER_SESSION), refusal(key="k" * 40), encode(Ack(session_id=SESSION, next_seq=0))):
        learner.control.refuse("a", frame)
    learner.next_control()
    assert not learner.subscriber.refused  # neither another process's nor another key's
    learner.control.refuse("a", refusal())
    with pytest.raises(ConfigError, match=ONE_LINE) as caught:
        learner.next_control()
    assert str(caught.value).endswith("the learner refuses a: spec: obs_dim 4, allowed 3")
    assert learner.subscriber.refused


def test_whoever_is_refused_delivers_nothing_more(learner: Learner, stack: ExitStack) -> None:
    writer, sender = make_writer(), stack.enter_context(ExperienceSender(learner.config))
    sent: list[bytes] = []
    client = LearnerClient(writer, learner.subscriber, sender)
    learner.control.refuse("a", refusal())
    learner.subscriber.control.wait(1.0)
    with pytest.raises(ConfigError, match="refuses a"):
        client.poll()
    sender.send = lambda frame: bool(sent.append(frame)) or True  # type: ignore[method-assign]
    assert not client.leave(60.0)  # at once
    assert sent == []


def test_a_learner_of_another_version_is_named_and_damage_is_not_taken_for_one(learner: Learner) -> None:
    frame = bytearray(encode(STATUS))
    frame[4] = VERSION + 1
    learner.control.status(bytes(frame))  # its checksum is wrong
    learner.next_control()
    assert learner.subscriber.malformed == 1
    learner.control.status(seal(bytes(frame)))
    with pytest.raises(ConfigError, match=rf"version: {VERSION + 1}, allowed {VERSION}"):
        learner.next_control()
    assert learner.subscriber.refused


def test_the_status_command_names_another_version_too(learner: Learner, stack: ExitStack) -> None:
    control = stack.enter_context(ControlSubscriber(learner.config))
    control.connect("127.0.0.1", learner.config.control_port)

    def heard() -> bool:
        learner.control.status(encode(STATUS))
        control.wait(0.05)
        return read_status(control) is not None

    until(heard, "a status")
    while read_status(control) is not None:
        pass
    frame = bytearray(encode(STATUS))
    frame[4] = VERSION - 1
    learner.control.status(seal(bytes(frame)))
    control.wait(1.0)
    with pytest.raises(ConfigError, match=rf"version: {VERSION - 1}, allowed {VERSION}"):
        read_status(control)


def test_with_keys_only_a_refusal_that_names_its_own_is_believed(tmp_path: Path, stack: ExitStack) -> None:
    keys_main(["init", str(tmp_path / "keys")])
    keys = actor_keys(config := TransportConfig(keys=str(tmp_path / "keys")))
    assert keys is not None
    subscriber = Subscriber("127.0.0.1", config, "actor-1", SESSION)
    stack.callback(subscriber.close)
    frames = [refusal(), refusal(key="k" * 40), refusal(key=keys.public.decode())]
    subscriber.control.receive = lambda: memoryview(frames.pop(0))  # type: ignore[method-assign]
    for _ in range(2):
        subscriber.next_control()
    with pytest.raises(ConfigError, match="refuses actor-1"):
        subscriber.next_control()


def test_the_operator_reads_who_is_there_and_who_is_refused() -> None:
    lines = describe(
        Status(
            state="running",
            metrics={"refused_actors": 2},
            actors={"a": "alive", "wrong": "refused"},
            evaluators={"e": "late"},
            refused={"wrong": "spec: obs_dim 4, allowed 3", "a": "duplicate-id: another process"},
        )
    ).splitlines()
    words = [line.split(maxsplit=2) for line in lines]
    assert ["actor", "a", "alive"] in words
    assert ["actor", "wrong", "refused"] in words
    assert ["evaluator", "e", "late"] in words
    assert ["refused", "wrong", "spec: obs_dim 4, allowed 3"] in words
    assert ["refused", "a", "duplicate-id: another process"] in words
    assert ["refused_actors", "2"] in words
