"""Two hosts as network namespaces: an interrupted link and a lossy link lose nothing."""

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from graspfleet.common.runtime.run_directory import Endpoints
from tests.chaos.audit import Audit, audit
from tests.chaos.counting_env import SLOW_LEARNING
from tests.chaos.crash_recovery import ENV
from tests.end_to_end.harness import Fleet, until

CAPACITY = 12_000_000
LEARNER, ACTORS = "gf-learner", "gf-actors"
LEARNER_ADDRESS, ACTORS_ADDRESS = "10.77.0.1", "10.77.0.2"
CUT_S, NUM_CUTS = 30.0, 3

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)


class Hosts:
    """A learner and four actors on two hosts."""

    def __init__(self, folder: Path) -> None:
        self.fleet = Fleet(folder)
        self.fleet.endpoints = Endpoints(LEARNER_ADDRESS, 5555, 5556, 5557)
        self.made = folder / "made"
        self.made.mkdir()

    def start(self) -> None:
        sizes = ("--hidden-dim", "16", "--batch-size", "32", "--replay-capacity", str(CAPACITY))
        ends = ("--total-env-steps", str(CAPACITY), "--updates-per-step", "None", "--log-interval-s", "0.5")
        sizes = (*sizes, *SLOW_LEARNING)
        where = ("--bind", LEARNER_ADDRESS, "--insecure", "--run-dir", str(self.fleet.run.path))
        command = ("graspfleet.learner", "--env", ENV, *sizes, *ends, *where, *self.fleet.addresses())
        self.fleet.start("learner", *command, inside=("ip", "netns", "exec", LEARNER))
        for index in range(4):
            command = (
                "graspfleet.actor",
                "--env",
                ENV,
                "--env-args",
                f"folder={self.made}",
                "--actor-id",
                f"a{index}",
            )
            where = ("--learner", LEARNER_ADDRESS, "--insecure", "--linger-s", "60", *self.fleet.addresses())
            self.fleet.start(f"a{index}", *command, *where, inside=("ip", "netns", "exec", ACTORS))

    def progress(self) -> tuple[int, int]:
        """Return env steps and updates so far."""
        if not self.fleet.run.metrics.exists():
            return 0, 0
        lines = self.fleet.run.metrics.read_text().splitlines()
        last = json.loads(lines[-1]) if lines else {"env_steps": 0, "updates": 0}
        return last["env_steps"], last["updates"]

    def come_on(self, env_steps: int) -> None:
        """Wait until the learner has `env_steps` more env steps and has run updates meanwhile."""
        steps, updates = self.progress()
        until(
            lambda: self.progress()[0] > steps + env_steps and self.progress()[1] > updates,
            f"{env_steps} more",
        )

    def end(self) -> Audit:
        for index in range(4):
            self.fleet.signal(f"a{index}", signal.SIGTERM)
        for index in range(4):
            assert self.fleet.wait(f"a{index}", 90) == 0, self.fleet.output(f"a{index}")
        self.fleet.signal("learner", signal.SIGTERM)
        assert self.fleet.wait("learner") == 0, self.fleet.output("learner")
        return audit(self.fleet.run, CAPACITY, self.made)


@pytest.fixture
def hosts(tmp_path: Path) -> Iterator[Hosts]:
    if os.geteuid() != 0 or shutil.which("ip") is None:
        pytest.skip("network namespaces need root and iproute2")
    try:
        for name in (LEARNER, ACTORS):
            ip("netns", "add", name)
            ip("-n", name, "link", "set", "lo", "up")
    except subprocess.CalledProcessError as error:
        pytest.skip(f"no network namespaces here: {error.stderr.decode().strip()}")
    hosts = Hosts(tmp_path)
    yield hosts
    hosts.fleet.end()
    for name in (LEARNER, ACTORS):
        ip("netns", "del", name)


def assert_nothing_lost(found: Audit) -> None:
    print(found)
    assert (found.twice, found.missing) == (0, {})
    assert found.totals["produced"] == found.totals["inserted"]
    assert found.counters.get("lost", 0) == 0


def test_a_link_cut_three_times_for_half_a_minute_loses_nothing(hosts: Hosts) -> None:
    ip("link", "add", "veth0", "netns", LEARNER, "type", "veth", "peer", "name", "veth1", "netns", ACTORS)
    for name, device, address in ((LEARNER, "veth0", LEARNER_ADDRESS), (ACTORS, "veth1", ACTORS_ADDRESS)):
        ip("-n", name, "addr", "add", f"{address}/24", "dev", device)
        ip("-n", name, "link", "set", device, "up")
    hosts.start()
    for _ in range(NUM_CUTS):
        hosts.come_on(2000)
        ip("-n", LEARNER, "link", "set", "veth0", "down")
        end_s = time.monotonic() + CUT_S
        until(lambda end_s=end_s: time.monotonic() > end_s, "the cut is over")
        ip("-n", LEARNER, "link", "set", "veth0", "up")
        ip("-n", LEARNER, "addr", "replace", f"{LEARNER_ADDRESS}/24", "dev", "veth0")
    hosts.come_on(2000)
    assert_nothing_lost(hosts.end())


def test_a_link_with_200_ms_and_5_percent_loss_loses_nothing(hosts: Hosts) -> None:
    if not Path("/dev/net/tun").exists():
        pytest.skip("no /dev/net/tun here")
    ends = (f"{LEARNER}:{LEARNER_ADDRESS}", f"{ACTORS}:{ACTORS_ADDRESS}")
    hosts.fleet.start("link", "tests.chaos.lossy_link", "--ends", *ends, "--delay-s", "0.1", "--loss", "0.05")
    until(lambda: hosts.fleet.output("link") == "up\n", "the link is up")
    hosts.start()
    hosts.come_on(3000)
    hosts.come_on(3000)
    assert_nothing_lost(hosts.end())
