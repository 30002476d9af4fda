"""The page about the house: every file that it names is there, and its example is an algorithm that works."""

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from graspfleet.common.errors import ConfigError
from graspfleet.common.messages import Weights
from graspfleet.common.policy import NumpyPolicy
from graspfleet.common.protocol import decode
from graspfleet.common.runtime.run_directory import RunDirectory
from graspfleet.learner import algorithm
from tests.fakes import SPEC
from tests.learner.test_resume import learn

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "architecture.md").read_text()
NAME, MODULE = "random-search", "random_search_of_the_page"


@pytest.fixture
def registered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The example as one new file, and one more line in the registry."""
    (source,) = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)
    (tmp_path / f"{MODULE}.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(algorithm.ALGORITHMS, NAME, MODULE)
    yield
    sys.modules.pop(MODULE, None)


def test_the_example_learns_publishes_stops_and_goes_on(registered: None, tmp_path: Path) -> None:
    words = ("--algorithm", NAME, "--step-size", "0.3")
    whole = learn(tmp_path / "whole", 400, *words)
    learn(tmp_path / "parts", 200, *words)
    parts = learn(tmp_path / "parts", 400, *words, resume=True)
    assert whole.updates == parts.updates > 90
    assert whole.state == parts.state
    newest = decode(whole.stream.frames[-1])
    assert isinstance(newest, Weights)
    NumpyPolicy(newest.policy, SPEC, np.random.default_rng(0))  # what actors act by
    assert np.abs(newest.policy["w0"]).max() > 0  # some change was kept
    assert '"score": ' in RunDirectory(tmp_path / "whole").metrics.read_text()
    assert whole.stream.statuses[-1].metrics["score"] == whole.parts.algorithm.metrics()["score"]


def test_a_run_of_another_algorithm_is_refused_in_one_line(registered: None, tmp_path: Path) -> None:
    learn(tmp_path / "run", 100)
    with pytest.raises(
        ConfigError, match=r"\A--algorithm random-search: the run uses --algorithm sac [^\n]*\Z"
    ):
        learn(tmp_path / "run", 200, "--algorithm", NAME, resume=True)


def test_the_example_has_what_mypy_would_ask_of_it(registered: None) -> None:
    """It is an `Algorithm` and a `Definition`, by name."""
    tree = ast.parse(Path(sys.path[0], f"{MODULE}.py").read_text())
    names = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    wanted = {name for name in vars(algorithm.Algorithm) if not name.startswith("_")}
    wanted |= {"Settings", "memory", "updates_per_dispatch", "build"}
    assert wanted <= names


def test_every_file_on_the_page_is_there_and_every_file_of_the_learner_is_on_it() -> None:
    named = set(re.findall(r"`([\w/]+\.(?:py|md))`", PAGE)) - {"learner/random_search.py"}
    assert [name for name in named if "/" in name and not (ROOT / name).is_file()] == []
    short = {Path(name).name for name in named}
    files = {path for path in (ROOT / "learner").rglob("*.py") if path.name != "__init__.py"}
    inside = {path for path in files if {"sac", "crossq", "distill"} & set(path.relative_to(ROOT).parts)}
    assert sorted(path.name for path in files - inside if path.name not in short) == []
