"""`python -m graspfleet.learner`: bind, wait for the spec of the actors' environment, learn, save."""

import json
import sys
from collections.abc import Callable

from graspfleet.common.errors import ConfigError, DivergedError
from graspfleet.common.runtime.claim import claim_run, unless_refused
from graspfleet.common.runtime.exit import leave_with
from graspfleet.common.runtime.run_directory import RunDirectory
from graspfleet.common.runtime.signals import StopSignal
from graspfleet.common.settings.flags import LearnerFlags, parse
from graspfleet.common.settings.record import begin_settings, change_settings
from graspfleet.common.specs import EnvSpec
from graspfleet.learner.access.footprint import require_room
from graspfleet.learner.access.sockets import Sockets
from graspfleet.learner.algorithm import Algorithm, Definition, all_settings, definition
from graspfleet.learner.experience.demonstrations.files import find_dataset
from graspfleet.learner.experience.journal import Journal
from graspfleet.learner.experience.rate_limiter import make_limiter
from graspfleet.learner.startup import require_files, resumed_spec, wait_for_spec

Build = Callable[[LearnerFlags, Definition, EnvSpec], Algorithm]
"""Function that builds the algorithm once the first actor's spec is known."""


def main(argv: list[str], build: Build | None = None) -> int:
    """Run one learner; return its exit status.

    Args:
        argv: command-line arguments.
        build: builds the algorithm; default: `learner.assembly.build_algorithm`.
    """
    flags = parse(LearnerFlags, argv, prog="graspfleet learner", algorithms=all_settings())
    stop = StopSignal().install()
    run = claim_run(flags.run, flags.env.env_id)
    with unless_refused(run):
        if not (run.is_lent or flags.run.resume):  # `graspfleet train` writes the settings of its runs itself
            begin_settings(run, flags)
        _learn(flags, _possible(flags), run, stop, build)
    return 0


def _possible(flags: LearnerFlags) -> Definition:
    """Return the algorithm, after checking the settings before any socket is bound.

    Raises:
        ConfigError: the settings cannot work on this machine.
    """
    algorithm = definition(flags.algorithm.algorithm)
    make_limiter(flags, algorithm.updates_per_dispatch(flags.algorithm, flags.learner))
    if flags.replay.demos is not None:
        find_dataset(flags.replay.demos)
    flags.algorithm.check()
    if flags.replay.normalize_obs and (reader := flags.algorithm.unscaled_inputs):
        raise ConfigError(f"--normalize-obs: not with {reader}; allowed: --no-normalize-obs")
    return algorithm


def _learn(
    flags: LearnerFlags, algorithm: Definition, run: RunDirectory, stop: StopSignal, build: Build | None
) -> None:
    """Bind the sockets, wait for a spec, and learn until the run is complete or `stop` is set."""
    sockets = Sockets(flags)
    run.write_endpoints(sockets.endpoints)
    print(f"listening on {json.dumps(vars(sockets.endpoints))}", flush=True)
    journal = Journal(run.journal)
    try:
        recovered = journal.recover() if flags.run.resume else None
        spec = resumed_spec(flags, recovered) if recovered else None
        if spec is not None:
            require_files(run, spec)
        # Importing torch takes over a second. The ports are bound already, so actors can connect meanwhile.
        from graspfleet.learner.assembly import assemble, build_algorithm

        spec = spec or wait_for_spec(flags, sockets, stop)
        if spec is not None:
            require_room(flags, spec)
            built = (build or build_algorithm)(flags, algorithm, spec)
            learner = assemble(flags, algorithm, built, spec, sockets, run, journal, recovered)
            if flags.run.resume and not run.is_lent:
                change_settings(run, flags)  # the run was loaded with them, so they are valid
            learner.run(stop)
    except DivergedError as error:
        hint = flags.algorithm.divergence_hint
        advice = f"{hint} may be too large; " if hint else ""
        raise DivergedError(f"{error}; {advice}{run.checkpoints} keeps earlier, finite checkpoints") from None
    finally:
        journal.close()
        sockets.close()


if __name__ == "__main__":
    leave_with(main, sys.argv[1:])
