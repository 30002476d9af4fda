"""The watchdog: calls environment code, which may block, while the process stays responsive and stoppable.

In: a function of the environment. Out: its result. During the call, a thread takes over the main thread's
periodic work. Must not know: sockets, episodes; the periodic and the final work are passed in.
"""

import logging
import os
import select
import signal
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from types import FrameType, TracebackType
from typing import Any, Self

from graspfleet.actor.heartbeat import Heartbeat
from graspfleet.common.errors import ConfigError
from graspfleet.common.runtime.interval import Interval
from graspfleet.common.runtime.reports import STATUS, report, say_error
from graspfleet.common.runtime.signals import StopSignal, forget_in_children

log = logging.getLogger(__name__)

TICK_S = 0.1
"""Seconds between the thread's checks and, during a call, between rounds of the periodic work."""
GRACE_S = 0.4
"""Seconds between a stop and the interruption of a call."""
FORCE_S = 2.0
"""Seconds between the interruption of a call and the end of the process."""
CLOSE_S = 5.0
"""Seconds that closing all environments may take."""
INTERRUPT = signal.SIGUSR2
"""Signal from the thread to the main thread; environments rarely use it."""


class Interrupted(BaseException):
    """Raised inside environment code that continues after a stop; `except Exception` does not catch it."""


class UnexpectedInterruptError(Exception):
    """A `KeyboardInterrupt` from an environment without a Ctrl-C from the user."""


PROCESS_ENDING = (KeyboardInterrupt, Interrupted)
"""Exceptions from environment code that end the process. All others are faults of the environment, including
those that `except Exception` does not catch: `SystemExit`, asyncio's `CancelledError`, a panic in Rust."""


