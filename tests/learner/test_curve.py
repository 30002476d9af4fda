"""Damaged metrics: the curve is drawn and the audit told without the rows that cannot be read."""

import json
import os
from pathlib import Path

import pytest

from graspfleet.common.runtime.metric_rows import MAX_ROW_BYTES, read_rows
from graspfleet.common.runtime.run_directory import RunDirectory
from graspfleet.learner.reporting.curve import main, read_evaluations
from graspfleet.status import AUDIT, audit

GOOD = {"wall_s": 1.5, "eval_env_steps": 7, "eval_return": -3.0, "env_steps": 9} | dict.fromkeys(AUDIT, 5)
DAMAGE = {
    "torn": json.dumps(GOOD).encode()[:20],
    "no object": b"[1, 2]",
    "a number": b"7",
    "NaN": b'{"wall_s": NaN, "eval_env_steps": 7, "eval_return": 1.0}',
    "beyond floats": b'{"wall_s": 1e999, "eval_env_steps": 7, "eval_return": 1.0}',
    "texts": b'{"wall_s": "1", "eval_env_steps": "7", "eval_return": "1"}',
    "missing keys": b'{"eval_return": 1.0}',
    "binary": bytes(range(256)).replace(b"\n", b"") * 3,
    "deep": b"[" * 100_000,
    "long": b'{"wall_s": ' + b" " * 3 * MAX_ROW_BYTES + b"1}",
}


def write(run: RunDirectory, *lines: bytes, end: bytes = b"\n") -> None:
    run.path.mkdir(exist_ok=True)
    run.metrics.write_bytes(b"\n".join(lines) + end)


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_row_costs_itself_alone(
    tmp_path: Path, damage: str, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    run = RunDirectory(tmp_path / "run")
    for place in range(3):
        rows = [json.dumps({**GOOD, "eval_return": value, "inserted": value}).encode() for value in (1, 2)]
        rows.insert(place, DAMAGE[damage])
        write(run, *rows, end=b"")
        caplog.clear()
        assert [row["eval_return"] for row in read_evaluations(run)] == [1, 2]
        assert str(run.metrics) in caplog.text
        assert "inserted 2" in audit(run)
    assert main([str(run.path)]) == 0
    assert run.curve.stat().st_size > 1000
    assert "no curve" not in capsys.readouterr().out


def test_rows_that_are_left_out_are_counted_in_the_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run, good = RunDirectory(tmp_path), json.dumps(GOOD).encode()
    write(run, good, b"", DAMAGE["torn"], good, DAMAGE["binary"], DAMAGE["long"], good)
    assert list(read_rows(run.metrics)) == [GOOD] * 3
    assert f"{run.metrics}: line 3 and 2 more are not valid; skipped" in caplog.text


@pytest.mark.parametrize("content", [b"", b"\n\n", b"\0" * 5000, DAMAGE["torn"]])
def test_nothing_but_damage_is_no_curve(
    tmp_path: Path, content: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    run = RunDirectory(tmp_path)
    write(run, content)
    assert main([str(tmp_path)]) == 0
    assert "no evaluations, no curve" in capsys.readouterr().out
    assert audit(run) == "no transitions received"


@pytest.mark.timeout(20)
def test_what_is_no_file_is_no_curve(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    os.mkfifo(RunDirectory(tmp_path).metrics)
    assert main([str(tmp_path), str(tmp_path / "nothing")]) == 0
    assert capsys.readouterr().out.count("no curve") == 2
    assert audit(RunDirectory(tmp_path)) == "no transitions received"
