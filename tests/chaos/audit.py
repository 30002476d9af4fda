"""An audit of a finished run: every env step ever made, looked up in its replay."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from graspfleet.common.runtime.run_directory import RunDirectory
from graspfleet.common.specs import EnvSpec
from graspfleet.learner.experience.ingest import Ingest
from graspfleet.learner.experience.journal import Journal
from graspfleet.learner.experience.peers.sessions import Sessions
from graspfleet.learner.experience.replay import Replay
from tests.chaos.counting_env import steps_made


@dataclass(frozen=True)
class Audit:
    """The fate of the env steps of all processes.

    Attributes:
        made: env steps, by process.
        missing: of them not in the replay, by process; only those with some.
        twice: env steps that are in the replay more than once, over all processes.
        totals: of the learner's sessions.
        counters: of the learner's ingest.
    """

    made: dict[int, int]
    missing: dict[int, int]
    twice: int
    totals: dict[str, int]
    counters: dict[str, int]

    def __str__(self) -> str:
        """Return one line for people."""
        return (
            f"{sum(self.made.values()):,} env steps by {len(self.made)} processes; twice: {self.twice};"
            f" missing, by process: {sorted(self.missing.values()) or 0}; {self.totals}; {self.counters}"
        )


def reopen(run: RunDirectory, capacity: int) -> tuple[Replay, Ingest]:
    """Return the replay of a finished run, and an ingest with its sessions."""
    journal = Journal(run.journal)
    recovered = journal.recover()
    spec = EnvSpec.from_mapping(recovered.snapshot["spec"])
    replay = Replay(run.replay, spec, capacity, np.random.default_rng(0))
    ingest = Ingest(spec, replay, journal, Sessions(silent_after_s=1, gone_after_s=1))
    ingest.ledger.restore(recovered)
    journal.close()
    return replay, ingest


def audit(run: RunDirectory, capacity: int, made_folder: Path, *, strangers: bool = False) -> Audit:
    """Return the fate of every env step; the replay must not have wrapped around.

    Args:
        run: of which learner.
        capacity: of its replay.
        made_folder: files in which the environments count their steps.
        strangers: whether other peers may have written to the replay.
    """
    replay, ingest = reopen(run, capacity)
    assert replay.env_steps <= capacity
    obs = replay.read(0, replay.env_steps)["obs"].astype(np.int64)
    process, number = (obs[:, 0] << 16) + obs[:, 1], obs[:, 2]
    # The first step of a process is its actor's check of the environment, not a transition.
    made, missing, twice = {name: max(0, count - 1) for name, count in steps_made(made_folder).items()}, {}, 0
    for name, count in made.items():
        times = np.bincount(number[process == name] - 1, minlength=count)
        assert len(times) == count, "a transition that was never made"
        twice += int((times > 1).sum())
        if absent := int((times[:count] == 0).sum()):
            missing[name] = absent
            assert not times[count - absent :].any(), "a gap, and not at the end"
    assert strangers or sum(made.values()) - sum(missing.values()) + twice == replay.env_steps
    return Audit(made, missing, twice, ingest.sessions.totals(), dict(ingest.counters))
