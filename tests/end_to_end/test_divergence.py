"""A diverged training is a failure that the command reports, with what is left to go on from."""

import torch

from graspfleet.common.errors import DivergedError
from graspfleet.learner.numerics.divergence import require_state
from tests.end_to_end.harness import FREE_PORTS, TINY, Fleet


def test_train_ends_with_the_learners_line_and_a_status_of_its_own(fleet: Fleet) -> None:
    sizes = ("--actors", "1", "--explore-steps", "100", "--total-env-steps", "5000", "--linger-s", "1")
    where = ("--run-dir", str(fleet.run.path))
    fleet.start("train", "graspfleet", "train", *TINY, *FREE_PORTS, *sizes, *where, "--learning-rate", "1e30")
    assert fleet.wait("train", 120.0) == DivergedError.status == 3, fleet.output("train")
    output = fleet.output("train")
    assert "Traceback" not in output
    (line,) = [line for line in output.splitlines() if "diverged" in line]
    assert "--learning-rate 1e+30" in line
    kept = list(fleet.run.checkpoints.glob("step-*.pt"))
    assert kept
    for path in kept:
        require_state(torch.load(path, weights_only=True))
    log = (fleet.run.logs / "learner.log").read_text()
    assert "Warning" not in log
    assert len([line for line in log.splitlines() if line.startswith("error: ")]) == 1
