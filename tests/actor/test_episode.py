"""EpisodeRunner: broken steps thrown away, rebuilding before resetting, tails cut, summaries right."""

from typing import Any

import numpy as np
import pytest

from graspfleet.actor.environment import Environment
from graspfleet.actor.episode import EpisodeRunner
from graspfleet.actor.writer import Writer
from graspfleet.common.fields import Episode
from graspfleet.common.messages import Batch
from graspfleet.common.protocol import decode
from graspfleet.common.runtime.seeds import draw_seeds
from graspfleet.common.settings.config import EnvConfig, ReturnConfig
from graspfleet.common.specs import Records
from tests.fakes import FakeEnv, make_writer

STILL = np.zeros(2, np.float32)


class Stage:
    """A runner with its environment and its writer."""

    def __init__(self, *env_args: str, n_step: int = 1, reinit_episodes: int = 100) -> None:
        config = EnvConfig(env="Fake-v0", env_args=env_args)
        environment = Environment(config, ReturnConfig(discount=0.5, n_step=n_step))
        assert isinstance(environment.env.unwrapped, FakeEnv)
        self.env: FakeEnv = environment.env.unwrapped
        self.writer: Writer = make_writer(environment.spec, max_batch_transitions=1000)
        self.runner = EpisodeRunner(
            environment, self.writer, draw_seeds(np.random.default_rng(1)), reinit_episodes
        )

    def steps(self, count: int) -> None:
        for _ in range(count):
            self.runner.step(STILL)

    def written(self) -> tuple[Records, tuple[Episode, ...], Batch]:
        self.writer.seal()
        frame = self.writer.next_frame(0.0)
        assert frame is not None
        batch = decode(frame)
        assert isinstance(batch, Batch)
        return batch.records(self.writer.spec), batch.episodes, batch

    def order(self) -> list[str]:
        """Calls without their seeds."""
        return [call.split()[0] for call in self.env.calls]


def column(records: Records, name: str) -> Any:
    return records[name].tolist()


@pytest.mark.parametrize("ends", ["terminated", "truncated"])
def test_every_step_is_written_down_as_it_happened(ends: str) -> None:
    stage = Stage("length=2", f"ends={ends}")
    stage.steps(4)
    records, _, _ = stage.written()
    assert [obs[:2] for obs in column(records, "obs")] == [[1, 0], [1, 1], [2, 0], [2, 1]]
    assert [obs[:2] for obs in column(records, "next_obs")] == [[1, 1], [1, 2], [2, 1], [2, 2]]
    assert column(records, ends) == [False, True, False, True]
    assert not records[{"terminated": "truncated", "truncated": "terminated"}[ends]].any()
    assert column(records, "discount") == [0.5] * 4


@pytest.mark.parametrize(("said", "kept"), [("null", None), ("true", True), ("false", False)])
def test_summaries_say_return_length_success_and_the_seed_of_the_reset(said: str, kept: bool | None) -> None:
    stage = Stage("length=3", f"success={said}")
    stage.steps(7)
    _, episodes, _ = stage.written()
    seeds = [int(call.split()[1]) for call in stage.env.calls if call.startswith("reset")]
    assert episodes == ((6.0, 3, kept, seeds[0]), (6.0, 3, kept, seeds[1]))
    assert len(set(seeds)) == 3
    assert stage.runner.episodes == 2


def test_the_same_stream_of_seeds_gives_the_same_episodes() -> None:
    one, other = Stage("length=2"), Stage("length=2")
    for stage in (one, other):
        stage.steps(9)
    assert one.env.calls == other.env.calls


def test_a_broken_step_is_thrown_away_counted_and_rebuilt_from(caplog: pytest.LogCaptureFixture) -> None:
    stage = Stage("length=4", "broken=[3]")
    stage.steps(3 + 4)
    records, episodes, batch = stage.written()
    assert np.isfinite(records["next_obs"]).all()
    assert [obs[:2] for obs in column(records, "obs")] == [[1, 0], [1, 1], [2, 0], [2, 1], [2, 2], [2, 3]]
    assert (batch.discarded, batch.produced) == (1, 6)
    assert len(episodes) == 1  # the broken one has no summary
    assert episodes[0][:2] == (10.0, 4)
    assert stage.order()[:6] == ["reset", "step", "step", "step", "reinit", "reset"]
    assert "nan" in caplog.text


def test_what_a_broken_episode_still_owes_is_cut_before_the_break() -> None:
    stage = Stage("length=9", "broken=[3]", n_step=5)
    stage.steps(3)
    records, _, _ = stage.written()
    assert column(records, "reward") == [1 + 0.5 * 2, 2]
    assert column(records, "discount") == [0.25, 0.5]
    assert [obs[:2] for obs in column(records, "next_obs")] == [[1, 2], [1, 2]]
    assert column(records, "truncated") == [True, True]


def test_steps_that_break_one_after_the_other_are_all_survived() -> None:
    stage = Stage("length=9", "broken=[1, 2, 3]")
    stage.steps(4)
    records, _, batch = stage.written()
    assert (len(records), batch.discarded) == (1, 3)


def test_the_environment_is_rebuilt_every_so_many_episodes_before_the_reset() -> None:
    stage = Stage("length=1", reinit_episodes=2)
    stage.steps(5)
    assert stage.order() == [
        "reset",
        *("step", "reset"),
        *("step", "reinit", "reset"),
        *("step", "reset"),
        *("step", "reinit", "reset"),
        *("step", "reset"),
    ]


def test_cut_hands_over_the_tail_as_if_time_were_up() -> None:
    stage = Stage("length=9", n_step=3)
    stage.steps(4)
    assert stage.writer.produced == 2
    stage.runner.flush()
    records, episodes, _ = stage.written()
    assert column(records, "reward") == [1 + 0.5 * 2 + 0.25 * 3, 2 + 0.5 * 3 + 0.25 * 4, 3 + 0.5 * 4, 4]
    assert column(records, "truncated") == [False, False, True, True]
    assert episodes == ()


def test_what_the_environment_raises_costs_the_episode_and_no_more() -> None:
    stage = Stage("length=2")
    stage.env._broken, stage.env._error = (1,), RuntimeError("robot: connection reset")
    stage.steps(3)
    records, episodes, batch = stage.written()
    assert (len(records), len(episodes), batch.discarded) == (2, 1, 1)
    seeds = [call for call in stage.env.calls if call.startswith("reset")]
    assert len(set(seeds)) == len(seeds) == 3, "the next seed is another"


def test_a_reset_that_breaks_is_counted_and_the_next_seed_is_another() -> None:
    stage = Stage("length=2")
    resets, reset = iter([True, True, False]), stage.env.reset

    def unwilling(*, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        result = reset(seed=seed)
        if next(resets, False):
            raise RuntimeError("no solution")
        return result

    stage.env.reset = unwilling  # type: ignore[method-assign]
    stage.steps(4)
    _, episodes, batch = stage.written()
    assert (batch.discarded, batch.produced, len(episodes)) == (2, 4, 2)
    assert stage.order() == [
        "reset",
        "step",
        "step",
        "reset",
        "reinit",
        "reset",
        "reinit",
        "reset",
        "step",
        "step",
        "reset",
    ]
    seeds = [call for call in stage.env.calls if call.startswith("reset")]
    assert len(set(seeds)) == len(seeds)
