"""A Slurm cluster of two nodes on this machine: munged, slurmctld and one slurmd for each node."""

import os
import shutil
import socket
import subprocess
from contextlib import ExitStack
from pathlib import Path

from tests.end_to_end.harness import until

DAEMONS = ("munged", "slurmctld", "slurmd")
SYSTEM_PATH = "/usr/sbin:/sbin"
NODES, CPUS_PER_NODE = 2, 4
KILL_WAIT_S = 10

CONFIG = """\
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller_port}
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge/socket
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
ProctrackType=proctrack/pgid
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SwitchType=switch/none
MpiDefault=none
ReturnToService=2
KillWait={kill_wait_s}
SlurmdParameters=config_overrides
{nodes}
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


def why_not() -> str | None:
    """Return why no cluster can be started here, if so."""
    if os.geteuid() != 0:
        return "a Slurm cluster of its own needs root"
    missing = [name for name in DAEMONS if not daemon(name)]
    return f"not installed: {', '.join(missing)} (Debian: slurmctld slurmd munge)" if missing else None


def daemon(name: str) -> str | None:
    """Return the path of a daemon; they are often not on a user's PATH."""
    return shutil.which(name, path=f"{os.environ['PATH']}:{SYSTEM_PATH}")


def free_ports(count: int) -> list[int]:
    """Return ports that were free a moment ago."""
    with ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


class Cluster:
    """Two nodes that are this machine twice."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._processes: list[subprocess.Popen[bytes]] = []
        self.environment = {"SLURM_CONF": str(folder / "slurm.conf")}

    def start(self) -> None:
        self._start_munge()
        controller_port, *node_ports = free_ports(1 + NODES)
        host = socket.gethostname()
        node = f"NodeHostname={host} NodeAddr=127.0.0.1 CPUs={CPUS_PER_NODE}"
        (self._folder / "slurm.conf").write_text(
            CONFIG.format(
                host=host,
                folder=self._folder,
                controller_port=controller_port,
                kill_wait_s=KILL_WAIT_S,
                nodes="\n".join(
                    f"NodeName=node{index} {node} Port={port}" for index, port in enumerate(node_ports, 1)
                ),
            )
        )
        self._start("slurmctld", "-D")
        for index in range(1, NODES + 1):
            (self._folder / f"spool-node{index}").mkdir()
            self._start("slurmd", "-D", "-N", f"node{index}")
        until(
            lambda: self("sinfo", "-h", "-t", "idle", "-o", "%D").strip() == str(NODES), "both nodes are idle"
        )

    def __call__(self, *command: str) -> str:
        """Run one of Slurm's commands and return what it printed."""
        environment = {**os.environ, **self.environment}
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60).stdout

    def output(self) -> str:
        """Return what the daemons said, for a failed test."""
        return "".join(path.read_text()[-2000:] for path in sorted(self._folder.glob("*.txt")))

    def end(self) -> None:
        for process in reversed(self._processes):
            process.terminate()
        for process in self._processes:
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def _start_munge(self) -> None:
        place = self._folder / "munge"
        place.mkdir(mode=0o700)
        (place / "key").write_bytes(os.urandom(128))
        (place / "key").chmod(0o400)
        names = {
            "key-file": "key",
            "socket": "socket",
            "pid-file": "pid",
            "log-file": "log",
            "seed-file": "seed",
        }
        # The folders above a test's own are not private to root, which munged would not accept unforced.
        self._start(
            "munged", "--foreground", "--force", *(f"--{flag}={place / name}" for flag, name in names.items())
        )
        until((place / "socket").exists, "munged listens")

    def _start(self, name: str, *flags: str) -> None:
        command = daemon(name)
        assert command is not None
        with (self._folder / f"{name}-{len(self._processes)}.txt").open("wb") as output:
            self._processes.append(
                subprocess.Popen(
                    [command, *flags],
                    env={**os.environ, **self.environment},
                    stdout=output,
                    stderr=subprocess.STDOUT,
                )
            )
