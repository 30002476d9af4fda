"""What happens before the first update: hear what a transition looks like."""

import logging

from common.config import flag
from common.envelope import require_fit
from common.errors import ConfigError, ProtocolError
from common.flags import LearnerFlags
from common.interval import Interval
from common.messages import Hello, Status
from common.policy import policy_bytes
from common.protocol import decode
from common.security import require_own
from common.specs import EnvSpec
from common.stopping import StopSignal
from learner.journal import Recovered
from learner.sockets import Sockets

log = logging.getLogger(__name__)

MAX_SAID_N = 1000
"""Complaints in the log while waiting, so that nobody can fill the disk with them."""


def wait_for_spec(flags: LearnerFlags, sockets: Sockets, stop: StopSignal) -> EnvSpec | None:
    """Return the spec that the first fitting actor says hello with; None when told to stop before.

    The learner knows no environment: actors tell it what theirs looks like, and its flags say which
    one, with which discount and n, it is willing to learn.
    """
    status = Interval(1.0)
    wanted = wanted_of(flags)
    said: set[str] = set()
    while not stop.is_set():
        sockets.wait(0.1)
        if status.due_now():
            sockets.status(Status(state="waiting", metrics=dict(sockets.counts()), actors={}))
        received = sockets.receive()
        if received is None:
            continue
        try:
            message = decode(received.frame)
            if not isinstance(message, Hello):
                continue
            require_own(received.key, message.actor_id)
            spec = EnvSpec.from_mapping(message.spec)
        except ProtocolError as error:
            if error.reason not in said:
                said.add(error.reason)
                log.warning("dropped while waiting for the first actor: %s (further ones silently)", error)
            continue
        if wanted.items() <= message.spec.items():
            return spec
        if message.actor_id not in said and len(said) < MAX_SAID_N:
            said.add(message.actor_id)
            log.warning("refused %s: it has %s, wanted is %s", message.actor_id, message.spec, wanted)
    return None


def resumed_spec(flags: LearnerFlags, recovered: Recovered) -> EnvSpec:
    """Return the spec of a run that is gone on with.

    Raises:
        ConfigError: the flags ask for another environment, discount or n.
    """
    try:
        spec = EnvSpec.from_mapping(recovered.snapshot["spec"])
    except (ProtocolError, KeyError):
        raise ConfigError(f"--resume {flags.run.resume}: the journal's snapshot is damaged") from None
    for name, value in wanted_of(flags).items():
        if value != getattr(spec, name):
            raise ConfigError(f"{flag(name)} {value}: the run has {getattr(spec, name)}; allowed: the same")
    return spec


def wanted_of(flags: LearnerFlags) -> dict[str, str | int | float]:
    """Return what a transition must be made of, as far as the learner knows before it met an actor."""
    return {"env": flags.env.env, "discount": flags.returns.discount, "n_step": flags.returns.n_step}


def require_policy_fits(flags: LearnerFlags, spec: EnvSpec) -> None:
    """Refuse networks whose policy, with its average if one is kept, would not fit a message.

    Raises:
        ConfigError: it would not.
    """
    width, vectors_n = flags.sac.hidden_dim, 1 if flags.sac.average_tau == 1 else 2
    size_bytes = vectors_n * policy_bytes(spec, width)
    require_fit(flags.transport, size_bytes, f"the policy (--hidden-dim {width})")
