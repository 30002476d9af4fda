"""Standard streams that never raise: an unprintable character, a gone reader or a full disk ends no run."""

import codecs
import errno
import io
import os
import sys
from typing import Any, TextIO

STDIN, STDOUT, STDERR = 0, 1, 2
PLAIN = str.maketrans(
    {"–": "-", "—": "-", "−": "-", "·": "|", "±": "+/-", "×": "x", "→": "->", "…": "...", "²": "^2", "µ": "u"}
)
"""Non-ASCII characters that we print -> their replacements in an ASCII encoding."""


class _Patient(io.RawIOBase):
    """A stream on a descriptor that drops all further output after the first error.

    Attributes:
        error: the first error; None before it.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self.error: OSError | None = None

    def writable(self) -> bool:
        """Return True."""
        return True

    def fileno(self) -> int:
        """Return the descriptor."""
        return self._descriptor

    def isatty(self) -> bool:
        """Return whether it is a terminal."""
        return os.isatty(self._descriptor)

    def write(self, data: Any, /) -> int:
        """Write some of the data, a buffer; return the number of bytes written or dropped."""
        if self.error is None:
            try:
                return os.write(self._descriptor, data)
            except OSError as error:
                self.error = error
        return len(data)


class Streams:
    """Replacement of the standard streams of this process.

    Closed streams are opened on the null device; otherwise the next file opened would get their descriptor,
    and prints would go to it. Characters that the encoding lacks are replaced by similar ones or question
    marks.
    """

    def __init__(self) -> None:
        for number in (STDIN, STDOUT, STDERR):
            try:
                os.fstat(number)
            except OSError:
                os.open(os.devnull, os.O_RDWR)  # gets the lowest free number
        codecs.register_error("plain", _plainly)
        self._out, self._err = _Patient(STDOUT), _Patient(STDERR)
        sys.stdout = _text(self._out, sys.stdout, "plain")
        sys.stderr = _text(self._err, sys.stderr, "backslashreplace")

    def finish(self) -> str | None:
        """Flush standard output; return the error that made it incomplete, or None.

        A reader that closes the pipe early, such as `head`, does not count.
        """
        sys.stdout.flush()
        error = self._out.error
        return None if error is None or error.errno == errno.EPIPE else f"standard output: {error.strerror}"


class Reserved:
    """Standard output reserved for one result; other output to it, also from C code, goes to stderr."""

    def __init__(self) -> None:
        sys.stdout.flush()
        self._kept = os.dup(STDOUT)
        os.dup2(STDERR, STDOUT)

    def print(self, text: str) -> None:
        """Print the result."""
        sys.stdout.flush()
        os.dup2(self._kept, STDOUT)
        try:
            print(text, flush=True)
        finally:
            os.dup2(STDERR, STDOUT)


def _plainly(error: UnicodeError) -> tuple[str, int]:
    """Return the replacement of characters that an encoding lacks, and the position after them."""
    assert isinstance(error, UnicodeEncodeError)
    lacking = error.object[error.start : error.end]
    return lacking.translate(PLAIN).encode("ascii", "replace").decode(), error.end


def _text(raw: _Patient, former: TextIO | None, errors: str) -> TextIO:
    """Return a text stream on `raw` with the encoding and buffering of the former one."""
    if former is not None:
        former.flush()
    encoding = getattr(former, "encoding", None) or "utf-8"
    line_buffering = getattr(former, "line_buffering", True)
    return io.TextIOWrapper(io.BufferedWriter(raw), encoding, errors, line_buffering=line_buffering)
