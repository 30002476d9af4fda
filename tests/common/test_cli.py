"""The console command before its sub-command has taken over."""

import os
import signal
import sys
from pathlib import Path

import pytest

from common import cli


def test_a_stop_is_heard_while_packages_are_still_being_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(cli, "Streams", lambda: None)  # they are the test runner's
    monkeypatch.setattr(sys, "argv", ["graspfleet", "status"])
    # As when the signal comes in the middle of an import.
    monkeypatch.setattr(cli, "dispatch", lambda argv: os.kill(os.getpid(), signal.SIGTERM))
    try:
        with pytest.raises(SystemExit) as left:
            cli.main()
    finally:
        signal.signal(signal.SIGTERM, before)
    assert left.value.code == 128 + signal.SIGTERM


def test_a_working_directory_that_is_gone_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert cli.run_main(lambda argv: 0, []) == 2
    assert capsys.readouterr().err.startswith("error: working directory: No such file or directory")
