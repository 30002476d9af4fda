"""Hosts as users write them, and names that stand for several addresses, for others later, or for none."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import zmq

from graspfleet.common.errors import ConfigError, shown
from graspfleet.common.net.addresses import FORM, host_of
from graspfleet.common.net.control import ControlPublisher, ControlSubscriber
from graspfleet.common.net.experience import ExperienceReceiver, ExperienceSender
from graspfleet.common.net.monitor import Monitor
from graspfleet.common.settings.flags import parse
from graspfleet.common.settings.processes import ActorConfig, LearnerConfig
from graspfleet.common.settings.transport import TransportConfig
from graspfleet.status import StatusFlags
from tests.end_to_end.harness import until
from tests.fakes import ONE_LINE

HERE, ALSO_HERE = "127.0.0.1", "127.0.0.2"
CONFIG = TransportConfig()

ALLOWED = {
    **{
        host: host for host in ("127.0.0.1", "0.0.0.0", "::1", "::", "fe80::1%eth0", "localhost", "a.b-c.d_e")
    },
    "[::1]": "::1",
    "learner.": "learner.",
    "x" * 63: "x" * 63,
}
REFUSED = [
    *("tcp://127.0.0.1", "tcp://learner", "127.0.0.1:5555", "learner:5555", "[::1]:5555", "[127.0.0.1]"),
    *("", " ", " 127.0.0.1", "127.0.0.1 ", "a b", "learner/", "127.0.0.1/", "127.0.0.1/8", "user@learner"),
    *("256.0.0.1", "1.2.3", "127.0.0.1.", "-x", "x-", "a..b", ".", "*.x", "[]", "[::1", "x" * 64, "a." * 127),
    *("\u00e9", "a\nb", "a\0", ";", "$HOME"),
]


@pytest.mark.parametrize(("text", "host"), ALLOWED.items())
def test_names_and_addresses_are_allowed(text: str, host: str) -> None:
    assert host_of(text) == host
    assert ActorConfig(learner=text).learner == host
    assert LearnerConfig(bind=text).bind == host


@pytest.mark.parametrize("text", REFUSED)
def test_anything_else_is_one_line_that_says_what_is_allowed(text: str) -> None:
    with pytest.raises(ConfigError, match=ONE_LINE) as learner:
        ActorConfig(learner=text)
    with pytest.raises(ConfigError, match=ONE_LINE) as bind:
        LearnerConfig(bind=text)
    with pytest.raises(ConfigError, match=ONE_LINE) as status:
        parse(StatusFlags, [f"--learner={text}"], prog="status")
    for flag, caught in (("--learner", learner), ("--bind", bind), ("--learner", status)):
        assert str(caught.value) == f"{flag} {shown(text)}: allowed: {FORM}"
    with ExperienceSender(CONFIG) as sender, pytest.raises(ConfigError, match="allowed:"):
        sender.connect(text, 1)


def test_everywhere_is_for_listening_only() -> None:
    assert LearnerConfig(bind="*").bind == "*"
    with pytest.raises(ConfigError):
        ActorConfig(learner="*")


class Names:
    """What `getaddrinfo` answers."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *addresses: str) -> None:
        self.addresses: tuple[str, ...] = addresses
        self.asked = 0
        monkeypatch.setattr(socket, "getaddrinfo", self)

    def __call__(self, host: str, port: object, **_: object) -> list[tuple[object, ...]]:
        self.asked += 1
        if not self.addresses:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [(None, socket.SOCK_STREAM, 6, "", (address, 0)) for address in self.addresses]


@contextmanager
def receiver(host: str = HERE) -> Iterator[tuple[ExperienceReceiver, int]]:
    with ExperienceReceiver(CONFIG) as bound:
        yield bound, bound.bind(host, 0, "experience_port")


def delivered(sender: ExperienceSender, bound: ExperienceReceiver) -> None:
    until(lambda: sender.send(b"x") and bound.wait(0.05) and bound.receive(), "a frame arrives", 20)


@pytest.mark.parametrize("addresses", [("::1", HERE), (HERE, "::1"), ("::1", ALSO_HERE, HERE)])
def test_every_address_of_a_name_is_tried(
    monkeypatch: pytest.MonkeyPatch, addresses: tuple[str, ...]
) -> None:
    Names(monkeypatch, *addresses)
    with receiver() as (bound, port), ExperienceSender(CONFIG) as sender:
        sender.connect("localhost", port)
        delivered(sender, bound)


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.0 400 Bad Request\r\n\r\n" + b"x" * 100])
def test_something_else_at_the_first_address_is_passed_over(
    monkeypatch: pytest.MonkeyPatch, answer: bytes
) -> None:
    """It is silent, or answers nonsense."""
    Names(monkeypatch, ALSO_HERE, HERE)
    with receiver() as (bound, port), socket.create_server((ALSO_HERE, port)) as other:
        accepted = []

        def serve() -> None:
            connection, _ = other.accept()
            accepted.append(connection)
            connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        with ExperienceSender(CONFIG) as sender:
            sender.connect("localhost", port)
            thread.join(10)
            delivered(sender, bound)
        accepted[0].close()


def test_a_name_may_be_known_late(monkeypatch: pytest.MonkeyPatch) -> None:
    names = Names(monkeypatch)
    with receiver() as (bound, port), ExperienceSender(CONFIG) as sender:
        sender.connect("localhost", port)
        until(lambda: not sender.send(b"x") and sender.lookup_error and names.asked >= 2, "a lookup", 10)
        assert sender.lookup_error == "localhost: Name or service not known"
        names.addresses = (HERE,)
        delivered(sender, bound)
        assert sender.lookup_error is None


def test_waiting_goes_on_looking(monkeypatch: pytest.MonkeyPatch) -> None:
    Names(monkeypatch, "::1", HERE)
    with ControlPublisher(CONFIG) as publisher, ControlSubscriber(CONFIG) as subscriber:
        port = publisher.bind(HERE, 0, "control_port")
        leaving = threading.Event()

        def publish() -> None:
            while not leaving.wait(0.05):
                publisher.status(b"news")

        thread = threading.Thread(target=publish)
        thread.start()
        subscriber.connect("localhost", port)
        assert subscriber.wait(20.0)
        leaving.set()
        thread.join()


def test_a_learner_that_says_nothing_is_connected_to_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """Kernels keep a connection alive whose other end is somewhere behind a relay, and gone."""
    monkeypatch.setattr(ControlSubscriber, "silent_after_s", 0.6)
    with ControlPublisher(CONFIG) as publisher, ControlSubscriber(CONFIG) as subscriber:
        monitor = Monitor(publisher.socket, zmq.EVENT_ACCEPTED)
        subscriber.connect(HERE, publisher.bind(HERE, 0, "control_port"))
        accepted = 0

        def renewed() -> bool:
            nonlocal accepted
            subscriber.wait(0.05)
            accepted += sum(1 for _ in monitor.events())
            return accepted >= 3

        until(renewed, "it has connected three times", 10)
        monitor.close()
