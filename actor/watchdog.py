"""Calls into foreign code, which may sleep, hang or never return: the process stays alive and can be stopped.

Enters: a function of the environment's. Leaves: what it returned. Meanwhile a thread stands in for the main
one. It knows neither sockets nor episodes: what must go on and what is left to do at the end are handed in.
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

from actor.heartbeat import Heartbeat
from common.errors import ConfigError
from common.reports import STATUS, report, say_error
from common.runtime.interval import Interval
from common.runtime.signals import StopSignal

log = logging.getLogger(__name__)

TICK_S = 0.1
"""The thread looks so often, and stands in for the main one if that is inside a call."""
GRACE_S = 0.4
"""A call may last so long after a stop; then it is interrupted."""
FORCE_S = 2.0
"""A call that has been interrupted may last so much longer; then the process leaves without it."""
CLOSE_S = 5.0
"""Closing all environments may take so long."""
INTERRUPT = signal.SIGUSR2
"""Sent by the thread to the main one; environments that use signals use others."""


class Interrupted(BaseException):
    """Raised inside foreign code that outlasts a stop; no `except Exception` on the way holds it up."""


class UnaskedInterruptError(Exception):
    """Watchdog code raised a `KeyboardInterrupt`, but nobody has pressed Ctrl-C."""


PROCESS_ENDING = (KeyboardInterrupt, Interrupted)
"""What ends this process when foreign code lets it through. All else that it raises is a fault of its own,
also what no `except Exception` catches: `SystemExit`, asyncio's `CancelledError`, a panic of Rust."""


class Watchdog:
    """The way into foreign code.

    The main thread holds a lock at all times except inside `call`. The thread does what it does with that
    lock, so everything that is ours is used by one of them at a time. As a context manager it starts the
    thread, and an `Interrupted` ends there; without, calls are only calls.

    Args:
        stop: when to leave; calls that outlast it are ended.
        status: exit status of a process that has to leave without the main thread.

    Attributes:
        meanwhile: called several times a second during calls and by `look`; returns whether to go on.
            What it raises ends the call, and is raised again where the context ends.
        on_abandon: called before the process leaves without the main thread.
        status: as the argument; may be changed later.
        heartbeat: beats while calls are made or last; who waits for something else beats it himself.

    Raises:
        ConfigError: the heartbeat's file cannot be written.
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
        self._deadline_s = float("inf")  # calls are ended from here on
        self._seen, self._since_s = 0, 0.0  # the call that was under way at the last tick, and since when
        self._interrupting = 0  # number of the call that was interrupted last
        self._signals, self._wake = -1, -1
        self._told = StopSignal()  # by signals that the main thread may not have come to handle yet

    def call(self, function: Callable[..., Any], *args: Any) -> Any:
        """Return `function(*args)`; not reentrant.

        Raises:
            Interrupted: it outlasted a stop.
            UnaskedInterruptError: it raised a `KeyboardInterrupt` of its own.
        """
        self._calls += 1
        self._lock.release()
        try:
            self._inside = True
            return function(*args)
        except KeyboardInterrupt as error:
            if self._may_be_asked():
                raise
            raise UnaskedInterruptError("KeyboardInterrupt, but nobody pressed Ctrl-C") from error
        finally:
            # Nothing is raised before the lock is held: Python handles no signal between the two lines.
            self._inside = False
            self._lock.acquire()
            if self._error is not None:
                raise Interrupted

    def construct(self, function: Callable[[], Any]) -> Any:
        """Return what a constructor makes; it may have taken over our signals, so they are taken back."""
        made = self.call(function)
        self._stop.retake()
        return made

    def close(self, function: Callable[[], object]) -> None:
        """Call `function`, the last of its kind: it is waited for, `CLOSE_S` for all of them together."""
        if not self._closing:
            self._closing, self._deadline_s = True, time.monotonic() + CLOSE_S
        try:
            self.call(function)
        except Interrupted:
            log.warning("the environment did not close within %g s", CLOSE_S)

    def pause(self, seconds: float) -> None:
        """Sleep as a call does."""
        self.call(time.sleep, seconds)

    def poll(self) -> None:
        """Do what must go on, when it is due; for work that makes one quick call after the other.

        Raises:
            Interrupted: told to stop.
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
        """End the thread; return whether all that happened is that a call was interrupted by a stop."""
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
        """Return whether a KeyboardInterrupt may come from a user's Ctrl-C.

        Our handlers raise none. An environment may have installed others, but the pipe still has the signal.
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
        """Note signals themselves: the main thread may be where Python cannot call its handler."""
        with suppress(OSError):  # nothing has arrived, or there is no thread
            for number in os.read(self._signals, 4096):
                self._told.note(number)

    def _tick(self, now_s: float) -> None:
        turned = self._calls != self._seen
        if turned:
            self._seen, self._since_s = self._calls, now_s
        if self._lock.acquire(blocking=False):  # the main thread is inside a call, and cannot leave it now
            try:
                if self._seen == self._calls:
                    self._on_tick(now_s)
            finally:
                self._lock.release()
        elif turned:
            self.heartbeat.beat()

    def _on_tick(self, now_s: float) -> None:
        """Do what must go on during a call, and end the call when it is time."""
        if not (self._goes_on() or self._closing):
            self._deadline_s = min(self._deadline_s, now_s + GRACE_S)
        end_s = max(self._deadline_s, self._since_s + GRACE_S)
        if now_s >= end_s + FORCE_S:
            self._leave()
        elif now_s >= end_s and self._interrupting != self._seen:  # once: what it cleans up is left in peace
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
        """End the process: the main thread is where no exception reaches it."""
        log.warning("the environment does not return; leaving without it")
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
    """Take nothing of it into a forked process: its signals would be heard as ours."""
    if isinstance(getattr(signal.getsignal(INTERRUPT), "__self__", None), Watchdog):
        signal.signal(INTERRUPT, signal.SIG_DFL)
        signal.set_wakeup_fd(-1)


os.register_at_fork(after_in_child=_forget)
