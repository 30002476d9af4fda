"""A user's mistakes: one clear line each, exit status 2, no traceback."""

import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.end_to_end.harness import FREE_PORTS, ROOT


def run(folder: Path, *command: str) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-m", "graspfleet", *command],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=folder,
        env={"PYTHONPATH": str(ROOT), "PATH": "", "CUDA_VISIBLE_DEVICES": ""},
    )
    errors = [
        line for line in done.stderr.splitlines() if not line[:1].isdigit()
    ]  # log lines begin with the time
    assert len(errors) == 1, done.stderr
    assert errors[0].startswith("error: ")
    return done.returncode, errors[0]


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (("train", "--bach-size", "3"), ("--bach-size",)),
        (("train", "--batch-size", "0"), ("--batch-size", "0", "allowed: an integer, 1 to 65536")),
        (("train", "--batch-size", "many"), ("--batch-size", "many")),
        (("train", "--env", "NoSuchEnv-v0"), ("--env NoSuchEnv-v0",)),
        (("train", "--env", "no_such_package:Env-v0"), ("no_such_package",)),
        (("train", "--env", "CartPole-v1"), ("--env CartPole-v1", "Discrete(2)", "Box")),
        (("train", "--env-args", "objects=unicorn"), ("unicorn", "cube")),
        (("train", "--preset", "nope"), ("--preset nope", "cube-fast")),
        (("train", "--resume", "nowhere"), ("--resume nowhere",)),
        (("evaluate", "nowhere"), ("nowhere",)),
        (("status", "nowhere"), ("nowhere",)),
        (("fly",), ("fly", "train")),
        (("learner", "--bind", "0.0.0.0"), ("--bind 0.0.0.0", "--insecure")),
        (("learner", *FREE_PORTS, "--device", "cuda"), ("--device cuda", "auto", "cpu")),
        (("learner", *FREE_PORTS, "--device", "tpu"), ("--device", "tpu")),
        (("actor", "--learner", "10.1.2.3"), ("--learner 10.1.2.3", "--insecure", "keys init", "--keys DIR")),
        (("actor", "--env", "Pendulum-v1", "--max-message-bytes", "1024"), ("--max-message-bytes 1024",)),
        (("keys", "init", "."), ("keys add",)),
        (("keys", "add", "nowhere", "x"), ("nowhere", "keys init nowhere")),
        (("learner", "--keys", "nowhere"), ("--keys", "nowhere")),
        (("actor", "--env", "Pendulum-v1", "--keys", "nowhere"), ("--keys", "nowhere")),
        (("train", "--env", "Pendulum-v1", "--allowed", "x"), ("--allowed x", "--learner-secret")),
    ],
)
def test_a_wrong_word_is_answered_in_one_line(
    tmp_path: Path, command: tuple[str, ...], words: tuple[str, ...]
) -> None:
    status, line = run(tmp_path, *command)
    assert status == 2
    for word in words:
        assert word in line


def test_a_taken_port_is_named(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        status, line = run(
            tmp_path, "learner", "--weights-port", port, "--experience-port", "0", "--control-port", "0"
        )
    assert status == 2
    assert f"--weights-port {port}" in line


def test_an_unwritable_run_directory_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    status, line = run(tmp_path, "train", "--run-dir", "file/run")
    assert status == 2
    assert "--run-dir file/run" in line


@pytest.mark.parametrize(
    ("name", "way"),
    [("notes.txt", "allowed: a new folder"), ("replay.bin", "--run-dir run --auto-resume")],
)
def test_a_directory_with_something_in_it_is_refused(tmp_path: Path, name: str, way: str) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / name).write_bytes(b"precious")
    status, line = run(tmp_path, "train", "--run-dir", "run")
    assert status == 2
    assert way in line
    assert (tmp_path / "run" / name).read_bytes() == b"precious"


def test_a_learner_that_nothing_answers_for_is_named(tmp_path: Path) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        port = str(silent.getsockname()[1])
        ports = ("--experience-port", port, "--weights-port", port, "--control-port", port)
        status, line = run(tmp_path, "actor", "--env", "Pendulum-v1", *ports, "--connect-timeout-s", "1")
        assert status == 2
        assert f"--learner 127.0.0.1:{port}" in line
        status, line = run(tmp_path, "status", "--control-port", port, "--timeout-s", "0.5")
        assert status == 2
        assert port in line
