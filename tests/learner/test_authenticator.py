"""Attempts to get in, over real sockets: nobody without a listed key is heard or told anything."""

import logging
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import zmq
import zmq.auth

from graspfleet.common.errors import ConfigError
from graspfleet.common.net.certificates import Certificate
from graspfleet.common.net.experience import ExperienceReceiver
from graspfleet.common.net.weights import WeightsPublisher
from graspfleet.keys import main
from graspfleet.learner.access.allow_list import AllowList
from tests.end_to_end.harness import until
from tests.fakes import ONE_LINE
from tests.learner.auth_fixtures import HOST, AuthServer, auth_server, plain_connection

REVOKED_WITHIN_S = 5.0


@pytest.fixture
def door(tmp_path: Path) -> Iterator[AuthServer]:
    with auth_server(tmp_path) as door:
        yield door


def unlisted(door: AuthServer, folder: Path) -> dict[str, str]:
    """Return flags with the learner's right key and an own one that nobody listed."""
    Certificate.generate("actor").write_secret(folder / "mine.key_secret")
    return {"learner_public": str(door.keys / "learner.key"), "actor_secret": str(folder / "mine.key_secret")}


def test_a_listed_key_is_heard_by_its_name_and_hears(door: AuthServer) -> None:
    with door.sender() as actor, door.sender(keys=str(door.keys), key_name="other") as other:
        assert door.delivered(actor, b"one") == "actor"
        assert door.delivered(other, b"two") == "other"
    with door.subscriber() as subscriber:
        assert door.hears(subscriber, b"weights")


def test_without_a_key_nothing_is_sent_or_heard(door: AuthServer) -> None:
    with door.sender(insecure=True) as sender:
        sender.send(b"plain")
        assert door.arrival(b"plain") is None
    with door.subscriber(insecure=True) as stranger, door.subscriber() as actor:
        assert door.hears(actor, b"weights")
        assert not door.hears(stranger, b"weights")


def test_a_key_that_is_not_listed_is_refused_counted_and_logged_on_both_sides(
    door: AuthServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    keys = unlisted(door, tmp_path)
    with door.sender(**keys) as sender, door.subscriber(**keys) as stranger, door.subscriber() as actor:
        until(lambda: sender.send(b"x") and sender.refused, "the actor is told", 10)
        assert door.arrival(b"x") is None
        assert door.hears(actor, b"weights")
        assert not door.hears(stranger, b"weights")
    assert door.sockets.metrics()["refused_handshakes"] >= 2
    assert "rejects key actor" in caplog.text
    assert "refused a key that is not allowed" in caplog.text


def test_a_key_that_is_listed_late_comes_in_without_a_restart(door: AuthServer, tmp_path: Path) -> None:
    with door.sender(**unlisted(door, tmp_path)) as sender:
        until(lambda: sender.send(b"x") and sender.refused, "refused at first", 10)
        listed = tmp_path / "mine.key_secret"
        Certificate("late", *zmq.auth.load_certificate(listed)).write_public(
            door.keys / "allowed" / "late.key"
        )
        assert door.delivered(sender, b"now") == "late"
        until(lambda: sender.send(b"x") and not sender.refused, "the actor knows", 5)


def test_a_revoked_key_is_out_within_5_s_and_the_others_are_back(door: AuthServer) -> None:
    with (
        door.sender() as actor,
        door.sender(keys=str(door.keys), key_name="other") as other,
        door.subscriber() as bad,
        door.subscriber(keys=str(door.keys), key_name="other") as good,
    ):
        assert door.delivered(actor, b"before") == "actor"
        assert door.delivered(other, b"before") == "other"
        assert door.hears(bad, b"weights")
        assert door.hears(good, b"weights")
        main(["revoke", str(door.keys), "actor"])
        until(lambda: door.sockets.metrics()["keys"] == 1, "the learner has noticed", REVOKED_WITHIN_S)
        until(lambda: actor.send(b"after") and actor.refused, "its connection is dropped", 5)
        assert door.arrival(b"after") is None
        assert not door.hears(bad, b"newer")
        assert door.delivered(other, b"back") == "other"
        assert door.hears(good, b"newer")


def test_what_a_revoked_key_sent_before_is_not_taken_either(door: AuthServer) -> None:
    with door.sender() as actor:
        assert door.delivered(actor, b"first") == "actor"
        actor.send(b"second")
        until(lambda: door.sockets.wait(0.1), "it has arrived")
        main(["revoke", str(door.keys), "actor"])
        until(lambda: door.sockets.metrics()["keys"] == 1, "the learner has noticed", REVOKED_WITHIN_S)
        assert door.sockets.receive() is None
        assert door.sockets.metrics()["revoked_frames"] == 1


def test_a_file_that_is_damaged_while_the_learner_runs_lets_nobody_in(
    door: AuthServer, caplog: pytest.LogCaptureFixture
) -> None:
    (door.keys / "allowed" / "actor.key").write_text("no certificate")
    (door.keys / "allowed" / "bad-name.key").write_text("")
    until(lambda: door.sockets.metrics()["keys"] == 1, "the learner has noticed", REVOKED_WITHIN_S)
    with door.sender(keys=str(door.keys), key_name="other") as other:
        assert door.delivered(other, b"x") == "other"
    assert "actor.key: not a ZeroMQ certificate" in caplog.text


def test_a_damaged_or_doubled_file_at_the_start_is_one_line(door: AuthServer) -> None:
    allowed = door.keys / "allowed"
    (allowed / "twin.key").write_bytes((allowed / "actor.key").read_bytes())
    with pytest.raises(ConfigError, match=ONE_LINE, check=lambda error: "twin.key" in str(error)):
        AllowList(allowed)
    (allowed / "twin.key").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match=ONE_LINE, check=lambda error: "twin.key" in str(error)):
        AllowList(allowed)


