"""Keys of each process, and the rule that plaintext stays on this machine unless the user allows more."""

import ipaddress
import logging
from dataclasses import dataclass
from pathlib import Path

from graspfleet.common.errors import ConfigError, RefusedError
from graspfleet.common.net.certificates import (
    NAME,
    PUBLIC,
    SECRET,
    Certificate,
    CertificateError,
    read_certificate,
)
from graspfleet.common.settings.section import flag
from graspfleet.common.settings.transport import KeysConfig

log = logging.getLogger(__name__)

LEARNER, FIRST_ACTOR, ALLOWED = "learner", "actor", "allowed"
"""Names in a folder of keys: the learner's key, the first actor's key, the folder of allowed keys."""


@dataclass(frozen=True)
class LearnerKeys:
    """Keys for the learner's sockets.

    Attributes:
        secret: the learner's private key, Z85.
        allowed: folder of the public keys that it accepts.
    """

    secret: bytes
    allowed: Path


@dataclass(frozen=True)
class ActorKeys:
    """Keys for an actor's sockets.

    Attributes:
        name: of the actor's key, which may use the ids NAME and NAME-anything.
        learner: the learner's public key, Z85; no other server is accepted.
        public: the actor's public key, Z85.
        secret: the actor's private key, Z85.
    """

    name: str
    learner: bytes
    public: bytes
    secret: bytes


def learner_keys(config: KeysConfig) -> LearnerKeys | None:
    """Return the learner's keys; None in plaintext.

    Raises:
        ConfigError: a file is missing, malformed or readable by others, or only an actor's keys are given.
    """
    if config.keys is not None:
        folder = Path(config.keys)
        secret, allowed, names = folder / (LEARNER + SECRET), folder / ALLOWED, ("keys", "keys")
    elif config.learner_secret is not None and config.allowed is not None:
        secret, allowed, names = (
            Path(config.learner_secret),
            Path(config.allowed),
            ("learner_secret", "allowed"),
        )
    elif config.actor_secret is not None:
        raise ConfigError(
            f"--actor-secret {config.actor_secret}: is for actors;"
            " a learner takes --learner-secret and --allowed"
        )
    else:
        return None
    try:
        mode = allowed.stat().st_mode
    except OSError as error:
        raise ConfigError(f"{flag(names[1])}: {allowed}: {error.strerror}; {_MAKE}") from None
    if not allowed.is_dir():
        raise ConfigError(f"{flag(names[1])}: {allowed}: not a folder; allowed: a folder of public keys")
    if mode & 0o022:
        raise ConfigError(f"{flag(names[1])}: {allowed}: writable by others; allowed: mode 0700")
    certificate = _read(names[0], secret, private=True)
    assert certificate.secret is not None
    return LearnerKeys(certificate.secret, allowed)


def actor_keys(config: KeysConfig) -> ActorKeys | None:
    """Return the keys of an actor, or of any other connecting process; None in plaintext.

    Raises:
        ConfigError: a file is missing, malformed or readable by others, or only the learner's are given.
    """
    if config.keys is not None:
        public, secret, names = Path(config.keys) / (LEARNER + PUBLIC), _only_actor(config), ("keys", "keys")
    elif config.learner_public is not None and config.actor_secret is not None:
        public, secret = Path(config.learner_public), Path(config.actor_secret)
        names = ("learner_public", "actor_secret")
    elif config.learner_secret is not None:
        raise ConfigError(
            f"--learner-secret {config.learner_secret}: is for the learner;"
            " an actor takes --learner-public and --actor-secret"
        )
    else:
        return None
    learner = _read(names[0], public, private=False)
    own = _read(names[1], secret, private=True)
    name = config.key_name or own.name or secret.name.removesuffix(SECRET)
    if not NAME.fullmatch(name):
        raise ConfigError(f"--key-name {name}: allowed: up to 32 letters, digits, _ and .")
    assert own.secret is not None
    return ActorKeys(name, learner.public, own.public, own.secret)


def may_use(key: str | None, actor_id: str) -> bool:
    """Return whether the holder of a key may use an actor id; without keys every peer may use every id."""
    return key is None or actor_id == key or actor_id.startswith(f"{key}-")


def require_own(key: str | None, actor_id: str) -> None:
    """Check that the sender of a message may use its actor id.

    Raises:
        RefusedError: the sender's key may not use the id.
    """
    if not may_use(key, actor_id):
        raise RefusedError("actor-id", f"key {key} may not use id {actor_id}; allowed: {key} or {key}-...")


def is_loopback(host: str) -> bool:
    """Return whether traffic to `host` stays on this machine."""
    if host.removesuffix(".").lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def require_private(name: str, host: str, *, insecure: bool) -> None:
    """Check that plaintext stays on this machine unless the user allows more.

    Args:
        name: flag that names `host`, for the message.
        host: address or host name to bind or connect to.
        insecure: the user's explicit consent; it is logged.

    Raises:
        ConfigError: `host` is another machine, or an interface that others can reach, and not `insecure`.
    """
    if is_loopback(host):
        return
    if not insecure:
        raise ConfigError(
            f"{name} {host}: plaintext is allowed on loopback only; {_MAKE}, or override with --insecure"
        )
    log.warning("%s %s: all traffic is unencrypted and unauthenticated", name, host)


_MAKE = "create keys with `graspfleet keys init DIR` and pass --keys DIR"


def _read(name: str, path: Path, *, private: bool) -> Certificate:
    try:
        return read_certificate(path, private=private)
    except OSError as error:
        raise ConfigError(f"{flag(name)}: {path}: {error.strerror}") from None
    except CertificateError as error:
        raise ConfigError(f"{flag(name)}: {path}: {error}; {_MAKE}") from None


def _only_actor(config: KeysConfig) -> Path:
    """Return the file of the actor's private key in the folder `--keys`."""
    assert config.keys is not None
    folder = Path(config.keys)
    found = {path.name.removesuffix(SECRET): path for path in folder.glob("*" + SECRET)}
    found.pop(LEARNER, None)
    name = config.key_name
    if name is None:
        name = FIRST_ACTOR if FIRST_ACTOR in found or len(found) != 1 else next(iter(found))
    if name not in found:
        there = ", ".join(sorted(found)) or "none"
        flags = f"--keys {folder}" if config.key_name is None else f"--key-name {name}"
        raise ConfigError(f"{flags}: no actor key {name}{SECRET} in {folder}; found: {there}; {_MAKE}")
    return found[name]
