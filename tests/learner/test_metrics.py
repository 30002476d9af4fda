"""Metrics: the page and the table say the same, and nothing that is measured can stop the learner."""

import json
import os
import re
import time
from pathlib import Path

import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from graspfleet.common.errors import StorageError
from graspfleet.common.fields import MAX_STATUS_KEYS
from graspfleet.common.messages import Hello, Status
from graspfleet.common.protocol import encode
from graspfleet.common.runtime.run_directory import RunDirectory
from graspfleet.learner.algorithm import ALGORITHMS, definition
from graspfleet.learner.experience.replay import Replay
from graspfleet.learner.reporting.episode_means import RECENT_EPISODES, EpisodeMeans
from graspfleet.learner.reporting.metric import Metrics
from graspfleet.learner.reporting.metrics import declared
from graspfleet.learner.reporting.metrics_log import MetricsLog
from graspfleet.learner.reporting.progress import Progress
from graspfleet.learner.reporting.reporter import Reporter
from tests.fakes import ONE_LINE, SESSION, SPEC, make_batch, make_ingest, make_records, recover_ingest

PAGE = Path(__file__).parents[2] / "docs" / "metrics.md"
ROW = re.compile(r"^\| `(\w+)` \| ([^|]+?) \| (.*) \|$", re.MULTILINE)
METRICS = declared(definition("sac").METRICS)


def sections() -> dict[str, Metrics]:
    """Return what the page says: the metrics of the learner, and of each algorithm."""
    found: dict[str, Metrics] = {}
    for part in re.split(r"^## ", PAGE.read_text(), flags=re.MULTILINE):
        heading = re.match(r"Algorithm `([\w-]+)`", part)
        name = heading[1] if heading else ""
        rows = {name: (unit, equation.replace("\\|", "|")) for name, unit, equation in ROW.findall(part)}
        assert len(rows) == len(ROW.findall(part))  # each once
        assert not rows.keys() & found.get(name, {}).keys()
        found[name] = {**found.get(name, {}), **rows}
    return found


def words(metrics: Metrics) -> dict[str, tuple[str, str]]:
    return {name: (metric.unit, metric.equation) for name, metric in metrics.items()}


def test_the_page_has_each_declared_metric_with_its_unit_and_equation() -> None:
    page = sections()
    assert page[""] == words(declared({}))
    assert page.keys() - {""} == ALGORITHMS.keys()
    for name in ALGORITHMS:
        assert page[name] == words(definition(name).METRICS)


