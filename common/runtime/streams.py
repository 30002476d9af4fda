"""Standard streams that take whatever is printed: no character, reader or disk ends a run."""

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
"""Characters that we print, and what is read for them where an encoding has only ASCII."""


class _Patient(io.RawIOBase):
    """A descriptor that is written to until it refuses; what comes later is dropped.

    Attributes:
        error: why it refused; None while it takes everything.
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
        """Write some of the data, a buffer; return how many bytes are done with."""
        if self.error is None:
            try:
                return os.write(self._descriptor, data)
            except OSError as error:
                self.error = error
        return len(data)


class Streams:
    """The standard streams of this process, replaced from here on.

    Closed ones become the null device: whoever prints would write into a file opened in their place.
    Characters that the encoding lacks are printed as others that look like them, or as question marks.
    """

    def __init__(self) -> None:
        for number in (STDIN, STDOUT, STDERR):
            try:
                os.fstat(number)
            except OSError:
                os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free
        codecs.register_error("plain", _plainly)
        self._out, self._err = _Patient(STDOUT), _Patient(STDERR)
        sys.stdout = _text(self._out, sys.stdout, "plain")
        sys.stderr = _text(self._err, sys.stderr, "backslashreplace")

    def finish(self) -> str | None:
        """Write what is buffered; return why standard output did not take everything, if it did not.

        A reader that has seen enough, such as `head`, is no reason.
        """
        sys.stdout.flush()
        error = self._out.error
        return None if error is None or error.errno == errno.EPIPE else f"standard output: {error.strerror}"


class Reserved:
    """Standard output for one result: what foreign code prints there, in C too, goes to standard error."""

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
    """Return what is printed for characters that an encoding lacks, and where to go on."""
    assert isinstance(error, UnicodeEncodeError)
    lacking = error.object[error.start : error.end]
    return lacking.translate(PLAIN).encode("ascii", "replace").decode(), error.end


def _text(raw: _Patient, former: TextIO | None, errors: str) -> TextIO:
    """Return a text stream that writes as the former one did."""
    if former is not None:
        former.flush()
    encoding = getattr(former, "encoding", None) or "utf-8"
    line_buffering = getattr(former, "line_buffering", True)
    return io.TextIOWrapper(io.BufferedWriter(raw), encoding, errors, line_buffering=line_buffering)
