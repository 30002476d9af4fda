"""Contests: turns alternate between processes on the same cores, ratios are formed within a turn."""

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from benchmarks.contest import Claim, Contest, Host, Outcome, hold
from benchmarks.report import print_table, write_json
from benchmarks.workload import UnavailableError

AT_LEAST = Claim("ours", "peer", 2.0)
AT_MOST = Claim("ours", "peer", 2.0, at_least=False)
REPORTED = Claim("ours", "peer")


def contest(*hosts: Host) -> Contest:
    return Contest("name", "title", "things/s", 1, hosts, (AT_LEAST, AT_MOST, REPORTED))


@contextmanager
def counting(name: str, folder: str) -> Iterator[Callable[[], dict[str, float]]]:
    """A host whose figure is its turn, and which writes down that it had one."""
    turn = 0

    def measure() -> dict[str, float]:
        nonlocal turn
        turn += 1
        print("libraries print what they like")
        with (Path(folder) / "order").open("a") as file:
            file.write(f"{name} {sorted(os.sched_getaffinity(0))}\n")
        return {name: float(turn)}

    yield measure


@contextmanager
def absent(installed: bool) -> Iterator[Callable[[], dict[str, float]]]:
    """A host whose package is not installed, or knows nothing of what is to be measured."""
    raise UnavailableError("too old") if installed else ModuleNotFoundError("No module named 'peer'")
    yield dict


@contextmanager
def broken() -> Iterator[Callable[[], dict[str, float]]]:
    """A host with a bug."""
    raise RuntimeError("a bug")
    yield dict


def host(factory: str, /, **arguments: Any) -> Host:
    return Host(f"tests.benchmarks.test_contest:{factory}", arguments)


def test_sides_take_turns_on_the_same_core(tmp_path: Path) -> None:
    hosts = [host("counting", name=name, folder=str(tmp_path)) for name in ("ours", "peer")]
    outcome = hold(contest(*hosts), 3, lambda line: None)
    assert outcome.turns == {"ours": [1, 2, 3], "peer": [1, 2, 3]}
    core = [max(os.sched_getaffinity(0))]
    assert (tmp_path / "order").read_text() == f"ours {core}\npeer {core}\n" * 3


@pytest.mark.parametrize(("installed", "reason"), [(False, "No module named 'peer'"), (True, "too old")])
def test_a_side_that_cannot_be_measured_is_left_out_and_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], installed: bool, reason: str
) -> None:
    hosts = (host("counting", name="ours", folder=str(tmp_path)), host("absent", installed=installed))
    outcome = hold(contest(*hosts), 1, print)
    assert list(outcome.missing.values()) == [reason]
    assert outcome.met(AT_LEAST) is None
    print_table([outcome])
    write_json(tmp_path / "bench.json", [outcome], 1)
    assert "not measured" in capsys.readouterr().out
    claims = json.loads((tmp_path / "bench.json").read_text())["rows"][0]["claims"]
    assert [claim["ratio"] for claim in claims] == [None, None, None]


def test_a_bug_in_a_host_is_no_missing_peer() -> None:
    with pytest.raises(RuntimeError, match="broken ended with status 1"):
        hold(contest(host("broken")), 1, lambda line: None)


def test_the_median_of_the_ratios_within_turns_decides() -> None:
    # The machine was ten times slower in the second turn; the ratios of the three are 2, 3 and 1.
    outcome = Outcome(contest(), {"ours": [200, 30, 100], "peer": [100, 10, 100]}, {})
    assert outcome.ratios(AT_LEAST) == [2, 3, 1]
    assert (outcome.met(AT_LEAST), outcome.met(AT_MOST), outcome.met(REPORTED)) == (True, True, None)
