"""Comparisons: rounds alternate between processes on the same cores, ratios are formed within a round."""

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from benchmarks.comparison import Comparison, Outcome, Threshold, Worker, run
from benchmarks.report import print_table, write_json
from benchmarks.workload import UnavailableError

AT_LEAST = Threshold("ours", "baseline", 2.0)
AT_MOST = Threshold("ours", "baseline", 2.0, at_least=False)
REPORTED = Threshold("ours", "baseline")


def comparison(*workers: Worker) -> Comparison:
    return Comparison("name", "title", "things/s", 1, workers, (AT_LEAST, AT_MOST, REPORTED))


@contextmanager
def counting(name: str, folder: str) -> Iterator[Callable[[], dict[str, float]]]:
    """A worker whose figure is the number of the round, and which logs each round to a file."""
    number = 0

    def measure() -> dict[str, float]:
        nonlocal number
        number += 1
        print("libraries print what they like")
        with (Path(folder) / "order").open("a") as file:
            file.write(f"{name} {sorted(os.sched_getaffinity(0))}\n")
        return {name: float(number)}

    yield measure


@contextmanager
def absent(installed: bool) -> Iterator[Callable[[], dict[str, float]]]:
    """A worker whose package is missing or does not support the measurement."""
    raise UnavailableError("too old") if installed else ModuleNotFoundError("No module named 'baseline'")
    yield dict


@contextmanager
def broken() -> Iterator[Callable[[], dict[str, float]]]:
    """A worker with a bug."""
    raise RuntimeError("a bug")
    yield dict


def worker(factory: str, /, **arguments: Any) -> Worker:
    return Worker(f"tests.benchmarks.test_comparison:{factory}", arguments)


def test_sides_take_turns_on_the_same_core(tmp_path: Path) -> None:
    workers = [worker("counting", name=name, folder=str(tmp_path)) for name in ("ours", "baseline")]
    outcome = run(comparison(*workers), 3, lambda line: None)
    assert outcome.rounds == {"ours": [1, 2, 3], "baseline": [1, 2, 3]}
    core = [max(os.sched_getaffinity(0))]
    assert (tmp_path / "order").read_text() == f"ours {core}\nbaseline {core}\n" * 3


@pytest.mark.parametrize(("installed", "reason"), [(False, "No module named 'baseline'"), (True, "too old")])
def test_a_side_that_cannot_be_measured_is_left_out_and_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], installed: bool, reason: str
) -> None:
    workers = (worker("counting", name="ours", folder=str(tmp_path)), worker("absent", installed=installed))
    outcome = run(comparison(*workers), 1, print)
    assert list(outcome.missing.values()) == [reason]
    assert outcome.met(AT_LEAST) is None
    print_table([outcome])
    write_json(tmp_path / "bench.json", [outcome], 1)
    assert "not measured" in capsys.readouterr().out
    thresholds = json.loads((tmp_path / "bench.json").read_text())["rows"][0]["thresholds"]
    assert [threshold["ratio"] for threshold in thresholds] == [None, None, None]


def test_a_bug_in_a_host_is_no_missing_peer() -> None:
    with pytest.raises(RuntimeError, match="broken ended with status 1"):
        run(comparison(worker("broken")), 1, lambda line: None)


def test_the_median_of_the_ratios_within_turns_decides() -> None:
    # The machine was ten times slower in the second round; the ratios of the three are 2, 3 and 1.
    outcome = Outcome(comparison(), {"ours": [200, 30, 100], "baseline": [100, 10, 100]}, {})
    assert outcome.ratios(AT_LEAST) == [2, 3, 1]
    assert (outcome.met(AT_LEAST), outcome.met(AT_MOST), outcome.met(REPORTED)) == (True, True, None)
