"""Compose, Swarm and Kubernetes files against the published schemas, and against what the images are."""

import json
import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml

from graspfleet.common.settings.flags import ActorFlags, EvaluatorFlags, LearnerFlags, parse
from graspfleet.learner.algorithm import all_settings
from tests.deploy.walkthrough import PAGE, ROOT, blocks, installed, run

DEPLOY = ROOT / "deploy"
COMPOSE_FILES = [ROOT / "docker-compose.yml", DEPLOY / "compose.actors.yml", DEPLOY / "swarm.yml"]
MODELS = {"learner": LearnerFlags, "actor": ActorFlags, "evaluator": EvaluatorFlags}
MOUNTED_SETTINGS = "/etc/graspfleet/settings.yaml"
KUBERNETES_VERSIONS = ["1.29", "1.31", "1.34"]
SCHEMA = json.loads((Path(__file__).parent / "compose-spec.json").read_text())
"""The compose specification's own, from https://github.com/compose-spec/compose-spec (Apache License 2.0)."""


def services(path: Path) -> dict[str, Any]:
    return yaml.safe_load(path.read_text())["services"]


@pytest.fixture(scope="module")
def manifests(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """Return what the page's commands for Kubernetes make of deploy/."""
    if shutil.which("kubectl") is None:
        pytest.skip("no kubectl here")
    folder = tmp_path_factory.mktemp("kubernetes")
    shutil.copytree(DEPLOY, folder / "deploy", ignore=shutil.ignore_patterns("keys"))
    (block,) = blocks("Kubernetes")
    made = run(block, folder, installed(folder))
    return [*yaml.safe_load_all(made[made.index("apiVersion") :])]


def commands_of(words: list[str]) -> tuple[str, list[str]]:
    """Return a process's command and flags, parsed as it would parse them."""
    return words[0], [word.replace(MOUNTED_SETTINGS, str(DEPLOY / "settings.yaml")) for word in words[1:]]


@pytest.mark.parametrize("path", COMPOSE_FILES, ids=lambda path: path.name)
def test_a_compose_file_fits_the_specification(path: Path) -> None:
    jsonschema.Draft7Validator(SCHEMA).validate(yaml.safe_load(path.read_text()))


def test_the_swarm_stack_is_one_to_dockers_own_command() -> None:
    if shutil.which("docker") is None:
        pytest.skip("no docker command here")
    command = ["docker", "stack", "config", "-c", str(DEPLOY / "swarm.yml")]
    refused = subprocess.run(command, capture_output=True, text=True)
    assert "REGISTRY" in refused.stderr
    done = subprocess.run(
        command, capture_output=True, text=True, env={**os.environ, "REGISTRY": "registry.example.org"}
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("path", COMPOSE_FILES, ids=lambda path: path.name)
def test_every_process_has_a_read_only_root_and_no_capabilities(path: Path) -> None:
    for name, service in services(path).items():
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name


@pytest.mark.parametrize("version", KUBERNETES_VERSIONS)
def test_the_kubernetes_manifests_fit_the_published_schemas(
    manifests: list[dict[str, Any]], version: str
) -> None:
    for manifest in manifests:
        kubernetes_validate.validate(manifest, version, strict=True)


def test_kubernetes_gets_everything_that_the_page_says(manifests: list[dict[str, Any]]) -> None:
    kinds = [f"{manifest['kind']}/{manifest['metadata']['name']}" for manifest in manifests]
    assert {"StatefulSet/learner", "Service/learner", "Deployment/actor", "Deployment/evaluator"} <= set(
        kinds
    )
    assert {"HorizontalPodAutoscaler/actor", "NetworkPolicy/learner", "NetworkPolicy/actors"} <= set(kinds)
    secrets = {
        manifest["metadata"]["name"].rsplit("-", 1)[0]: set(manifest["data"])
        for manifest in manifests
        if manifest["kind"] == "Secret"
    }
    assert secrets["actor-keys"] == {"learner.key", "actor.key_secret"}  # never the learner's private one


def test_kubernetes_pods_are_restricted_and_their_commands_parse(manifests: list[dict[str, Any]]) -> None:
    commands = []
    for manifest in manifests:
        if manifest["kind"] not in ("StatefulSet", "Deployment"):
            continue
        pod = manifest["spec"]["template"]["spec"]
        assert pod["securityContext"]["runAsNonRoot"] is True
        for container in [*pod["initContainers"], *pod["containers"]]:
            assert container["securityContext"]["readOnlyRootFilesystem"] is True, container["name"]
            assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}, container["name"]
            if "args" in container:
                commands.append(commands_of(container["args"]))
    parse_all(commands, ["learner", "actor", "evaluator"])


@pytest.mark.parametrize("path", COMPOSE_FILES, ids=lambda path: path.name)
def test_the_commands_of_a_compose_file_parse(path: Path) -> None:
    found = [
        service["command"]
        for service in services(path).values()
        if "command" in service and "entrypoint" not in service
    ]
    found = [each if isinstance(each, list) else shlex.split(each) for each in found]
    words = [[re.sub(r"\$\{LEARNER_HOST[^}]*}", "learner", word) for word in each] for each in found]
    parse_all([commands_of(each) for each in words], [each[0] for each in words])


def parse_all(commands: list[tuple[str, list[str]]], names: list[str]) -> None:
    assert [name for name, _ in commands] == names or sorted(n for n, _ in commands) == sorted(names)
    for name, flags in commands:
        parsed = parse(MODELS[name], flags, prog=name, algorithms=all_settings())
        assert parsed.transport.keys is not None, "encrypted"
        assert parsed.replay.batch_size == 128 if name == "learner" else parsed.actor.learner == "learner"


def test_every_command_of_the_page_is_run_by_a_test() -> None:
    headings = re.findall(r"^## (.*)$", PAGE.read_text(), flags=re.MULTILINE)
    assert {heading: len(blocks(heading)) for heading in headings if blocks(heading)} == {
        "Docker Compose": 5,  # tests/containers/test_compose.py
        "Several hosts": 2,  # tests/containers/test_hosts.py
        "Docker Swarm": 1,  # needs a swarm: its file is checked above, its commands are not run
        "Slurm": 3,  # tests/slurm
        "Kubernetes": 1,  # above, all but what needs a cluster
        "By hand": 2,  # tests/end_to_end/test_hosts.py
    }
