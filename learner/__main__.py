"""`python -m learner`: bind, hear what the actors' environment looks like, learn, save."""

import json
import sys

from common.cli import leave_with
from common.errors import ConfigError, DivergedError
from common.flags import LearnerFlags, parse
from common.runtime.run_directory import claim_run
from common.runtime.signals import StopSignal
from common.settings import begin_settings, change_settings
from learner.access.footprint import require_room
from learner.access.sockets import Sockets
from learner.experience.journal import Journal
from learner.experience.rate_limiter import make_limiter
from learner.startup import resumed_spec, wait_for_spec


def main(argv: list[str]) -> int:
    """Run one learner; return its exit status."""
    flags = parse(LearnerFlags, argv, prog="graspfleet learner")
    stop = StopSignal().install()
    run = claim_run(flags.run, flags.env.env_id)
    if not (run.is_lent or flags.run.resume):  # `graspfleet train` keeps the settings of its runs itself
        begin_settings(run, flags)
    sockets = Sockets(flags)
    run.write_endpoints(sockets.endpoints)
    print(f"listening on {json.dumps(vars(sockets.endpoints))}", flush=True)
    journal = Journal(run.journal)
    try:
        recovered = journal.recover() if flags.run.resume else None
        if recovered and not (run.replay.is_file() and run.replay.stat().st_size):
            raise ConfigError(f"--resume {run.path}: {run.replay.name} has no rows; nothing can be resumed")
        # torch takes over a second to import: actors connect and start meanwhile, as the ports are bound.
        from learner.loop import Learner
        from learner.sac.backends import require_possible, updates_per_dispatch

        # What cannot work is told before anybody is waited for.
        require_possible(flags.sac, flags.learner)
        make_limiter(flags, updates_per_dispatch(flags.learner))
        spec = resumed_spec(flags, recovered) if recovered else wait_for_spec(flags, sockets, stop)
        if spec is not None:
            require_room(flags, spec)
            learner = Learner(flags, spec, sockets, run, journal, recovered)
            if flags.run.resume and not run.is_lent:
                change_settings(run, flags)  # they have loaded the run, so they are its own now
            learner.run(stop)
    except DivergedError as error:
        raise DivergedError(
            f"{error}; --learning-rate {flags.sac.learning_rate:g} or --reward-scale"
            f" {flags.sac.reward_scale:g} may be too large; {run.checkpoints} keeps the finite ones before"
        ) from None
    finally:
        journal.close()
        sockets.close()
    return 0


if __name__ == "__main__":
    leave_with(main, sys.argv[1:])
