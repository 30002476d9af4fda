from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.end_to_end.harness import Fleet


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    fleet = Fleet(tmp_path)
    yield fleet
    fleet.end()
