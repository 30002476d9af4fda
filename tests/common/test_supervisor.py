"""Children of a launcher: restarted with growing pauses where that can help; logs that are bounded."""

import json
import os
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from graspfleet import children, supervisor
from graspfleet.children import Child, end
from graspfleet.common.errors import ConfigError, StorageError
from graspfleet.supervisor import Supervisor
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


def command(folder: Path, name: str, text: str) -> None:
    """Write a program that leaves as all of ours do; `text` is the body of its function."""
    body = "".join(f"\n    {line}" for line in text.splitlines())
    modules = (
        "graspfleet.common.errors",
        "graspfleet.common.runtime.exit",
        "graspfleet.common.runtime.reports",
    )
    ours = "; ".join(f"from {module} import *" for module in modules)
    program(folder, name, f"{ours}\ndef main(argv):{body}\nleave_with(main, [])")


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
        pool.progressed(["mortal"])
        return pool.is_over("mortal")

    until(over, "it is given up")
    assert pool.has_given_up("mortal")
    assert (pool.restarts, len(made)) == (4, 5)
    assert [line.rpartition("; in ")[2] for line in said[:4]] == ["0.05 s", "0.1 s", "0.15 s", "0.15 s"]
    assert said[0].startswith("restart 1 of 4: mortal ended ")
    assert said[4].startswith("not restarted (--max-restarts 4): mortal ended ")
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
    assert all(line.endswith("; in 0.05 s") for line in said[:2])


def test_a_mistake_is_raised_and_not_tried_again(made: list[Child], tmp_path: Path) -> None:
    command(tmp_path, "mistaken", "print('more'); raise ConfigError('--env x: no')")
    pool = Supervisor(4, lambda line: None)
    pool.start("mistaken", partial(make, made, tmp_path, "mistaken"))
    ended(made[0])
    with pytest.raises(ConfigError, match="--env x: no"):
        pool.tend()
    assert (pool.restarts, len(made)) == (0, 1)


@pytest.mark.parametrize(("error", "status"), [("StorageError", 1), ("DivergedError", 3)])
def test_who_says_what_is_wrong_would_only_say_it_again(
    error: str, status: int, made: list[Child], tmp_path: Path
) -> None:
    command(tmp_path, "broke", f"raise {error}('the disk is full')")
    said: list[str] = []
    pool = Supervisor(4, said.append)
    pool.start("broke", partial(make, made, tmp_path, "broke"))
    ended(made[0])
    pool.tend()
    assert (pool.has_given_up("broke"), pool.restarts) == (True, 0)
    assert said == [f"broke ended with status {status}: the disk is full ({tmp_path}/broke.log)"]


def test_who_leaves_in_peace_stays_away(made: list[Child], tmp_path: Path) -> None:
    command(tmp_path, "peaceful", "return 0")
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


TRACEBACK = "Traceback (most recent call last):\\n  File x\\nKeyError: 'of long ago'\\n"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("sys.exit(1)", "ended with status 1"),
        ("os._exit(0)", "ended with status 0"),
        ("print('error: not ours', flush=True); os._exit(2)", "ended with status 2"),
        ("print('the last thing said', flush=True); os.abort()", "ended by SIGABRT"),
        ("os.kill(os.getpid(), signal.SIGSEGV)", "ended by SIGSEGV"),
        (f"print({TRACEBACK!r}, flush=True); os.kill(os.getpid(), signal.SIGSEGV)", "ended by SIGSEGV"),
        ("raise ValueError('this\\nand that')", "ended with status 1: ValueError: this"),
        ("try: 1 / 0\nexcept Exception: raise KeyError(3)", "ended with status 1: KeyError: 3"),
        (
            "os.kill(os.getpid(), signal.SIGKILL)",
            "ended by SIGKILL (sent by another process, or out of memory)",
        ),
    ],
)
def test_a_death_is_told_in_words_that_are_about_it(
    text: str, reason: str, made: list[Child], tmp_path: Path
) -> None:
    (tmp_path / "mortal.log").write_text(f"error: of long ago\n{TRACEBACK}")
    program(tmp_path, "mortal", f"print('a line of the environment', flush=True)\n{text}")
    child = ended(make(made, tmp_path, "mortal"))
    assert child.reason() == f"mortal {reason} ({tmp_path}/mortal.log)"
    assert (child.error, child.has_left) == (None, False)


def test_a_child_has_left_however_the_interpreter_goes_down(made: list[Child], tmp_path: Path) -> None:
    command(tmp_path, "shaky", "import atexit; atexit.register(os.abort); return 0")
    child = ended(make(made, tmp_path, "shaky"))
    assert (child.status, child.has_left) == (0, True)


@pytest.mark.parametrize("death", ["os._exit(0)", "os._exit(2)", "os.kill(os.getpid(), signal.SIGSEGV)"])
def test_who_dies_again_before_it_has_done_anything_is_given_up(
    death: str, made: list[Child], tmp_path: Path
) -> None:
    program(tmp_path, "hopeless", death)
    said: list[str] = []
    pool = Supervisor(10, said.append)
    pool.start("hopeless", partial(make, made, tmp_path, "hopeless"))
    until(lambda: (pool.tend(), pool.is_over("hopeless"))[1], "it is given up")
    assert (len(made), pool.restarts, pool.is_fruitless("hopeless")) == (3, 2, True)
    assert said[-1].endswith("3 times in a row without any progress")


def test_a_result_is_what_was_reported_and_nothing_printed(made: list[Child], tmp_path: Path) -> None:
    noise = "print('{\"a\": 2}', flush=True)"
    command(tmp_path, "finds", f"{noise}; report(RESULT, '{{\"a\": 1}}'); {noise}; return 0")
    child = ended(make(made, tmp_path, "finds"))
    assert (child.result, child.has_left) == ('{"a": 1}', True)
    program(tmp_path, "fakes", noise)
    assert ended(make(made, tmp_path, "fakes")).result is None


def test_hints_are_heard_while_a_child_runs_and_by_nobody_it_starts(
    made: list[Child], tmp_path: Path
) -> None:
    text = """
import subprocess
hint("--x", "x helps")
inside = "import os, sys; sys.exit('GRASPFLEET_REPORT' in os.environ or len(os.listdir('/proc/self/fd')) > 4)"
assert subprocess.run([sys.executable, "-c", inside], close_fds=False).returncode == 0
hint("--y", "y helps")
time.sleep(60)
"""
    command(tmp_path, "hints", text)
    child = make(made, tmp_path, "hints")
    until(lambda: child.status is not None or len(child.hints) == 2, "both are heard", 20)
    assert (child.status, child.hints) == (None, ["--x x helps", "--y y helps"]), child.log.read_text()


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
        if "bytes were removed here" in cut:
            firsts.update(lines)  # another line is the oldest one after each cut
    assert len(firsts) == 3
    child.kill()
    assert child.log.read_text().splitlines()[-2].startswith("line")


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
        child = ended(make(made, tmp_path, "counts"))
    finally:
        os.close(descriptor)
    # One is for reports, one the folder that is being listed.
    assert len(json.loads(child.log.read_text().replace("'", '"'))) == 5
    assert sys.stdout is not None
