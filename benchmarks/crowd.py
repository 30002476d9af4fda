"""A thousand light actors on one learner: nothing lost, little memory, and updates that hardly notice.

    python -m benchmarks.crowd --count 1000 --rate 4000 --seconds 60

Each light actor has the three sockets and the writer of a real one, and no environment. The learner runs on
core 0, the crowd on core 1. Windows with and without traffic alternate; prints one JSON object.
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

from actor.link import Inbox, Link
from actor.writer import Writer
from common.children import Child, end
from common.config import TransportConfig
from common.run_directory import RunDirectory
from common.specs import EnvSpec
from common.transport import ExperienceSender
from learner.replay import Replay

SPEC = EnvSpec("Crowd-v0", obs_dim=32, action_dim=4, discount=0.99, n_step=1)
EXPLORE_STEPS = 2000
BATCH_MAX_DELAY_S = 4.0
"""So that slow actors fill their batches about as well as 16 fast ones would."""
PUBLISH_INTERVAL_S = 2.0
"""A policy of 320 kB to a thousand actors five times a second would be 1.6 GB/s."""
REPLAY_N = 1_000_000
WINDOWS_N = 3
DEADLINE_S = 60.0


class Crowd:
    """Many writers in one process, each with its own connections.

    Args:
        count: light actors.
        config: where the learner listens.
    """

    def __init__(self, count: int, config: TransportConfig) -> None:
        zmq.Context.instance().set(zmq.MAX_SOCKETS, 10 * count + 64)  # three, each with its monitor
        self.links: list[tuple[Writer, Link]] = []
        self._obs = np.zeros(SPEC.obs_dim, np.float32)
        self._action = np.zeros(SPEC.action_dim, np.float32)
        for index in range(count):
            writer = Writer(
                SPEC,
                f"light-{index}",
                os.urandom(8).hex(),
                batch_max_n=32,
                batch_max_delay_s=BATCH_MAX_DELAY_S,
                window_n=8,
                resend_after_s=5.0,
            )
            sender = ExperienceSender(config)
            sender.connect("127.0.0.1", config.experience_port)
            self.links.append((writer, Link(writer, Inbox("127.0.0.1", config, writer.actor_id), sender)))

    @property
    def produced(self) -> int:
        """Transitions made so far."""
        return sum(writer.produced for writer, _ in self.links)

    def run(self, rate_hz: float, seconds: float) -> None:
        """Make `rate_hz` transitions a second in all, evenly spread over the actors."""
        start_s = time.monotonic()
        made = 0
        while (now_s := time.monotonic() - start_s) < seconds:
            for index, (writer, link) in enumerate(self.links):
                due = int(now_s * rate_hz / len(self.links)) - int(made / len(self.links))
                for _ in range(due if writer.has_room else 0):
                    self._obs[:2] = index, writer.produced
                    writer.add(self._obs, self._obs, self._action, 0.0, 0.99, False, False)
                link.pump()
                link.inbox.weights.newest()
            made = int(now_s * rate_hz / len(self.links)) * len(self.links)
            time.sleep(0.02)

    def leave(self, linger_s: float) -> bool:
        """Deliver everything; return whether all of it was acknowledged."""
        return all([link.leave(linger_s) for _, link in self.links])


def last_row(run: RunDirectory) -> dict[str, Any]:
    """Return the newest row of metrics, empty before the first."""
    lines = run.metrics.read_text().splitlines() if run.metrics.exists() else []
    row: dict[str, Any] = json.loads(lines[-1]) if lines else {}
    return row


def times_in_replay(run: RunDirectory, inserted: int) -> NDArray[np.int64]:
    """Return how often each transition that is in the replay is there; each carries its actor and number."""
    replay = Replay(run.replay, SPEC.record, REPLAY_N, np.random.default_rng(0))
    obs = replay.read(0, inserted)["obs"][:, :2].astype(np.int64)
    _, times = np.unique((obs[:, 0] << 32) + obs[:, 1], return_counts=True)
    return times


def measure(crowd: Crowd, run: RunDirectory, rate_hz: float, seconds: float) -> float:
    """Return the learner's updates/s over a window with so much traffic."""
    before = last_row(run)
    crowd.run(rate_hz, seconds)
    after = last_row(run)
    return float((after["updates"] - before["updates"]) / (after["wall_s"] - before["wall_s"]))


