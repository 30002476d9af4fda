"""The synchronous loop that the ablation table is made with."""

from pathlib import Path

import pytest

from benchmarks import ablation
from graspfleet.common.settings.flags import TrainFlags, parse
from graspfleet.learner.algorithm import all_settings


def test_a_run_depends_on_its_seed_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ablation, "FIRST_EVAL_STEPS", 30)
    monkeypatch.setattr(ablation, "EVAL_INTERVAL_STEPS", 30)
    monkeypatch.setattr(ablation, "PUBLISH_INTERVAL_STEPS", 10)
    words = ["--explore-steps", "10", "--batch-size", "8", "--hidden-dim", "8", "--max-episode-steps", "7"]
    flags = parse(TrainFlags, ["--preset", "cube-fast", *words], prog="test", algorithms=all_settings())
    seen: list[list[float]] = []

    class Agent(ablation.NumpyPolicy):
        """Notes what the policies that are evaluated weigh."""

        def act(self, *args: object, **options: object) -> object:  # type: ignore[override]
            seen[-1].append(float(self._weights[0].sum()))
            return super().act(*args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(ablation, "NumpyPolicy", Agent)
    for seed, name in ((1, "a"), (1, "b"), (2, "c")):
        seen.append([])
        success = ablation.learn(flags, seed, 60, 2, tmp_path / name)
        assert success.keys() == {30, 60}
    assert seen[0] == seen[1] != seen[2]


@pytest.mark.parametrize("lever", ablation.LEVERS)
def test_levers_are_flags(lever: str) -> None:
    preset = parse(TrainFlags, ["--preset", "cube-fast"], prog="test", algorithms=all_settings())
    changed = parse(
        TrainFlags, ["--preset", "cube-fast", *ablation.LEVERS[lever]], prog="test", algorithms=all_settings()
    )
    assert (changed == preset) == (lever == "cube-fast")


def test_a_row_has_mean_and_worst_seed() -> None:
    rows = [{"lever": "x", "seed": seed, "success": {8: value}} for seed, value in enumerate((1.0, 0.5))]
    assert list(ablation.table(rows)) == ["| x | 75 (50) |"]
