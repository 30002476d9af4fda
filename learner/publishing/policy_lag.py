"""The age of the policies that produced the arriving transitions.

In: published versions, and the version that produced each batch. Out: two means. Pure.
"""

from collections import OrderedDict
from collections.abc import Mapping

from graspfleet.learner.reporting.metric import Metric

METRICS = {
    "policy_lag": Metric(
        "versions",
        "mean over the transitions since the last row: newest version − version that acted (0"
        " = random actions)",
    ),
    "policy_age": Metric(
        "env steps",
        "mean over the transitions since the last row whose actions came from a policy: "
        "`env_steps` before the transition − `env_steps` when that policy was published",
    ),
}
"""Metrics that this part measures."""

KEPT_VERSIONS = 4096
"""Number of published versions whose env step is kept; an older version counts as the oldest of them."""


class PolicyLag:
    """Mean ages of acting policies, over the transitions since the last call of `metrics`.

    Attributes:
        version: the newest version published; 0 before the first.
    """

    def __init__(self) -> None:
        self.version = 0
        self._published: OrderedDict[int, int] = OrderedDict()
        self._versions_sum = self._num_versions = 0
        self._steps_sum = self._num_steps = 0
        self._versions = self._steps = 0.0

    def published(self, version: int, env_steps: int) -> None:
        """Record that a version was published after `env_steps`; a repeated call has no effect."""
        if version in self._published:
            return
        self.version = version
        self._published[version] = env_steps
        if len(self._published) > KEPT_VERSIONS:
            self._published.popitem(last=False)

    def arrived(self, count: int, version: int, env_steps: int) -> None:
        """Count inserted transitions.

        Args:
            count: number of transitions.
            version: newest policy version that produced them; 0 for random actions.
            env_steps: env steps inserted before them.
        """
        self._versions_sum += count * max(0, self.version - version)
        self._num_versions += count
        if version and self._published:
            published = self._published.get(version, next(iter(self._published.values())))
            self._steps_sum += count * max(0, env_steps - published)
            self._num_steps += count

    def metrics(self) -> Mapping[str, float]:
        """Return both means; the previous values if nothing has arrived since."""
        if self._num_versions:
            self._versions = self._versions_sum / self._num_versions
        if self._num_steps:
            self._steps = self._steps_sum / self._num_steps
        self._versions_sum = self._num_versions = self._steps_sum = self._num_steps = 0
        return {"policy_lag": self._versions, "policy_age": self._steps}
