"""Assembly of a learner's parts from its settings; in a resumed run, their states are restored."""

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np

from graspfleet.common.errors import ConfigError, StorageError
from graspfleet.common.messages import Status
from graspfleet.common.runtime.run_directory import RunDirectory
from graspfleet.common.runtime.seeds import seed_sequence
from graspfleet.common.settings.flags import LearnerFlags
from graspfleet.common.specs import EnvSpec
from graspfleet.learner import loop
from graspfleet.learner.access.footprint import transitions_of
from graspfleet.learner.access.refusals import Refusals
from graspfleet.learner.algorithm import Algorithm, Definition
from graspfleet.learner.experience.demonstrations.loader import load_demos
from graspfleet.learner.experience.ingest import Ingest
from graspfleet.learner.experience.journal import Journal, Recovered
from graspfleet.learner.experience.peers.sessions import Sessions
from graspfleet.learner.experience.peers.throttle import Throttle
from graspfleet.learner.experience.rate_limiter import RateLimiter, make_limiter
from graspfleet.learner.experience.replay import Mixture, Replay, Sampler
from graspfleet.learner.loop import Learner, Parts
from graspfleet.learner.normalization import Normalized
from graspfleet.learner.publishing.cadence import Cadence
from graspfleet.learner.publishing.publisher import Frames, PolicyPublisher
from graspfleet.learner.publishing.select_best import Selection
from graspfleet.learner.reporting.metrics import declared
from graspfleet.learner.reporting.metrics_log import MetricsLog
from graspfleet.learner.reporting.progress import Progress
from graspfleet.learner.reporting.reporter import Reporter
from graspfleet.learner.storage.checkpoint import Checkpoints

STATE_ERRORS = (LookupError, RuntimeError, ValueError, TypeError, AttributeError, AssertionError)
"""Exceptions raised by parts when a state does not fit them."""


class Sockets(loop.Sockets, Protocol):
    """The sockets' interface for all parts."""

    @property
    def refusals(self) -> Refusals:
        """Refused peers."""

    @property
    def weights(self) -> Frames:
        """Publisher of the policies."""

    def status(self, status: Status) -> None:
        """Send a status to all subscribers."""

    def metrics(self) -> Mapping[str, float]:
        """Return counts of connections and refusals."""


def build_algorithm(flags: LearnerFlags, definition: Definition, spec: EnvSpec) -> Algorithm:
    """Return the algorithm that the flags select, in its initial state.

    Raises:
        ConfigError: the flags require hardware that this machine does not have.
    """
    agent_seed = seed_sequence(flags.env.seed, "learner").spawn(3)[0]
    return definition.build(
        flags.algorithm,
        spec,
        flags.learner,
        batch_size=flags.replay.batch_size,
        seed=int(agent_seed.generate_state(1)[0]),
    )


def build_sampler(flags: LearnerFlags, spec: EnvSpec, run: RunDirectory) -> tuple[Replay, Sampler]:
    """Return the replay, and the sampler of batches: the replay itself, or a mixture with demonstrations.

    Raises:
        ConfigError: the replay's file cannot be created, or the demonstrations do not fit the environment.
    """
    _, replay_seed, demo_seed = seed_sequence(flags.env.seed, "learner").spawn(3)
    settings = flags.replay
    capacity = transitions_of(settings.replay_capacity, spec, flags.learner.max_run_bytes)
    replay = Replay(run.replay, spec, capacity, np.random.default_rng(replay_seed))
    if settings.demos is None:
        return replay, replay
    demos = load_demos(settings.demos, spec, np.random.default_rng(demo_seed))
    return replay, Mixture(replay, demos, settings.demo_fraction)


