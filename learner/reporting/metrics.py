"""The table of all metrics, declared by the parts of the learner and by the algorithm.

`docs/metrics.md` has the same names, units and equations; a test compares them.
"""

from graspfleet.learner.access import sockets
from graspfleet.learner.experience import ingest, rate_limiter, replay
from graspfleet.learner.experience.peers import session
from graspfleet.learner.publishing import policy_lag, publisher, select_best
from graspfleet.learner.reporting import episode_means, progress, reporter
from graspfleet.learner.reporting.metric import Metric, Metrics

PARTS = (
    *(progress, reporter, replay, rate_limiter, publisher, policy_lag, session, ingest, sockets),
    *(episode_means, select_best),
)


def declared(algorithm: Metrics) -> Metrics:
    """Return the declarations of all parts and of an algorithm."""
    table: dict[str, Metric] = {}
    for metrics in (*(part.METRICS for part in PARTS), algorithm):
        assert not table.keys() & metrics.keys(), table.keys() & metrics.keys()
        table.update(metrics)
    return table
