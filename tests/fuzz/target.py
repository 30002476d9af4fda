"""What the fuzzers call: bytes into `decode` and into an ingest, with everything checked that must hold."""

import logging
import tempfile
from pathlib import Path

import numpy as np

from graspfleet.common.errors import ProtocolError
from graspfleet.common.protocol import PREFIX, decode, encode
from graspfleet.common.specs import MAX_MAGNITUDE, EnvSpec
from graspfleet.learner.experience.ingest import Ingest
from graspfleet.learner.experience.journal import Entry, Journal
from graspfleet.learner.experience.peers.sessions import Sessions
from graspfleet.learner.experience.peers.throttle import Throttle
from graspfleet.learner.experience.replay import Replay
from tests.fakes import IMAGE_SPEC, SPEC, seal

KEY = "a"
"""The sender's key: it may speak for `a` and `a-...`, and for nobody else."""
MAX_EXECUTIONS = 1000
"""Executions with one ingest, so that sessions do not pile up over millions of them."""
CAPACITY = 64


class ForgetfulJournal(Journal):
    """Checks what is written down, and keeps nothing."""

    def __init__(self) -> None:
        super().__init__(Path())
        self.inserted = 0

    def append(self, entry: Entry) -> None:
        assert entry.start == self.inserted
        assert entry.lost == 0 or entry.inserted == 0
        self.inserted += entry.inserted


class Side:
    """An ingest of one spec."""

    def __init__(self, spec: EnvSpec, folder: Path) -> None:
        folder.mkdir()
        self._spec = spec
        self._replay = Replay(folder / "replay.bin", spec, CAPACITY, np.random.default_rng(0))
        self.renew()

    def renew(self) -> None:
        """Start again with nothing."""
        self._replay.restore(0)
        sessions = Sessions(silent_after_s=5.0, gone_after_s=30.0, max_actors_per_key=100)
        self._ingest = Ingest(self._spec, self._replay, ForgetfulJournal(), sessions, Throttle(1e9, 1e12))

    def accept(self, data: bytes, now_s: float) -> None:
        """Take a frame, and check what it has changed."""
        before = self._replay.rows.count
        self._ingest.accept(data, now_s, KEY)
        actors = {actor_id for actor_id, _ in self._ingest.acknowledgements()}
        assert all(actor_id == KEY or actor_id.startswith(f"{KEY}-") for actor_id in actors)
        count = self._replay.rows.count - before
        if count:
            records = self._replay.read(before, count)
            for name in ("obs", "next_obs", "reward"):
                assert (np.abs(records[name]) <= MAX_MAGNITUDE).all()
            assert (np.abs(records["action"]) <= 1).all()
            for name in ("frame", "next_frame") if self._spec.images else ():
                assert (records[name] < self._replay.num_frames).all()
            if len(self._replay):
                self._replay.sample(4)
        totals = self._ingest.sessions.totals()
        assert totals["inserted"] == self._replay.rows.count >= self._replay.env_steps >= 0


class Target:
    """Takes any bytes; raises only if the code under test is wrong."""

    def __init__(self) -> None:
        logging.disable(logging.CRITICAL)
        self._folder = tempfile.TemporaryDirectory()
        folder = Path(self._folder.name)
        self._sides = [Side(SPEC, folder / "numbers"), Side(IMAGE_SPEC, folder / "images")]
        self.executions = 0
        self.accepted = 0

    def __call__(self, data: bytes) -> None:
        """Try the bytes as they are, and once more with a right checksum, which mutation never finds."""
        self.executions += 1
        if self.executions % MAX_EXECUTIONS == 0:
            for side in self._sides:
                side.renew()
        self._sides[0].accept(data, float(self.executions))
        if len(data) < PREFIX.size:
            return
        sealed = seal(data)
        try:
            message = decode(sealed)
        except ProtocolError:
            return
        self.accepted += 1
        again = encode(message)  # whatever is let in can be said again, and means the same
        assert encode(decode(again)) == again
        for side in self._sides:
            side.accept(sealed, float(self.executions))

    def close(self) -> None:
        """Remove the replays' files, and let everyone log again."""
        self._folder.cleanup()
        logging.disable(logging.NOTSET)
