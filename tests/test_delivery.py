"""Every transition exactly once, whatever the network does: sender and receiver over a channel from hell."""

import tempfile
from pathlib import Path

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from graspfleet.actor.writer import MAX_PATIENCE, Writer
from graspfleet.common.messages import Ack, Batch
from graspfleet.common.observations.fields import Observation
from graspfleet.common.protocol import decode
from graspfleet.common.specs import EnvSpec
from graspfleet.common.transition import Transition
from graspfleet.learner.experience.rate_limiter import RateLimiter
from graspfleet.learner.experience.replay import Replay
from tests.fakes import (
    IMAGE_SPEC,
    OTHER_SESSION,
    SESSION,
    SPEC,
    make_ingest,
    make_writer,
    numbers_of,
    observe,
    recover_ingest,
)

CAPACITY = 5000
MAX_UNACKED_BATCHES, BATCH_TRANSITIONS, RESEND_AFTER_S = 3, 2, 5.0
actors = st.integers(0, 1)
positions = st.integers(0, 1 << 30)


def make_limiter() -> RateLimiter:
    """Return a limiter that holds most batches until there was an update."""
    return RateLimiter(samples_per_insert=1.0, min_inserts=1, tolerance=3.0, batch_size=2)


class Source:
    """An actor that remembers what it made."""

    def __init__(self, index: int, spec: EnvSpec) -> None:
        self.index = index
        self.spec = spec
        self.writer: Writer = make_writer(
            spec,
            actor_id=f"actor-{index}",
            session_id=(SESSION, OTHER_SESSION)[index],
            max_batch_transitions=BATCH_TRANSITIONS,
            max_unacked_transitions=MAX_UNACKED_BATCHES * BATCH_TRANSITIONS,
            resend_after_s=RESEND_AFTER_S,
        )
        self.made: list[float] = []
        self.bad: set[float] = set()
        self.sealed: dict[int, list[float]] = {}
        self.obs = self.last = self.observe(100_000 * index)
        self.shares: set[float] = set()  # transitions whose frame is sent with the transition before

    def observe(self, number: int) -> Observation:
        """Return a new observation; without images, they are all alike."""
        return observe(number) if self.spec.images else Observation(np.zeros(self.spec.obs_dim, np.float32))

    def add(self, *, bad: bool, ends: bool) -> None:
        number = float(len(self.made) + 100_000 * self.index)
        self.made.append(number)
        if bad:
            self.bad.add(number)
        action = np.full(self.spec.action_dim, 2.0 if bad else 0.0, np.float32)
        if self.made[1:] and self.spec.images and self.obs is self.last:
            self.shares.add(number)
        obs, self.obs = self.obs, self.observe(int(number) + 1)
        self.last = self.obs
        self.writer.add(Transition(obs, self.obs, action, number, 0.5, False, ends))
        if ends:
            self.obs = self.observe(int(number) + 1)

    def next_frame(self, now_s: float) -> bytes | None:
        frame = self.writer.next_frame(now_s)
        if frame is not None:
            batch = decode(frame)
            assert isinstance(batch, Batch)
            numbers = batch.rows.view(self.spec.record)["reward"].ravel().tolist()
            assert self.sealed.setdefault(batch.seq, numbers) == numbers  # a number names a batch for ever
        return frame

    def expected(self) -> list[float]:
        batches = [self.sealed[seq] for seq in sorted(self.sealed)]
        assert [number for batch in batches for number in batch] == self.made
        rejected = {number for batch in batches if self.bad.intersection(batch) for number in batch}
        frameless = {number for number in self.shares if number - 1 in rejected}
        return [number for number in self.made if number not in rejected | frameless]


