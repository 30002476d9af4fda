"""Checks, de-duplicates and accounts for everything that peers send (go-back-N, receiver side).

In: frames. Out: rows in the replay, entries in the journal, and per actor what to acknowledge. Whatever a
peer sends, it can neither stop the learner nor touch another actor's session. Time is passed in; no socket
is opened here.
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
        "actors heard within `--silent-after-s` that have not said goodbye",
    ),
    "duplicates": Metric("batches", "numbered below the next one expected: sent again, dropped", "counter"),
    "gaps": Metric(
        "batches",
        "numbered above the next one expected: dropped, the actor sends them again in order",
        "counter",
    ),
    "lost": Metric(
        "batches",
        "that no actor keeps any more and the learner never took: an actor left before they "
        "were acknowledged, or the learner lost its memory",
        "journaled",
    ),
    "torn": Metric(
        "crashes",
        "resumes that found the end of the journal or of the rows unfinished, and cut it off",
        "counter",
    ),
    "damaged": Metric(
        "places",
        "in the journal, found by a resume, where entries could not be read; what lies behind"
        " them is kept, and so are their rows if the next entry vouches for them",
        "counter",
    ),
    "throttled": Metric(
        "messages",
        "dropped unread because their sender sent more than `--max-actor-batches-per-s` or "
        "`--max-actor-bytes-per-s` (batches are sent again by it), or evaluations faster than"
        " they are looked at",
        "counter",
    ),
    "malformed": Metric("frames", "dropped because they are no message at all", "counter"),
    "refused": Metric(
        "messages",
        "dropped because nothing of their sender is taken (another spec, another's id, an id "
        "in use, a limit)",
        "counter",
    ),
    "episodes": Metric("episodes", "finished so far", "journaled"),
}
"""Metrics that this part measures."""
COUNTERS = tuple(name for name in METRICS if name != "actors_alive")
"""Those of the counters that are metrics; the others tell reasons."""
MAX_EVALUATIONS = 16
"""Taken in between two looks at them, announcements included; each may cost a checkpoint."""


class Ingest:
    """The learner's half of the delivery guarantee.

    A batch is taken if its number is the next one of its session: it goes into the ledger, and then it may be
    acknowledged.

    Args:
        spec: what a transition looks like; everything else is refused.
        replay: where transitions go.
        journal: where batches are written down.
        sessions: still empty.
        throttle: how much an actor may send; None: anything.
        limiter: is asked before each batch and told what it brought; None takes everything.
        refusals: who is to be told that nothing of it is taken.

    Attributes:
        evaluators: sessions of those who send evaluations.
        held: batches that wait for the limiter.
        ledger: what has been taken, and its journal; `Ledger.checkpoint` or `Ledger.restore` comes first.
        counters: duplicates, gaps, lost, throttled, refused and malformed messages, finished episodes,
            torn and damaged journals, and rejections by reason.
        evaluations: what evaluators said and the loop has not yet looked at.
        episodes: means over the newest finished ones.
        lag: how old the policies behind the transitions are.
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
        self.held = HeldBatches()
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
        """Take in up to `at_most` frames that have arrived; return the transitions inserted.

        Batches beyond what the limiter lets pass are held, so that hellos, evaluations and goodbyes behind
        them are heard.

        Args:
            receive: returns the next frame, None when there is none.
            at_most: frames.
            now_s: monotonic time.
            everything: take all batches, whatever the limiter says.
        """
        before = self._replay.env_steps
        self._take_held(everything=everything)
        for _ in range(at_most):
            received = receive()
            if received is None:
                self._listened_s = now_s  # nobody has anything left to say
                break
            self.accept(received.frame, now_s, received.key)
            self._take_held(everything=everything)
        return self._replay.env_steps - before

    def accept(self, frame: Buffer, now_s: float, key: str | None = None) -> None:
        """Take in one frame, whatever is in it.

        Args:
            frame: the bytes.
            now_s: monotonic time.
            key: name of its sender's key, None in plaintext.

        Raises:
            StorageError: the disk refuses the journal's entry.
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
            if message.next_seq > session.next_seq:  # it will not come again: what is held of it counts now
                self._take_held(everything=True)
            self.ledger.give_up((message.actor_id, message.session_id), session, message.next_seq)
            session.left = session.left or isinstance(message, Bye)

    def drain_evaluations(self) -> list[Evaluation | EvaluationStarted]:
        """Return what evaluators have said since the last call, in order."""
        evaluations, self.evaluations = self.evaluations, []
        return evaluations

    def acknowledgements(self, now_s: float = 0.0) -> list[tuple[str, Ack]]:
        """Return (actor_id, message) for everyone to whom one is due; see `Acknowledgements`."""
        return self._acknowledgements.take(now_s)

    @property
    def env_steps(self) -> int:
        """Env steps taken in so far: each becomes one transition."""
        return self._replay.env_steps

    @property
    def num_actors(self) -> int:
        """Live actors as last counted, at least 1."""
        return self._acknowledgements.num_actors

    def liveness(self) -> dict[str, Liveness]:
        """Return the state of every actor's newest session, by actor id."""
        return self.sessions.liveness(self._listened_s)

    def _count_alive(self) -> int:
        return sum(state == "alive" for state in self.liveness().values())

    def peers(self) -> Peers:
        """Return the state of everybody whom a status names."""
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
        """Keep a batch if it is the next one, until the limiter lets it pass."""
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
        """Take what the limiter lets pass, or everything."""
        limiter = self._limiter
        while self.held and (everything or limiter is None or limiter.may_insert(self.held.next_rows())):
            before = self._replay.env_steps
            self._take(*self.held.pop())
            if limiter is not None:
                limiter.inserted(self._replay.env_steps - before)

    def _take(self, batch: Batch, session: Session) -> None:
        """Enter the next batch of a session; a malformed one is used up all the same."""
        rows = None
        try:
            rows = batch.records(self._spec)
        except ProtocolError as error:
            self._complaints.add("rejected batches", batch.actor_id, error)
        entry = self.ledger.enter(batch, session, rows)
        if not entry.rejected:
            self.episodes.add(batch.episodes)
            self.lag.arrived(entry.inserted, batch.weights_version, entry.start)
