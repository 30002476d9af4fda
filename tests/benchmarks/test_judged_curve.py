"""The picture of judged policies: runs that got there, runs that did not, runs never judged."""

from pathlib import Path

from matplotlib import image

from benchmarks.judged_curve import draw


def test_every_run_is_drawn_whatever_became_of_it(tmp_path: Path) -> None:
    judged = [{"wall_s": float(i), "success": i / 4} for i in range(5)]
    rows = [
        {"judged": judged, "sustained": judged[-1]},
        {"judged": judged[:3], "sustained": None},
        {"judged": [], "sustained": None},
    ]
    few, all_of_them = tmp_path / "few.png", tmp_path / "all.png"
    draw(rows[2:], ["seed 2"], 0.98, few)
    draw(rows, ["seed 0", "seed 1", "seed 2"], 0.98, all_of_them)
    assert (image.imread(few) != image.imread(all_of_them)).any()
