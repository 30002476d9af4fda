"""NStepAdder against a slow computation that looks at whole episodes from outside."""

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from graspfleet.common.nstep import NStepAdder
from graspfleet.common.transition import Transition

Row = tuple[float, float, float, float, float, bool, bool]
"""obs, next_obs, action, reward, discount, terminated, truncated of one-dimensional steps."""


@dataclass(frozen=True)
class FakeEpisode:
    """Rewards of an episode, and how it ended; "cut" means that nobody saw its end."""

    rewards: list[float]
    ending: str


episodes_lists = st.lists(
    st.builds(
        FakeEpisode,
        st.lists(st.floats(-10, 10), min_size=1, max_size=8),
        st.sampled_from(["terminated", "truncated", "both", "cut"]),
    ),
    min_size=1,
    max_size=4,
)


class Recorder:
    def __init__(self, n_step: int, discount: float) -> None:
        self.transitions: list[Row] = []
        self.adder = NStepAdder(n_step, discount, self._take)

    def _take(self, transition: Transition) -> None:
        firsts = (float(array[0]) for array in (transition.obs, transition.next_obs, transition.action))
        numbers = (transition.reward, transition.discount)
        self.transitions.append((*firsts, *numbers, transition.terminated, transition.truncated))

    def play(self, episode: FakeEpisode, start: int) -> None:
        """Observation number t of the episode is start + t, action t is -(start + t)."""
        last = len(episode.rewards) - 1
        for t, reward in enumerate(episode.rewards):
            self.adder.add(
                np.array([start + t], np.float32),
                np.array([-(start + t)], np.float32),
                reward,
                np.array([start + t + 1], np.float32),
                terminated=t == last and episode.ending in ("terminated", "both"),
                truncated=t == last and episode.ending in ("truncated", "both"),
            )
        if episode.ending == "cut":
            self.adder.flush()


def expected(episode: FakeEpisode, start: int, n_step: int, discount: float) -> list[Row]:
    """For each step t: R = sum_{i=t}^{e-1} discount^{i-t} r_i up to e = min(t + n, T), and the state at e."""
    rows: list[Row] = []
    length = len(episode.rewards)
    for t in range(length):
        end = min(t + n_step, length)
        reward = sum(discount ** (i - t) * episode.rewards[i] for i in range(t, end))
        # A step whose n rewards were complete before a cut was handed over when nothing had ended yet.
        seen = end == length and not (episode.ending == "cut" and t + n_step <= length)
        term = seen and episode.ending in ("terminated", "both")
        trunc = seen and episode.ending in ("truncated", "both", "cut")
        rows.append((start + t, start + end, -(start + t), reward, discount ** (end - t), term, trunc))
    return rows


@given(episodes=episodes_lists, n_step=st.integers(1, 10), discount=st.floats(0, 1))
def test_every_env_step_becomes_exactly_one_transition(
    episodes: list[FakeEpisode], n_step: int, discount: float
) -> None:
    recorder = Recorder(n_step, discount)
    wanted: list[Row] = []
    for number, episode in enumerate(episodes):
        recorder.play(episode, start=100 * number)
        wanted += expected(episode, 100 * number, n_step, discount)
        assert len(recorder.transitions) == len(wanted)  # nothing leaks into the next episode
    for made, want in zip(recorder.transitions, wanted, strict=True):
        assert made[:3] == want[:3]
        assert made[3:5] == pytest.approx(want[3:5], rel=1e-9, abs=1e-9)
        assert made[5:] == want[5:]


def test_a_transition_is_held_back_until_its_n_rewards_are_there() -> None:
    recorder = Recorder(n_step=3, discount=0.5)
    step = np.zeros(1, np.float32)
    for number, handed_over in enumerate([0, 0, 1, 2]):
        recorder.adder.add(step, step, float(number), step, terminated=False, truncated=False)
        assert len(recorder.transitions) == handed_over
    assert recorder.transitions[0][3:5] == (0 + 0.5 * 1 + 0.25 * 2, 0.125)


def test_cut_bootstraps_from_the_last_observation_and_may_be_repeated() -> None:
    recorder = Recorder(n_step=3, discount=0.5)
    recorder.adder.flush()
    assert recorder.transitions == []
    recorder.play(FakeEpisode([1.0, 2.0], "cut"), start=10)
    assert recorder.transitions == [
        (10, 12, -10, 2.0, 0.25, False, True),
        (11, 12, -11, 2.0, 0.5, False, True),
    ]
    recorder.adder.flush()
    assert len(recorder.transitions) == 2
