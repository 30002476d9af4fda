"""CURVE keys on disk, in the ZeroMQ certificate format of czmq and pyzmq.

In and out: files. `common.net.security` and `learner.access.allow_list` decide what each key permits.
"""

import re
from dataclasses import dataclass
from pathlib import Path

import zmq

from graspfleet.common.runtime.files import read_limited, write_atomically

MAX_BYTES = 4096
"""Largest certificate file, bytes."""
NAME = re.compile(r"[A-Za-z0-9_.]{1,32}")
"""Names of keys. Without dashes, because a key may use the ids NAME and NAME-..., which must be unique."""
PUBLIC, SECRET = ".key", ".key_secret"
"""File name suffixes of public and private certificates."""

_LINE = re.compile(r"""\s*([a-z-]+)\s*=\s*["']([^"']*)["']\s*""")
_Z85_KEY = re.compile(r"[0-9a-zA-Z.\-:+=^!/*?&<>()\[\]{}@%$#]{40}")


class CertificateError(ValueError):
    """An invalid certificate file; the message has the reason without the path."""


@dataclass(frozen=True)
class Certificate:
    """A key pair, or the public half of one.

    Attributes:
        name: of the holder; empty if the file has none.
        public: 40 characters, Z85.
        secret: 40 characters, Z85; None in a public certificate.
    """

    name: str
    public: bytes
    secret: bytes | None = None

    @classmethod
    def generate(cls, name: str) -> "Certificate":
        """Return a new key pair."""
        return cls(name, *zmq.curve_keypair())

    def write_public(self, path: Path) -> None:
        """Write the public half to a file.

        Raises:
            OSError: it cannot be written.
        """
        write_atomically(path, self._text("public: copy it to the machines that need it").encode())

    def write_secret(self, path: Path) -> None:
        """Write both halves to a file with mode 0600.

        Raises:
            OSError: it cannot be written.
        """
        assert self.secret is not None
        text = self._text("PRIVATE: for the named process only; mode 0600")
        write_atomically(path, f'{text}    secret-key = "{self.secret.decode()}"\n'.encode(), 0o600)

    def _text(self, remark: str) -> str:
        return (
            f"#   graspfleet key, {remark}\n"
            f'metadata\n    name = "{self.name}"\ncurve\n    public-key = "{self.public.decode()}"\n'
        )


def read_certificate(path: Path, *, private: bool) -> Certificate:
    """Return the certificate in a file.

    Args:
        path: the file.
        private: require a private key, and a file that only its owner can read.

    Raises:
        OSError: the file is unreadable, too large, or a private one that others can read.
        CertificateError: the content is not a valid certificate.
    """
    try:
        lines = read_limited(path, MAX_BYTES, private=private).decode().splitlines()
    except UnicodeDecodeError:
        raise CertificateError("not a ZeroMQ certificate") from None
    fields: dict[str, str] = {match[1]: match[2] for line in lines if (match := _LINE.fullmatch(line))}
    name, public, secret = (fields.get(key, "") for key in ("name", "public-key", "secret-key"))
    if not _Z85_KEY.fullmatch(public) or (name and not NAME.fullmatch(name)):
        raise CertificateError("not a ZeroMQ certificate")
    if not private:
        return Certificate(name, public.encode())
    if not _Z85_KEY.fullmatch(secret):
        raise CertificateError("contains no private key")
    try:
        fits = zmq.curve_public(secret.encode()) == public.encode()
    except (zmq.ZMQError, ValueError):
        fits = False
    if not fits:
        raise CertificateError("its private and public keys do not match")
    return Certificate(name, public.encode(), secret.encode())