class Watchdog:
    """Calls environment code, and interrupts it when the process has to stop.

    The main thread holds a lock except inside `call`; the watchdog's thread works only while it holds the
    lock, so only one of them uses the actor's state at a time. As a context manager it runs the thread and
    absorbs an `Interrupted`; otherwise calls are plain calls.

    Args:
        stop: the request to stop; calls that continue after it are interrupted.
        status: exit status if the process has to end without its main thread.

    Attributes:
        on_tick: called several times a second during calls and by `poll`; returns whether to continue. Its
            exceptions end the call and are raised again at the end of the context.
        on_abandon: called before the process ends without its main thread.
        status: see the argument; may be changed later.
        heartbeat: beats during and between calls; code that waits for something else must call its `beat`.

    Raises:
        ConfigError: the heartbeat file cannot be written.
    """

    def __init__(self, stop: StopSignal | None = None, *, status: int = 0) -> None:
        self.on_tick: Callable[[], bool] = lambda: True
        self.on_abandon: Callable[[], object] = lambda: None
        self.status = status
        self._stop = stop or StopSignal()
        self.heartbeat = Heartbeat()
        self._lock = threading.Lock()
        self._lock.acquire()
        self._look = Interval(TICK_S)
        self._inside = False
        self._calls = 0
        self._error: BaseException | None = None
        self._closing = self._over = False
        self._deadline_s = float("inf")  # calls are interrupted after this time
        self._seen, self._since_s = 0, 0.0  # the call at the last tick, and the time it was first seen
        self._interrupting = 0  # number of the last interrupted call
        self._signals, self._wake = -1, -1
        self._told = StopSignal()  # of signals that the main thread may not have handled yet

    def call(self, function: Callable[..., Any], *args: Any) -> Any:
        """Return `function(*args)`; not reentrant.

        Raises:
            Interrupted: the function continued after a stop.
            UnexpectedInterruptError: the function itself raised a `KeyboardInterrupt`.
        """
        self._calls += 1
        self._lock.release()
        try:
            self._inside = True
            return function(*args)
        except KeyboardInterrupt as error:
            if self._may_be_asked():
                raise
            raise UnexpectedInterruptError("KeyboardInterrupt without Ctrl-C") from error
        finally:
            # No exception can prevent the acquire: Python handles no signal between these two lines.
            self._inside = False
            self._lock.acquire()
            if self._error is not None:
                raise Interrupted

    def construct(self, function: Callable[[], Any]) -> Any:
        """Call a constructor, then reinstall our signal handlers, which it may have replaced."""
        made = self.call(function)
        self._stop.retake()
        return made

    def close(self, function: Callable[[], object]) -> None:
        """Call `function`, which closes an environment; all such calls together may take `CLOSE_S`."""
        if not self._closing:
            self._closing, self._deadline_s = True, time.monotonic() + CLOSE_S
        try:
            self.call(function)
        except Interrupted:
            log.warning("the environment did not close within %g s", CLOSE_S)

    def pause(self, seconds: float) -> None:
        """Sleep inside a call, so that the periodic work continues."""
        self.call(time.sleep, seconds)

    def poll(self) -> None:
        """Do the periodic work if it is due; for loops with many short calls.

        Raises:
            Interrupted: a stop was requested.
        """
        if self._look.due_now() and not self._goes_on():
            raise Interrupted

    def __enter__(self) -> Self:
        """Start the thread."""
        self._signals, self._wake = os.pipe()
        for end in (self._signals, self._wake):
            os.set_blocking(end, False)
        self._before = (
            signal.signal(INTERRUPT, self._interrupt),
            signal.set_wakeup_fd(self._wake, warn_on_full_buffer=False),
        )
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        """End the thread; absorb an `Interrupted` that was caused by a stop."""
        self._over = True
        os.write(self._wake, b"\0")
        self._thread.join()
        signal.signal(INTERRUPT, self._before[0])
        signal.set_wakeup_fd(self._before[1])
        os.close(self._signals)
        os.close(self._wake)
        self._signals = self._wake = -1
        if kind is Interrupted and self._error is not None:
            raise self._error
        return kind is Interrupted

    def _may_be_asked(self) -> bool:
        """Return whether a KeyboardInterrupt may come from the user's Ctrl-C.

        Our handlers raise none. An environment may have replaced them, but the pipe still gets the signal.
        """
        self._hear()
        return not self._stop.is_installed or self._stop.is_set() or self._told.is_set()

    def _interrupt(self, number: int, frame: FrameType | None) -> None:
        if self._inside and self._calls == self._interrupting:
            raise Interrupted

    def _watch(self) -> None:
        while not self._over:
            select.select([self._signals], [], [], TICK_S)
            self._hear()
            try:
                self._tick(time.monotonic())
            except Exception as error:
                self._error = error

    def _hear(self) -> None:
        """Read signals from the pipe: in C code the main thread cannot run its Python handlers."""
        with suppress(OSError):  # nothing has arrived, or there is no thread
            for number in os.read(self._signals, 4096):
                self._told.note(number)

    def _tick(self, now_s: float) -> None:
        turned = self._calls != self._seen
        if turned:
            self._seen, self._since_s = self._calls, now_s
        if self._lock.acquire(blocking=False):  # the main thread is inside a call and cannot return now
            try:
                if self._seen == self._calls:
                    self._on_tick(now_s)
            finally:
                self._lock.release()
        elif turned:
            self.heartbeat.beat()

    def _on_tick(self, now_s: float) -> None:
        """Do the periodic work during a call, and interrupt the call after the deadline."""
        if not (self._goes_on() or self._closing):
            self._deadline_s = min(self._deadline_s, now_s + GRACE_S)
        end_s = max(self._deadline_s, self._since_s + GRACE_S)
        if now_s >= end_s + FORCE_S:
            self._leave()
        elif now_s >= end_s and self._interrupting != self._seen:  # only once, so that it can clean up
            self._interrupting = self._seen
            signal.pthread_kill(threading.main_thread().ident or 0, INTERRUPT)

    def _goes_on(self) -> bool:
        if self._error is not None:
            return False
        self.heartbeat.beat()
        try:
            goes_on = self.on_tick()
        except Exception as error:
            self._error, goes_on = error, False
        return goes_on and not self._stop.is_set() and not self._told.is_set()

    def _leave(self) -> None:
        """End the process without its main thread, which does not respond to exceptions."""
        log.warning("the environment does not return; exiting without closing it")
        status = 1
        try:
            self.on_abandon()
            status = self.status
            if self._error is not None:
                status = ConfigError.status if isinstance(self._error, ConfigError) else 1
                say_error(str(self._error))
            report(STATUS, str(status))
        finally:
            os._exit(status)


def _forget() -> None:
    """Remove the handler and the wakeup pipe in a forked process, whose signals would reach our pipe."""
    if isinstance(getattr(signal.getsignal(INTERRUPT), "__self__", None), Watchdog):
        signal.signal(INTERRUPT, signal.SIG_DFL)
        signal.set_wakeup_fd(-1)


forget_in_children(_forget, INTERRUPT)
