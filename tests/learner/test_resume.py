"""Stopping and going on is the same, bit for bit, as never having stopped."""

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch

from graspfleet.common.messages import Ack, Status, Weights
from graspfleet.common.net.experience import Received
from graspfleet.common.protocol import decode, encode
from graspfleet.common.runtime.run_directory import RunDirectory
from graspfleet.common.runtime.seeds import seed_sequence
from graspfleet.common.runtime.signals import StopSignal
from graspfleet.common.settings.flags import LearnerFlags, parse
from graspfleet.learner.access.refusals import Refusals
from graspfleet.learner.algorithm import Algorithm, all_settings, definition
from graspfleet.learner.assembly import assemble, build_algorithm
from graspfleet.learner.experience.demonstrations.loader import Demos
from graspfleet.learner.experience.journal import Journal
from graspfleet.learner.loop import Parts
from graspfleet.learner.reporting.metrics import declared
from graspfleet.learner.sac.agent import SAC
from graspfleet.learner.sac.cuda.agent import CudaSAC
from graspfleet.learner.sac.cuda.device import Host
from graspfleet.learner.sac.settings import SACConfig
from graspfleet.learner.storage.checkpoint import Checkpoints
from tests.fakes import SPEC, make_batch, make_records
from tests.learner.test_publisher import Event

BATCH_SIZE = 4
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
        records = make_records(BATCH_SIZE)
        for name in ("obs", "next_obs", "reward"):
            records[name] = rng.normal(size=records[name].shape)
        records["action"] = rng.uniform(-1, 1, records["action"].shape)
        return Received(encode(make_batch(records, seq=seq, produced=BATCH_SIZE * (seq + 1))))

    def wait(self, timeout_s: float) -> bool:
        return False

    def publish(self, frame: bytes) -> None:
        self.frames.append(frame)

    def acknowledge(self, actor_id: str, ack: Ack) -> None:
        pass

    def refuse(self) -> None:
        assert self.refusals.due() == []

    def metrics(self) -> dict[str, float]:
        return {}

    def status(self, status: Status) -> None:
        self.statuses.append(status)


@dataclass(frozen=True)
class Done:
    """A learner after its run, and what it said."""

    parts: Parts
    stream: Stream

    @property
    def updates(self) -> int:
        return self.parts.progress.updates

    @property
    def state(self) -> dict[str, object]:
        return self.parts.algorithm.state_dict()


Build = Callable[[LearnerFlags], Algorithm]


def plain(flags: LearnerFlags) -> Algorithm:
    """Return what a learner would train by itself."""
    return build_algorithm(flags, definition(flags.algorithm.algorithm), SPEC)


def learn(
    folder: Path,
    env_steps: int,
    *more: str,
    resume: bool = False,
    stream: type[Stream] = Stream,
    build: Build = plain,
) -> Done:
    """Return a learner after its run to `env_steps`."""
    where = ("--resume" if resume else "--run-dir", str(folder))
    run = RunDirectory(folder)
    run.claim(resume=resume)
    if not resume:
        run.config.write_text("{}")
    words = [*FLAGS, *more, *where, "--total-env-steps", str(env_steps)]
    flags = parse(LearnerFlags, words, prog="test", algorithms=all_settings())
    journal = Journal(run.journal)
    recovered = journal.recover() if resume else None
    first = 0 if recovered is None else recovered.snapshot["num_rows"] // BATCH_SIZE
    if recovered is not None and recovered.entries:  # what came after the snapshot
        first = (recovered.entries[-1].start + recovered.entries[-1].inserted) // BATCH_SIZE
    sockets = stream(first, env_steps // BATCH_SIZE)
    algorithm = definition(flags.algorithm.algorithm)
    learner = assemble(flags, algorithm, build(flags), SPEC, sockets, run, journal, recovered)
    learner.run(StopSignal())
    journal.close()
    run.release()
    return Done(learner.parts, sockets)


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
    assert flat(whole.state) == flat(parts.state)
    assert flat(whole.parts.sampler.state_dict()) == flat(parts.parts.sampler.state_dict())
    assert whole.parts.limiter.state_dict() == parts.parts.limiter.state_dict()
    assert whole.parts.ingest.sessions.totals() == parts.parts.ingest.sessions.totals()


def test_the_same_with_demonstrations(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "graspfleet.learner.assembly.load_demos", lambda where, spec, rng: Demos(make_records(50), rng)
    )
    words = ("--demos", "any", "--demo-fraction", "0.5")
    whole = learn(tmp_path / "whole", 400, *words)
    learn(tmp_path / "parts", 200, *words)
    parts = learn(tmp_path / "parts", 400, *words, resume=True)
    assert whole.updates == parts.updates > 90
    assert flat(whole.state) == flat(parts.state)
    assert flat(whole.parts.sampler.state_dict()) == flat(parts.parts.sampler.state_dict())
    without = learn(tmp_path / "without", 400)
    assert flat(without.state) != flat(whole.state)


def test_demonstrations_may_come_and_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "graspfleet.learner.assembly.load_demos", lambda where, spec, rng: Demos(make_records(50), rng)
    )
    for env_steps, words in ((100, ()), (200, ("--demos", "any")), (300, ())):
        learner = learn(tmp_path, env_steps, *words, resume=env_steps > 100)
        assert learner.parts.ingest.env_steps == env_steps


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
    published = versions(before.stream.frames[:20])
    after = learn(killed, 400, *often, resume=True)
    rows = [json.loads(line) for line in (killed / "metrics.jsonl").read_text().splitlines()]
    assert len(rows) > len(told) > 0
    metrics = declared({})
    for name in (name for name, metric in metrics.items() if metric.kind != "gauge"):
        values = [row[name] for row in rows if name in row]
        assert values == sorted(values), name
    assert not published & versions(after.stream.frames)


