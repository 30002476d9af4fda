"""The file that health checks look at."""

import os
from pathlib import Path

import pytest

from graspfleet.actor.heartbeat import BEAT_INTERVAL_S, HEARTBEAT_VARIABLE, Heartbeat
from graspfleet.common.errors import ConfigError
from tests.fakes import ONE_LINE


def test_without_the_variable_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(HEARTBEAT_VARIABLE, raising=False)
    monkeypatch.chdir(tmp_path)
    Heartbeat().beat()
    assert list(tmp_path.iterdir()) == []


def test_the_file_is_touched_at_once_and_then_when_due(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "heartbeat"
    now_s = [0.0]
    monkeypatch.setattr("graspfleet.common.runtime.interval.time.monotonic", lambda: now_s[0])
    monkeypatch.setenv(HEARTBEAT_VARIABLE, str(file))
    heartbeat = Heartbeat()
    for now_s[0], touched in ((BEAT_INTERVAL_S / 2, False), (BEAT_INTERVAL_S, True)):
        os.utime(file, (1, 1))
        heartbeat.beat()
        assert (file.stat().st_mtime > 1) is touched


def test_a_file_that_cannot_be_written_is_answered_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(HEARTBEAT_VARIABLE, str(tmp_path / "nowhere" / "heartbeat"))
    with pytest.raises(ConfigError, match=ONE_LINE) as caught:
        Heartbeat()
    assert HEARTBEAT_VARIABLE in str(caught.value)
