"""Peers that ask a learner for memory: on bare TCP without a key, and with a listed key but no manners."""

import socket
import struct
from pathlib import Path

import zmq
import zmq.auth

GREETING = b"\xff" + bytes(8) + b"\x7f\x03\x01" + b"CURVE".ljust(20, b"\0") + bytes(32)
"""ZMTP 3.1 with CURVE; what comes next is a command of the handshake."""
ZEROS = memoryview(bytes(16 << 20))


def greeted(port: int) -> socket.socket:
    """Return a connection over which both sides have greeted each other.

    Raises:
        OSError: the learner ends it before.
    """
    connection = socket.create_connection(("127.0.0.1", port), timeout=10)
    connection.sendall(GREETING)
    answer = b""
    while len(answer) < len(GREETING):
        received = connection.recv(len(GREETING) - len(answer))
        if not received:
            connection.close()
            raise ConnectionResetError("ended while greeting")
        answer += received
    return connection


def begin_command(connection: socket.socket, declared: int, sent: int) -> bool:
    """Begin a command of the handshake; return whether the learner lets all of `sent` bytes come."""
    try:
        connection.sendall(b"\x06" + struct.pack(">Q", declared))
        connection.sendall(ZEROS[:sent])
    except OSError:
        return False
    return True


def has_ended(connection: socket.socket) -> bool:
    """Return whether the learner has ended the connection."""
    connection.settimeout(0.02)
    try:
        return connection.recv(4096) == b""
    except TimeoutError:
        return False
    except OSError:
        return True


def listed(kind: int, port: int, keys: Path) -> "zmq.Socket[bytes]":
    """Return a socket of any kind that shows the first actor's key; it connects once and never again."""
    server, _ = zmq.auth.load_certificate(keys / "learner.key")
    public, secret = zmq.auth.load_certificate(keys / "actor.key_secret")
    peer = zmq.Context.instance().socket(kind)
    peer.curve_serverkey, peer.curve_publickey, peer.curve_secretkey = server, public, secret
    peer.linger, peer.reconnect_ivl = 0, -1
    peer.set_hwm(0)
    peer.connect(f"tcp://127.0.0.1:{port}")
    return peer
