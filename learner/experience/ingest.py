"""Validation, deduplication and accounting of everything that peers send (go-back-N, receiver side).

In: frames. Out: rows in the replay, entries in the journal, and acknowledgements per actor. No message from a
peer can stop the learner or affect another actor's session. Time is passed in; no sockets are opened here.
"""

import logging
from collections.abc import Callable, Mapping

from graspfleet.common.errors import ProtocolError
from graspfleet.common.messages import Ack, Batch, Bye, Evaluation, EvaluationStarted
from graspfleet.common.net.experience import Received
from graspfleet.common.protocol import Buffer
from graspfleet.common.specs import EnvSpec
from graspfleet.learner.access.complaints import Complaints
from graspfleet.learner.access.refusals import Peers, Refusals
from graspfleet.learner.experience.acknowledgements import Acknowledgements
from graspfleet.learner.experience.held_batches import HeldBatches
from graspfleet.learner.experience.journal import Journal
from graspfleet.learner.experience.ledger import Ledger
from graspfleet.learner.experience.peers.admission import Admission
from graspfleet.learner.experience.peers.frame_window import FrameWindow
from graspfleet.learner.experience.peers.session import Liveness, Session
from graspfleet.learner.experience.peers.sessions import Sessions
from graspfleet.learner.experience.peers.throttle import Throttle
from graspfleet.learner.experience.rate_limiter import RateLimiter
from graspfleet.learner.experience.replay import Replay
from graspfleet.learner.publishing.policy_lag import PolicyLag
from graspfleet.learner.reporting.episode_means import EpisodeMeans
from graspfleet.learner.reporting.metric import Metric

log = logging.getLogger(__name__)

METRICS = {
    "actors_alive": Metric(
        "processes",
        "actors heard from within `--silent-after-s` that have not said goodbye",
    ),
    "duplicates": Metric(
        "batches", "with a number below the next one expected: sent again by the actor, dropped", "counter"
    ),
    "gaps": Metric(
        "batches",
        "with a number above the next one expected: dropped; the actor sends them again in order",
        "counter",
    ),
    "lost": Metric(
        "batches",
        "no longer kept by any actor and never taken by the learner: an actor left before "
        "they were acknowledged, or the learner lost its data",
        "journaled",
    ),
    "torn": Metric(
        "crashes",
        "resumes that found an incomplete end of the journal or of the rows, and cut it off",
        "counter",
    ),
    "damaged": Metric(
        "places",
        "in the journal where a resume could not read entries; later entries are kept, and so "
        "are the rows of the unreadable ones if the checksum in the next entry matches",
        "counter",
    ),
    "throttled": Metric(
        "messages",
        "dropped because their sender exceeded `--max-actor-batches-per-s`, "
        "`--max-actor-bytes-per-s` or the limits on held batches (it sends batches again), or "
        "because evaluations came faster than they are handled",
        "counter",
    ),
    "malformed": Metric("frames", "dropped because they are not valid messages", "counter"),
    "refused": Metric(
        "messages",
        "dropped because their sender is refused (another spec, another actor's id, an id in use, a limit)",
        "counter",
    ),
    "episodes": Metric("episodes", "finished so far", "journaled"),
}
"""Metrics that this part measures."""
COUNTERS = tuple(name for name in METRICS if name != "actors_alive")
"""Counters that are metrics; all others count by reason."""
MAX_EVALUATIONS = 16
"""Largest number of evaluations queued for the loop, announcements included; each may cost a checkpoint."""


