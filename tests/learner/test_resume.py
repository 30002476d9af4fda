"""Stopping and going on is the same, bit for bit, as never having stopped."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from common.config import LearnerConfig, SACConfig
from common.flags import LearnerFlags, parse
from common.messages import Ack, Status, Weights
from common.net.experience import Received
from common.protocol import decode, encode
from common.runtime.run_directory import RunDirectory
from common.runtime.signals import StopSignal
from common.specs import EnvSpec
from learner.access.refusals import Refusals
from learner.checkpoint import Checkpoints
from learner.experience.demonstrations.loader import Demos
from learner.experience.journal import Journal
from learner.loop import Learner
from learner.reporting.metrics import JOURNALED, SAID
from learner.sac.cuda.agent import GraphSACAgent
from learner.sac.cuda.device import Host
from tests.fakes import SPEC, make_batch, make_records
from tests.learner.test_publisher import Event

BATCH_N = 4
FLAGS = (
    *("--env", SPEC.env, "--discount", str(SPEC.discount), "--hidden-dim", "16", "--batch-size", "8"),
    *("--explore-steps", "8", "--replay-capacity", "64", "--drain-timeout-s", "0"),
    *("--updates-per-step", "None"),
)


class Stream:
    """The learner's sockets, with the same batches for every learner, one at a look."""

    def __init__(self, first_seq: int, last_seq: int) -> None:
        self._seqs = iter(range(first_seq, last_seq))
        self._looked = True
        self.weights = self
        self.frames: list[bytes] = []
        self.statuses: list[Status] = []
        self.refusals = Refusals()

    def receive(self) -> Received | None:
        self._looked = not self._looked
        if self._looked or (seq := next(self._seqs, None)) is None:
            return None
        rng = np.random.default_rng(seq)
        records = make_records(BATCH_N)
        for name in ("obs", "next_obs", "reward"):
            records[name] = rng.normal(size=records[name].shape)
        records["action"] = rng.uniform(-1, 1, records["action"].shape)
        return Received(encode(make_batch(records, seq=seq, produced=BATCH_N * (seq + 1))))

    def wait(self, timeout_s: float) -> bool:
        return False

    def publish(self, frame: bytes) -> None:
        self.frames.append(frame)

    def acknowledge(self, actor_id: str, ack: Ack) -> None:
        pass

    def refuse(self) -> None:
        assert self.refusals.due() == []

    def counts(self) -> dict[str, int]:
        return {}

    def status(self, status: Status) -> None:
        self.statuses.append(status)