def versions(frames: list[bytes]) -> set[int]:
    """Return the numbers of published policies."""
    messages = [decode(frame) for frame in frames]
    return {message.version for message in messages if isinstance(message, Weights)}


class SlowHost(Host):
    """A place from where nothing comes until it is waited for."""

    def fetch(self, values: torch.Tensor) -> tuple[torch.Tensor, Event]:
        return values.clone(), Event()


def captured_on_host(flags: LearnerFlags) -> CudaSAC:
    """Return what learns on a GPU, uncaptured on the host."""
    settings, shape = flags.algorithm, (flags.learner.updates_per_dispatch or 1, flags.replay.batch_size)
    assert isinstance(settings, SACConfig)
    seed = int(seed_sequence(flags.env.seed, "learner").spawn(3)[0].generate_state(1)[0])
    return CudaSAC(SAC(SPEC, settings, seed=seed), SPEC, shape, SlowHost())


@pytest.mark.parametrize("captured", [False, True])
def test_the_same_with_several_updates_in_one_go(tmp_path: Path, captured: bool) -> None:
    words, build = ("--updates-per-dispatch", "4"), captured_on_host if captured else plain
    whole = learn(tmp_path / "whole", 400, *words, build=build)
    learn(tmp_path / "parts", 200, *words, build=build)
    parts = learn(tmp_path / "parts", 400, *words, build=build, resume=True)
    assert whole.updates == parts.updates > 4 * 90
    assert whole.updates % 4 == 0
    assert whole.parts.limiter.samples == whole.updates * 8
    newest = decode(whole.stream.frames[-1])
    assert isinstance(newest, Weights)
    assert (newest.updates, newest.version) == (whole.updates, whole.parts.publisher.version)
    assert flat(whole.state) == flat(parts.state)
    assert flat(whole.parts.sampler.state_dict()) == flat(parts.parts.sampler.state_dict())
    assert isinstance(whole.parts.algorithm, CudaSAC) == captured


def test_a_damaged_newest_checkpoint_falls_back_to_the_one_before(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    learn(tmp_path, 200)
    newest = sorted((tmp_path / "checkpoints").glob("step-*.pt"))[-1]
    newest.write_bytes(newest.read_bytes()[:1000])
    flags = ["--algorithm sac", "--no-normalize-obs", *SACConfig(hidden_dim=16).sizes]
    older = Checkpoints(tmp_path / "checkpoints", 3, flags).load_newest()
    assert older["updates"] < 40
    assert "damaged" in caplog.text
    learner = learn(tmp_path, 400, resume=True)
    assert learner.parts.ingest.env_steps == 400
    totals = learner.parts.ingest.sessions.totals()
    assert totals["produced"] == totals["inserted"] == 400
