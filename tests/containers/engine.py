"""The container engine of this machine: Docker with Compose, or podman under the same commands."""

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.deploy.walkthrough import ROOT, blocks, run
from tests.end_to_end.harness import until

SETTINGS = ROOT / "tests" / "deploy" / "tiny.yaml"
BASE_IMAGE = "python:3.11-slim"
PODMAN_BASE = "GRASPFLEET_BASE_IMAGE"
"""Where a host without a registry names its base image."""


def answers(*command: str) -> bool:
    """Return whether a command is there and succeeds."""
    return (
        shutil.which(command[0]) is not None and not subprocess.run(command, capture_output=True).returncode
    )


def find_engine(folder: Path) -> "Engine | str":
    """Return an engine that answers, or why there is none.

    Args:
        folder: for a `docker` command, where podman has to play it.
    """
    environment = {"SETTINGS": str(SETTINGS), "BASE_IMAGE": os.environ.get(PODMAN_BASE, BASE_IMAGE)}
    if answers("docker", "info") and answers("docker", "compose", "version"):
        return Engine(environment)
    tools = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    if not answers("podman", "info") or shutil.which("podman-compose", path=tools) is None:
        return "no container engine answers (docker with compose, or podman with podman-compose)"
    (folder / "docker").symlink_to(Path(__file__).parent / "podman-as-docker")
    return Engine({**environment, "PATH": f"{folder}:{tools}"})


class Engine:
    """Runs the commands of docs/clusters.md in this source tree.

    Args:
        environment: variables that the commands need besides this process's.
    """

    def __init__(self, environment: dict[str, str]) -> None:
        self._environment = environment
        self.base_image = environment["BASE_IMAGE"]

    def run(self, block: str, **environment: str) -> str:
        """Run commands of the page; return what they printed."""
        return run(block, ROOT, {**self._environment, **environment})

    def build(self) -> None:
        """Build both images."""
        self.run(blocks("Docker Compose")[0])

    def status(self, inside: str = "docker compose exec -T learner") -> dict[str, Any] | None:
        """Return the learner's status, None while it does not answer."""
        try:
            return json.loads(self.run(f"{inside} graspfleet status /runs/train --json"))
        except (AssertionError, ValueError):
            return None

    def known_status(self) -> dict[str, Any]:
        """Return the learner's status, once it answers."""
        status: dict[str, Any] = until(self.status, "the learner answers", 120)
        return status

    def alive(self, prefix: str = "") -> int:
        """Return how many actors whose id begins with `prefix` the learner lists as alive."""
        status = self.status()
        actors = status["actors"] if status else {}
        return sum(state == "alive" for name, state in actors.items() if name.startswith(prefix))

    def until_alive(self, count: int, prefix: str = "") -> None:
        """Wait until the learner lists exactly so many actors as alive."""
        until(lambda: self.alive(prefix) == count, f"{count} actors are alive", 120)

    def inspect(self, name: str, template: str) -> str:
        """Return what a template makes of a container or an image."""
        return self.run(f"docker inspect --format '{template}' {name}").strip()

    def containers(self, service: str) -> list[str]:
        """Return the containers of a service that run now."""
        command = f"docker ps -q --filter label=com.docker.compose.service={service}"
        return self.run(command).split()

    def assert_healthy(self, container: str) -> None:
        """Run the health check of a container's image inside it, as the engine would."""
        _, check = json.loads(self.inspect(container, "{{json .Config.Healthcheck.Test}}"))
        self.run(f"docker exec {container} sh -c {shlex.quote(check)}")

    def crash(self, container: str) -> None:
        """End a container's process as a crash would: the engine did not do it, so it starts it again."""
        os.kill(int(self.inspect(container, "{{.State.Pid}}")), signal.SIGKILL)

    def end(self) -> None:
        """Remove everything that the tests made, volumes too; images stay, for the next time."""
        for file in ("-f deploy/compose.actors.yml", ""):
            self.run(f"LEARNER_HOST=none docker compose {file} down -v")
