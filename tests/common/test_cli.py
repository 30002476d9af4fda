"""The console command before its sub-command has taken over."""

import os
import signal
import sys

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
