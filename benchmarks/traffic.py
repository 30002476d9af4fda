"""Cost of 16 actors' traffic for the learner: updates/s with traffic / updates/s without."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.comparison import Comparison, Threshold, Worker
from benchmarks.learner import LearnerProcess
from benchmarks.many_actors import EXPLORE_STEPS, ManyActors
from benchmarks.workload import SPEC, Measure
from graspfleet.common.settings.processes import ActorConfig

NUM_ACTORS = 16
RATE_HZ = 4000.0
"""Transitions a second, of all actors together."""
SECONDS = 4.0


@contextmanager
def measure_updates() -> Iterator[Measure]:
    """Yield the measure: a learner on the first core, a process of 16 light actors on the second."""
    learner_core, crowd_core = sorted(os.sched_getaffinity(0))
    flags = ("--env", SPEC.env, "--explore-steps", str(EXPLORE_STEPS), "--log-interval-s", "0.1")
    os.sched_setaffinity(0, {learner_core})
    with tempfile.TemporaryDirectory() as folder:
        learner = LearnerProcess(Path(folder), *flags)
        os.sched_setaffinity(0, {crowd_core})
        many = ManyActors(NUM_ACTORS, learner.transport, ActorConfig().max_batch_delay_s)

        def updates_per_s(rate_hz: float) -> float:
            return learner.per_second("updates", lambda: many.run(rate_hz, SECONDS))

        try:
            many.begin(learner)
            yield lambda: {"16 actors": updates_per_s(RATE_HZ), "no traffic": updates_per_s(0.0)}
        finally:
            learner.close()


COMPARISONS = (
    Comparison(
        "traffic",
        f"updates of a learner while {NUM_ACTORS} actors send {RATE_HZ:g} transitions/s in all",
        "updates/s",
        2,
        (Worker("benchmarks.traffic:measure_updates"),),
        (Threshold("16 actors", "no traffic", 0.95),),
    ),
)
