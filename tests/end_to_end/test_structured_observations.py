"""Observations with parts are learned from as flat ones are."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.end_to_end.harness import Fleet
from tests.end_to_end.structured_envs import SPACES

ENV = "tests.end_to_end.structured_envs:Point-v0"
SMALL = (
    "--hidden-dim",
    "32",
    "--batch-size",
    "64",
    "--learning-rate",
    "3e-3",
    "--discount",
    "0.8",
    "--initial-temperature",
    "0.1",
)
SHORT = ("--total-env-steps", "3000", "--explore-steps", "300", "--actors", "1")
FEW = ("--final-episodes", "20", "--compare-episodes", "20")
FORMS = [pytest.param(form, marks=[] if form == "nested" else pytest.mark.slow) for form in SPACES]


@pytest.mark.parametrize("form", FORMS)
def test_every_form_is_learned_from(fleet: Fleet, form: str) -> None:
    scaling = ("--normalize-obs",) if form == "far-off" else ()
    words = (
        "--env",
        ENV,
        "--env-args",
        f"form={form}",
        *scaling,
        *SMALL,
        *SHORT,
        *FEW,
        "--run-dir",
        str(fleet.run.path),
    )
    fleet.start("train", "graspfleet", "train", *words)
    assert fleet.wait("train", 110) == 0, fleet.output("train")
    found = json.loads(fleet.run.evaluation.read_text())
    assert found["episodes"] == 20
    assert found["success_rate"] >= 0.8, found  # 0.1 at random


def test_a_policy_is_refused_where_the_parts_have_other_names(fleet: Fleet) -> None:
    few = ("--total-env-steps", "100", "--explore-steps", "50", "--actors", "1", "--final-episodes", "0")
    where = ("--run-dir", str(fleet.run.path))
    fleet.start("train", "graspfleet", "train", "--env", ENV, *SMALL, *few, *where)
    assert fleet.wait("train", 60) == 0, fleet.output("train")
    done = subprocess.run(
        [sys.executable, "-m", "graspfleet", "evaluate", str(fleet.run.path), "--env-args", "form=tuple"],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=Path(__file__).parents[2],
    )
    assert done.returncode == 2
    assert (
        "trained with observations point (2,), target (2,), but the environment has 0 (2,), 1 (2,)"
        in done.stderr
    )
