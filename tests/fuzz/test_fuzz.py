"""The fuzz target on its corpus and on what hypothesis makes of it: the quick part of the fuzzing."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graspfleet.common.protocol import encode
from tests.common.golden import golden_messages
from tests.fakes import make_batch, make_image_batch, make_records
from tests.fuzz.target import Target

CORPUS = sorted((Path(__file__).parent / "corpus").iterdir())
SEEDS = [
    *(encode(message) for message in golden_messages().values()),
    encode(make_batch(make_records(2))),
    encode(make_image_batch()),
]


@pytest.fixture(scope="module")
def target() -> Iterator[Target]:
    target = Target()
    yield target
    target.close()


def test_the_corpus_is_small_and_reaches_behind_the_checks(target: Target) -> None:
    assert 10 < len(CORPUS) < 500
    assert sum(path.stat().st_size for path in CORPUS) < 200_000
    for path in CORPUS:
        target(path.read_bytes())
    assert target.accepted > 10


@st.composite
def mutants(draw: st.DrawFn) -> bytes:
    """Return a good frame with some bytes changed, taken out or put in."""
    frame = bytearray(draw(st.sampled_from(SEEDS)))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(frame)))
        frame[at : at + draw(st.integers(0, 3))] = draw(st.binary(max_size=3))
    return bytes(frame)


@settings(max_examples=1000, deadline=None)
@given(data=mutants())
def test_no_mutant_breaks_it(target: Target, data: bytes) -> None:
    target(data)
