"""Streams hang on the process start: no restart repeats another, and training never meets what judges it."""

from itertools import islice

import numpy as np

from graspfleet.common.runtime.seeds import (
    HELD_OUT_ROOT,
    NUM_HELD_OUT,
    draw_seeds,
    held_out_seeds,
    new_session_id,
    seed_sequence,
    session_seeds,
    training_seeds,
)

SESSION = "0123456789abcdef"


def first(stream: np.random.SeedSequence, count: int = 100) -> list[int]:
    return list(islice(training_seeds(np.random.default_rng(stream)), count))


def test_another_process_start_has_another_stream_and_so_has_another_root() -> None:
    own = first(session_seeds(0, SESSION))
    assert own == first(session_seeds(0, SESSION))
    others = [session_seeds(1, SESSION), *(session_seeds(0, new_session_id()) for _ in range(20))]
    # Every digit counts: two that differ in the last one only have nothing in common.
    others += [session_seeds(0, SESSION[:-1] + "0"), session_seeds(0, "1" + SESSION[1:])]
    for other in others:
        assert not set(own) & set(first(other))


def test_training_never_meets_the_seeds_that_judge_it() -> None:
    judged = draw_seeds(np.random.default_rng(seed_sequence(HELD_OUT_ROOT, "evaluate")))
    held_out = list(islice(judged, NUM_HELD_OUT))
    assert set(held_out) == held_out_seeds()
    as_evaluate = training_seeds(np.random.default_rng(seed_sequence(HELD_OUT_ROOT, "evaluate")))
    assert next(as_evaluate) not in held_out_seeds()  # its first ones are all passed over


def test_seeds_fit_a_signed_32_bit_integer() -> None:
    seeds = first(session_seeds(0, SESSION), 1000)
    assert min(seeds) >= 0
    assert 2**30 < max(seeds) < 2**31
