"""Hostile peers at the door of a learner and inside: the good actors notice nothing."""

import statistics
import time
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

import pytest

from tests.chaos.audit import Audit
from tests.chaos.siege import Mallory, Siege, half_open
from tests.end_to_end.harness import until

HALF_OPEN_N = 200
WINDOW_S = 8.0
"""Shorter than the handshake's time limit, so that all of them are open all the time."""
WINDOWS_N = 3


@pytest.fixture
def siege(tmp_path: Path) -> Iterator[Siege]:
    siege = Siege(tmp_path)
    yield siege
    siege.fleet.end()


def ports(siege: Siege) -> list[int]:
    assert siege.fleet.endpoints is not None
    return [port for port in vars(siege.fleet.endpoints).values() if isinstance(port, int)]


def rate_hz(siege: Siege, window_s: float) -> float:
    """Return the env steps a second that the learner takes from now on."""
    before = siege.row()
    until(lambda: siege.row()["wall_s"] >= before["wall_s"] + window_s, "the window is over", window_s + 30)
    after = siege.row()
    return float((after["env_steps"] - before["env_steps"]) / (after["wall_s"] - before["wall_s"]))


def assert_the_good_lost_nothing(found: Audit) -> None:
    print(found)
    assert (found.twice, found.missing) == (0, {})


def assault(siege: Siege, frames_n: int) -> dict[str, float]:
    """Send damaged frames with a listed key; return the learner's row when it has seen most of them."""
    before = siege.row()["malformed"]
    mallory = Mallory(siege.transport("mallory"), siege.keys)
    mallory.send(frames_n)
    until(lambda: siege.row()["malformed"] - before > frames_n / 2, "most of them are refused")
    mallory.close()
    siege.come_on()
    return siege.row()


def test_half_open_connections_and_damaged_frames_disturb_nobody(siege: Siege) -> None:
    siege.come_on()
    with half_open(ports(siege), HALF_OPEN_N):
        until(lambda: siege.row()["connections"] >= HALF_OPEN_N + 12, "all of them are open")
        assault(siege, 3000)
    assert_the_good_lost_nothing(siege.end())


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_four_actors_keep_their_rate_under_200_half_open_connections(siege: Siege) -> None:
    siege.come_on(20_000)
    rates: dict[bool, list[float]] = {False: [], True: []}
    for _ in range(WINDOWS_N):
        for besieged in (False, True):
            with half_open(ports(siege), HALF_OPEN_N) if besieged else nullcontext():
                rates[besieged].append(rate_hz(siege, WINDOW_S))
    quiet, besieged_hz = (statistics.median(rates[which]) for which in (False, True))
    print(f"env steps/s: quiet {rates[False]}, besieged {rates[True]}; ratio {besieged_hz / quiet:.3f}")
    assert besieged_hz > 0.9 * quiet
    assert_the_good_lost_nothing(siege.end())


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_100_000_damaged_frames_with_a_listed_key_crash_nothing_and_leave_no_memory(siege: Siege) -> None:
    siege.come_on()
    assault(siege, 10_000)  # warms up whatever is made once
    before_bytes, before_s = siege.memory_bytes(), time.monotonic()
    row = assault(siege, 100_000)
    growth_mb = (siege.memory_bytes() - before_bytes) / 1e6
    found = siege.end()
    took_s = time.monotonic() - before_s
    print(f"100,000 frames in {took_s:.0f} s; memory {growth_mb:+.1f} MB; malformed {row['malformed']:,}")
    assert growth_mb < 10
    reasons = {name: count for name, count in found.counters.items() if name.startswith("malformed: ")}
    assert sum(reasons.values()) == found.counters["malformed"] > 50_000
    assert len(reasons) >= 6
    assert_the_good_lost_nothing(found)