def test_the_log_writes_a_line_a_row_and_keeps_those_of_an_earlier_start(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    for steps in (1, 2):
        log = MetricsLog(run, METRICS)
        log.write({"env_steps": steps, "q_mean": 0.5})
        log.close()
    rows = [json.loads(line) for line in run.metrics.read_text().splitlines()]
    assert rows == [{"env_steps": 1, "q_mean": 0.5}, {"env_steps": 2, "q_mean": 0.5}]
    assert any(run.tensorboard.iterdir())


def test_a_torn_last_row_does_not_swallow_the_next_one(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    run.metrics.write_text('{"env_steps": 1}\n{"env_st')
    log = MetricsLog(run, METRICS)
    log.write({"env_steps": 2})
    log.close()
    assert run.metrics.read_text().splitlines() == ['{"env_steps": 1}', '{"env_st', '{"env_steps": 2}']


def test_tensorboard_reads_what_was_written(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    log = MetricsLog(run, METRICS)
    for steps in (10, 20):
        log.write({"env_steps": steps, "q_mean": steps / 4})
    log.close()
    events = EventAccumulator(str(run.tensorboard)).Reload()
    assert [(event.step, event.value) for event in events.Scalars("q_mean")] == [(10, 2.5), (20, 5.0)]


def test_rows_that_the_disk_refuses_leave_whole_files_and_are_said_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    run = RunDirectory(tmp_path)
    log, whole = MetricsLog(run, METRICS), os.write
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
        MetricsLog(run, METRICS)


def test_a_metric_that_the_table_does_not_have_is_our_own_bug(tmp_path: Path) -> None:
    log = MetricsLog(RunDirectory(tmp_path), METRICS)
    with pytest.raises(AssertionError, match="unheard_of"):
        log.write({"env_steps": 1, "unheard_of": 2})
    log.close()


def test_means_run_over_the_newest_episodes() -> None:
    means = EpisodeMeans()
    assert means.metrics() == {}
    means.add([(100.0, 9, True, 0)] * 5)
    means.add([(1.0, 2, True, 0)] * (RECENT_EPISODES // 2) + [(3.0, 4, False, 0)] * (RECENT_EPISODES // 2))
    assert means.metrics() == {
        "episode_return": 2.0,
        "episode_length": 3.0,
        "episode_success": 0.5,
    }


class Part:
    """Something that measures."""

    def __init__(self, **values: float) -> None:
        self.values = values

    def metrics(self) -> dict[str, float]:
        return self.values


class World:
    """A reporter, and the parts that it reads.

    Attributes:
        told: statuses that were published.
    """

    def __init__(self, folder: Path, *, killed: bool = False) -> None:
        if killed:
            self.ingest, self.replay = recover_ingest(folder, 10)
        else:
            self.replay = Replay(folder / "replay.bin", SPEC, 10, np.random.default_rng(0))
            self.ingest = make_ingest(folder, self.replay)
        self.sockets = Part(refused_connections=0, connections=9)
        self.algorithm, self.progress = Part(), Progress()
        self.told: list[Status] = []
        self.reporter = Reporter(
            (self.progress, self.replay, Part(weights_version=3), self.sockets, self.ingest),
            (self.ingest.lag, self.ingest.episodes, self.algorithm),
            METRICS,
            log=MetricsLog(RunDirectory(folder), METRICS),
            note=self.ingest.ledger.note,
            publish=self._publish,
            peers=self.ingest.peers,
        )
        if killed:
            self.reporter.continue_from(self.ingest.ledger.told)

    def _publish(self, status: Status) -> None:
        encode(status)
        self.told.append(status)

    def report(self) -> Status:
        """Write a row and send a status; return it."""
        self.reporter.write()
        self.reporter.send_status("running")
        return self.told[-1]


def test_no_counter_falls_below_what_was_told_before_a_kill(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.progress.waited(time.sleep, 0.01)
    world.sockets.values["refused_connections"] = 4
    episode = ((1.0, 2, None, 0),)
    for seq in (0, 1, 1, 9):  # one of them twice, one too early
        batch = make_batch(make_records(2), seq=seq, produced=2 * (seq + 1), episodes=episode)
        world.ingest.accept(encode(batch), 0.0)
    world.ingest.accept(b"no message", 0.0)
    told = world.report().metrics
    counters = {name for name, metric in METRICS.items() if metric.kind != "gauge"}
    for _ in range(2):  # nothing is saved in between
        world = World(tmp_path, killed=True)
        world.sockets.values["refused_connections"] = 1
        now = world.report().metrics
        assert all(now[name] >= told[name] for name in counters & told.keys())
        assert now["wall_s"] > told["wall_s"]
        assert now["refused_connections"] == told["refused_connections"] + 1
        assert (now["duplicates"], now["gaps"], now["malformed"], now["episodes"]) == (1, 1, 1, 2)
        told = now


def test_the_recent_episodes_survive_a_stop(tmp_path: Path) -> None:
    means, again = EpisodeMeans(), EpisodeMeans()
    means.add([(float(number), 3, number % 2 == 0, number) for number in range(RECENT_EPISODES + 9)])
    again.load_state_dict(means.state_dict())
    assert again.metrics() == means.metrics()


def test_a_diverged_loss_stops_neither_rows_nor_status(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.algorithm.values = {"critic_loss": np.inf, "q_mean": np.nan, "policy_loss": -1.5}
    status = world.report()
    assert status.metrics["policy_loss"] == -1.5
    assert not {"critic_loss", "q_mean"} & status.metrics.keys()
    rows = RunDirectory(tmp_path).metrics.read_text()
    assert "NaN" not in rows
    assert "Infinity" not in rows


def test_an_evaluation_stands_in_one_row_and_in_the_status_that_is_told_of_it(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.reporter.write({"eval_return": 7.0})
    world.reporter.write()
    world.reporter.send_status("running", {"eval_return": 7.0})
    rows = [json.loads(line) for line in RunDirectory(tmp_path).metrics.read_text().splitlines()]
    assert [row.get("eval_return") for row in rows] == [7.0, None]
    assert world.told[-1].metrics["eval_return"] == 7.0


def test_more_actors_than_a_status_can_name_do_not_stop_it(tmp_path: Path) -> None:
    world = World(tmp_path)
    for number in range(MAX_STATUS_KEYS + 3):
        hello = Hello(actor_id=f"actor-{number}", session_id=SESSION, next_seq=0, spec=SPEC)
        world.ingest.accept(encode(hello), float(number))  # those heard last are named
    status = world.report()
    assert len(status.actors) == MAX_STATUS_KEYS
    assert f"actor-{MAX_STATUS_KEYS + 2}" in status.actors
