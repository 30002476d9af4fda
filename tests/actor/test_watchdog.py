"""The watchdog: environment code that sleeps, hangs or never returns cannot hold up the process."""

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from graspfleet.actor import watchdog as module
from graspfleet.actor.heartbeat import BEAT_INTERVAL_S, HEARTBEAT_VARIABLE
from graspfleet.actor.watchdog import FORCE_S, GRACE_S, Interrupted, UnexpectedInterruptError, Watchdog
from graspfleet.common.errors import ConfigError
from graspfleet.common.runtime.signals import EXIT_S, StopSignal

LONG_S = 60.0
"""Of calls that nobody waits for."""
MARGIN_S = 5.0
"""For a machine that is busy with other things."""


@pytest.fixture
def stop() -> Iterator[StopSignal]:
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield StopSignal().install()
    for number, handler in before.items():
        signal.signal(number, handler)


def terminate_after(seconds: float) -> None:
    threading.Timer(seconds, os.kill, (os.getpid(), signal.SIGTERM)).start()


def test_a_call_returns_and_raises_what_the_function_does() -> None:
    watchdog = Watchdog()
    assert watchdog.call(divmod, 7, 2) == (3, 1)
    with pytest.raises(ZeroDivisionError):
        watchdog.call(divmod, 7, 0)
    assert watchdog.call(divmod, 7, 2) == (3, 1)  # the lock is held again


def test_during_a_call_the_rest_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    heartbeat = tmp_path / "heartbeat"
    monkeypatch.setenv(HEARTBEAT_VARIABLE, str(heartbeat))
    turns: list[str] = []
    enough = threading.Event()

    def stand_in() -> bool:
        turns.append(threading.current_thread().name)
        if len(turns) > 2 * BEAT_INTERVAL_S / module.TICK_S:
            enough.set()
        return True

    with Watchdog() as watchdog:
        watchdog.on_tick = stand_in
        os.utime(heartbeat, (1, 1))
        assert watchdog.call(enough.wait, LONG_S)
    assert set(turns) == {"watchdog"}
    assert heartbeat.stat().st_mtime > 1


def test_what_is_ours_is_used_by_one_thread_at_a_time() -> None:
    inside, overlaps, turns = True, 0, 0

    def stand_in() -> bool:
        nonlocal overlaps, turns
        turns += 1
        overlaps += not inside
        return True

    with Watchdog() as watchdog:
        watchdog.on_tick = stand_in
        end_s = time.monotonic() + LONG_S
        while turns < 5 and time.monotonic() < end_s:
            watchdog.call(time.sleep, 0.002)
            inside = False
            time.sleep(0.002)  # a switch of threads, were they let
            inside = True
    assert turns >= 5
    assert overlaps == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_call_that_outlasts_a_stop_is_interrupted(stop: StopSignal, number: int) -> None:
    began_s = time.monotonic()
    with Watchdog(stop) as watchdog:
        threading.Timer(0.2, os.kill, (os.getpid(), number)).start()
        watchdog.call(time.sleep, LONG_S)
        pytest.fail("it went on")
    assert time.monotonic() - began_s < 0.2 + GRACE_S + MARGIN_S
    assert stop.is_set()


def test_a_call_that_ends_soon_after_a_stop_ends_by_itself(stop: StopSignal) -> None:
    with Watchdog(stop) as watchdog:
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.is_set()
        assert watchdog.call(lambda: time.sleep(GRACE_S / 4) or "done") == "done"


def test_what_foreign_code_cleans_up_is_left_in_peace(stop: StopSignal) -> None:
    tidied = []

    def tidy_up_late() -> None:
        try:
            time.sleep(LONG_S)
        finally:
            time.sleep(2 * GRACE_S)
            tidied.append(True)

    with Watchdog(stop) as watchdog:
        terminate_after(0.1)
        watchdog.call(tidy_up_late)
    assert tidied == [True]


def test_who_need_not_go_on_interrupts_the_call() -> None:
    with Watchdog() as watchdog:
        watchdog.on_tick = lambda: False
        watchdog.call(time.sleep, LONG_S)
        pytest.fail("it went on")


def test_an_error_meanwhile_ends_the_call_and_is_raised(stop: StopSignal) -> None:
    def refused() -> bool:
        raise ConfigError("the learner refuses this actor")

    def outlast() -> None:
        with Watchdog(stop) as watchdog:
            watchdog.on_tick = refused
            try:
                watchdog.call(time.sleep, LONG_S)
            except Exception:  # an environment that survives anything of its own
                pytest.fail("an error of ours was taken for one of the environment's")

    with pytest.raises(ConfigError, match="refuses"):
        outlast()


def test_a_stop_is_heard_between_quick_calls(stop: StopSignal) -> None:
    with Watchdog(stop) as watchdog:
        terminate_after(0.1)
        end_s = time.monotonic() + LONG_S
        while time.monotonic() < end_s:
            watchdog.call(time.sleep, 0.001)
            watchdog.poll()
        pytest.fail("it went on")


def test_closing_is_waited_for_but_not_for_ever(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "CLOSE_S", 0.5)
    closed = []
    with Watchdog() as watchdog:
        began_s = time.monotonic()
        watchdog.close(lambda: time.sleep(0.3) or closed.append(1))
        watchdog.close(lambda: time.sleep(LONG_S))
        watchdog.close(lambda: closed.append(3))
        assert time.monotonic() - began_s < 0.5 + GRACE_S + MARGIN_S
    assert closed == [1, 3]
    assert "did not close" in caplog.text


