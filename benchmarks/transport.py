"""Transitions/s from two writer processes into a replay.

Ours: actors without environments, on real sockets, into a real learner that checks, journals, stores and
acknowledges every batch. Beside it what nothing on these sockets can be faster than (PUSH/PULL and a memory
copy, nothing else), and the `multiprocessing.Manager` replay that this project replaces.
"""

import itertools
import multiprocessing
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from multiprocessing.managers import BaseManager
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any

import numpy as np
import zmq

from benchmarks.comparison import Comparison, Threshold, Worker
from benchmarks.learner import LearnerProcess
from benchmarks.workload import SPEC, Measure, random_records
from graspfleet.actor.learner_client import LearnerClient
from graspfleet.actor.loop import POLL_INTERVAL_S
from graspfleet.actor.subscriber import Subscriber
from graspfleet.actor.writer import Writer
from graspfleet.common.net.experience import ExperienceSender
from graspfleet.common.observations.fields import Observation
from graspfleet.common.runtime.interval import Interval
from graspfleet.common.settings.processes import ActorConfig
from graspfleet.common.settings.transport import TransportConfig
from graspfleet.common.transition import Transition
from graspfleet.keys import init as make_keys

NUM_WRITERS = 2
REPLAY_CAPACITY = 1_000_000
WARM_S = 1.0
SECONDS = 2.5
BATCH_TRANSITIONS = 64
"""Transitions a message on both sides; the default, 32, is for actors that make far fewer."""
WINDOW_BATCHES = 256
"""Unacknowledged messages of ours; 8, the default, bounds how far a simulated robot runs ahead."""
OURS, ENCRYPTED = "graspfleet", "graspfleet, encrypted (CURVE)"
BARE, PREPARED = "PUSH/PULL and memcpy", "PUSH/PULL of one prepared message"
HWM = TransportConfig().experience_hwm


class Writers:
    """Two processes that write whenever they are told to.

    Args:
        target: what each process runs: `target(going, *arguments)`, for ever, writing while `going` is set.
        arguments: of `target`.
        count: processes.
    """

    def __init__(self, target: Callable[..., None], *arguments: Any, count: int = NUM_WRITERS) -> None:
        context = multiprocessing.get_context("spawn")
        self._going = context.Event()
        self._processes = [
            context.Process(target=target, args=(self._going, *arguments), daemon=True) for _ in range(count)
        ]
        for process in self._processes:
            process.start()

    @contextmanager
    def going(self) -> Iterator[None]:
        """Let them write inside the block."""
        self._going.set()
        time.sleep(WARM_S)
        yield
        self._going.clear()

    def close(self) -> None:
        """End them."""
        for process in self._processes:
            process.kill()
            process.join()


def write_transitions(going: Event, config: TransportConfig, batch_transitions: int) -> None:
    """Be an actor whose environments cost nothing: its loop, and one `Writer.add` a transition."""
    limits = {
        "max_batch_delay_s": ActorConfig().max_batch_delay_s,
        "max_unacked_transitions": WINDOW_BATCHES * batch_transitions,
        "max_unanswered_transitions": WINDOW_BATCHES * batch_transitions,
        "max_unacked_bytes": ActorConfig().max_unacked_bytes,
        "resend_after_s": config.resend_after_s,
    }
    session_id = os.urandom(8).hex()
    actor_id = f"actor-{session_id}"  # with encryption, one that the key called `actor` may stand for
    writer = Writer(SPEC, actor_id, session_id, max_batch_transitions=batch_transitions, **limits)
    sender = ExperienceSender(config)
    sender.connect("127.0.0.1", config.experience_port)
    client = LearnerClient(writer, Subscriber("127.0.0.1", config, writer.actor_id), sender)
    record = random_records(1)[0]
    fields = [record[name] for name in ("obs", "next_obs", "action", "reward", "discount")]
    values = (
        Observation(fields[0]),
        Observation(fields[1]),
        fields[2],
        float(fields[3]),
        float(fields[4]),
        False,
        False,
    )
    look = Interval(POLL_INTERVAL_S)
    while True:
        if going.is_set() and writer.has_room(batch_transitions):
            for _ in range(batch_transitions):
                writer.add(Transition(*values))
        else:
            client.wait()
        if look.due_now():
            client.poll()


