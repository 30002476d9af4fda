"""Three hosts with addresses of their own, as network namespaces: the page's commands, encrypted."""

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.deploy.walkthrough import ROOT, blocks, installed, run
from tests.end_to_end.harness import DEADLINE_S, until

pytestmark = pytest.mark.slow
LEARNER, SWITCH = "gf-hosts-0", "gf-switch"
ADDRESSES = {LEARNER: "10.78.0.1", "gf-hosts-a": "10.78.0.2", "gf-hosts-b": "10.78.0.3"}
ON_LEARNER, ON_ACTOR = blocks("By hand")
SETTINGS = f"--config {ROOT / 'tests' / 'deploy' / 'tiny.yaml'}"


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)


class Host:
    """One network namespace with its own folder, as if it were a machine."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name, self.folder = name, folder
        folder.mkdir()
        self.path = installed(folder)
        self._environment = {**os.environ, **self.path}
        self._inside = ["ip", "netns", "exec", name]
        self._processes: list[subprocess.Popen[bytes]] = []

    def start(self, command: str) -> "subprocess.Popen[bytes]":
        with (self.folder / "output.txt").open("ab") as output:
            process = subprocess.Popen(
                [*self._inside, *command.split()],
                cwd=self.folder,
                env=self._environment,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        self._processes.append(process)
        return process

    def ask(self, command: str) -> str:
        done = subprocess.run(
            [*self._inside, *command.split()],
            cwd=self.folder,
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=DEADLINE_S,
        )
        return done.stdout

    def output(self) -> str:
        return (self.folder / "output.txt").read_text()

    def end(self) -> None:
        for process in self._processes:
            if process.poll() is None:
                process.kill()
                process.wait()


@pytest.fixture
def hosts(tmp_path: Path) -> Iterator[list[Host]]:
    if os.geteuid() != 0 or shutil.which("ip") is None:
        pytest.skip("network namespaces need root and iproute2")
    made: list[str] = []
    hosts: list[Host] = []
    try:
        try:
            for name in (SWITCH, *ADDRESSES):
                ip("netns", "add", name)
                made.append(name)
        except subprocess.CalledProcessError as error:
            pytest.skip(f"no network namespaces here: {error.stderr.decode().strip()}")
        ip("-n", SWITCH, "link", "add", "bridge", "type", "bridge")
        ip("-n", SWITCH, "link", "set", "bridge", "up")
        for index, (name, address) in enumerate(ADDRESSES.items()):
            port = f"port{index}"
            ip("link", "add", port, "netns", SWITCH, "type", "veth", "peer", "name", "eth0", "netns", name)
            ip("-n", SWITCH, "link", "set", port, "master", "bridge", "up")
            ip("-n", name, "addr", "add", f"{address}/24", "dev", "eth0")
            ip("-n", name, "link", "set", "eth0", "up")
            ip("-n", name, "link", "set", "lo", "up")
        hosts = [Host(name, tmp_path / name) for name in ADDRESSES]
        yield hosts
    finally:
        for host in hosts:
            host.end()
        for name in made:
            ip("netns", "del", name)


def give_keys(learner: Host, other: Host, name: str) -> None:
    """Bring a host its own key and the learner's public one, as the page says."""
    folder = other.folder / "keys"
    folder.mkdir(mode=0o700)
    for file in (f"{name}.key_secret", "learner.key"):
        shutil.copy(learner.folder / "keys" / file, folder / file)


def test_actors_on_two_other_hosts_deliver_encrypted_and_a_stranger_does_not(hosts: list[Host]) -> None:
    learner, host_a, host_b = hosts
    *make_keys, start = ON_LEARNER.strip().splitlines()
    run("\n".join(make_keys), learner.folder, learner.path)
    process = learner.start(f"{start} {SETTINGS}")
    actor = ON_ACTOR.strip().replace("192.0.2.10", ADDRESSES[LEARNER])
    actors = []
    for host, name in ((host_a, "hosta"), (host_b, "hostb")):
        give_keys(learner, host, name)
        actors += [host.start(f"{actor} {SETTINGS}") for _ in range(2)]
    # A stranger knows the learner's key, which is no secret, but has one that nobody let in.
    run("graspfleet keys init stranger", host_b.folder, host_b.path)
    shutil.copy(learner.folder / "keys" / "learner.key", host_b.folder / "stranger")
    stranger = host_b.start(
        f"{actor.replace('--keys keys', '--keys stranger')} --connect-timeout-s 5 {SETTINGS}"
    )

    def status() -> str:
        return learner.ask("graspfleet status runs/train")

    shown = until(lambda: (text := status()).count(" alive") == 4 and text, "four actors from two hosts", 60)
    names = sorted(line.split()[1].split("-")[0] for line in shown.splitlines() if line.startswith("actor"))
    assert names == ["hosta", "hosta", "hostb", "hostb"]
    assert stranger.wait(DEADLINE_S) == 2
    assert "the learner rejects this key" in host_b.output()
    assert "refused a key that is not allowed" in learner.output()
    learner.ask("graspfleet keys revoke keys hostb")
    until(lambda: status().count(" alive") == 2, "the revoked host's actors are out", 60)
    for each in actors[:2]:
        each.send_signal(signal.SIGTERM)
    assert [each.wait(DEADLINE_S) for each in actors[:2]] == [0, 0], host_a.output()
    counts = dict(line.split()[:2] for line in status().splitlines() if not line.startswith("actor"))
    print({name: counts[name] for name in ("produced", "inserted", "rejected", "lost")})
    assert counts["produced"] == counts["inserted"] != "0"
    assert counts["rejected"] == counts["lost"] == "0"
    process.send_signal(signal.SIGTERM)
    assert process.wait(DEADLINE_S) == 0, learner.output()