def test_a_folder_that_vanishes_lets_nobody_in(door: AuthServer) -> None:
    (door.keys / "allowed").rename(door.keys / "elsewhere")
    until(lambda: door.sockets.metrics()["keys"] == 0, "the learner has noticed", REVOKED_WITHIN_S)


def test_without_a_gate_a_socket_lets_nobody_in(tmp_path: Path) -> None:
    with auth_server(tmp_path) as door:
        config = door.config(keys=str(door.keys))
    with ExperienceReceiver(config) as receiver:
        port = receiver.bind(HOST, 0, "experience_port")
        with door.sender(port=port) as sender:
            sender.send(b"x")
            assert not receiver.wait(0.5)


def test_a_false_learner_cannot_feed_an_actor(door: AuthServer, tmp_path: Path) -> None:
    """In the middle, with a key of its own that it says is the learner's."""
    main(["init", str(tmp_path / "forged")])
    for forged in ({"keys": str(tmp_path / "forged")}, {}):
        with WeightsPublisher(door.config(**forged, insecure=True)) as publisher:
            port = publisher.bind(HOST, 0, "weights_port")
            with door.subscriber(port=port) as actor:

                def heard(publisher: WeightsPublisher = publisher, actor: object = actor) -> bool:
                    publisher.publish(b"poison")
                    return actor.wait(0.02)  # type: ignore[attr-defined]

                with pytest.raises(AssertionError, match="not within"):
                    until(heard, "the forged weights arrive", 1.0)


def test_recorded_bytes_of_an_earlier_connection_are_worth_nothing(door: AuthServer) -> None:
    recorded = bytearray()
    with socket.create_server((HOST, 0)) as listener:

        def relay() -> None:
            near, _ = listener.accept()
            far = plain_connection(door.endpoints.experience_port)
            back = threading.Thread(target=pump, args=(far, near, bytearray()))
            back.start()
            pump(near, far, recorded)
            back.join()

        thread = threading.Thread(target=relay)
        thread.start()
        with door.sender(port=listener.getsockname()[1]) as sender:
            assert door.delivered(sender, b"precious") == "actor"
        thread.join()
    assert len(recorded) > 400
    assert b"precious" not in recorded
    with plain_connection(door.endpoints.experience_port) as again:
        again.sendall(recorded)
        assert door.arrival(b"precious") is None
        again.shutdown(socket.SHUT_WR)
        answers = b"".join(iter(lambda: again.recv(4096), b""))
    assert b"READY" not in answers