def learn(
    folder: Path, env_steps: int, *more: str, resume: bool = False, stream: type[Stream] = Stream
) -> Learner:
    """Return a learner after its run to `env_steps`."""
    where = ("--resume" if resume else "--run-dir", str(folder))
    run = RunDirectory(folder)
    run.claim(resume=resume)
    if not resume:
        run.config.write_text("{}")
    flags = parse(LearnerFlags, [*FLAGS, *more, *where, "--total-env-steps", str(env_steps)], prog="test")
    journal = Journal(run.journal)
    recovered = journal.recover() if resume else None
    first = 0 if recovered is None else recovered.snapshot["inserted"] // BATCH_N
    if recovered is not None and recovered.entries:  # what came after the snapshot
        first = (recovered.entries[-1].start + recovered.entries[-1].inserted) // BATCH_N
    sockets = stream(first, env_steps // BATCH_N)
    learner = Learner(flags, SPEC, sockets, run, journal, recovered)  # type: ignore[arg-type]
    learner.run(StopSignal())
    journal.close()
    run.release()
    return learner


def flat(state: object) -> list[object]:
    """Return every leaf of nested containers, tensors as lists."""
    if isinstance(state, dict):
        return [leaf for key in sorted(state, key=str) for leaf in (key, *flat(state[key]))]
    if isinstance(state, (list, tuple)):
        return [leaf for item in state for leaf in flat(item)]
    return [state.tolist()] if isinstance(state, torch.Tensor) else [state]


def test_n_updates_a_stop_and_n_more_equal_2n_updates(tmp_path: Path) -> None:
    whole = learn(tmp_path / "whole", 400)
    learn(tmp_path / "parts", 200)
    parts = learn(tmp_path / "parts", 400, resume=True)
    assert whole.updates == parts.updates > 90
    assert flat(whole.agent.state_dict()) == flat(parts.agent.state_dict())
    assert flat(whole.replay.state_dict()) == flat(parts.replay.state_dict())
    assert whole.limiter.state_dict() == parts.limiter.state_dict()
    assert whole.ingest.sessions.totals() == parts.ingest.sessions.totals()


def test_the_same_with_demonstrations(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("learner.loop.load_demos", lambda where, spec, rng: Demos(make_records(50), rng))
    words = ("--demos", "any", "--demo-fraction", "0.5")
    whole = learn(tmp_path / "whole", 400, *words)
    learn(tmp_path / "parts", 200, *words)
    parts = learn(tmp_path / "parts", 400, *words, resume=True)
    assert whole.updates == parts.updates > 90
    assert flat(whole.agent.state_dict()) == flat(parts.agent.state_dict())
    assert flat(whole.sampler.state_dict()) == flat(parts.sampler.state_dict())
    without = learn(tmp_path / "without", 400)
    assert flat(without.agent.state_dict()) != flat(whole.agent.state_dict())


def test_demonstrations_may_come_and_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("learner.loop.load_demos", lambda where, spec, rng: Demos(make_records(50), rng))
    for env_steps, words in ((100, ()), (200, ("--demos", "any")), (300, ())):
        learner = learn(tmp_path, env_steps, *words, resume=env_steps > 100)
        assert learner.env_steps == env_steps


def test_after_a_kill_no_number_falls_and_no_version_is_used_again(tmp_path: Path) -> None:
    run, killed = tmp_path / "run", tmp_path / "killed"
    often = ("--publish-interval-s", "0.001", "--log-interval-s", "0.01")

    class Killing(Stream):
        """Keeps the folder as `kill -9` in the middle of the run would leave it."""

        def publish(self, frame: bytes) -> None:
            super().publish(frame)
            if len(self.frames) == 20:
                shutil.copytree(run, killed)

    before = learn(run, 400, *often, stream=Killing)
    assert killed.exists()
    told = [json.loads(line) for line in (killed / "metrics.jsonl").read_text().splitlines()]
    published = versions(before.sockets.frames[:20])  # type: ignore[attr-defined]
    after = learn(killed, 400, *often, resume=True)
    rows = [json.loads(line) for line in (killed / "metrics.jsonl").read_text().splitlines()]
    assert len(rows) > len(told) > 0
    for name in JOURNALED | SAID:
        values = [row[name] for row in rows if name in row]
        assert values == sorted(values), name
    assert not published & versions(after.sockets.frames)  # type: ignore[attr-defined]


def versions(frames: list[bytes]) -> set[int]:
    """Return the numbers of published policies."""
    messages = [decode(frame) for frame in frames]
    return {message.version for message in messages if isinstance(message, Weights)}


class SlowHost(Host):
    """A place from where nothing comes until it is waited for."""

    def fetch(self, values: torch.Tensor) -> tuple[torch.Tensor, Event]:  # type: ignore[override]
        return values.clone(), Event()


def choose_graph(spec: EnvSpec, sac: SACConfig, learner: LearnerConfig, *, seed: int) -> GraphSACAgent:
    num_updates = learner.updates_per_dispatch or 1
    return GraphSACAgent(spec, sac, seed=seed, device=SlowHost(), num_updates=num_updates)


@pytest.mark.parametrize("captured", [False, True])
def test_the_same_with_several_updates_in_one_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, captured: bool
) -> None:
    if captured:
        monkeypatch.setattr("learner.loop.choose_agent", choose_graph)
    words = ("--updates-per-dispatch", "4")
    whole = learn(tmp_path / "whole", 400, *words)
    learn(tmp_path / "parts", 200, *words)
    parts = learn(tmp_path / "parts", 400, *words, resume=True)
    assert whole.updates == parts.updates > 4 * 90
    assert whole.updates % 4 == 0
    assert whole.limiter.samples == whole.updates * 8
    newest = decode(whole.sockets.weights.frames[-1])  # type: ignore[attr-defined]
    assert isinstance(newest, Weights)
    assert (newest.updates, newest.version) == (whole.updates, whole.publisher.version)
    assert flat(whole.agent.state_dict()) == flat(parts.agent.state_dict())
    assert flat(whole.replay.state_dict()) == flat(parts.replay.state_dict())
    assert isinstance(whole.agent, GraphSACAgent) == captured


def test_a_damaged_newest_checkpoint_falls_back_to_the_one_before(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    learn(tmp_path, 200)
    newest = sorted((tmp_path / "checkpoints").glob("step-*.pt"))[-1]
    newest.write_bytes(newest.read_bytes()[:1000])
    older = Checkpoints(tmp_path / "checkpoints", 3).load_newest()
    assert older["updates"] < 40
    assert "damaged" in caplog.text
    learner = learn(tmp_path, 400, resume=True)
    assert learner.env_steps == 400
    totals = learner.ingest.sessions.totals()
    assert totals["produced"] == totals["inserted"] == 400
