"""Children of a launcher: restarted with growing pauses where that can help; logs that are bounded."""

import os
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from common import children, supervisor
from common.children import Child, end
from common.errors import ConfigError, StorageError
from common.supervisor import Supervisor
from tests.end_to_end.harness import ROOT, until


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Child]]:
    """The children made so far; they are ended with the test."""
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{ROOT}")
    monkeypatch.setattr(supervisor, "FIRST_PAUSE_S", 0.05)
    monkeypatch.setattr(supervisor, "LONGEST_PAUSE_S", 0.15)
    made: list[Child] = []
    yield made
    end(made, 0.0)


def program(folder: Path, name: str, text: str) -> None:
    (folder / f"{name}.py").write_text(f"import os, signal, sys, time\n{text}")


def make(made: list[Child], folder: Path, name: str) -> Child:
    made.append(Child(name, [name], folder))
    return made[-1]


def ended(child: Child) -> Child:
    until(lambda: child.status is not None, f"{child.name} ends")
    return child


@pytest.mark.parametrize("text", ["os.kill(os.getpid(), signal.SIGKILL)", "raise RuntimeError('a bug')"])
def test_the_dead_come_back_with_growing_pauses_until_it_is_too_often(
    text: str, made: list[Child], tmp_path: Path
) -> None:
    program(tmp_path, "mortal", text)
    said: list[str] = []
    pool = Supervisor(4, said.append)
    pool.start("mortal", partial(make, made, tmp_path, "mortal"))

    def over() -> bool:
        pool.tend()
        return pool.is_over("mortal")

    until(over, "it is given up")
    assert pool.has_given_up("mortal")
    assert (pool.restarts, len(made)) == (4, 5)
    assert [line.rpartition("; in ")[2] for line in said[:4]] == ["0.05 s", "0.1 s", "0.15 s", "0.15 s"]
    assert said[0].startswith("restart 1 of 4: mortal ended with ")
    assert said[4].startswith("not started again (--max-restarts 4): mortal ended with ")
    assert len(said) == 5


def test_nobody_comes_back_before_the_pause_is_over(
    made: list[Child], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor, "FIRST_PAUSE_S", 3600.0)
    program(tmp_path, "mortal", "sys.exit(1)")
    pool = Supervisor(4, lambda line: None)
    pool.start("mortal", partial(make, made, tmp_path, "mortal"))
    ended(made[0])
    for _ in range(10):
        pool.tend()
    assert (len(made), pool.is_over("mortal")) == (1, False)


def test_who_lived_long_begins_with_the_first_pause_again(
    made: list[Child], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor, "STEADY_S", 0.0)
    program(tmp_path, "mortal", "sys.exit(1)")
    said: list[str] = []
    pool = Supervisor(3, said.append)
    pool.start("mortal", partial(make, made, tmp_path, "mortal"))
    until(lambda: (pool.tend(), pool.is_over("mortal"))[1], "it is given up")
    assert all(line.endswith("; in 0.05 s") for line in said[:3])


def test_a_mistake_is_raised_and_not_tried_again(made: list[Child], tmp_path: Path) -> None:
    program(tmp_path, "mistaken", "print('error: --env x: no', file=sys.stderr); print('more'); sys.exit(2)")
    pool = Supervisor(4, lambda line: None)
    pool.start("mistaken", partial(make, made, tmp_path, "mistaken"))
    ended(made[0])
    with pytest.raises(ConfigError, match="--env x: no"):
        pool.tend()
    assert (pool.restarts, len(made)) == (0, 1)


@pytest.mark.parametrize("status", [1, 3])
def test_who_says_what_is_wrong_would_only_say_it_again(
    status: int, made: list[Child], tmp_path: Path
) -> None:
    program(tmp_path, "broke", f"print('error: the disk is full', file=sys.stderr); sys.exit({status})")
    said: list[str] = []
    pool = Supervisor(4, said.append)
    pool.start("broke", partial(make, made, tmp_path, "broke"))
    ended(made[0])
    pool.tend()
    assert (pool.has_given_up("broke"), pool.restarts) == (True, 0)
    assert said == [f"broke ended with status {status}: the disk is full ({tmp_path}/broke.log)"]