class Ingest:
    """The learner's half of the delivery guarantee.

    A batch is taken if its sequence number is the next one of its session. It is entered in the ledger first
    and acknowledged afterwards.

    Args:
        spec: layout of a transition; senders with a different spec are refused.
        replay: receives the transitions.
        journal: receives an entry for each batch.
        sessions: sessions of the actors, empty at first.
        throttle: rate limit of each actor; None for no limit.
        limiter: decides whether a batch may be inserted, and counts what was; None for no limit.
        refusals: senders to be told that they are refused.

    Attributes:
        evaluators: sessions of the evaluators.
        held: batches that wait for the limiter.
        ledger: record of the batches taken, with its journal; call `Ledger.checkpoint` or `Ledger.restore`
            first.
        counters: duplicates, gaps, lost, throttled, refused and malformed messages, finished episodes,
            torn and damaged journals, and rejections by reason.
        evaluations: messages of evaluators that the loop has not handled yet.
        episodes: means over the newest finished episodes.
        lag: ages of the policies that produced the transitions.
    """

    def __init__(
        self,
        spec: EnvSpec,
        replay: Replay,
        journal: Journal,
        sessions: Sessions,
        throttle: Throttle | None = None,
        limiter: RateLimiter | None = None,
        *,
        refusals: Refusals | None = None,
    ) -> None:
        self.sessions = sessions
        self.evaluators = sessions.empty_copy()
        self.refusals = Refusals() if refusals is None else refusals
        self.held = HeldBatches(spec)
        self._complaints = Complaints()
        self.counters = self._complaints.counters
        self.ledger = Ledger(spec, replay, journal, sessions, self.counters)
        self.episodes = EpisodeMeans()
        self.evaluations: list[Evaluation | EvaluationStarted] = []
        self.lag = PolicyLag()
        self._spec = spec
        self._replay = replay
        self._admission = Admission(
            spec, sessions, self.evaluators, throttle, self.refusals, self._complaints
        )
        self._limiter = limiter
        self._acknowledgements = Acknowledgements(
            self._admission.sessions_of, self.held, limiter, self._count_alive
        )
        self._listened_s = float("-inf")

    def drain(
        self, receive: Callable[[], Received | None], at_most: int, now_s: float, *, everything: bool = False
    ) -> int:
        """Process up to `at_most` frames that have arrived; return the number of transitions inserted.

        Batches that the limiter does not allow yet are held, so that hellos, evaluations and goodbyes queued
        behind them are still processed.

        Args:
            receive: returns the next frame, or None if none is waiting.
            at_most: largest number of frames.
            now_s: monotonic time, in seconds.
            everything: take all batches, regardless of the limiter.
        """
        before = self._replay.rows.count
        self._take_held(everything=everything)
        for _ in range(at_most):
            received = receive()
            if received is None:
                self._listened_s = now_s  # everything that had arrived is read
                break
            self.accept(received.frame, now_s, received.key)
            self._take_held(everything=everything)
        return self._replay.rows.count - before

    def accept(self, frame: Buffer, now_s: float, key: str | None = None) -> None:
        """Process one frame, which may hold anything.

        Args:
            frame: the bytes.
            now_s: monotonic time, in seconds.
            key: name of the sender's key, None in plaintext.

        Raises:
            StorageError: the journal entry cannot be written.
        """
        evaluations = len(self.evaluations) < MAX_EVALUATIONS
        admitted = self._admission.admit(frame, key, now_s, self._listened_s, evaluations=evaluations)
        if admitted is None:
            return
        message, session = admitted
        self._acknowledgements.add((message.actor_id, message.session_id))
        if isinstance(message, Batch):
            self._hold(message, session)
        elif isinstance(message, Evaluation | EvaluationStarted):
            self.evaluations.append(message)
        else:
            if message.next_seq > session.next_seq:  # the held batches will not be sent again: take them now
                self._take_held(everything=True)
            self.ledger.give_up((message.actor_id, message.session_id), session, message.next_seq)
            if isinstance(message, Bye):
                session.left, session.frames = True, FrameWindow()

    def drain_evaluations(self) -> list[Evaluation | EvaluationStarted]:
        """Return the evaluators' messages since the last call, in order."""
        evaluations, self.evaluations = self.evaluations, []
        return evaluations

    def acknowledgements(self, now_s: float = 0.0) -> list[tuple[str, Ack]]:
        """Return (actor_id, message) for every acknowledgement that is due; see `Acknowledgements`."""
        return self._acknowledgements.take(now_s)

    @property
    def env_steps(self) -> int:
        """Env steps received so far."""
        return self._replay.env_steps

    @property
    def num_actors(self) -> int:
        """Live actors at the last count, at least 1."""
        return self._acknowledgements.num_actors

    def liveness(self) -> dict[str, Liveness]:
        """Return the state of every actor's newest session, by actor id."""
        return self.sessions.liveness(self._listened_s)

    def _count_alive(self) -> int:
        return sum(state == "alive" for state in self.liveness().values())

    def peers(self) -> Peers:
        """Return the states of all actors and evaluators that the status lists."""
        return Peers(
            self.refusals.among("actor", self.liveness()),
            self.refusals.among("evaluator", self.evaluators.liveness(self._listened_s)),
            self.refusals.reasons(),
        )

    def metrics(self) -> Mapping[str, float]:
        """Return the counters of messages, batches and sessions."""
        counted = {name: self.counters[name] for name in COUNTERS}
        return {"actors_alive": self._count_alive(), **counted, **self.sessions.totals()}

    def _hold(self, batch: Batch, session: Session) -> None:
        """Hold a batch until the limiter allows it, if it is the next one of its session."""
        expected = session.next_seq + session.held
        if batch.seq != expected:
            self.counters["duplicates" if batch.seq < expected else "gaps"] += 1
            return
        try:
            self.held.put(batch, session)
        except ProtocolError as error:
            self._complaints.add("throttled", batch.actor_id, error)
            return
        self._take_held()
        if session.held:
            self._acknowledgements.repeat((batch.actor_id, batch.session_id))

    def _take_held(self, *, everything: bool = False) -> None:
        """Take the held batches that the limiter allows, or all of them."""
        limiter = self._limiter
        while self.held and (everything or limiter is None or limiter.may_insert(self.held.next_env_steps())):
            inserted = self._take(*self.held.pop())
            if limiter is not None:
                limiter.inserted(inserted)

    def _take(self, batch: Batch, session: Session) -> int:
        """Enter the next batch of a session, even if malformed; return the number of env steps inserted."""
        rows, before = None, self._replay.env_steps
        try:
            session.frames.require_next(batch.first_frame)
            records = batch.records(self._spec)
            session.require_relabeled(records["relabeled"])
            rows = records
        except ProtocolError as error:
            self._complaints.add("rejected batches", batch.actor_id, error)
        entry = self.ledger.enter(batch, session, rows)
        if rows is not None:
            if entry.rejected:
                missing = ProtocolError(
                    "frame", f"{entry.rejected} of {len(rows)} have frames that are not stored"
                )
                self._complaints.add("rejected transitions", batch.actor_id, missing)
            self.episodes.add(batch.episodes)
            self.lag.arrived(entry.inserted, batch.weights_version, before)
        return self._replay.env_steps - before
