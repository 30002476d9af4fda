"""Hostile peers, unauthenticated and authenticated, leave the honest actors undisturbed."""

import statistics
import time
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

import pytest

from tests.chaos.audit import Audit
from tests.chaos.hostile_peers import Mallory, ProtectedFleet, half_open
from tests.end_to_end.harness import until

NUM_HALF_OPEN = 200
WINDOW_S = 8.0
"""Shorter than the handshake's time limit, so that all stay open throughout."""
NUM_WINDOWS = 3


@pytest.fixture
def protected(tmp_path: Path) -> Iterator[ProtectedFleet]:
    protected = ProtectedFleet(tmp_path)
    yield protected
    protected.fleet.end()


def ports(protected: ProtectedFleet) -> list[int]:
    assert protected.fleet.endpoints is not None
    return [port for port in vars(protected.fleet.endpoints).values() if isinstance(port, int)]


def rate_hz(protected: ProtectedFleet, window_s: float) -> float:
    """Return the env steps per second that the learner inserts during the next `window_s`."""
    before = protected.row()
    until(
        lambda: protected.row()["wall_s"] >= before["wall_s"] + window_s, "the window is over", window_s + 30
    )
    after = protected.row()
    return float((after["env_steps"] - before["env_steps"]) / (after["wall_s"] - before["wall_s"]))


def assert_nothing_lost_by_the_good_actors(found: Audit) -> None:
    print(found)
    assert (found.twice, found.missing) == (0, {})


def send_damaged_frames(protected: ProtectedFleet, num_frames: int) -> dict[str, float]:
    """Send damaged frames with a listed key; return the learner's row once most have been counted."""
    before = protected.row()["malformed"]
    mallory = Mallory(protected.transport("mallory"), protected.keys)
    mallory.send(num_frames)
    until(lambda: protected.row()["malformed"] - before > num_frames / 2, "most of them are refused")
    mallory.close()
    protected.come_on()
    return protected.row()


def test_half_open_connections_and_damaged_frames_disturb_nobody(protected: ProtectedFleet) -> None:
    protected.come_on()
    with half_open(ports(protected), NUM_HALF_OPEN):
        until(lambda: protected.row()["connections"] >= NUM_HALF_OPEN + 12, "all of them are open")
        send_damaged_frames(protected, 3000)
    assert_nothing_lost_by_the_good_actors(protected.end())


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_four_actors_keep_their_rate_under_200_half_open_connections(protected: ProtectedFleet) -> None:
    protected.come_on(20_000)
    rates: dict[bool, list[float]] = {False: [], True: []}
    for _ in range(NUM_WINDOWS):
        for attacked in (False, True):
            with half_open(ports(protected), NUM_HALF_OPEN) if attacked else nullcontext():
                rates[attacked].append(rate_hz(protected, WINDOW_S))
    quiet, attacked_hz = (statistics.median(rates[which]) for which in (False, True))
    print(f"env steps/s: quiet {rates[False]}, attacked {rates[True]}; ratio {attacked_hz / quiet:.3f}")
    assert attacked_hz > 0.9 * quiet
    assert_nothing_lost_by_the_good_actors(protected.end())


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_100_000_damaged_frames_with_a_listed_key_crash_nothing_and_leave_no_memory(
    protected: ProtectedFleet,
) -> None:
    protected.come_on()
    send_damaged_frames(protected, 10_000)  # warms up whatever is made once
    before_bytes, before_s = protected.memory_bytes(), time.monotonic()
    row = send_damaged_frames(protected, 100_000)
    growth_mb = (protected.memory_bytes() - before_bytes) / 1e6
    found = protected.end()
    took_s = time.monotonic() - before_s
    print(f"100,000 frames in {took_s:.0f} s; memory {growth_mb:+.1f} MB; malformed {row['malformed']:,}")
    assert growth_mb < 10
    reasons = {name: count for name, count in found.counters.items() if name.startswith("malformed: ")}
    assert sum(reasons.values()) == found.counters["malformed"] > 50_000
    assert len(reasons) >= 6
    assert_nothing_lost_by_the_good_actors(found)
