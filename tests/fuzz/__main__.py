"""Coverage-guided fuzzing of `decode` and the ingest; needs `pip install atheris` (Python 3.11 to 3.13).

    python -m tests.fuzz -runs=10000000 -max_len=4096 WORKING_FOLDER tests/fuzz/corpus

Flags are libFuzzer's. What a run finds worth keeping is left in WORKING_FOLDER, a finding in a file crash-...
Either belongs into the corpus, and the test that reads the corpus holds it from then on.
"""

import random
import struct
import sys
from typing import Any

import atheris
import msgpack

with atheris.instrument_imports(include=["graspfleet"]):
    from graspfleet.common.protocol import PREFIX
    from tests.fakes import IMAGE_SPEC, OTHER_SESSION, SESSION, SPEC, make_frame
    from tests.fuzz.target import Target

REPORT_INTERVAL = 1_000_000
VALUES: tuple[Any, ...] = (
    *(0, 1, 2, -1, 255, (1 << 45) - 2, 1 << 45, (1 << 64) - 1, 0.0, 1e300, float("nan"), float("inf")),
    *(
        "",
        "a",
        "a-1",
        "b",
        SESSION,
        OTHER_SESSION,
        "hello",
        "batch",
        "bye",
        "evaluation",
        "weights",
        "status",
    ),
    *(
        b"",
        SPEC.digest,
        None,
        True,
        [],
        {},
        [[1.0, 2, None, 3]],
        SPEC.to_mapping(),
        IMAGE_SPEC.digest,
        IMAGE_SPEC.to_mapping(),
    ),
    *([["rows", "u1", [0, 44]]], [["rows", "u1", [2, 44]]], [["rows", "f4", [22, 2]]]),
    *(
        [["rows", "u1", [1, 60]], ["frames", "u1", [2, 64]]],
        [["rows", "u1", [3, 60]], ["frames", "u1", [0, 64]]],
    ),
)
"""What a field is replaced by, besides what libFuzzer makes of the bytes."""


def mutate(data: bytes, max_size: int, seed: int) -> bytes:
    """Change one field of a frame's header, or its rows, or (half of the time) any bytes at all."""
    rng = random.Random(seed)
    if rng.random() < 0.5 or len(data) < PREFIX.size:
        return atheris.Mutate(data, max_size)
    header_end = PREFIX.size + struct.unpack_from("<I", data, 8)[0]
    try:
        header = msgpack.unpackb(data[PREFIX.size : header_end])
        name = rng.choice(sorted(header))
        header[name] = header.get(name)
    except (ValueError, TypeError, IndexError, AttributeError):  # no longer a map with names for keys
        return atheris.Mutate(data, max_size)
    rows = data[header_end:]
    if rows and rng.random() < 0.3:
        rows = atheris.Mutate(rows, len(rows))
    else:
        header[name] = rng.choice(VALUES)
    return make_frame(header, rows)[:max_size]


def main() -> None:
    """Fuzz until libFuzzer is told to stop."""
    target = Target()

    def once(data: bytes) -> None:
        target(data)
        if target.executions % REPORT_INTERVAL == 0:
            print(f"{target.executions:,} executions, {target.accepted:,} messages let in", file=sys.stderr)

    atheris.Setup(sys.argv, once, custom_mutator=mutate)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