@contextmanager
def ours(batch_transitions: int, encrypted: bool) -> Iterator[Measure]:
    """Yield the measure of this project: the learner's count of inserted transitions."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        keys = ("--keys", str(folder / "keys")) if encrypted else ()
        if encrypted:
            make_keys([str(folder / "keys")])
        never = ("--explore-steps", "1000000000", "--log-interval-s", "0.5")
        learner = LearnerProcess(
            folder, "--env", SPEC.env, "--replay-capacity", str(REPLAY_CAPACITY), *never, *keys
        )
        stack.callback(learner.close)
        config = TransportConfig(**learner.ports, keys=str(folder / "keys") if encrypted else None)
        writers = Writers(write_transitions, config, batch_transitions)
        stack.callback(writers.close)
        learner.until(lambda: learner.newest_row().get("actors_alive") == NUM_WRITERS)

        def measure() -> dict[str, float]:
            with writers.going():
                return {
                    ENCRYPTED if encrypted else OURS: learner.per_second(
                        "inserted", lambda: time.sleep(SECONDS)
                    )
                }

        yield measure


def push_bytes(going: Event, address: str, batch_transitions: int, prepared: bool) -> None:
    """Push messages of packed transitions; each transition is copied into its message unless `prepared`."""
    socket = zmq.Context().socket(zmq.PUSH)
    socket.set_hwm(HWM)
    socket.connect(address)
    record = random_records(1)[0]
    obs, next_obs, action = (record[name].tobytes() for name in ("obs", "next_obs", "action"))
    rest = record.tobytes()[2 * len(obs) + len(action) :]
    parts = [(obs, 0), (next_obs, len(obs)), (action, 2 * len(obs)), (rest, 2 * len(obs) + len(action))]
    row_bytes = record.nbytes
    message = bytearray(batch_transitions * row_bytes)
    while going.wait():
        for place in () if prepared else range(0, len(message), row_bytes):
            for part, offset in parts:
                message[place + offset : place + offset + len(part)] = part
        socket.send(message)


@contextmanager
def bare(batch_transitions: int, prepared: bool) -> Iterator[Measure]:
    """Yield the measure of PUSH/PULL and memory copies: no codec, checks, journal or acknowledgements."""
    row_bytes = SPEC.record.itemsize
    batch_bytes = row_bytes * batch_transitions
    places = itertools.cycle(range(0, REPLAY_CAPACITY * row_bytes - batch_bytes, batch_bytes))
    ring = memoryview(np.zeros(REPLAY_CAPACITY * row_bytes, np.uint8))
    with zmq.Context() as context, context.socket(zmq.PULL) as socket, ExitStack() as stack:
        socket.set_hwm(HWM)
        port = socket.bind_to_random_port("tcp://127.0.0.1")
        writers = Writers(push_bytes, f"tcp://127.0.0.1:{port}", batch_transitions, prepared)
        stack.callback(writers.close)
        with writers.going():
            socket.poll()

        def receive(seconds: float) -> int:
            num_batches, end_s = 0, time.perf_counter() + seconds
            while time.perf_counter() < end_s:
                place = next(places)
                ring[place : place + batch_bytes] = socket.recv(copy=False).buffer
                num_batches += 1
            return num_batches

        def measure() -> dict[str, float]:
            with writers.going():
                receive(WARM_S)
                speed = receive(SECONDS) * batch_transitions / SECONDS
            return {PREPARED if prepared else BARE: speed}

        yield measure


class ManagedBuffer:
    """The old script's replay: a list behind a proxy, one call a transition."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.buffer: list[Any] = []
        self.position = 0
        self.pushed = 0

    def push(self, state: Any, action: Any, reward: float, next_state: Any, done: bool) -> None:
        """Append a transition; the oldest goes when the list is full."""
        if len(self.buffer) < self.capacity:
            self.buffer.append(None)
        self.buffer[self.position] = (state, action, reward, next_state, done)
        self.position = (self.position + 1) % self.capacity
        self.pushed += 1

    def count(self) -> int:
        """Return the transitions pushed so far."""
        return self.pushed


class ReplayManager(BaseManager):
    """Serves the replay from a process of its own, as the old script's does."""


ReplayManager.register("ReplayBuffer", ManagedBuffer)


def push_transitions(going: Event, buffer: Any) -> None:
    """Push the same transition again and again through a proxy."""
    record = random_records(1)[0]
    while going.wait():
        buffer.push(record["obs"], record["action"], float(record["reward"]), record["next_obs"], False)


@contextmanager
def manager() -> Iterator[Measure]:
    """Yield the measure of the old script's replay behind `multiprocessing.Manager`."""
    with ReplayManager(ctx=multiprocessing.get_context("spawn")) as replays, ExitStack() as stack:
        buffer = replays.ReplayBuffer(REPLAY_CAPACITY)  # type: ignore[attr-defined]
        writers = Writers(push_transitions, buffer)
        stack.callback(writers.close)

        def measure() -> dict[str, float]:
            with writers.going():
                before, began_s = buffer.count(), time.perf_counter()
                time.sleep(SECONDS)
                speed = (buffer.count() - before) / (time.perf_counter() - began_s)
            return {"multiprocessing.Manager": speed}

        yield measure


COMPARISONS = (
    Comparison(
        "transport",
        f"transitions from {NUM_WRITERS} writer processes into the replay, {BATCH_TRANSITIONS} a message",
        "transitions/s",
        2,
        (
            Worker("benchmarks.transport:ours", {"batch_transitions": BATCH_TRANSITIONS, "encrypted": False}),
            Worker("benchmarks.transport:ours", {"batch_transitions": BATCH_TRANSITIONS, "encrypted": True}),
            Worker("benchmarks.transport:bare", {"batch_transitions": BATCH_TRANSITIONS, "prepared": False}),
            Worker("benchmarks.transport:bare", {"batch_transitions": BATCH_TRANSITIONS, "prepared": True}),
            Worker("benchmarks.transport:manager"),
        ),
        (
            Threshold(OURS, "multiprocessing.Manager", 25.0),
            Threshold(OURS, BARE, 0.6),
            Threshold(OURS, PREPARED),
            Threshold(ENCRYPTED, OURS),
        ),
    ),
)