def start_learner(run: RunDirectory) -> Child:
    """Start a learner on core 0 that waits for the crowd."""
    run.logs.mkdir(parents=True)
    sizes = ("--replay-capacity", str(REPLAY_N), "--explore-steps", str(EXPLORE_STEPS))
    ports = ("--experience-port", "0", "--weights-port", "0", "--control-port", "0")
    free = ("--updates-per-step", "None", "--total-env-steps", "1000000000", "--log-interval-s", "0.5")
    free = (*free, "--publish-interval-s", str(PUBLISH_INTERVAL_S))
    command = ["learner", "--env", SPEC.env, "--run-dir", str(run.path), *sizes, *ports, *free]
    child = Child("learner", command, run.logs)
    os.sched_setaffinity(child.pid, {0})
    return child


def main() -> int:
    """Run the crowd against a learner; print what was found."""
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--rate", type=float, default=4000.0, help="transitions/s in all")
    parser.add_argument("--seconds", type=float, default=60.0, help="of traffic, in all")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        run = RunDirectory(Path(folder) / "run")
        learner = start_learner(run)
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
        try:
            deadline_s = time.monotonic() + DEADLINE_S
            while not run.endpoints.exists() and time.monotonic() < deadline_s:
                time.sleep(0.05)
            found = observe(run, learner, options)
        finally:
            end([learner], DEADLINE_S)
    print(json.dumps(found))
    return int(found["lost_n"] > 0 or not found["all_acknowledged"])


def observe(run: RunDirectory, learner: Child, options: argparse.Namespace) -> dict[str, Any]:
    """Alternate quiet and busy windows, then have the crowd leave, and count."""
    ports = {name: port for name, port in vars(run.read_endpoints()).items() if name != "host"}
    crowd = Crowd(options.count, TransportConfig(**ports))
    crowd.run(EXPLORE_STEPS, 3.0)  # until updates begin
    deadline_s = time.monotonic() + DEADLINE_S
    while not last_row(run).get("updates_per_s") and time.monotonic() < deadline_s:
        crowd.run(0.0, 0.5)
    window_s = options.seconds / WINDOWS_N
    quiet, busy, before_n = [], [], crowd.produced
    for _ in range(WINDOWS_N):
        quiet.append(measure(crowd, run, 0.0, window_s))
        busy.append(measure(crowd, run, options.rate, window_s))
    memory_bytes = psutil.Process(learner.pid).memory_info().rss
    acknowledged = crowd.leave(DEADLINE_S)
    produced = crowd.produced
    deadline_s = time.monotonic() + DEADLINE_S
    while last_row(run)["inserted"] < produced and time.monotonic() < deadline_s:
        time.sleep(0.1)
    times = times_in_replay(run, last_row(run)["inserted"])
    return {
        "actors": options.count,
        "transitions_per_s": round((produced - before_n) / (WINDOWS_N * window_s)),
        "produced_n": produced,
        "lost_n": produced - len(times),
        "twice_n": int((times > 1).sum()),
        "all_acknowledged": acknowledged,
        "learner_rss_mb": round(memory_bytes / 1e6, 1),
        "updates_per_s_quiet": [round(value, 1) for value in quiet],
        "updates_per_s_busy": [round(value, 1) for value in busy],
        "busy_over_quiet": round(statistics.median(busy) / statistics.median(quiet), 3),
    }


if __name__ == "__main__":
    sys.exit(main())