def test_signals_that_a_constructor_takes_over_are_taken_back(stop: StopSignal) -> None:
    with Watchdog(stop) as watchdog:
        watchdog.construct(lambda: signal.signal(signal.SIGTERM, signal.SIG_IGN))
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.is_set()


def test_processes_that_an_environment_forks_can_be_ended_and_end_nobody_else(stop: StopSignal) -> None:
    with Watchdog(stop) as watchdog:
        worker = multiprocessing.get_context("fork").Process(target=time.sleep, args=(LONG_S,))
        watchdog.call(worker.start)
        worker.terminate()
        watchdog.call(worker.join, MARGIN_S)
        assert worker.exitcode == -signal.SIGTERM
        assert watchdog.call(lambda: time.sleep(2 * GRACE_S) or "goes on") == "goes on"
    assert not stop.is_set()


EARLY = """
import os, signal, sys, time
number = int(sys.argv[1])
os.register_at_fork(after_in_child=lambda: os.kill(os.getpid(), number))  # runs before any later one
from graspfleet.actor.watchdog import Watchdog
from graspfleet.common.runtime.signals import StopSignal
stop = StopSignal().install()
with Watchdog(stop):
    child = os.fork()
    if child == 0:
        time.sleep(float(sys.argv[2]))
        os._exit(0)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    assert not stop.is_set() and not signal.pthread_sigmask(signal.SIG_BLOCK, [])
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR2])
def test_a_signal_that_reaches_a_forked_process_at_once_ends_it(number: signal.Signals) -> None:
    words = [sys.executable, "-c", EARLY, str(int(number)), str(MARGIN_S)]
    done = subprocess.run(
        words, capture_output=True, text=True, cwd=Path(__file__).parents[2], timeout=60, check=True
    )
    assert int(done.stdout) == -number


SCRIPT = """
import ctypes, signal, sys, time
from pathlib import Path
from graspfleet.actor.watchdog import Watchdog
from graspfleet.common.runtime.exit import leave_with
from graspfleet.common.runtime.signals import StopSignal

def stubborn():
    while True:
        try:
            time.sleep(60)
        except BaseException:
            pass

def deaf():
    libc, mutex = ctypes.CDLL(None), ctypes.create_string_buffer(64)
    while True:  # the second time waits for ever, in C, whatever signals come
        libc.pthread_mutex_lock(mutex)

def refused():
    raise ValueError("told meanwhile")

def main(argv):
    with Watchdog(StopSignal().install(), status=7) as watchdog:
        watchdog.on_abandon = lambda: print("delivered", flush=True)
        if argv[1:] == ["refused"]:
            watchdog.on_tick = refused
        print("inside", flush=True)
        watchdog.call({"stubborn": stubborn, "deaf": deaf}[argv[0]])
    return 0

def haunted(argv):
    import threading
    threading.Thread(target=stubborn).start()
    print("inside", flush=True)
    return 7

leave_with(haunted if sys.argv[1] == "haunted" else main, sys.argv[1:])
"""


@contextmanager
def started(*words: str) -> Iterator["subprocess.Popen[str]"]:
    environment: dict[str, Any] = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, "-c", SCRIPT, *words]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "inside\n"
            yield process
        finally:
            process.kill()


@pytest.mark.parametrize("kind", ["stubborn", "deaf"])
def test_what_no_exception_ends_is_left_behind_with_everything_delivered(kind: str) -> None:
    with started(kind) as process:
        process.terminate()
        output, _ = process.communicate(timeout=GRACE_S + FORCE_S + MARGIN_S)
        assert (process.returncode, output) == (7, "delivered\n")


def test_a_second_ctrl_c_leaves_at_once_whatever_runs() -> None:
    with started("deaf") as process:
        end_s = time.monotonic() + MARGIN_S
        while process.poll() is None and time.monotonic() < end_s:
            process.send_signal(signal.SIGINT)
            time.sleep(0.05)
        assert process.returncode == 130


def test_an_error_meanwhile_ends_what_no_exception_ends() -> None:
    with started("deaf", "refused") as process:
        assert process.wait(GRACE_S + FORCE_S + MARGIN_S) == 1


def test_threads_that_an_environment_leaves_behind_do_not_hold_up_the_exit() -> None:
    with started("haunted") as process:
        assert process.wait(EXIT_S + MARGIN_S) == 7


def test_an_interrupt_is_no_error_of_the_environments() -> None:
    assert not issubclass(Interrupted, Exception)


def test_an_interrupt_that_nobody_asked_for_is_a_fault_of_the_watchdog_code(stop: StopSignal) -> None:
    def interrupts() -> None:
        raise KeyboardInterrupt

    for watchdog in (Watchdog(stop), Watchdog(stop).__enter__()):
        with pytest.raises(UnexpectedInterruptError):
            watchdog.call(interrupts)
        assert watchdog.call(divmod, 7, 2) == (3, 1)  # the lock is held again
    watchdog.__exit__(None, None, None)
    assert not stop.is_set()


def test_ctrl_c_is_one_whoever_has_taken_the_signal_over(stop: StopSignal) -> None:
    def takes_over() -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.raise_signal(signal.SIGINT)
        time.sleep(LONG_S)

    with pytest.raises(KeyboardInterrupt), Watchdog(stop) as watchdog:
        watchdog.call(takes_over)
