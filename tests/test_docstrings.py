"""Docstrings, those of attributes included, begin with a noun phrase or an imperative."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FILES = [
    path
    for package in ("actor", "benchmarks", "common", "graspfleet", "learner")
    for path in sorted((ROOT / package).rglob("*.py"))
]
INDIRECT = re.compile(r"(What|Who|Whose|Where|Whether|So|How|As)\b")


def docstrings(module: ast.Module) -> Iterator[tuple[int, str]]:
    """Yield line and text of every string that is a statement of its own."""
    for node in ast.walk(module):
        value = node.value if isinstance(node, ast.Expr) else None
        if isinstance(value, ast.Constant) and isinstance(value.value, str):
            yield value.lineno, value.value.strip()


def test_the_search_finds_indirect_first_words() -> None:
    module = ast.parse('"""Whether it is."""\nx = 1\n"""So it is."""\ndef f():\n    """Return it."""\n')
    assert [line for line, text in docstrings(module) if INDIRECT.match(text)] == [1, 3]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_first_lines_are_direct(path: Path) -> None:
    found = [(line, text) for line, text in docstrings(ast.parse(path.read_text())) if INDIRECT.match(text)]
    assert not found
