"""Start-up before the first update: wait for the spec of the transitions."""

import time
from collections.abc import Mapping

from graspfleet.common.errors import ConfigError, ProtocolError, RefusedError
from graspfleet.common.messages import Hello, Status
from graspfleet.common.net.security import require_own
from graspfleet.common.protocol import decode
from graspfleet.common.runtime.interval import Interval
from graspfleet.common.runtime.run_directory import RunDirectory
from graspfleet.common.runtime.signals import StopSignal
from graspfleet.common.settings.flags import LearnerFlags
from graspfleet.common.settings.section import flag
from graspfleet.common.specs import EnvSpec, differences
from graspfleet.learner.access.complaints import Complaints
from graspfleet.learner.access.footprint import require_room
from graspfleet.learner.access.refusals import Peer
from graspfleet.learner.access.sockets import Sockets
from graspfleet.learner.experience.journal import Recovered


def wait_for_spec(flags: LearnerFlags, sockets: Sockets, stop: StopSignal) -> EnvSpec | None:
    """Return the spec in the hello of the first actor that fits the flags; None if stopped before.

    The learner has no environment: actors send it the spec of theirs, and its flags set the environment's id,
    the discount and n that a spec must have. Actors with a different spec are refused.
    """
    status = Interval(1.0)
    wanted = wanted_of(flags)
    complaints = Complaints()
    while not stop.is_set():
        sockets.wait(0.1)
        sockets.refuse()
        if status.due_now():
            sockets.status(_waiting(sockets))
        received = sockets.receive()
        if received is None:
            continue
        try:
            message = decode(received.frame)
        except ProtocolError as error:
            complaints.add("malformed", f"key {received.key}", error)
            continue
        if not isinstance(message, Hello):
            continue
        peer = Peer.of(message, received.key)
        try:
            spec = _fitting(message, received.key, wanted, flags)
        except RefusedError as error:
            sockets.refusals.refuse(peer, error, time.monotonic())
            continue
        if message.role == "actor":
            return spec
    return None


def _fitting(hello: Hello, key: str | None, wanted: Mapping[str, object], flags: LearnerFlags) -> EnvSpec:
    """Return the spec of a hello.

    Raises:
        RefusedError: the key may not use the actor id, or the spec differs from `wanted` or is too large.
    """
    require_own(key, hello.actor_id)
    if difference := differences({name: getattr(hello.spec, name) for name in wanted}, wanted):
        raise RefusedError("spec", difference)
    try:
        require_room(flags, hello.spec)
    except ConfigError as error:  # the peer chose the size, so it is not a mistake of the learner's user
        raise RefusedError("spec", str(error)) from None
    return hello.spec


def _waiting(sockets: Sockets) -> Status:
    refusals = sockets.refusals
    return Status(
        state="waiting",
        metrics=dict(sockets.metrics()),
        actors=refusals.among("actor", {}),
        evaluators=refusals.among("evaluator", {}),
        refused=refusals.reasons(),
    )


def resumed_spec(flags: LearnerFlags, recovered: Recovered) -> EnvSpec:
    """Return the spec of a resumed run.

    Raises:
        ConfigError: the flags ask for another environment, discount or n.
    """
    try:
        spec = EnvSpec.from_mapping(recovered.snapshot["spec"])
    except (ProtocolError, KeyError):
        raise ConfigError(f"--resume {flags.run.resume}: the journal's snapshot is damaged") from None
    for name, value in wanted_of(flags).items():
        if value != getattr(spec, name):
            raise ConfigError(f"{flag(name)} {value}: the run uses {getattr(spec, name)}; allowed: the same")
    return spec


def require_files(run: RunDirectory, spec: EnvSpec) -> None:
    """Check that the replay of a run to resume is there.

    Raises:
        ConfigError: a file is missing or empty.
    """
    for path in (run.replay, run.frames) if spec.images else (run.replay,):
        if not (path.is_file() and path.stat().st_size):
            raise ConfigError(f"--resume {run.path}: {path.name} is missing or empty; the run cannot resume")


def wanted_of(flags: LearnerFlags) -> dict[str, str | int | float]:
    """Return the fields of the spec that the learner's flags determine."""
    return {"env": flags.env.env_id, "discount": flags.returns.discount, "n_step": flags.returns.n_step}
