"""The picture of evaluations policies: runs that got there, runs that did not, runs never evaluations."""

from pathlib import Path

from matplotlib import image

from benchmarks.eval_curve import draw


def test_every_run_is_drawn_whatever_became_of_it(tmp_path: Path) -> None:
    evaluations = [{"wall_s": float(i), "success": i / 4} for i in range(5)]
    rows = [
        {"eval_curve": evaluations, "sustained": evaluations[-1]},
        {"eval_curve": evaluations[:3], "sustained": None},
        {"eval_curve": [], "sustained": None},
    ]
    few, all_of_them = tmp_path / "few.png", tmp_path / "all.png"
    draw(rows[2:], ["seed 2"], 0.98, few)
    draw(rows, ["seed 0", "seed 1", "seed 2"], 0.98, all_of_them)
    assert (image.imread(few) != image.imread(all_of_them)).any()
