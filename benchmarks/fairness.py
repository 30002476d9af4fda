"""Latency of an evaluation beside actors that send constantly: p99, ms.

From `send` in the evaluator's process to the end of `decode` in the learner's. Two actors send batches faster
than they can be decoded. Beside ours the same loop in the order in which libzmq alone hands messages out.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from multiprocessing.synchronize import Event

import numpy as np
import zmq

from benchmarks.comparison import Comparison, Threshold, Worker
from benchmarks.transport import BATCH_TRANSITIONS, Writers
from benchmarks.workload import SPEC, Measure, random_records
from graspfleet.common.messages import Batch, Evaluation
from graspfleet.common.net.experience import ExperienceReceiver, ExperienceSender
from graspfleet.common.protocol import Buffer, decode, encode
from graspfleet.common.settings.transport import TransportConfig

NUM_EVALUATIONS = 500
PAUSE_S = 0.01
"""Between two evaluations."""
SESSION = "0123456789abcdef"
OURS, BARE = "graspfleet", "libzmq's order"


def send_batches(going: Event, config: TransportConfig) -> None:
    """Send the same batch as often as the learner's socket takes it."""
    records = random_records(BATCH_TRANSITIONS)
    batch = Batch(
        actor_id="busy",
        session_id=SESSION,
        seq=0,
        digest=SPEC.digest,
        weights_version=0,
        produced=BATCH_TRANSITIONS,
        discarded=0,
        resent=0,
        episodes=(),
        rows=records.view(np.uint8).reshape(BATCH_TRANSITIONS, SPEC.record.itemsize),
    )
    frame = encode(batch)
    with ExperienceSender(config) as sender:
        sender.connect("127.0.0.1", config.experience_port)
        while going.wait():
            if not sender.send(frame):
                sender.socket.poll(10, zmq.POLLOUT)


def send_evaluations(going: Event, config: TransportConfig) -> None:
    """Send an evaluation now and then that carries the time of its sending, in microseconds."""
    with ExperienceSender(config) as sender:
        sender.connect("127.0.0.1", config.experience_port)
        while going.wait():
            sent_us = time.monotonic_ns() // 1000
            sender.send(encode(evaluation(sent_us)))
            time.sleep(PAUSE_S)


def evaluation(sent_us: int) -> Evaluation:
    """Return an evaluation of twenty episodes."""
    episodes = ((1.0, 100, True, 0),) * 20
    return Evaluation(
        actor_id="evaluator", session_id=SESSION, weights_version=1, env_steps=sent_us, episodes=episodes
    )


@contextmanager
def measure_delay(looks: bool) -> Iterator[Measure]:
    """Yield the measure of our receiver, or of its socket without a look at who else has something."""
    with ExitStack() as stack:
        receiver = stack.enter_context(ExperienceReceiver(TransportConfig()))
        config = TransportConfig(experience_port=receiver.bind("127.0.0.1", 0, "experience_port"))
        actors, evaluator = Writers(send_batches, config), Writers(send_evaluations, config, count=1)
        stack.callback(actors.close)
        stack.callback(evaluator.close)

        def ours() -> Buffer | None:
            received = receiver.receive()
            return None if received is None else received.frame

        def bare() -> Buffer | None:
            try:
                return receiver.socket.recv(zmq.NOBLOCK, copy=False).buffer
            except zmq.Again:
                return None

        def measure() -> dict[str, float]:
            with actors.going(), evaluator.going():
                p99_ms(ours, receiver.wait, 1)  # the processes have started, and their backlog is taken
                return {OURS if looks else BARE: p99_ms(ours if looks else bare, receiver.wait)}

        yield measure


def p99_ms(
    receive: Callable[[], Buffer | None], wait: Callable[[float], object], count: int = NUM_EVALUATIONS
) -> float:
    """Decode until so many evaluations sent from now on have come; return what one in a hundred exceeds."""
    delays_ms: list[float] = []
    began_us = time.monotonic_ns() // 1000
    while len(delays_ms) < count:
        frame = receive()
        if frame is None:
            wait(0.05)
            continue
        message = decode(frame)
        if isinstance(message, Evaluation) and message.env_steps >= began_us:
            delays_ms.append(time.monotonic_ns() / 1e6 - message.env_steps / 1e3)
    return float(np.percentile(delays_ms, 99))


COMPARISONS = (
    Comparison(
        "fairness",
        "an evaluation's way from send to decode beside two actors that never stop sending, p99",
        "ms",
        2,
        (
            Worker("benchmarks.fairness:measure_delay", {"looks": True}),
            Worker("benchmarks.fairness:measure_delay", {"looks": False}),
        ),
        (Threshold(OURS, BARE),),
    ),
)
