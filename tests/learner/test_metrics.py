"""Metrics: the page and the table say the same, and nothing that is measured can stop the learner."""

import json
import re
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
import torch

from common.messages import MAX_STATUS_KEYS, Hello, Status
from common.protocol import encode
from common.run_directory import RunDirectory
from learner.metrics import METRICS, RECENT_EPISODES, EpisodeMeans, MetricsLog
from learner.rate_limiter import RateLimiter
from learner.replay import Replay
from learner.reporter import Reporter
from tests.fakes import BOOT, SPEC, make_ingest

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


def test_a_metric_that_the_table_does_not_have_is_our_own_bug(tmp_path: Path) -> None:
    log = MetricsLog(RunDirectory(tmp_path))
    with pytest.raises(AssertionError, match="unheard_of"):
        log.write({"env_steps": 1, "unheard_of": 2})
    log.close()


def test_means_run_over_the_newest_episodes() -> None:
    means = EpisodeMeans()
    assert means.values() == {"episodes": 0}
    means.add([(100.0, 9, True, 0)] * 5)
    means.add([(1.0, 2, True, 0)] * (RECENT_EPISODES // 2) + [(3.0, 4, False, 0)] * (RECENT_EPISODES // 2))
    assert means.values() == {
        "episodes": 5 + RECENT_EPISODES,
        "episode_return": 2.0,
        "episode_length": 3.0,
        "episode_success": 0.5,
    }


@dataclass
class FakePublisher:
    version: int = 3


@dataclass
class FakeSockets:
    def counts(self) -> dict[str, int]:
        return {}

    said: list[Status] = field(default_factory=list)

    def status(self, status: Status) -> None:
        encode(status)
        self.said.append(status)


class FakeLearner:
    """The parts that the reporter reads."""

    def __init__(self, folder: Path) -> None:
        self.replay = Replay(folder / "replay.bin", SPEC.record, 10, np.random.default_rng(0))
        self.ingest = make_ingest(folder, self.replay)
        self.limiter = RateLimiter(samples_per_insert=None, min_inserts=1, tolerance=0.0, batch_size=4)
        self.publisher, self.sockets = FakePublisher(), FakeSockets()
        self.env_steps = self.updates = 7


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
        hello = Hello(actor_id=f"actor-{number}", boot_id=BOOT, next_seq=0, spec=spec)
        learner.ingest.accept(encode(hello), float(number))  # those heard last are named
    reporter.close()
    (status,) = learner.sockets.said
    assert len(status.actors) == MAX_STATUS_KEYS
    assert f"actor-{MAX_STATUS_KEYS + 2}" in status.actors
