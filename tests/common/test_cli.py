"""The console command: its sub-commands, and all that comes before one of them has taken over."""

import os
import signal
import sys
from pathlib import Path

import pytest

import graspfleet
from graspfleet import cli
from graspfleet.common.runtime.exit import run_main


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


def left_with(*argv: str) -> int | str | None:
    with pytest.raises(SystemExit) as left:
        cli.dispatch(list(argv))
    return left.value.code


def test_help_lists_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    for argv, status in ((["--help"], 0), (["-h"], 0), ([], 2)):
        assert left_with(*argv) == status
        page = capsys.readouterr().out
        assert "usage: graspfleet" in page
        assert all(name in page for name in cli.COMMANDS)


def test_the_version_is_that_of_the_package(capsys: pytest.CaptureFixture[str]) -> None:
    assert left_with("--version") == 0
    assert capsys.readouterr().out == f"graspfleet {graspfleet.__version__}\n"


@pytest.mark.parametrize(
    ("argv", "named"),
    [
        (["trian"], "trian: no such command; allowed: train, learner, actor"),
        (["--seed", "3"], "--seed: no such flag; graspfleet --help lists all flags"),
        (["-x"], "-x: no such flag"),
        ([""], "'': no such command"),
        (["keys", "mint", "d"], "mint: no such command; allowed: init, add, list, revoke"),
    ],
    ids=" ".join,
)
def test_a_command_that_there_is_not_is_one_line(
    argv: list[str], named: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cli, "leave_with", lambda main, words: sys.exit(run_main(main, words)))
    assert left_with(*argv) == 2
    assert capsys.readouterr().err.startswith(f"error: {named}")


def test_a_command_without_its_packages_names_the_extra(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cli.importlib.util, "find_spec", lambda name: None)
    for command in ("learner", "train"):
        assert left_with(command) == 2
        assert f"error: {command} needs torch; install it with: pip install 'graspfleet[learner]'" in (
            capsys.readouterr().err
        )


def test_a_working_directory_that_is_gone_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert run_main(lambda argv: 0, []) == 2
    assert capsys.readouterr().err.startswith("error: working directory: No such file or directory")
