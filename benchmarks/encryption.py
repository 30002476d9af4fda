"""What encryption costs: transitions a second from one sender process through the learner's sockets.

    python -m benchmarks.encryption

Nothing is decoded or stored, so this is the ceiling of the wire. Prints one JSON object: for each batch size
the median of `TURNS` turns in plaintext and encrypted, and their ratio.
"""

import contextlib
import json
import multiprocessing
import statistics
import sys
import tempfile
import time
from multiprocessing.synchronize import Event

import zmq

from common.config import LearnerConfig, TransportConfig
from common.flags import LearnerFlags
from common.keys import main as keys_command
from common.specs import EnvSpec
from common.transport import ExperienceSender
from learner.sockets import Sockets

SPEC = EnvSpec("Wire-v0", obs_dim=32, action_dim=4, discount=0.99, n_step=1)
TRANSITIONS_N = {1: 60_000, 32: 1_000_000, 64: 2_000_000}
"""By batch size: how many are sent."""
HEADER_BYTES = 300
TURNS = 3


def send(port: int, keys: str | None, batch_n: int, start: Event) -> None:
    """Send everything, as fast as the learner takes it."""
    sender = ExperienceSender(TransportConfig(keys=keys))
    sender.connect("127.0.0.1", port)
    frame = bytes(batch_n * SPEC.record.itemsize + HEADER_BYTES)
    start.wait()
    for _ in range(TRANSITIONS_N[batch_n] // batch_n):
        while not sender.send(frame):
            sender.socket.poll(1000, zmq.POLLOUT)
    sender.close(linger_s=10)


def measure_hz(keys: str | None, batch_n: int) -> float:
    """Return the transitions a second that arrive."""
    transport = TransportConfig(keys=keys, experience_port=0, weights_port=0, control_port=0)
    sockets = Sockets(LearnerFlags(learner=LearnerConfig(), transport=transport))
    context = multiprocessing.get_context("spawn")
    start = context.Event()
    sender = context.Process(target=send, args=(sockets.endpoints.experience_port, keys, batch_n, start))
    sender.start()
    start.set()
    expected_n, arrived_n, first_s = TRANSITIONS_N[batch_n] // batch_n, 0, 0.0
    while arrived_n < expected_n:
        if sockets.receive() is None:
            sockets.wait(1.0)
            continue
        first_s = first_s or time.perf_counter()
        arrived_n += 1
    elapsed_s = time.perf_counter() - first_s
    sender.join()
    sockets.close()
    return expected_n * batch_n / elapsed_s


def main() -> int:
    """Alternate plaintext and encryption; print what was found."""
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        keys = f"{folder}/keys"
        with contextlib.redirect_stdout(sys.stderr):
            keys_command(["init", keys])
        for batch_n in TRANSITIONS_N:
            turns = [(measure_hz(None, batch_n), measure_hz(keys, batch_n)) for _ in range(TURNS)]
            plain_hz, encrypted_hz = (statistics.median(column) for column in zip(*turns, strict=True))
            ratio = round(encrypted_hz / plain_hz, 2)
            found[batch_n] = {
                "plain_hz": round(plain_hz),
                "encrypted_hz": round(encrypted_hz),
                "ratio": ratio,
            }
    print(json.dumps(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
