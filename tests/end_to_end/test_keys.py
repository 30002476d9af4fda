"""Encrypted runs as real processes: from the command line to the last acknowledgement."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from graspfleet.keys import main
from tests.end_to_end.harness import Fleet, until
from tests.end_to_end.test_train import QUICK, children_of

REVOKED_WITHIN_S = 5.0


@pytest.fixture
def keys(tmp_path: Path) -> str:
    main(["init", str(tmp_path / "keys")])
    main(["add", str(tmp_path / "keys"), "lab"])
    return str(tmp_path / "keys")


def row(fleet: Fleet) -> dict[str, float]:
    """Return the newest row of metrics, empty before the first."""
    lines = fleet.run.metrics.read_text().splitlines() if fleet.run.metrics.exists() else []
    return json.loads(lines[-1]) if lines else {}


def start(fleet: Fleet, keys: str, *flags: str) -> None:
    free = ("--total-env-steps", "1000000", "--updates-per-step", "None", "--log-interval-s", "0.2")
    fleet.start_learner("--explore-steps", "100", "--keys", keys, *free, *flags)


@pytest.mark.slow
def test_a_revocation_under_load_stops_one_and_costs_the_others_nothing(fleet: Fleet, keys: str) -> None:
    start(fleet, keys)
    fleet.start_actor("actor-1", "--keys", keys)
    fleet.start_actor("lab-1", "--keys", keys, "--key-name", "lab", "--linger-s", "1")
    until(
        lambda: row(fleet).get("keys") == 2 and row(fleet).get("actors_alive") == 2,
        "both are at work",
    )
    main(["revoke", keys, "lab"])
    until(lambda: row(fleet).get("keys") == 1, "the learner has noticed", REVOKED_WITHIN_S)
    goal = row(fleet)["env_steps"] + 2000
    until(lambda: row(fleet)["env_steps"] >= goal, "the other one goes on")
    until(lambda: "rejects key lab" in fleet.output("lab-1"), "the revoked one is told")
    until(lambda: row(fleet).get("actors_alive") == 1, "the revoked one is silent")
    main(["add", keys, "fresh"])
    fleet.start_actor("fresh-1", "--keys", keys, "--key-name", "fresh")
    until(lambda: row(fleet).get("actors_alive") == 2, "a new key works without a restart")
    for name in ("actor-1", "lab-1", "fresh-1"):
        fleet.signal(name, signal.SIGTERM)
        assert fleet.wait(name) == 0, fleet.output(name)
    assert "all acknowledged" in fleet.output("actor-1")
    assert "some never acknowledged" in fleet.output("lab-1")
    fleet.signal("learner", signal.SIGTERM)
    assert fleet.wait("learner") == 0, fleet.output("learner")
    last = row(fleet)
    assert last["produced"] == last["inserted"]
    assert last["rejected"] == last["lost"] == last["malformed"] == 0


def test_train_with_keys_encrypts_everything_and_status_needs_a_key(fleet: Fleet, keys: str) -> None:
    where = ("--run-dir", str(fleet.run.path), "--total-env-steps", "1000000", "--keys", keys)
    fleet.start("train", "graspfleet", "train", *QUICK, *where, "--actors", "1", "--key-name", "lab")
    until(lambda: row(fleet).get("env_steps", 0) > 500, "it trains")
    assert {"lab-0", "lab-evaluator"} <= children_of(fleet.pid("train")).keys()
    shown = status(fleet.run.path, "--json")
    assert json.loads(shown.stdout)["metrics"]["keys"] == 2  # the run directory says where the keys are
    fleet.endpoints = fleet.run.read_endpoints()
    port = str(fleet.endpoints.control_port)
    unkeyed = status("--control-port", port, "--timeout-s", "1")
    assert (unkeyed.returncode, unkeyed.stderr.count("\n")) == (2, 1)
    assert status("--control-port", port, "--keys", keys).returncode == 0
    fleet.signal("train", signal.SIGINT)
    assert fleet.wait("train") == 0, fleet.output("train")
    assert row(fleet)["malformed"] == 0


def status(*words: object) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "graspfleet", "status", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_an_actor_that_never_gets_in_leaves_with_one_line_that_says_why(fleet: Fleet, keys: str) -> None:
    start(fleet, keys)
    listed = Path(keys, "allowed", "lab.key")
    listed.rename(f"{keys}/lab.key")
    until(lambda: "revoked: lab" in fleet.output("learner"), "the learner has noticed")
    fleet.start_actor("lab-1", "--keys", keys, "--key-name", "lab", "--connect-timeout-s", "3")
    assert fleet.wait("lab-1") == 2
    assert "the learner rejects this key" in fleet.output("lab-1").splitlines()[-1]
    assert "Traceback" not in fleet.output("lab-1")
    fleet.start_actor("actor-1", "--keys", keys, "--actor-id", "lab-1")
    assert fleet.wait("actor-1") == 2
    assert "--actor-id lab-1: allowed with key actor" in fleet.output("actor-1")


def test_insecure_is_said_in_the_log_and_in_the_status(fleet: Fleet) -> None:
    fleet.start_learner("--bind", "0.0.0.0", "--insecure")
    fleet.start_actor("a1")
    assert "unencrypted and unauthenticated" in fleet.output("learner")
    until(lambda: "warning" in status("--control-port", str(port_of(fleet))).stdout, "the status warns")


def port_of(fleet: Fleet) -> int:
    assert fleet.endpoints is not None
    return fleet.endpoints.control_port