def pump(source: socket.socket, target: socket.socket, copy: bytearray) -> None:
    with source, target:
        try:
            while data := source.recv(65536):
                copy += data
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # one of the two has gone


GARBAGE = {
    "http": b"GET / HTTP/1.1\r\nHost: learner\r\n\r\n",
    "zeros": bytes(100_000),
    "ones": b"\xff" * 100_000,
    "old zmtp": b"\x01\x00" + b"x" * 100,
    "huge command": b"\xff" + bytes(8) + b"\x7f\x03\x00CURVE" + bytes(48) + b"\x06" + b"\x7f" * 8,
    "null mechanism": b"\xff" + bytes(8) + b"\x7f\x03\x00NULL" + bytes(48) + b"\x04\x19\x05READY" + bytes(20),
}


@pytest.mark.parametrize("garbage", GARBAGE.values(), ids=GARBAGE)
def test_garbage_ends_its_own_connection_alone(door: AuthServer, garbage: bytes) -> None:
    with door.sender() as actor:
        assert door.delivered(actor, b"before") == "actor"
        for port in vars(door.endpoints).values():
            if isinstance(port, int):
                with plain_connection(port) as stranger:
                    stranger.settimeout(15)
                    try:
                        stranger.sendall(garbage)
                        stranger.shutdown(socket.SHUT_WR)
                        assert (
                            len(b"".join(iter(lambda s=stranger: s.recv(4096), b""))) < 400
                        )  # no more than a greeting
                    except OSError:
                        pass  # already thrown out
        assert door.delivered(actor, b"after") == "actor"


def test_a_handshake_that_never_ends_is_cut(tmp_path: Path) -> None:
    with auth_server(tmp_path, handshake_timeout_s=0.3) as door:
        idle = [plain_connection(door.endpoints.experience_port) for _ in range(20)]
        for index, connection in enumerate(idle):
            connection.sendall(b"\xff\0\0\0\0\0\0\0\0\x7f\x03\0CURVE"[:index])
        for connection in idle:
            connection.settimeout(10)
            while connection.recv(4096):
                pass
            connection.close()
        until(lambda: door.sockets.metrics()["connections"] == 0, "all are gone", 5)


def test_connections_beyond_the_limit_are_closed_and_those_inside_stay(tmp_path: Path) -> None:
    with auth_server(tmp_path, max_connections=5) as door, door.sender() as actor:
        assert door.delivered(actor, b"before") == "actor"
        crowd = [plain_connection(door.endpoints.experience_port) for _ in range(20)]
        until(lambda: door.sockets.metrics()["refused_connections"] == 16, "16 are too many", 5)
        assert door.sockets.metrics()["connections"] == 5
        assert door.delivered(actor, b"after") == "actor"
        for connection in crowd:
            connection.close()
        until(lambda: door.sockets.metrics()["connections"] == 1, "they have left", 5)


def test_an_actor_survives_something_else_on_the_learners_port(
    door: AuthServer, caplog: pytest.LogCaptureFixture
) -> None:
    """libzmq alone would never connect again after an answer that is no ZMTP."""
    caplog.set_level(logging.INFO)
    with socket.create_server((HOST, 0)) as impostor:
        port = impostor.getsockname()[1]
        sender = door.sender(port=port)
        connection, _ = impostor.accept()
        connection.sendall(b"HTTP/1.0 400 Bad Request\r\n\r\n" + b"x" * 100)
        impostor.settimeout(10)

        def back() -> bool:
            sender.send(b"x")
            try:
                impostor.settimeout(0.1)
                impostor.accept()[0].close()
            except TimeoutError:
                return False
            return True

        until(back, "it connects again", 10)
        connection.close()
        sender.close()
