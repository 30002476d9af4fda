"""Files that are damaged, endless or of another kind: one line each, and nothing else is touched."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from graspfleet.actor.policies import load_policy
from graspfleet.common.errors import ConfigError
from graspfleet.common.runtime.files import read_limited
from graspfleet.common.runtime.run_directory import RunDirectory
from graspfleet.common.settings.flags import TrainFlags, parse
from graspfleet.learner.algorithm import all_settings
from graspfleet.learner.experience.demonstrations.loader import load_demos
from graspfleet.learner.experience.journal import Journal
from graspfleet.learner.storage.checkpoint import Checkpoints
from tests.fakes import ONE_LINE, SPEC, make_frame


def endless(path: Path) -> None:
    os.mkfifo(path)  # opening one to read would wait for ever


def huge(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(1 << 40)  # a hole: no disk is taken, but whoever reads it all takes a terabyte


def folder(path: Path) -> None:
    path.mkdir()


def binary(path: Path) -> None:
    path.write_bytes(np.random.default_rng(0).bytes(4096))


def picture(path: Path) -> None:
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(100))


def empty(path: Path) -> None:
    path.write_bytes(b"")


def read_config(run: RunDirectory) -> None:
    parse(TrainFlags, ["--config", str(run.config)], prog="x", algorithms=all_settings())


def read_endpoints(run: RunDirectory) -> None:
    run.read_endpoints()


def read_journal(run: RunDirectory) -> None:
    Journal(run.journal).recover()


def read_policy(run: RunDirectory) -> None:
    load_policy(run, "last", SPEC)


def read_checkpoint(run: RunDirectory) -> None:
    Checkpoints(run.checkpoints, 1, ["--algorithm sac", "--no-normalize-obs"]).load_newest()


def read_demos(run: RunDirectory) -> None:
    load_demos(str(run.path / "demos"), SPEC, np.random.default_rng(0))


READERS: dict[str, Callable[[RunDirectory], None]] = {
    "config.yaml": read_config,
    "endpoints.json": read_endpoints,
    "journal.bin": read_journal,
    "policy-last.gfp": read_policy,
    "checkpoints/step-000000000001.pt": read_checkpoint,
    "demos/data/main_data.hdf5": read_demos,
}


SPOILERS = (endless, huge, folder, binary, picture, empty)
CASES = [
    (name, spoil) for name in READERS for spoil in SPOILERS if not ("demos" in name and spoil is endless)
]
"""All but one: h5py opens whatever it is given, and waits for a pipe's writer."""


@pytest.mark.parametrize(("name", "spoil"), CASES)
def test_one_line_says_what_is_wrong(tmp_path: Path, name: str, spoil: Callable[[Path], None]) -> None:
    run = RunDirectory(tmp_path / "run")
    path = run.path / name
    path.parent.mkdir(parents=True)
    if name.startswith("demos"):
        (path.parent / "metadata.json").write_text("{}")
    spoil(path)
    before = sorted((str(found), found.stat().st_size) for found in tmp_path.rglob("*"))
    with pytest.raises(ConfigError, match=ONE_LINE):
        READERS[name](run)
    assert sorted((str(found), found.stat().st_size) for found in tmp_path.rglob("*")) == before


BOMB = "\n".join(
    ["a: &a [x, x, x, x, x, x, x, x, x]"]
    + [f"{chr(98 + i)}: &{chr(98 + i)} [" + ", ".join([f"*{chr(97 + i)}"] * 9) + "]" for i in range(9)]
)


@pytest.mark.parametrize(
    "text",
    [BOMB, "[" * 100_000, "{" * 100_000, "a: " * 3, "when: 2001-99-99", "a: !!binary x", "--- 1\n--- 2"],
    ids=["bomb", "nested lists", "nested maps", "colons", "no date", "no base64", "two documents"],
)
def test_settings_meant_to_hurt_are_one_line(tmp_path: Path, text: str) -> None:
    (tmp_path / "c.yaml").write_text(text)
    with pytest.raises(ConfigError, match=ONE_LINE) as caught:
        parse(TrainFlags, ["--config", str(tmp_path / "c.yaml")], prog="x", algorithms=all_settings())
    assert len(str(caught.value)) < 1000


@pytest.mark.parametrize(
    "text",
    ['{"host": 5}', "[1]", '{"host": "h", "experience_port": "1", "weights_port": 1, "control_port": 1}'],
)
def test_endpoints_that_make_no_sense_are_one_line(tmp_path: Path, text: str) -> None:
    run = RunDirectory(tmp_path)
    run.endpoints.write_text(text)
    with pytest.raises(ConfigError, match=ONE_LINE):
        run.read_endpoints()
    run.endpoints.write_text(
        json.dumps({"host": "h", "experience_port": 1, "weights_port": 2, "control_port": 3})
    )
    assert run.read_endpoints().weights_port == 2


def test_a_policy_file_that_is_another_message_is_one_line(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    run.policy("last").write_bytes(make_frame({"kind": "ack", "session_id": "0" * 16, "next_seq": 1}))
    with pytest.raises(ConfigError, match=ONE_LINE):
        load_policy(run, "last", SPEC)


def test_what_fits_is_read(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"1234")
    assert read_limited(tmp_path / "file", 4) == b"1234"
    with pytest.raises(OSError, match="larger than 3 bytes"):
        read_limited(tmp_path / "file", 3)
