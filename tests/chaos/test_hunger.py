"""Thousands of strangers who ask a learner at work for memory get little, and good actors keep their rate."""

import os
import statistics
import threading
import time
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Self

import psutil
import pytest

from tests.chaos.siege import Siege
from tests.chaos.test_siege import assert_the_good_lost_nothing, ports, rate_hz
from tests.learner.hostile_connections import begin_command, greeted

STRANGERS_N = 4000
COMMAND_BYTES = 16 << 20
WINDOW_S = 8.0
WINDOWS_N = 3
CORES_N = os.cpu_count() or 1
PATIENCE_S = 0.002
"""So long a stranger sends before it turns to the next connection."""
MAX_GROWTH_BYTES = 64 << 20

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture
def siege(tmp_path: Path) -> Iterator[Siege]:
    siege = Siege(tmp_path)
    yield siege
    siege.fleet.end()


class Hungry(threading.Thread):
    """Connects again and again, begins a handshake of 16 MB each time, and hangs up on nobody.

    Args:
        learner_ports: taken in turn.
        count: connections, evenly over a window.

    Attributes:
        opened: connections that have been made.
        cpu_s: processor time that it has taken.
    """

    def __init__(self, learner_ports: list[int], count: int) -> None:
        super().__init__(daemon=True)
        self.opened, self.cpu_s = 0, 0.0
        self._ports, self._count, self._leaving = learner_ports, count, threading.Event()

    def run(self) -> None:
        held = []
        for index in range(self._count):
            if self._leaving.wait(0.8 * WINDOW_S / self._count):
                break
            try:
                held.append(greeted(self._ports[index % len(self._ports)]))
            except OSError:
                continue  # as many as are let be in a handshake are in one
            self.opened += 1
            held[-1].settimeout(PATIENCE_S)
            begin_command(held[-1], COMMAND_BYTES - 100, COMMAND_BYTES - 200)
            self.cpu_s = time.thread_time()
        self._leaving.wait()
        for connection in held:
            connection.close()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._leaving.set()
        self.join()


class Scales(threading.Thread):
    """Weighs the learner again and again.

    Attributes:
        most_bytes: the most memory that was seen, without the pages of files.
    """

    def __init__(self, siege: Siege) -> None:
        super().__init__(daemon=True)
        self.most_bytes = siege.memory_bytes()
        self._siege, self._leaving = siege, threading.Event()

    def run(self) -> None:
        while not self._leaving.wait(0.02):
            try:
                self.most_bytes = max(self.most_bytes, self._siege.memory_bytes())
            except psutil.NoSuchProcess:
                return

    def end(self) -> int:
        self._leaving.set()
        self.join()
        return self.most_bytes


def test_4000_endless_handshakes_cost_little_memory_and_no_rate(siege: Siege) -> None:
    siege.come_on(20_000)
    before_bytes, scales, opened = siege.memory_bytes(), Scales(siege), 0
    scales.start()
    rates: dict[bool, list[float]] = {False: [], True: []}
    for _ in range(WINDOWS_N):
        for besieged in (False, True):
            crowd = Hungry(ports(siege), STRANGERS_N // WINDOWS_N + 1)
            with crowd if besieged else nullcontext():
                rate = rate_hz(siege, WINDOW_S)
                # The crowd takes from the fleet's processors what elsewhere it would take from its own.
                rates[besieged].append(rate / (1 - crowd.cpu_s / WINDOW_S / CORES_N))
            opened += crowd.opened
    growth_bytes, row = scales.end() - before_bytes, siege.row()
    quiet_hz, besieged_hz = (statistics.median(rates[which]) for which in (False, True))
    ended = row["cut_handshakes"] + row["broken_connections"]
    print(
        f"env steps/s: quiet {rates[False]}, besieged {rates[True]}; ratio {besieged_hz / quiet_hz:.3f};"
        f" memory +{growth_bytes / 1e6:.1f} MB; {opened} connections, {ended} ended"
    )
    assert opened > STRANGERS_N / 2
    assert growth_bytes < MAX_GROWTH_BYTES
    assert besieged_hz > 0.9 * quiet_hz
    assert ended > 0.9 * opened
    assert_the_good_lost_nothing(siege.end())
