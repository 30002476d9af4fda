"""Who may be spoken to, and with which key: plaintext stays on this machine, everything else is CURVE."""

import ipaddress
import logging
from dataclasses import dataclass
from pathlib import Path

from common.config import KeysConfig, flag
from common.errors import ConfigError, RefusedError
from common.net.certificates import NAME, PUBLIC, SECRET, Certificate, CertificateError, read_certificate

log = logging.getLogger(__name__)

LEARNER, FIRST_ACTOR, ALLOWED = "learner", "actor", "allowed"
"""In a folder of keys: the learner's key, the first actor's, and the folder of those let in."""


@dataclass(frozen=True)
class LearnerKeys:
    """What the learner's sockets need.

    Attributes:
        secret: the learner's private key, Z85.
        allowed: folder of the public keys that it lets in.
    """

    secret: bytes
    allowed: Path


@dataclass(frozen=True)
class ActorKeys:
    """What an actor's sockets need.

    Attributes:
        name: of its key; the ids it may use are NAME and NAME-anything.
        learner: the learner's public key, Z85: nobody else is believed.
        public: its own public key, Z85.
        secret: its own private key, Z85.
    """

    name: str
    learner: bytes
    public: bytes
    secret: bytes


def learner_keys(config: KeysConfig) -> LearnerKeys | None:
    """Return the keys of the learner that the flags name; None when it speaks plaintext.

    Raises:
        ConfigError: a file is missing, malformed or readable by others, or only an actor's are named.
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
            f"--actor-secret {config.actor_secret}: an actor's;"
            " a learner takes --learner-secret and --allowed"
        )
    else:
        return None
    try:
        mode = allowed.stat().st_mode
    except OSError as error:
        raise ConfigError(f"{flag(names[1])}: {allowed}: {error.strerror}; {_MAKE}") from None
    if not allowed.is_dir():
        raise ConfigError(f"{flag(names[1])}: {allowed}: allowed is a folder of public keys")
    if mode & 0o022:
        raise ConfigError(f"{flag(names[1])}: {allowed}: others may write there; allowed: mode 0700")
    certificate = _read(names[0], secret, private=True)
    assert certificate.secret is not None
    return LearnerKeys(certificate.secret, allowed)


def actor_keys(config: KeysConfig) -> ActorKeys | None:
    """Return the keys of the actor (or of whoever else connects); None when it speaks plaintext.

    Raises:
        ConfigError: a file is missing, malformed or readable by others, or only the learner's are named.
    """
    if config.keys is not None:
        public, secret, names = Path(config.keys) / (LEARNER + PUBLIC), _only_actor(config), ("keys", "keys")
    elif config.learner_public is not None and config.actor_secret is not None:
        public, secret = Path(config.learner_public), Path(config.actor_secret)
        names = ("learner_public", "actor_secret")
    elif config.learner_secret is not None:
        raise ConfigError(
            f"--learner-secret {config.learner_secret}: the learner's;"
            " an actor takes --learner-public and --actor-secret"
        )
    else:
        return None
    learner = _read(names[0], public, private=False)
    own = _read(names[1], secret, private=True)
    name = config.key_name or own.name or secret.name.removesuffix(SECRET)
    if not NAME.fullmatch(name):
        raise ConfigError(f"--key-name {name}: allowed are up to 32 letters, digits, _ and .")
    assert own.secret is not None
    return ActorKeys(name, learner.public, own.public, own.secret)


def may_use(key: str | None, actor_id: str) -> bool:
    """Return whether the holder of a key may speak for an actor; without keys anyone may for anyone."""
    return key is None or actor_id == key or actor_id.startswith(f"{key}-")


def require_own(key: str | None, actor_id: str) -> None:
    """Refuse a message in another's name.

    Raises:
        RefusedError: the key of its sender may not use the id.
    """
    if not may_use(key, actor_id):
        raise RefusedError("actor-id", f"key {key} may not speak for {actor_id}; allowed: {key} or {key}-...")


def is_loopback(host: str) -> bool:
    """Return whether traffic to `host` cannot leave this machine."""
    if host.removesuffix(".").lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def require_private(name: str, host: str, *, insecure: bool) -> None:
    """Refuse plaintext beyond this machine unless the user asked for it.

    Args:
        name: the flag that `host` came from, for the message.
        host: address or host name to bind or connect to.
        insecure: the user's explicit consent; it is logged.

    Raises:
        ConfigError: `host` is another machine (or faces one) and `insecure` is false.
    """
    if is_loopback(host):
        return
    if not insecure:
        raise ConfigError(
            f"{name} {host}: plaintext is allowed on loopback only; {_MAKE}, or --insecure overrides"
        )
    log.warning("%s %s: everything crosses the network unencrypted and unauthenticated", name, host)


_MAKE = "make keys with `graspfleet keys init DIR` and give --keys DIR"


def _read(name: str, path: Path, *, private: bool) -> Certificate:
    try:
        return read_certificate(path, private=private)
    except OSError as error:
        raise ConfigError(f"{flag(name)}: {path}: {error.strerror}") from None
    except CertificateError as error:
        raise ConfigError(f"{flag(name)}: {path}: {error}; {_MAKE}") from None


def _only_actor(config: KeysConfig) -> Path:
    """Return the private key of `--keys` that the flags mean."""
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
        raise ConfigError(f"{flags}: no actor key {name}{SECRET} in {folder}; there: {there}; {_MAKE}")
    return found[name]
