"""Thousands of unauthenticated handshakes cost a busy learner little memory and its actors no throughput."""

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

from tests.chaos.hostile_peers import ProtectedFleet
from tests.chaos.test_hostile_peers import assert_nothing_lost_by_the_good_actors, ports, rate_hz
from tests.learner.hostile_connections import begin_command, greeted

NUM_STRANGERS = 4000
COMMAND_BYTES = 16 << 20
WINDOW_S = 8.0
NUM_WINDOWS = 3
NUM_CORES = os.cpu_count() or 1
PATIENCE_S = 0.002
"""Seconds that one connection may block the flood."""
MAX_GROWTH_BYTES = 64 << 20

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture
def protected(tmp_path: Path) -> Iterator[ProtectedFleet]:
    protected = ProtectedFleet(tmp_path)
    yield protected
    protected.fleet.end()


class HandshakeFlood(threading.Thread):
    """Opens connections at a steady rate, each with an unfinished handshake of 16 MB, and closes none.

    Args:
        learner_ports: taken in turn.
        count: connections, evenly over a window.

    Attributes:
        opened: connections so far.
        cpu_s: processor time used, seconds.
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
                continue  # the limit of open handshakes is reached
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


class MemoryMonitor(threading.Thread):
    """Samples the memory of the learner.

    Attributes:
        most_bytes: largest sample, without file-backed pages.
    """

    def __init__(self, protected: ProtectedFleet) -> None:
        super().__init__(daemon=True)
        self.most_bytes = protected.memory_bytes()
        self._fleet, self._leaving = protected, threading.Event()

    def run(self) -> None:
        while not self._leaving.wait(0.02):
            try:
                self.most_bytes = max(self.most_bytes, self._fleet.memory_bytes())
            except psutil.NoSuchProcess:
                return

    def end(self) -> int:
        self._leaving.set()
        self.join()
        return self.most_bytes


def test_4000_endless_handshakes_cost_little_memory_and_no_rate(protected: ProtectedFleet) -> None:
    protected.come_on(20_000)
    before_bytes, monitor, opened = protected.memory_bytes(), MemoryMonitor(protected), 0
    monitor.start()
    rates: dict[bool, list[float]] = {False: [], True: []}
    for _ in range(NUM_WINDOWS):
        for attacked in (False, True):
            flood = HandshakeFlood(ports(protected), NUM_STRANGERS // NUM_WINDOWS + 1)
            with flood if attacked else nullcontext():
                rate = rate_hz(protected, WINDOW_S)
                # On separate machines the flood would not use the fleet's processors.
                rates[attacked].append(rate / (1 - flood.cpu_s / WINDOW_S / NUM_CORES))
            opened += flood.opened
    growth_bytes, row = monitor.end() - before_bytes, protected.row()
    quiet_hz, attacked_hz = (statistics.median(rates[which]) for which in (False, True))
    ended = row["cut_handshakes"] + row["broken_connections"]
    print(
        f"env steps/s: quiet {rates[False]}, attacked {rates[True]}; ratio {attacked_hz / quiet_hz:.3f};"
        f" memory +{growth_bytes / 1e6:.1f} MB; {opened} connections, {ended} ended"
    )
    assert opened > NUM_STRANGERS / 2
    assert growth_bytes < MAX_GROWTH_BYTES
    assert attacked_hz > 0.9 * quiet_hz
    assert ended > 0.9 * opened
    assert_nothing_lost_by_the_good_actors(protected.end())
