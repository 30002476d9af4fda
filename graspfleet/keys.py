"""`graspfleet keys`: a folder with the learner's key, the actors' keys and the allow-list.

DIR/learner.key          the learner's public key, which every actor needs
DIR/learner.key_secret   the learner's private key, which must stay on the learner's machine
DIR/NAME.key_secret      an actor's private key, for that actor's machine
DIR/allowed/NAME.key     public keys that the learner accepts; it watches the folder for changes
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated

from pydantic import Field

from graspfleet.common.errors import ConfigError
from graspfleet.common.net.certificates import (
    NAME,
    PUBLIC,
    SECRET,
    Certificate,
    CertificateError,
    read_certificate,
)
from graspfleet.common.net.security import ALLOWED, FIRST_ACTOR, LEARNER
from graspfleet.common.settings.flags import parse
from graspfleet.common.settings.section import Positional, Section
from graspfleet.sub_commands import choose

Folder = Annotated[str, Positional("DIR")]
Name = Annotated[str, Positional("NAME")]


class FolderFlags(Section):
    """A folder of keys."""

    folder: Folder = Field(description="Folder of keys.")


class KeyFlags(FolderFlags):
    """A key in a folder of keys."""

    name: Name = Field(description="Name of an actor's key; its actors' ids are NAME and NAME-...")


def init(argv: Sequence[str]) -> None:
    """Create DIR with the learner's key and a first actor's key called `actor`."""
    folder = Path(parse(FolderFlags, argv, prog="graspfleet keys init").folder)
    try:
        folder.mkdir(mode=0o700, parents=True)
        (folder / ALLOWED).mkdir(mode=0o700)
    except FileExistsError:
        raise ConfigError(
            f"DIR {folder}: exists; allowed: a new folder, or `graspfleet keys add {folder} NAME`"
        ) from None
    learner = Certificate.generate(LEARNER)
    learner.write_public(folder / (LEARNER + PUBLIC))
    learner.write_secret(folder / (LEARNER + SECRET))
    _add(folder, FIRST_ACTOR)
    print(f"{folder}: created keys for the learner and a first actor; on this machine use --keys {folder}")


def add(argv: Sequence[str]) -> None:
    """Create and allow a key for another actor; takes effect in a running learner."""
    flags = parse(KeyFlags, argv, prog="graspfleet keys add")
    folder, name = _existing(flags.folder), flags.name
    if not NAME.fullmatch(name) or name == LEARNER:
        raise ConfigError(f"NAME {name}: allowed: up to 32 letters, digits, _ and . (not {LEARNER!r})")
    for path in (folder / (name + SECRET), folder / ALLOWED / (name + PUBLIC)):
        if path.exists():
            raise ConfigError(f"NAME {name}: {path} exists; allowed: another name, or revoke this one first")
    _add(folder, name)
    print(
        f"{name}: allowed; its machine needs {folder / (name + SECRET)} (--actor-secret)"
        f" and {folder / (LEARNER + PUBLIC)} (--learner-public)"
    )


def show(argv: Sequence[str]) -> None:
    """Print the name and public key of each allowed actor."""
    folder = _existing(parse(FolderFlags, argv, prog="graspfleet keys list").folder)
    for path in sorted((folder / ALLOWED).glob("*" + PUBLIC)):
        try:
            print(f"{path.stem:32} {read_certificate(path, private=False).public.decode()}")
        except (OSError, CertificateError) as error:
            print(f"{path.stem:32} unusable: {getattr(error, 'strerror', None) or error}")


def revoke(argv: Sequence[str]) -> None:
    """Revoke a key and delete its private half if it is here; takes effect in a running learner."""
    flags = parse(KeyFlags, argv, prog="graspfleet keys revoke")
    folder = _existing(flags.folder)
    listed = folder / ALLOWED / (flags.name + PUBLIC)
    if not NAME.fullmatch(flags.name) or not listed.exists():
        names = ", ".join(sorted(path.stem for path in listed.parent.glob("*" + PUBLIC))) or "none"
        raise ConfigError(f"NAME {flags.name}: no such key in {listed.parent}; allowed: {names}")
    listed.unlink()
    (folder / (flags.name + SECRET)).unlink(missing_ok=True)
    print(f"{flags.name}: revoked; a running learner disconnects it within 5 s")


COMMANDS: dict[str, tuple[str, Callable[[Sequence[str]], None]]] = {
    "init": ("create a folder DIR with the learner's key and a first actor's key", init),
    "add": ("create and allow the key of another actor", add),
    "list": ("list the allowed keys", show),
    "revoke": ("revoke a key", revoke),
}
"""Name -> help, function."""


def main(argv: list[str]) -> int:
    """Run the command; return its exit status."""
    name = choose("graspfleet keys", {name: text for name, (text, _) in COMMANDS.items()}, argv)
    try:
        COMMANDS[name][1](argv[1:])
    except OSError as error:
        raise ConfigError(f"keys {name}: {error.filename}: {error.strerror}") from None
    return 0


def _existing(folder: str) -> Path:
    path = Path(folder)
    if not (path / ALLOWED).is_dir():
        raise ConfigError(
            f"DIR {path}: not a folder of keys; allowed: one created by `graspfleet keys init {path}`"
        )
    return path


def _add(folder: Path, name: str) -> None:
    certificate = Certificate.generate(name)
    certificate.write_secret(folder / (name + SECRET))
    certificate.write_public(folder / ALLOWED / (name + PUBLIC))  # last, because this allows the key
