"""Means over the newest training episodes."""

from collections import deque
from collections.abc import Iterable, Mapping

from graspfleet.common.evaluation.statistics import summarize
from graspfleet.common.fields import Episode
from graspfleet.learner.reporting.metric import Metric

METRICS = {
    "episode_return": Metric("reward", "mean of Σ reward, undiscounted"),
    "episode_length": Metric("env steps", "mean length"),
    "episode_success": Metric(
        "share",
        'episodes whose last `info["is_success"]` was true / episodes that report one',
    ),
}
"""Metrics that this part measures."""
RECENT_EPISODES = 100
"""Number of finished training episodes in the means."""


class EpisodeMeans:
    """Means over the newest `RECENT_EPISODES` training episodes.

    Attributes:
        recent: those episodes, oldest first.
    """

    def __init__(self) -> None:
        self.recent: deque[Episode] = deque(maxlen=RECENT_EPISODES)

    def add(self, episodes: Iterable[Episode]) -> None:
        """Add finished episodes."""
        self.recent.extend(episodes)

    def metrics(self) -> Mapping[str, float]:
        """Return the means; none before the first episode."""
        values: dict[str, float] = {}
        if self.recent:
            summary = summarize(self.recent)
            values["episode_return"] = summary["mean_return"] or 0.0
            values["episode_length"] = sum(episode[1] for episode in self.recent) / len(self.recent)
            if summary["success_rate"] is not None:
                values["episode_success"] = summary["success_rate"]
        return values

    def state_dict(self) -> list[Episode]:
        """Return the episodes in the means."""
        return list(self.recent)

    def load_state_dict(self, state: Iterable[Episode]) -> None:
        """Restore the state from `state_dict()`."""
        self.recent.clear()
        self.add(state)
