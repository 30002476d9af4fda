"""Metrics: the page and the table say the same, and nothing that is measured can stop the learner."""

import json
import os
import re
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from common.errors import StorageError
from common.messages import MAX_STATUS_KEYS, Hello, Status
from common.protocol import encode
from common.runtime.run_directory import RunDirectory
from learner.experience.rate_limiter import RateLimiter
from learner.experience.replay import Replay
from learner.reporting.metrics import JOURNALED, METRICS, RECENT_EPISODES, SAID, EpisodeMeans, MetricsLog
from learner.reporting.reporter import Reporter
from tests.fakes import ONE_LINE, SESSION, SPEC, make_batch, make_ingest, make_records, recover_ingest

PAGE = Path(__file__).parents[2] / "docs" / "metrics.md"
ROW = re.compile(r"^\| `(\w+)` \| ([^|]+?) \|", re.MULTILINE)


def test_the_page_documents_exactly_the_metrics_with_their_units() -> None:
    rows = ROW.findall(PAGE.read_text())
    assert len(rows) == len(dict(rows))  # each once
    assert dict(rows) == METRICS


def test_the_log_writes_a_line_a_row_and_keeps_those_of_an_earlier_start(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    for steps in (1, 2):
        log = MetricsLog(run)
        log.write({"env_steps": steps, "q_mean": 0.5})
        log.close()
    rows = [json.loads(line) for line in run.metrics.read_text().splitlines()]
    assert rows == [{"env_steps": 1, "q_mean": 0.5}, {"env_steps": 2, "q_mean": 0.5}]
    assert any(run.tensorboard.iterdir())


def test_a_torn_last_row_does_not_swallow_the_next_one(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    run.metrics.write_text('{"env_steps": 1}\n{"env_st')
    log = MetricsLog(run)
    log.write({"env_steps": 2})
    log.close()
    assert run.metrics.read_text().splitlines() == ['{"env_steps": 1}', '{"env_st', '{"env_steps": 2}']


def test_tensorboard_reads_what_was_written(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    log = MetricsLog(run)
    for steps in (10, 20):
        log.write({"env_steps": steps, "q_mean": steps / 4})
    log.close()
    events = EventAccumulator(str(run.tensorboard)).Reload()
    assert [(event.step, event.value) for event in events.Scalars("q_mean")] == [(10, 2.5), (20, 5.0)]


def test_rows_that_the_disk_refuses_leave_whole_files_and_are_said_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    run = RunDirectory(tmp_path)
    log, whole = MetricsLog(run), os.write
    log.write({"env_steps": 1})
    with monkeypatch.context() as patch:
        patch.setattr("os.write", lambda descriptor, data: whole(descriptor, data[:5]))
        for _ in range(3):
            log.write({"env_steps": 2})
    log.write({"env_steps": 3})
    log.close()
    assert (log.failed, len(caplog.records)) == (3, 1)
    assert run.metrics.read_text() == '{"env_steps": 1}\n{"env_steps": 3}\n'
    events = EventAccumulator(str(run.tensorboard)).Reload()
    assert [event.step for event in events.Scalars("env_steps")] == [1, 3]


def test_files_that_cannot_be_opened_are_told_in_one_line(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    run.metrics.mkdir()
    with pytest.raises(StorageError, match=ONE_LINE):
        MetricsLog(run)


def test_a_metric_that_the_table_does_not_have_is_our_own_bug(tmp_path: Path) -> None:
    log = MetricsLog(RunDirectory(tmp_path))
    with pytest.raises(AssertionError, match="unheard_of"):
        log.write({"env_steps": 1, "unheard_of": 2})
    log.close()


def test_means_run_over_the_newest_episodes() -> None:
    means = EpisodeMeans()
    assert means.values() == {}
    means.add([(100.0, 9, True, 0)] * 5)
    means.add([(1.0, 2, True, 0)] * (RECENT_EPISODES // 2) + [(3.0, 4, False, 0)] * (RECENT_EPISODES // 2))
    assert means.values() == {
        "episode_return": 2.0,
        "episode_length": 3.0,
        "episode_success": 0.5,
    }


@dataclass
class FakePublisher:
    version: int = 3


@dataclass
class FakeSelection:
    counters: Counter[str] = field(default_factory=Counter)


@dataclass
class FakeSockets:
    refused: int = 0

    def counts(self) -> dict[str, int]:
        return {"refused_connections": self.refused, "connections": 9}

    said: list[Status] = field(default_factory=list)

    def status(self, status: Status) -> None:
        encode(status)
        self.said.append(status)


class FakeLearner:
    """The parts that the reporter reads."""

    def __init__(self, folder: Path, *, killed: bool = False) -> None:
        if killed:
            self.ingest, self.replay = recover_ingest(folder, 10)
        else:
            self.replay = Replay(folder / "replay.bin", SPEC.record, 10, np.random.default_rng(0))
            self.ingest = make_ingest(folder, self.replay)
        self.limiter = RateLimiter(samples_per_insert=None, min_inserts=1, tolerance=0.0, batch_size=4)
        self.publisher, self.sockets, self.selection = FakePublisher(), FakeSockets(), FakeSelection()
        self.env_steps = self.updates = 7


GAUGES = {
    *("updates", "env_steps_per_s", "updates_per_s", "samples_per_insert", "replay_size"),
    *("policy_lag", "policy_age"),
    *("actors_alive", "connections", "keys", "insecure"),
    *("episode_return", "episode_length", "episode_success"),
    *(name for name in METRICS if name.startswith("eval_")),
    *("critic_loss", "policy_loss", "temperature_loss", "temperature", "entropy", "q_mean"),
}
"""Metrics that may fall from one row to the next."""


def test_every_metric_that_may_not_fall_survives_in_one_way() -> None:
    assert not JOURNALED & SAID
    assert METRICS.keys() - GAUGES == JOURNALED | SAID


def test_no_counter_falls_below_what_was_told_before_a_kill(tmp_path: Path) -> None:
    learner = FakeLearner(tmp_path)
    reporter = Reporter(learner, RunDirectory(tmp_path))  # type: ignore[arg-type]
    reporter.waited(time.sleep, 0.01)
    learner.sockets.refused = 4
    episode = ((1.0, 2, None, 0),)
    for seq in (0, 1, 1, 9):  # one of them twice, one too early
        batch = make_batch(make_records(2), seq=seq, produced=2 * (seq + 1), episodes=episode)
        learner.ingest.accept(encode(batch), 0.0)
    learner.ingest.accept(b"no message", 0.0)
    reporter.write()
    reporter.send_status()
    told = learner.sockets.said[-1].metrics
    for _ in range(2):  # nothing is saved in between
        learner = FakeLearner(tmp_path, killed=True)
        reporter = Reporter(learner, RunDirectory(tmp_path))  # type: ignore[arg-type]
        reporter.go_on()
        learner.sockets.refused = 1
        reporter.write()
        reporter.send_status()
        now = learner.sockets.said[-1].metrics
        assert all(now[name] >= told[name] for name in (JOURNALED | SAID) & told.keys())
        assert now["wall_s"] > told["wall_s"]
        assert now["refused_connections"] == told["refused_connections"] + 1
        assert (now["duplicates"], now["gaps"], now["malformed"], now["episodes"]) == (1, 1, 1, 2)
        told = now


def test_the_recent_episodes_survive_a_stop(tmp_path: Path) -> None:
    means, again = EpisodeMeans(), EpisodeMeans()
    means.add([(float(number), 3, number % 2 == 0, number) for number in range(RECENT_EPISODES + 9)])
    again.load_state_dict(means.state_dict())
    assert again.values() == means.values()


def test_a_diverged_loss_stops_neither_rows_nor_status(tmp_path: Path) -> None:
    learner = FakeLearner(tmp_path)
    reporter = Reporter(learner, RunDirectory(tmp_path))  # type: ignore[arg-type]
    numbers = {"critic_loss": np.inf, "q_mean": np.nan, "policy_loss": -1.5}
    reporter.losses = {name: torch.tensor(value) for name, value in numbers.items()}
    reporter.write()
    reporter.close()
    (status,) = learner.sockets.said
    assert status.metrics["policy_loss"] == -1.5
    assert not {"critic_loss", "q_mean"} & status.metrics.keys()
    rows = RunDirectory(tmp_path).metrics.read_text()
    assert "NaN" not in rows
    assert "Infinity" not in rows


def test_more_actors_than_a_status_can_name_do_not_stop_it(tmp_path: Path) -> None:
    learner = FakeLearner(tmp_path)
    reporter = Reporter(learner, RunDirectory(tmp_path))  # type: ignore[arg-type]
    for number in range(MAX_STATUS_KEYS + 3):
        spec = SPEC.to_mapping()
        hello = Hello(actor_id=f"actor-{number}", session_id=SESSION, next_seq=0, spec=spec)
        learner.ingest.accept(encode(hello), float(number))  # those heard last are named
    reporter.close()
    (status,) = learner.sockets.said
    assert len(status.actors) == MAX_STATUS_KEYS
    assert f"actor-{MAX_STATUS_KEYS + 2}" in status.actors
