"""A learner is killed at each of its first writes: its successor begins anew, or goes on."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from graspfleet.common.runtime.claim import claim_run
from graspfleet.common.runtime.run_directory import RunDirectory
from graspfleet.common.settings.files import load_yaml
from graspfleet.common.settings.processes import RunConfig
from tests.end_to_end.harness import FREE_PORTS, ROOT

MAX_WRITES = 60
"""More than a learner makes until it has saved for the first time."""

MORTAL = """
import gc, os, signal, sys
import graspfleet.learner.__main__ as program
from graspfleet.common.settings.processes import RunConfig
import torch._dynamo  # with the loop: what takes long to import is shared by the children below
from graspfleet.learner import assembly, loop
from tests.fakes import SPEC

class Killed:
    writes = 0
    def __init__(self, function, last):
        self.function, self.last = function, last
    def __call__(self, *args, **kwargs):
        if Killed.writes == self.last:
            os.kill(os.getpid(), signal.SIGKILL)
        Killed.writes += 1
        return self.function(*args, **kwargs)

def live(folder, last):
    for name in ("fsync", "replace", "rename", "ftruncate", "posix_fallocate", "mkdir", "unlink"):
        setattr(os, name, Killed(getattr(os, name), last))
    run = RunConfig(run_dir=folder, auto_resume=True)
    program.parse = lambda *words, prog, algorithms: flags.model_copy(update={"run": run})
    program.wait_for_spec = lambda flags, sockets, stop: SPEC
    loop.Learner.run = lambda self, stop: None
    os._exit(program.main([]))

words = ["--env", "Fake-v0", "--discount", "0.5", "--hidden-dim", "8", "--batch-size", "4"]
words += ["--replay-capacity", "100", "--explore-steps", "4", *sys.argv[2:]]
flags = program.parse(program.LearnerFlags, words, prog="learner", algorithms=program.all_settings())
gc.disable()
for last in range(int(1e9)):
    child = os.fork()
    if not child:
        live(f"{sys.argv[1]}/{last}", last)
    _, status = os.waitpid(child, 0)
    if os.WIFEXITED(status):
        sys.exit(os.WEXITSTATUS(status))
    assert os.WTERMSIG(status) == signal.SIGKILL, status
    print(last, flush=True)
"""


@pytest.fixture(scope="module")
def graves(tmp_path_factory: pytest.TempPathFactory) -> list[RunDirectory]:
    """Run directories of learners killed before their 1st, 2nd, ... write; the last one lived."""
    folder = tmp_path_factory.mktemp("graves")
    done = subprocess.run(
        [sys.executable, "-c", MORTAL, str(folder), *FREE_PORTS],
        capture_output=True,
        text=True,
        check=False,
        timeout=110,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 0, done.stderr
    num_killed = len([line for line in done.stdout.splitlines() if line.isdigit()])
    assert 10 < num_killed < MAX_WRITES
    return [RunDirectory(folder / str(number)) for number in range(num_killed + 1)]


def test_the_last_one_lived_and_some_had_begun(graves: list[RunDirectory]) -> None:
    begun = [run.has_begun() for run in graves]
    assert begun == sorted(begun)
    assert begun.count(True) >= 2
    assert begun.count(False) >= 8


def test_whatever_the_moment_the_next_start_finds_its_way(graves: list[RunDirectory]) -> None:
    for run in graves:
        begun = run.has_begun()
        again = (
            RunConfig(resume=str(run.path)) if begun else RunConfig(run_dir=str(run.path), auto_resume=True)
        )
        claimed = claim_run(again, "Fake-v0")
        left = {str(path.relative_to(run.path)) for path in run.path.rglob("*") if path.is_file()}
        assert not [name for name in left if Path(name).name.startswith(".")], run.path
        if begun:
            assert left >= {"config.yaml", "journal.bin", "replay.bin"}
            assert load_yaml(run.config, "x")["algorithm"]["hidden_dim"] == 8
        else:
            assert left <= {"config.yaml", "endpoints.json", "lock"}
        claimed.release()
