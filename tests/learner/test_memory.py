"""Requests for memory, over real sockets: cut off, counted, logged once, and nobody else notices."""

import os
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import psutil
import pytest
import zmq

from graspfleet.learner.access.limits import HANDSHAKE_BYTES, SUBSCRIBER_BYTES
from tests.end_to_end.harness import until
from tests.learner.auth_fixtures import AuthServer, auth_server
from tests.learner.hostile_connections import begin_command, greeted, has_ended, listed

MAX_MESSAGE_BYTES = 1 << 20
PORTS = ("experience_port", "weights_port", "control_port")


@pytest.fixture
def door(tmp_path: Path) -> Iterator[AuthServer]:
    with auth_server(tmp_path, max_message_bytes=MAX_MESSAGE_BYTES) as door:
        yield door


def memory_bytes() -> int:
    return int(psutil.Process().memory_info().rss)


def is_counted(door: AuthServer, counter: str, count: int = 1) -> None:
    until(lambda: door.sockets.metrics()[counter] >= count, f"{counter} {door.sockets.metrics()}", 10)


@pytest.mark.parametrize("port", PORTS)
def test_a_handshake_that_grows_is_cut_before_it_has_shown_a_key(
    door: AuthServer, port: str, caplog: pytest.LogCaptureFixture
) -> None:
    with door.sender() as actor:
        assert door.delivered(actor, b"before") == "actor"
        for _ in range(3):
            with greeted(getattr(door.endpoints, port)) as stranger:
                # Within what any socket allows a message to be, so that libzmq waits for the rest of it.
                assert begin_command(stranger, 900, 800)
                begin_command(stranger, 900, HANDSHAKE_BYTES)
                until(lambda stranger=stranger: has_ended(stranger), "it is cut off", 10)
        is_counted(door, "cut_handshakes", 3)
        assert door.delivered(actor, b"after") == "actor"
    assert caplog.text.count("before showing its key") == 1


def test_many_handshakes_at_once_cost_a_few_bytes_each(door: AuthServer) -> None:
    before = memory_bytes()
    with ExitStack() as stack, door.sender() as actor:
        for _ in range(60):
            stranger = stack.enter_context(greeted(door.endpoints.experience_port))
            begin_command(stranger, MAX_MESSAGE_BYTES - 100, MAX_MESSAGE_BYTES - 200)
        is_counted(door, "cut_handshakes", 60)
        assert memory_bytes() - before < 20 * MAX_MESSAGE_BYTES
        assert door.delivered(actor, b"x") == "actor"


def test_only_so_many_may_be_in_a_handshake_and_an_actor_gets_through(tmp_path: Path) -> None:
    with auth_server(tmp_path, max_handshakes=10) as door, ExitStack() as stack:
        strangers = []
        for _ in range(50):
            with suppress(OSError):  # the one that is dropped may be the newest
                strangers.append(stack.enter_context(greeted(door.endpoints.control_port)))
        is_counted(door, "cut_handshakes", 40)
        until(lambda: len(strangers) - sum(map(has_ended, strangers)) == 10, "ten are left", 10)
        with door.sender() as actor:
            assert door.delivered(actor, b"x") == "actor"


@pytest.mark.parametrize("part_bytes", [MAX_MESSAGE_BYTES // 2, 1000])
def test_a_message_of_parts_without_end_ends_its_connection_alone(
    door: AuthServer, part_bytes: int, caplog: pytest.LogCaptureFixture
) -> None:
    before = memory_bytes()
    part = zmq.Frame(bytes(part_bytes), copy=False)
    with door.sender(keys=str(door.keys), key_name="other") as actor:
        assert door.delivered(actor, b"before") == "other"
        with listed(zmq.PUSH, door.endpoints.experience_port, door.keys) as peer:
            for _ in range(64 * MAX_MESSAGE_BYTES // part_bytes):
                peer.send(part, zmq.SNDMORE, copy=False)
            peer.send(b"")
            is_counted(door, "cut_connections")
        assert door.delivered(actor, b"after") == "other"
    assert memory_bytes() - before < 100 * MAX_MESSAGE_BYTES  # 64 of them are the peer's, in this process
    assert caplog.text.count("bytes that have not been read") == 1


def test_a_message_longer_than_allowed_is_counted(door: AuthServer) -> None:
    with listed(zmq.PUSH, door.endpoints.experience_port, door.keys) as peer:
        peer.send(bytes(MAX_MESSAGE_BYTES))
        is_counted(door, "broken_connections")


def test_whoever_libzmq_ends_before_the_learner_looks_is_counted(door: AuthServer) -> None:
    with ExitStack() as stack:
        for _ in range(20):
            stranger = stack.enter_context(greeted(door.endpoints.control_port))
            begin_command(stranger, MAX_MESSAGE_BYTES - 100, 0)
            until(lambda stranger=stranger: has_ended(stranger), "it is cut off", 10)
        is_counted(door, "broken_connections", 20)


def test_what_waits_is_bounded_for_all_senders_together(tmp_path: Path) -> None:
    limits = {"max_message_bytes": MAX_MESSAGE_BYTES, "max_unread_bytes": 3 * MAX_MESSAGE_BYTES}
    with auth_server(tmp_path, **limits) as door, ExitStack() as stack:
        for _ in range(6):
            peer = stack.enter_context(listed(zmq.PUSH, door.endpoints.experience_port, door.keys))
            for _ in range(3):
                peer.send(bytes(MAX_MESSAGE_BYTES // 3))
        is_counted(door, "cut_connections", 3)
        taken = []
        until(lambda: taken.append(door.sockets.receive()) or taken[-1] is None, "all of it is taken", 10)
        with door.sender() as actor:
            assert door.delivered(actor, b"x") == "actor"


SUBSCRIPTIONS = {
    "one long": [b"\1" + os.urandom(100_000)],
    "many short": [b"\1%5d" % index for index in range(2000)],
    "the same, on and off": [b"\1x", b"\0x"] * 1000,
    "no subscriptions": [b"data"] * 1000,
}


@pytest.mark.parametrize("port", ["weights_port", "control_port"])
@pytest.mark.parametrize("messages", SUBSCRIPTIONS.values(), ids=SUBSCRIPTIONS)
def test_a_subscriber_that_sends_more_than_a_few_topics_is_cut(
    door: AuthServer, port: str, messages: list[bytes], caplog: pytest.LogCaptureFixture
) -> None:
    with door.subscriber() as actor:
        assert door.hears(actor, b"weights")
        with listed(zmq.XSUB, getattr(door.endpoints, port), door.keys) as peer:
            for message in messages:
                peer.send(message)
            is_counted(door, "cut_connections")
        assert door.hears(actor, b"newer")
    assert caplog.text.count(f"a subscriber sent more than {SUBSCRIBER_BYTES} bytes") == 1


def test_where_the_kernel_does_not_count_bytes_actors_get_through(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr("socket.TCP_INFO")
    monkeypatch.delattr("socket.TCP_WINDOW_CLAMP")
    with auth_server(tmp_path, max_handshakes=3) as door, ExitStack() as stack:
        for _ in range(5):
            actor = stack.enter_context(door.sender())
            assert door.delivered(actor, b"x") == "actor"
        assert door.sockets.metrics()["cut_handshakes"] == 0
