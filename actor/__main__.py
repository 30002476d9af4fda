"""`python -m actor`: step environments for a learner."""

import os
import sys

# NumPy's threads would fight the other actors for cores; this must precede its import.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")

import socket

from actor.evaluate import evaluate
from actor.evaluator import Evaluator
from actor.loop import Actor
from common.cli import run_main
from common.flags import ActorFlags, EvaluateFlags, EvaluatorFlags, parse
from common.stopping import StopSignal


def main(argv: list[str]) -> int:
    """Run one actor; return its exit status."""
    flags = parse(ActorFlags, argv, prog="graspfleet actor")
    stop = StopSignal().install()
    Actor(flags, flags.actor.actor_id or process_name()).run(stop)
    return 0


def main_evaluator(argv: list[str]) -> int:
    """Run the evaluator that follows a learner; return its exit status."""
    flags = parse(EvaluatorFlags, argv, prog="graspfleet evaluator")
    stop = StopSignal().install()
    Evaluator(flags, flags.actor.actor_id or process_name()).run(stop)
    return 0


def main_evaluate(argv: list[str]) -> int:
    """Evaluate a run's policy; return the exit status."""
    return evaluate(parse(EvaluateFlags, argv, prog="graspfleet evaluate"), StopSignal().install())


def process_name() -> str:
    """Return a name for this process that no other one in the cluster has."""
    host = "".join(letter if letter.isalnum() or letter in "-." else "-" for letter in socket.gethostname())
    return f"{host[:48]}-{os.getpid()}"


if __name__ == "__main__":
    sys.exit(run_main(main, sys.argv[1:]))
