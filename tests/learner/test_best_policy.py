"""A learner that hears evaluations: the best policy outlives a kill, whatever the checkpoints know."""

from pathlib import Path

import pytest

from graspfleet.common.evaluation.policy_files import read_selected, read_weights
from graspfleet.common.messages import Evaluation, EvaluationStarted, Weights
from graspfleet.common.net.experience import Received
from graspfleet.common.protocol import decode, encode
from graspfleet.common.runtime.run_directory import RunDirectory
from tests.fakes import SESSION
from tests.learner.test_resume import Stream, learn


class Evaluated(Stream):
    """The same batches, and once a policy has been published an evaluation of it, which arrives twice."""

    returns = 0.0

    def __init__(self, first_seq: int, last_seq: int) -> None:
        super().__init__(first_seq, last_seq)
        self._said: list[bytes] | None = None

    def receive(self) -> Received | None:
        if self.frames and self._said is None:
            weights = decode(self.frames[0])
            assert isinstance(weights, Weights)
            names = {"weights_version": weights.version, "env_steps": weights.env_steps}
            episodes = tuple((self.returns, 20, None, seed) for seed in range(20))
            report = encode(Evaluation(actor_id="e", session_id=SESSION, episodes=episodes, **names))
            self._said = [
                encode(EvaluationStarted(actor_id="e", session_id=SESSION, **names)),
                report,
                report,
            ]
        return Received(self._said.pop(0)) if self._said else super().receive()


def evaluated(
    folder: Path, env_steps: int, returns: float, monkeypatch: pytest.MonkeyPatch, *, resume: bool = False
) -> None:
    """Run a learner to `env_steps` whose first policy is evaluated with `returns`."""
    monkeypatch.setattr(Evaluated, "returns", returns)
    learner = learn(folder, env_steps, "--publish-interval-s", "0.001", stream=Evaluated, resume=resume)
    counters = learner.parts.selection.counters
    assert counters["evaluations"] == counters["repeated_evaluations"] >= 1
    assert not counters["uncounted_evaluations"]


def best(run: RunDirectory) -> float:
    """Return the return that selection.json knows of the policy in policy-best.gfp."""
    selected = read_selected(run)
    weights, _ = read_weights(run.policy("best"))
    assert selected.best == (weights.version, weights.env_steps)
    (found,) = {
        episode[0] for each in selected.finalists if each.key == selected.best for episode in each.episodes
    }
    return found


def test_a_worse_policy_after_a_kill_does_not_become_the_best(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = RunDirectory(tmp_path)
    evaluated(tmp_path, 200, -100.0, monkeypatch)
    for newer in sorted(run.checkpoints.glob("step-*.pt"))[1:]:
        newer.unlink()  # killed before there was another one
    evaluated(tmp_path, 400, -500.0, monkeypatch, resume=True)
    assert best(run) == -100.0
    assert {episode[0] for each in read_selected(run).finalists for episode in each.episodes} == {
        -100.0,
        -500.0,
    }


def test_a_better_one_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    evaluated(tmp_path, 200, -100.0, monkeypatch)
    evaluated(tmp_path, 400, -50.0, monkeypatch, resume=True)
    assert best(RunDirectory(tmp_path)) == -50.0


def test_the_last_policy_is_that_of_the_last_update(tmp_path: Path) -> None:
    for env_steps in (200, 400):
        learner = learn(tmp_path, env_steps, resume=env_steps == 400)
        weights, _ = read_weights(RunDirectory(tmp_path).policy("last"))
        assert (weights.updates, weights.env_steps) == (learner.updates, env_steps)
