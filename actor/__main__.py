"""`python -m graspfleet.actor`: step environments for a learner."""

import os
import sys

# NumPy's threads would compete with the other actors for cores; must be set before NumPy is imported.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")

import re
import socket

from graspfleet.actor.evaluate import evaluate
from graspfleet.actor.evaluate_flags import EvaluateFlags
from graspfleet.actor.evaluator import Evaluator
from graspfleet.actor.loop import Actor
from graspfleet.actor.watchdog import Watchdog
from graspfleet.common.errors import ConfigError
from graspfleet.common.fields import MAX_ID
from graspfleet.common.net.security import actor_keys, may_use
from graspfleet.common.runtime.exit import leave_with
from graspfleet.common.runtime.signals import StopSignal
from graspfleet.common.runtime.streams import Reserved
from graspfleet.common.settings.flags import ActorFlags, EvaluatorFlags, parse


def main(argv: list[str]) -> int:
    """Run one actor; return its exit status."""
    flags = parse(ActorFlags, argv, prog="graspfleet actor")
    stop = StopSignal().install()
    with Watchdog(stop) as watchdog:
        Actor(flags, actor_id_of(flags), watchdog).run(stop)
    return 0


def main_evaluator(argv: list[str]) -> int:
    """Run the evaluator that follows a learner; return its exit status."""
    flags = parse(EvaluatorFlags, argv, prog="graspfleet evaluator")
    stop = StopSignal().install()
    with Watchdog(stop) as watchdog:
        Evaluator(flags, actor_id_of(flags), watchdog).run(stop)
    return 0


def main_evaluate(argv: list[str]) -> int:
    """Evaluate a run's policy; return the exit status."""
    flags = parse(EvaluateFlags, argv, prog="graspfleet evaluate")
    stop = StopSignal().install()
    tell = Reserved().print if flags.json_output else print
    with Watchdog(stop, status=130) as watchdog:
        return evaluate(flags, watchdog, stop, tell)
    return 130


def actor_id_of(flags: ActorFlags) -> str:
    """Return this process's actor id: --actor-id, or a unique default.

    Raises:
        ConfigError: this process's key may not use the id; the learner would refuse every message.
    """
    keys = actor_keys(flags.transport)
    name = flags.actor.actor_id
    if not name:
        prefix = "" if keys is None else f"{keys.name}-"
        return prefix + unique_name(socket.gethostname(), MAX_ID - len(prefix))
    if keys is not None and not may_use(keys.name, name):
        raise ConfigError(f"--actor-id {name}: allowed with key {keys.name}: {keys.name} or {keys.name}-...")
    return name


def unique_name(host: str, length: int) -> str:
    """Return the host's name followed by random hex digits.

    Args:
        host: any text; characters that are not allowed in ids are replaced.
        length: largest number of characters; the host's name is truncated if necessary.
    """
    digits = os.urandom(6).hex()
    readable = re.sub(r"[^A-Za-z0-9.-]", "-", host)[: length - len(digits) - 1]
    return f"{readable}-{digits}"


if __name__ == "__main__":
    leave_with(main, sys.argv[1:])