def test_who_leaves_in_peace_stays_away(made: list[Child], tmp_path: Path) -> None:
    program(tmp_path, "peaceful", "")
    pool = Supervisor(4, lambda line: None)
    pool.start("peaceful", partial(make, made, tmp_path, "peaceful"))
    ended(made[0])
    pool.tend()
    assert (pool.is_over("peaceful"), pool.has_given_up("peaceful"), len(made)) == (True, False, 1)


def test_a_successor_that_cannot_be_started_is_tried_again(made: list[Child], tmp_path: Path) -> None:
    program(tmp_path, "mortal", "sys.exit(1)")
    tries: list[int] = []

    def again() -> Child:
        tries.append(1)
        if len(tries) == 1:
            raise StorageError("mortal.log: No space left on device; mortal cannot be started")
        return make(made, tmp_path, "mortal")

    said: list[str] = []
    pool = Supervisor(2, said.append)
    pool.start("mortal", partial(make, made, tmp_path, "mortal"), again=again)
    until(lambda: (pool.tend(), pool.is_over("mortal"))[1], "it is given up")
    assert "No space left" in said[1]
    assert (len(tries), len(made), pool.restarts) == (2, 2, 2)


def test_last_words_are_of_this_process_and_not_of_those_before_it(made: list[Child], tmp_path: Path) -> None:
    (tmp_path / "silent.log").write_text("error: of long ago\n")
    program(tmp_path, "silent", "sys.exit(1)")
    child = ended(make(made, tmp_path, "silent"))
    assert child.last_words() == "it said nothing"
    assert not child.has_said_why()


def test_a_result_stands_before_warnings(made: list[Child], tmp_path: Path) -> None:
    program(tmp_path, "warns", "print('{\"a\": 1}', flush=True); print('WARNING close: no', file=sys.stderr)")
    assert ended(make(made, tmp_path, "warns")).result() == '{"a": 1}'


def test_a_log_file_without_end_is_cut(
    made: list[Child], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(children, "MAX_LOG_BYTES", 100_000)
    program(tmp_path, "talks", "n = 0\nwhile True:\n    print('line', n, flush=True); n += 1")
    pool = Supervisor(0, lambda line: None)
    pool.start("talks", partial(make, made, tmp_path, "talks"))
    child, firsts = made[0], set[str]()
    deadline_s = time.monotonic() + 60
    while time.monotonic() < deadline_s and len(firsts) < 3:
        pool.tend()
        cut, *lines = child.log.read_text().splitlines()[:2] or [""]
        if "bytes were cut off here" in cut:
            firsts.update(lines)  # another line is the oldest one after each cut
    assert len(firsts) == 3
    child.kill()
    assert child.last_words().startswith("line")


@pytest.mark.parametrize("target", ["precious", "missing"])
def test_a_log_file_is_never_somebody_elses(target: str, tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("precious")
    (tmp_path / "actor.log").symlink_to(tmp_path / target)
    with pytest.raises(StorageError, match="a symbolic link, which is not followed; actor cannot be started"):
        Child("actor", ["this"], tmp_path)
    assert (tmp_path / "precious").read_text() == "precious"
    assert not (tmp_path / "missing").exists()


def test_a_child_finds_no_descriptor_but_its_own(made: list[Child], tmp_path: Path) -> None:
    program(tmp_path, "counts", "print(sorted(os.listdir('/proc/self/fd')))")
    descriptor = os.open(tmp_path, os.O_RDONLY)
    try:
        words = ended(make(made, tmp_path, "counts")).last_words()
    finally:
        os.close(descriptor)
    assert words == "['0', '1', '2', '3']"  # 3 is the folder that is being listed
    assert sys.stdout is not None
