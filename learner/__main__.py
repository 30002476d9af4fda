"""`python -m learner`: bind, hear what the actors' environment looks like, learn, save."""

import json
import sys

from common.cli import run_main
from common.flags import LearnerFlags, dump_yaml, parse
from common.run_directory import claim_run, write_atomically
from common.specs import EnvSpec
from common.stopping import StopSignal
from learner.sockets import Sockets
from learner.startup import wait_for_spec


def main(argv: list[str]) -> int:
    """Run one learner; return its exit status."""
    flags = parse(LearnerFlags, argv, prog="graspfleet learner")
    stop = StopSignal().install()
    run = claim_run(flags.run, flags.env.env)
    if not run.config.exists():  # `graspfleet train` has written its own, with the actors' settings in it
        write_atomically(run.config, dump_yaml(flags).encode())
    sockets = Sockets(flags)
    run.write_endpoints(sockets.endpoints)
    print(f"listening on {json.dumps(vars(sockets.endpoints))}", flush=True)
    # torch takes over a second to import: actors connect and start meanwhile, since the ports are bound.
    from learner.loop import Learner

    try:
        checkpoint = Learner.load_checkpoint(flags, run)
        spec = EnvSpec.from_mapping(checkpoint["spec"]) if checkpoint else wait_for_spec(flags, sockets, stop)
        if spec is not None:
            learner = Learner(flags, spec, sockets, run)
            learner.load_state_dict(checkpoint)
            learner.run(stop)
    finally:
        sockets.close()
    return 0


if __name__ == "__main__":
    sys.exit(run_main(main, sys.argv[1:]))