def assemble(
    flags: LearnerFlags,
    definition: Definition,
    algorithm: Algorithm,
    spec: EnvSpec,
    sockets: Sockets,
    run: RunDirectory,
    journal: Journal,
    recovered: Recovered | None = None,
) -> Learner:
    """Return a learner that is ready to run, with its first checkpoint written.

    Args:
        flags: settings.
        definition: definition of the algorithm.
        algorithm: the algorithm in its initial state.
        spec: layout of a transition.
        sockets: bound sockets.
        run: the run directory, already claimed.
        journal: journal of the batches; not yet open in a new run.
        recovered: content of the journal in a resumed run.

    Raises:
        ConfigError: the settings allow no progress, or the run cannot be resumed.
        StorageError: the journal or the first checkpoint cannot be written.
    """
    num_updates = definition.updates_per_dispatch(flags.algorithm, flags.learner)
    replay, sampler = build_sampler(flags, spec, run)
    if flags.replay.normalize_obs:
        algorithm = Normalized(algorithm, replay, spec)
    limiter, progress = make_limiter(flags, num_updates), Progress()
    ingest = _build_ingest(flags, spec, replay, journal, limiter, sockets.refusals)
    publisher = _build_publisher(flags, spec, algorithm, sockets.weights, run, ingest)
    selection, metrics = Selection(publisher.frames, run), declared(definition.METRICS)
    reporter = Reporter(
        counters=(progress, replay, publisher, sockets, ingest, selection),
        gauges=(limiter, ingest.lag, ingest.episodes, algorithm),
        declared=metrics,
        log=MetricsLog(run, metrics),
        note=ingest.ledger.note,
        publish=sockets.status,
        peers=ingest.peers,
    )
    checkpoints = Checkpoints(run.checkpoints, flags.learner.keep_checkpoints, _flags_of_state(flags))
    parts = Parts(
        algorithm, sampler, limiter, ingest, sockets, publisher, selection, checkpoints, reporter, progress
    )
    learner = Learner(parts, flags.learner, (num_updates, flags.replay.batch_size))
    if recovered is not None:
        _resume(learner, recovered, flags)
        reporter.continue_from(ingest.ledger.told)
    _begin(learner, run)
    return learner


def _build_publisher(
    flags: LearnerFlags,
    spec: EnvSpec,
    algorithm: Algorithm,
    weights: Frames,
    run: RunDirectory,
    ingest: Ingest,
) -> PolicyPublisher:
    """Return the publisher, which journals each version before it is used."""
    return PolicyPublisher(
        spec,
        algorithm,
        weights,
        run,
        Cadence(flags.learner, in_step=flags.rate.updates_per_step is not None),
        reserve=lambda version: ingest.ledger.note({"weights_version": version}),
        published=ingest.lag.published,
    )


def _flags_of_state(flags: LearnerFlags) -> list[str]:
    """Return the flags without which the state in a checkpoint has another form."""
    scaled = "--normalize-obs" if flags.replay.normalize_obs else "--no-normalize-obs"
    return [f"--algorithm {flags.algorithm.algorithm}", scaled, *flags.algorithm.sizes]


def _build_ingest(
    flags: LearnerFlags,
    spec: EnvSpec,
    replay: Replay,
    journal: Journal,
    limiter: RateLimiter,
    refusals: Refusals,
) -> Ingest:
    """Return the ingest, with the limits from the flags."""
    limits = flags.transport
    sessions = Sessions(
        silent_after_s=limits.silent_after_s,
        gone_after_s=limits.gone_after_s,
        max_actors_per_key=limits.max_actors_per_key,
    )
    throttle = Throttle(limits.max_actor_batches_per_s, limits.max_actor_bytes_per_s)
    return Ingest(spec, replay, journal, sessions, throttle, limiter, refusals=refusals)


def _resume(learner: Learner, recovered: Recovered, flags: LearnerFlags) -> None:
    """Restore sessions and rows from the journal, and everything else from the newest checkpoint."""
    parts, total = learner.parts, flags.learner.total_env_steps
    parts.ingest.ledger.restore(recovered)
    parts.selection.recover()
    if parts.ingest.env_steps >= total:
        # The learner was killed while its actors were leaving: take their remaining batches, and end them.
        learner.awaited = {"alive", "late", "gone"}
        if flags.run.auto_resume:  # actors started along with this learner must be told that the run is done
            learner.awaited |= {"left"}
        elif parts.ingest.sessions.all_left():
            raise ConfigError(
                f"--total-env-steps {total}: the run already has {parts.ingest.env_steps};"
                " allowed: more than that"
            )
    _load(learner, parts.checkpoints.load_newest())
    # The journal is newer than the checkpoint after a crash.
    parts.limiter.env_steps = parts.ingest.env_steps
    told = int(parts.ingest.ledger.told.get("weights_version", 0))
    parts.publisher.version = max(parts.publisher.version, told)


def _load(learner: Learner, state: dict[str, Any]) -> None:
    try:
        learner.load_state_dict(state)
    except STATE_ERRORS as error:
        reason = " ".join(str(error).split())[:200]
        raise ConfigError(f"--resume: the checkpoint does not fit the flags ({reason})") from None


def _begin(learner: Learner, run: RunDirectory) -> None:
    """Write everything that a resume needs, before the first batch is acknowledged."""
    try:
        learner.parts.ingest.ledger.checkpoint()
    except OSError as error:
        raise StorageError(f"{run.journal}: {error.strerror}; nothing could be acknowledged") from None
    if not learner.save():
        raise StorageError(f"{run.checkpoints}: the first checkpoint could not be written")
