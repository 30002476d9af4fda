"""The allowed keys: a folder of public certificates that is reloaded while the learner runs."""

import contextlib
import logging
import os
from pathlib import Path

from graspfleet.common.errors import ConfigError
from graspfleet.common.net.certificates import NAME, PUBLIC, CertificateError, read_certificate

log = logging.getLogger(__name__)

MAX_KEYS = 4096
"""Largest number of certificates in the folder; further ones are ignored."""

Signature = tuple[tuple[str, int, int, int], ...]


class AllowList:
    """Names by public key. A file that cannot be trusted is ignored, so its key is not allowed.

    Args:
        folder: folder of NAME.key files.

    Attributes:
        names: name of each public key (Z85).
        members: all the names. Both attributes are replaced, never modified, so any thread may read them.

    Raises:
        ConfigError: the folder cannot be read, or a file in it is not a certificate.
    """

    def __init__(self, folder: Path) -> None:
        self.names: dict[bytes, str] = {}
        self.members: frozenset[str] = frozenset()
        self._folder = folder
        self._seen: Signature | None = None
        self._complaints: set[str] = set()
        self.reload()
        if self._complaints:
            raise ConfigError(
                f"allowed keys: {min(self._complaints)}; allowed: files made by `graspfleet keys add`"
            )

    def reload(self) -> set[str]:
        """Read the folder again if it has changed; return the names of revoked keys."""
        try:
            signature = self._signature()
        except OSError as error:
            signature = ()
            if self._seen != signature:
                log.error("allowed keys: %s: %s; no key is allowed", self._folder, error.strerror)
        if signature == self._seen:
            return set()
        self._seen, before = signature, self.names
        found: dict[bytes, str] = {}
        complaints: set[str] = set()
        for file, *_ in signature:
            self._read(self._folder / file, found, complaints)
        for complaint in complaints - self._complaints:
            log.error("allowed keys: %s; this key is not allowed", complaint)
        self.names, self.members, self._complaints = found, frozenset(found.values()), complaints
        gone = {name for key, name in before.items() if found.get(key) != name}
        if before:
            log.info("allowed keys: %d now; revoked: %s", len(found), ", ".join(sorted(gone)) or "none")
        return gone

    def _read(self, path: Path, found: dict[bytes, str], complaints: set[str]) -> None:
        name = path.name.removesuffix(PUBLIC)
        try:
            if not NAME.fullmatch(name):
                raise CertificateError("a name may contain only letters, digits, _ and .")
            key = read_certificate(path, private=False).public
        except (OSError, CertificateError) as error:
            complaints.add(f"{path}: {getattr(error, 'strerror', None) or error}")
            return
        if key in found:
            complaints.add(f"{path}: the same key as {found[key]}")
            return
        found[key] = name

    def _signature(self) -> Signature:
        """Return a value that changes whenever the folder's certificates change."""
        found = []
        with os.scandir(self._folder) as entries:
            for entry in entries:
                if entry.name.endswith(PUBLIC) and not entry.name.startswith("."):
                    with contextlib.suppress(FileNotFoundError):  # removed just now
                        status = entry.stat()
                        found.append((entry.name, status.st_ino, status.st_mtime_ns, status.st_size))
        return tuple(sorted(found)[:MAX_KEYS])
