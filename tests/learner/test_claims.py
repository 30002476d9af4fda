"""Two processes with one id: a successor is let in at once, a second one that lives is told from it."""

from dataclasses import dataclass

import pytest

from graspfleet.common.errors import RefusedError
from graspfleet.learner.experience.peers.claims import Claims

SILENT_AFTER_S = 5.0


@dataclass
class Process:
    """What the sessions know of one."""

    name: str
    heard_s: float = float("-inf")
    left: bool = False


class World:
    """Processes that speak for the id `a`, and a learner that reads at once whatever arrives."""

    def __init__(self) -> None:
        self.claims = Claims(SILENT_AFTER_S)
        self.now_s = 100.0
        self.listened_s: float | None = None

    def speak(self, process: Process, answer: int = 0) -> None:
        listened_s = self.now_s if self.listened_s is None else self.listened_s
        self.claims.speak("a", process.name, process, self.now_s, listened_s)
        process.heard_s = self.now_s
        if answer:
            self.claims.answer("a", process.name, answer)

    @property
    def challenge(self) -> int:
        return self.claims.challenge("a", self.now_s)


@pytest.fixture
def world() -> World:
    return World()


def test_a_single_process_is_never_asked(world: World) -> None:
    process = Process("one")
    for _ in range(20):
        world.speak(process)
        world.now_s += 1.0
        assert world.challenge == 0
    assert world.claims.owner("a") == "one"


def test_the_later_of_two_that_live_is_refused_and_the_first_goes_on(world: World) -> None:
    first, second = Process("first"), Process("second")
    world.speak(first)
    world.speak(second)  # it may be the first one's successor
    asked = world.challenge
    assert asked
    world.speak(second, answer=asked)
    world.speak(first, answer=asked)
    for _ in range(3):
        with pytest.raises(RefusedError, match="duplicate-id"):
            world.speak(second)
        world.speak(first)


def test_two_that_go_on_without_hearing_are_asked_again(world: World) -> None:
    first, second = Process("first"), Process("second")
    asked = set()
    for _ in range(12):
        world.speak(first)
        world.speak(second)
        asked.add(world.challenge)
        world.now_s += 1.0
    assert len(asked) >= 3
    assert 0 not in asked


def test_what_a_killed_process_had_sent_does_not_count_against_its_successor(world: World) -> None:
    killed, successor = Process("killed"), Process("successor")
    world.speak(killed)
    for _ in range(4):
        world.speak(successor, answer=world.challenge)
        world.speak(killed)  # still in the pipe, with no answer to anything asked since
        world.now_s += 0.5
    world.now_s += SILENT_AFTER_S
    world.speak(successor)
    assert world.claims.owner("a") == "successor"
    world.now_s += 0.1
    world.speak(killed)  # and even later
    world.speak(successor, answer=world.challenge)
    assert world.claims.owner("a") == "successor"


def test_a_successor_that_is_heard_before_what_the_killed_one_had_sent_is_not_refused(world: World) -> None:
    killed, successor = Process("killed"), Process("successor")
    world.speak(successor)
    world.speak(killed)
    for _ in range(5):
        world.speak(successor, answer=world.challenge)
        world.now_s += 1.0
    assert world.claims.owner("a") == "successor"


def test_whoever_left_or_fell_silent_is_succeeded_without_a_question(world: World) -> None:
    left, silent, last = Process("left"), Process("silent"), Process("last")
    world.speak(left)
    left.left = True
    world.speak(silent)
    assert (world.claims.owner("a"), world.challenge) == ("silent", 0)
    world.now_s += SILENT_AFTER_S + 0.1
    world.speak(last)
    assert (world.claims.owner("a"), world.challenge) == ("last", 0)


def test_one_that_was_suspended_and_wakes_up_finds_its_id_taken(world: World) -> None:
    suspended, successor = Process("suspended"), Process("successor")
    world.speak(suspended)
    world.now_s += SILENT_AFTER_S + 1
    world.speak(successor)
    world.now_s += 60
    world.speak(successor)
    world.speak(suspended)
    asked = world.challenge
    world.speak(suspended, answer=asked)
    world.speak(successor, answer=asked)
    with pytest.raises(RefusedError, match="duplicate-id"):
        world.speak(suspended)


def test_silence_counts_only_while_the_learner_reads(world: World) -> None:
    first, second = Process("first"), Process("second")
    world.speak(first)
    world.listened_s = world.now_s
    world.now_s += 100.0  # the learner was paused; the first one's messages lie in its pipe
    world.speak(second)
    assert world.claims.owner("a") == "first"
    assert world.challenge


def test_an_answer_to_an_earlier_question_proves_nothing(world: World) -> None:
    first, second = Process("first"), Process("second")
    world.speak(first)
    world.speak(second)
    stale = world.challenge
    world.now_s += SILENT_AFTER_S
    assert world.challenge == 0  # over: nobody is asked any more
    first.heard_s = world.now_s
    world.speak(second, answer=stale)
    world.speak(first, answer=stale)
    world.speak(second)
    assert world.challenge != stale


def test_a_closed_process_is_dropped(world: World) -> None:
    first, second = Process("first"), Process("second")
    world.speak(first)
    world.claims.forget("a", "second")
    assert world.claims.owner("a") == "first"
    world.claims.forget("a", "first")
    world.speak(second)
    assert (world.claims.owner("a"), world.challenge) == ("second", 0)