class Delivery(RuleBasedStateMachine):
    """Frames and acknowledgements are dropped, doubled, delayed, reordered and damaged."""

    spec = SPEC

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.path = Path(self.folder.name)
        self.replay = Replay(self.path / "replay.bin", self.spec, CAPACITY, np.random.default_rng(0))
        self.limiter = make_limiter()
        self.ingest = make_ingest(self.path, self.replay, self.limiter, self.spec)
        self.sources = [Source(index, self.spec) for index in range(2)]
        self.frames: list[bytes] = []
        self.acks: list[tuple[str, Ack]] = []
        self.now_s = 100.0

    @rule(
        actor=actors,
        count=st.integers(1, 5),
        bad=st.sampled_from([False] * 5 + [True]),
        ends=st.sampled_from([False] * 3 + [True]),
    )
    def step_environment(self, actor: int, count: int, bad: bool, ends: bool) -> None:
        for _ in range(count):
            if self.sources[actor].writer.has_room():
                self.sources[actor].add(bad=bad, ends=ends)

    @rule(actor=actors, count=st.integers(1, 20))
    def go_well_for_a_while(self, actor: int, count: int) -> None:
        source = self.sources[actor]
        for _ in range(count):
            if source.writer.has_room():
                source.add(bad=False, ends=False)
            while (frame := source.next_frame(self.now_s)) is not None:
                source.writer.sent(self.now_s)
                self.ingest.accept(frame, self.now_s)
            self.update(1)
            for actor_id, ack in self.ingest.acknowledgements(self.now_s):
                self._hand_over(actor_id, ack)

    @rule(actor=actors, episode_return=st.floats(-1, 1))
    def finish_episode(self, actor: int, episode_return: float) -> None:
        self.sources[actor].writer.add_episode((episode_return, 1, None, 0))

    @rule(actor=actors, limit=st.integers(1, 4))
    def send(self, actor: int, limit: int) -> None:
        source = self.sources[actor]
        for _ in range(limit):
            frame = source.next_frame(self.now_s)
            if frame is not None:
                self.frames.append(frame)
                source.writer.sent(self.now_s)

    @rule(actor=actors)
    def say_hello(self, actor: int) -> None:
        self.frames.append(self.sources[actor].writer.hello())

    @precondition(lambda self: self.frames)
    @rule(position=positions, again=st.booleans())
    def deliver_a_frame(self, position: int, again: bool) -> None:
        frame = self.frames[position % len(self.frames)]
        if not again:
            self.frames.remove(frame)
        self.ingest.accept(frame, self.now_s)

    @precondition(lambda self: self.frames)
    @rule(position=positions)
    def drop_a_frame(self, position: int) -> None:
        self.frames.pop(position % len(self.frames))

    @precondition(lambda self: self.frames)
    @rule(position=positions, bit=positions)
    def damage_a_frame(self, position: int, bit: int) -> None:
        frame = bytearray(self.frames[position % len(self.frames)])
        frame[bit // 8 % len(frame)] ^= 1 << bit % 8
        self.ingest.accept(bytes(frame), self.now_s)

    @rule()
    def acknowledge(self) -> None:
        self.acks += self.ingest.acknowledgements(self.now_s)

    @precondition(lambda self: self.acks)
    @rule(position=positions, again=st.booleans())
    def deliver_an_ack(self, position: int, again: bool) -> None:
        actor_id, ack = self.acks[position % len(self.acks)]
        if not again:
            self.acks.remove((actor_id, ack))
        self._hand_over(actor_id, ack)

    @precondition(lambda self: self.acks)
    @rule(position=positions)
    def drop_an_ack(self, position: int) -> None:
        self.acks.pop(position % len(self.acks))

    @rule()
    def kill_the_learner_and_start_it_again(self) -> None:
        self.limiter = make_limiter()
        self.ingest, self.replay = recover_ingest(self.path, CAPACITY, self.limiter, self.spec)
        self.limiter.env_steps = self.replay.env_steps
        self.limiter.samples = max(0, self.replay.env_steps - 1)  # as if no update was owed
        assert self.ingest.counters["torn"] == 0

    @rule(updates=st.integers(1, 4))
    def update(self, updates: int) -> None:
        for _ in range(updates):
            if self.limiter.may_sample():
                self.limiter.sampled()
        self.ingest.drain(lambda: None, 1, self.now_s)

    @rule()
    def write_a_checkpoint(self) -> None:
        self.ingest.ledger.checkpoint()

    @rule(seconds=st.sampled_from([0.1, 1.5, RESEND_AFTER_S + 1]))
    def let_time_pass(self, seconds: float) -> None:
        self.now_s += seconds

    @invariant()
    def windows_are_bounded(self) -> None:
        for source in self.sources:
            assert source.writer.unacked <= MAX_UNACKED_BATCHES * BATCH_TRANSITIONS

    @invariant()
    def the_books_balance(self) -> None:
        totals = self.ingest.sessions.totals()
        assert totals["produced"] == totals["inserted"] + totals["rejected"]
        assert totals["inserted"] == self.replay.env_steps
        assert self.ingest.counters["lost"] == 0

    def _hand_over(self, actor_id: str, ack: Ack) -> None:
        for source in self.sources:
            if (source.writer.actor_id, source.writer.session_id) == (actor_id, ack.session_id):
                source.writer.acknowledge(ack.next_seq, self.now_s, held=ack.held, room=ack.room)

    def teardown(self) -> None:
        """The network comes to its senses: everything that was made arrives, once and in order."""
        for source in self.sources:
            source.writer.seal()
        rounds = 0
        while not all(source.writer.is_empty for source in self.sources):
            self.now_s += MAX_PATIENCE * RESEND_AFTER_S + 1
            for source in self.sources:
                self.frames.append(source.writer.hello())
                while (frame := source.next_frame(self.now_s)) is not None:
                    self.frames.append(frame)
                    source.writer.sent(self.now_s)
            for frame in self.frames:
                self.ingest.accept(frame, self.now_s)
            self.frames.clear()
            self.ingest.drain(lambda: None, 1, self.now_s, everything=True)
            for actor_id, ack in [*self.acks, *self.ingest.acknowledgements(self.now_s)]:
                self._hand_over(actor_id, ack)
            rounds += 1
            assert rounds < 10
        self.the_books_balance()
        assert self.ingest.sessions.totals()["produced"] == sum(len(source.made) for source in self.sources)
        rows = self.replay.read(0, self.replay.env_steps)["reward"]
        for source in self.sources:
            mine = [number for number in rows.tolist() if number // 100_000 == source.index]
            assert mine == source.expected()
        self.folder.cleanup()


class ImageDelivery(Delivery):
    """The same with images: each transition finds its own frames, and no frame is stored twice."""

    spec = IMAGE_SPEC

    def the_books_balance(self) -> None:
        """Rejected transitions include those of frames in a malformed batch."""
        super().the_books_balance()
        rows = self.replay.read(0, self.replay.env_steps)
        frames = self.replay.frames
        assert frames is not None
        for name, offset in (("frame", 0), ("next_frame", 1)):
            stored = [numbers_of(frames.read(int(number), 1))[0] for number in rows[name]]
            assert stored == [int(reward) + offset for reward in rows["reward"]]
        used = set(rows["frame"].tolist()) | set(rows["next_frame"].tolist())
        assert used <= set(range(frames.count))


TestDelivery = Delivery.TestCase
TestDelivery.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestImageDelivery = ImageDelivery.TestCase
TestImageDelivery.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
