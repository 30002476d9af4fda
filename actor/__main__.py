"""`python -m actor`: step environments for a learner."""

import os
import sys

# NumPy's threads would fight the other actors for cores; this must precede its import.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")

import re
import socket

from actor.evaluate import evaluate
from actor.evaluator import Evaluator
from actor.foreign import Foreign
from actor.loop import Actor
from common.cli import leave_with
from common.errors import ConfigError
from common.flags import ActorFlags, EvaluateFlags, EvaluatorFlags, parse
from common.security import actor_keys, may_use
from common.stopping import StopSignal


def main(argv: list[str]) -> int:
    """Run one actor; return its exit status."""
    flags = parse(ActorFlags, argv, prog="graspfleet actor")
    stop = StopSignal().install()
    with Foreign(stop) as foreign:
        Actor(flags, actor_id_of(flags), foreign).run(stop)
    return 0


def main_evaluator(argv: list[str]) -> int:
    """Run the evaluator that follows a learner; return its exit status."""
    flags = parse(EvaluatorFlags, argv, prog="graspfleet evaluator")
    stop = StopSignal().install()
    with Foreign(stop) as foreign:
        Evaluator(flags, actor_id_of(flags), foreign).run(stop)
    return 0


def main_evaluate(argv: list[str]) -> int:
    """Evaluate a run's policy; return the exit status."""
    flags = parse(EvaluateFlags, argv, prog="graspfleet evaluate")
    stop = StopSignal().install()
    with Foreign(stop, status=130) as foreign:
        return evaluate(flags, foreign, stop)
    return 130


def actor_id_of(flags: ActorFlags) -> str:
    """Return the id that this process goes by: what the flags say, else a name that no other one has.

    Raises:
        ConfigError: its key may not use that id; the learner would refuse every message.
    """
    keys = actor_keys(flags.transport)
    name = flags.actor.actor_id
    if not name:
        host = re.sub(r"[^A-Za-z0-9.-]", "-", socket.gethostname())[:20]
        return f"{host}-{os.getpid()}" if keys is None else f"{keys.name}-{host}-{os.getpid()}"
    if keys is not None and not may_use(keys.name, name):
        raise ConfigError(f"--actor-id {name}: allowed with key {keys.name}: {keys.name} or {keys.name}-...")
    return name


if __name__ == "__main__":
    leave_with(main, sys.argv[1:])
