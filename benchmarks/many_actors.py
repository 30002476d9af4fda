"""A thousand light actors on one learner: nothing lost, little memory, and updates that hardly notice.

    python -m benchmarks.many_actors --count 1000 --rate 4000 --seconds 60

Each light actor has the three sockets and the writer of a real one, and no environment. The learner runs on
core 0, the many on core 1. Windows with and without traffic alternate; prints one JSON object.
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import zmq
from numpy.typing import NDArray

from benchmarks.learner import LearnerProcess
from benchmarks.workload import SPEC
from graspfleet.actor.learner_client import LearnerClient
from graspfleet.actor.subscriber import Subscriber
from graspfleet.actor.writer import Writer
from graspfleet.common.net.experience import ExperienceSender
from graspfleet.common.observations.fields import Observation
from graspfleet.common.runtime.run_directory import RunDirectory
from graspfleet.common.settings.transport import TransportConfig
from graspfleet.common.transition import Transition
from graspfleet.learner.experience.replay import Replay

EXPLORE_STEPS = 2000
MAX_BATCH_DELAY_S = 4.0
"""Long enough for slow actors to fill their batches about as well as 16 fast ones."""
PUBLISH_INTERVAL_S = 2.0
"""A policy of 320 kB to a thousand actors five times a second would be 1.6 GB/s."""
REPLAY_CAPACITY = 1_000_000
NUM_WINDOWS = 3
DEADLINE_S = 60.0


class ManyActors:
    """Many writers in one process, each with its own connections.

    Args:
        count: light actors.
        config: where the learner listens.
        max_batch_delay_s: a transition waits so long for its batch to fill.
    """

    def __init__(self, count: int, config: TransportConfig, max_batch_delay_s: float) -> None:
        zmq.Context.instance().set(zmq.MAX_SOCKETS, 10 * count + 256)  # three, each with its monitor
        self.clients: list[tuple[Writer, LearnerClient]] = []
        self._obs = np.zeros(SPEC.obs_dim, np.float32)
        self._action = np.zeros(SPEC.action_dim, np.float32)
        for index in range(count):
            writer = Writer(
                SPEC,
                f"light-{index}",
                os.urandom(8).hex(),
                max_batch_transitions=32,
                max_batch_delay_s=max_batch_delay_s,
                max_unacked_transitions=256,
                max_unanswered_transitions=32,
                max_unacked_bytes=1 << 20,
                resend_after_s=5.0,
            )
            sender = ExperienceSender(config)
            sender.connect("127.0.0.1", config.experience_port)
            self.clients.append(
                (writer, LearnerClient(writer, Subscriber("127.0.0.1", config, writer.actor_id), sender))
            )

    @property
    def produced(self) -> int:
        """Transitions made so far."""
        return sum(writer.produced for writer, _ in self.clients)

    def run(self, rate_hz: float, seconds: float) -> None:
        """Make `rate_hz` transitions a second in all, evenly spread over the actors."""
        start_s = time.monotonic()
        made = 0
        while (now_s := time.monotonic() - start_s) < seconds:
            for index, (writer, client) in enumerate(self.clients):
                due = int(now_s * rate_hz / len(self.clients)) - int(made / len(self.clients))
                for _ in range(due if writer.has_room() else 0):
                    self._obs[:2] = index, writer.produced
                    writer.add(
                        Transition(
                            Observation(self._obs),
                            Observation(self._obs),
                            self._action,
                            0.0,
                            0.99,
                            False,
                            False,
                        )
                    )
                client.poll()
                client.subscriber.weights.newest()
            made = int(now_s * rate_hz / len(self.clients)) * len(self.clients)
            time.sleep(0.02)

    def begin(self, learner: LearnerProcess) -> None:
        """Make transitions until the learner's updates have begun."""
        self.run(EXPLORE_STEPS, 3.0)
        learner.until(lambda: self.run(0.0, 0.5) or learner.newest_row().get("updates_per_s"))

    def leave(self, linger_s: float) -> bool:
        """Deliver everything; return whether all of it was acknowledged."""
        return all([client.leave(linger_s) for _, client in self.clients])


def times_in_replay(run: RunDirectory, inserted: int) -> NDArray[np.int64]:
    """Return how often each transition that is in the replay is there; each carries its actor and number."""
    replay = Replay(run.replay, SPEC, REPLAY_CAPACITY, np.random.default_rng(0))
    obs = replay.read(0, inserted)["obs"][:, :2].astype(np.int64)
    _, times = np.unique((obs[:, 0] << 32) + obs[:, 1], return_counts=True)
    return times


def main() -> int:
    """Run the many against a learner; print what was found."""
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--rate", type=float, default=4000.0, help="transitions/s in all")
    parser.add_argument("--seconds", type=float, default=60.0, help="of traffic, in all")
    options = parser.parse_args()
    learner_core, *_, actors_core = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {learner_core})
    with tempfile.TemporaryDirectory() as folder:
        sizes = ("--replay-capacity", str(REPLAY_CAPACITY), "--explore-steps", str(EXPLORE_STEPS))
        rhythm = ("--log-interval-s", "0.5", "--publish-interval-s", str(PUBLISH_INTERVAL_S))
        learner = LearnerProcess(Path(folder), "--env", SPEC.env, *sizes, *rhythm)
        os.sched_setaffinity(0, {actors_core})
        try:
            found = observe(learner, options)
        finally:
            learner.close()
    print(json.dumps(found))
    return int(found["lost"] > 0 or not found["all_acknowledged"])


def observe(learner: LearnerProcess, options: argparse.Namespace) -> dict[str, Any]:
    """Alternate quiet and busy windows, then have the many leave, and count."""
    many = ManyActors(options.count, learner.transport, MAX_BATCH_DELAY_S)
    many.begin(learner)
    window_s = options.seconds / NUM_WINDOWS
    quiet, busy, produced_before = [], [], many.produced
    for _ in range(NUM_WINDOWS):
        quiet.append(learner.per_second("updates", lambda: many.run(0.0, window_s)))
        busy.append(learner.per_second("updates", lambda: many.run(options.rate, window_s)))
    memory_bytes = psutil.Process(learner.pid).memory_info().rss
    acknowledged = many.leave(DEADLINE_S)
    produced = many.produced
    learner.until(lambda: learner.newest_row()["inserted"] >= produced)
    times = times_in_replay(learner.run, produced)
    return {
        "actors": options.count,
        "transitions_per_s": round((produced - produced_before) / (NUM_WINDOWS * window_s)),
        "produced": produced,
        "lost": produced - len(times),
        "duplicated": int((times > 1).sum()),
        "all_acknowledged": acknowledged,
        "learner_rss_mb": round(memory_bytes / 1e6, 1),
        "updates_per_s_quiet": [round(value, 1) for value in quiet],
        "updates_per_s_busy": [round(value, 1) for value in busy],
        "busy_over_quiet": round(statistics.median(busy) / statistics.median(quiet), 3),
    }


if __name__ == "__main__":
    sys.exit(main())
